//! What the bootstrap answers.

use super::Stage;
use crate::wire::{Malformed, Reader, Writer};

/// What the bootstrap tells the host, one message of the control socket each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Report {
    /// The network namespace stands. With hand-off, the listeners come with this message; where a link
    /// is wanted, the namespace itself, and nothing goes on until the host has made the link.
    Network,
    /// The process that waits for PID 1 has given up every right. A handle of PID 1 comes with this: when
    /// that has ended, nothing inside is left.
    Monitor,
    /// To PID 1, from the server's process: the listener of the last seccomp program comes with this.
    Listener,
    /// What PID 1 and the server's process read back about themselves, as `key` and `value`.
    Posture(Vec<(String, String)>),
    /// The server's program runs.
    Running,
    /// A step failed and nothing runs.
    Failed { stage: Stage, errno: i32, detail: String },
    /// The server ended by itself with this code.
    Exited(i32),
    /// The server was ended by this signal.
    Signaled(i32),
    /// A call that no server makes was made so many times since the last such report, the last time
    /// by this thread inside.
    Tripwire { call: u32, pid: u32, count: u64 },
}

impl Report {
    /// Encodes the report.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Network => out.byte(0),
            Self::Posture(entries) => {
                out.byte(1);
                out.list(entries, |out, (key, value)| {
                    out.bytes(key.as_bytes());
                    out.bytes(value.as_bytes());
                });
            }
            Self::Running => out.byte(2),
            Self::Failed { stage, errno, detail } => {
                out.byte(3);
                out.byte(*stage as u8);
                out.number(u64::from(errno.unsigned_abs()));
                out.bytes(detail.as_bytes());
            }
            Self::Exited(code) => {
                out.byte(4);
                out.number(u64::from(code.unsigned_abs()));
            }
            Self::Signaled(signal) => {
                out.byte(5);
                out.number(u64::from(signal.unsigned_abs()));
            }
            Self::Tripwire { call, pid, count } => {
                out.byte(6);
                out.number(u64::from(*call));
                out.number(u64::from(*pid));
                out.number(*count);
            }
            Self::Listener => out.byte(7),
            Self::Monitor => out.byte(8),
        }
        out.finish()
    }

    /// Decodes what [`Report::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        let small = |from: &mut Reader<'_>| i32::try_from(from.number()?).map_err(|_| Malformed);
        let short = |from: &mut Reader<'_>| u32::try_from(from.number()?).map_err(|_| Malformed);
        Ok(match from.byte()? {
            0 => Self::Network,
            1 => Self::Posture(from.list(|from| Ok((from.text()?, from.text()?)))?),
            2 => Self::Running,
            3 => Self::Failed { stage: Stage::decode(from.byte()?)?, errno: small(&mut from)?, detail: from.text()? },
            4 => Self::Exited(small(&mut from)?),
            5 => Self::Signaled(small(&mut from)?),
            6 => Self::Tripwire { call: short(&mut from)?, pid: short(&mut from)?, count: from.number()? },
            7 => Self::Listener,
            8 => Self::Monitor,
            _ => return Err(Malformed),
        })
    }
}
