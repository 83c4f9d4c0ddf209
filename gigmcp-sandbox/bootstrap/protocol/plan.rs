//! What the host asks for.

use super::TCP_PORTS;
use crate::wire::{Malformed, Reader, Writer};

/// Everything needed to build one sandbox and start its server.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Plan {
    /// The unprivileged host uid and gid to become; absent where the host runs unprivileged.
    pub host_uid: Option<u32>,
    /// Which of the descriptors sent along are `cgroup.procs` files to join.
    pub cgroups: Vec<u32>,
    /// How the root is put together, in order.
    pub steps: Vec<Step>,
    /// Files shown in place of those of `/proc`, by the path below it.
    pub proc_files: Vec<(Vec<u8>, Vec<u8>)>,
    /// What network the server sees.
    pub network: NetworkPlan,
    /// The server's command line; the first is looked up in `PATH` if it has no slash.
    pub command: Vec<Vec<u8>>,
    /// The whole environment, as `NAME=value`.
    pub environment: Vec<Vec<u8>>,
    /// The directory the server starts in.
    pub working_dir: Vec<u8>,
    /// Resource number and value, soft and hard alike.
    pub rlimits: Vec<(u64, u64)>,
    /// seccomp programs in kernel form, in the order they are installed.
    pub filters: Vec<Vec<u8>>,
    /// The seccomp program of PID 1.
    pub init_filter: Vec<u8>,
    /// The calls that the last program makes wait for PID 1, with the error they get. With none,
    /// nobody listens, and the kernel answers `ENOSYS`.
    pub tripwires: Vec<(u64, u64)>,
    /// Whether such a call ends the sandbox.
    pub tripwires_kill: bool,
    /// Directories the server may write to.
    pub writable: Vec<Vec<u8>>,
}

/// A network to be made.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum NetworkPlan {
    /// Loopback alone.
    #[default]
    None,
    /// Every address is local, and the sockets that listen at these ports go to the host: those of
    /// TCP first, each in the order given.
    Handoff { tcp: Vec<u16>, udp: Vec<u16> },
    /// A link between these addresses, over which these ports of the host can be reached.
    Link { sandbox: [u8; 4], host: [u8; 4], tcp: Vec<u16>, udp: Vec<u16> },
}

impl NetworkPlan {
    /// The ports that TCP can be dialled at.
    pub(crate) fn tcp(&self) -> &[u16] {
        match self {
            Self::None => &TCP_PORTS,
            Self::Handoff { tcp, .. } | Self::Link { tcp, .. } => tcp,
        }
    }

    fn encode(&self, out: &mut Writer) {
        let ports = |out: &mut Writer, tcp: &[u16], udp: &[u16]| {
            for list in [tcp, udp] {
                out.list(list, |out, port| out.number(u64::from(*port)));
            }
        };
        match self {
            Self::None => out.byte(0),
            Self::Handoff { tcp, udp } => {
                out.byte(1);
                ports(out, tcp, udp);
            }
            Self::Link { sandbox, host, tcp, udp } => {
                out.byte(2);
                for address in [sandbox, host] {
                    out.number(u64::from(u32::from_be_bytes(*address)));
                }
                ports(out, tcp, udp);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let ports = |from: &mut Reader<'_>| from.list(|from| u16::try_from(from.number()?).map_err(|_| Malformed));
        let address =
            |from: &mut Reader<'_>| u32::try_from(from.number()?).map(u32::to_be_bytes).map_err(|_| Malformed);
        Ok(match from.byte()? {
            0 => Self::None,
            1 => Self::Handoff { tcp: ports(from)?, udp: ports(from)? },
            2 => Self::Link { sandbox: address(from)?, host: address(from)?, tcp: ports(from)?, udp: ports(from)? },
            _ => return Err(Malformed),
        })
    }
}

/// One step of building the root on a tmpfs of our own. Destinations are relative to that
/// tmpfs; they are resolved without following any symlink and without leaving it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// An empty directory, and its parents.
    Dir { to: Vec<u8>, mode: u32 },
    /// A file with this content.
    File { to: Vec<u8>, mode: u32, content: Vec<u8> },
    /// A file with the content of the descriptor with this number among those sent along.
    Copy { to: Vec<u8>, mode: u32, descriptor: u32 },
    /// A symlink.
    Symlink { to: Vec<u8>, target: Vec<u8> },
    /// A host directory or file, read-only. With `beneath`, that path is resolved below `from`
    /// without following a symlink, and `from` is an image, whose path is kept from the server.
    Bind { to: Vec<u8>, from: Vec<u8>, beneath: Option<Vec<u8>> },
    /// A device of the host with the same name in `/dev`.
    Device { to: Vec<u8>, name: Vec<u8> },
    /// A host directory that the server may write to.
    State { to: Vec<u8>, from: Vec<u8> },
    /// A writable tmpfs with a size in bytes and a number of inodes, owned by the server.
    Tmpfs { to: Vec<u8>, mode: u32, bytes: u64, inodes: u64 },
}

impl Plan {
    /// Encodes the plan.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(self.host_uid.map_or(u64::MAX, u64::from));
        out.list(&self.cgroups, |out, item| out.number(u64::from(*item)));
        out.list(&self.steps, |out, step| step.encode(out));
        out.list(&self.proc_files, |out, (name, content)| {
            out.bytes(name);
            out.bytes(content);
        });
        self.network.encode(&mut out);
        out.list(&self.command, |out, item| out.bytes(item));
        out.list(&self.environment, |out, item| out.bytes(item));
        out.bytes(&self.working_dir);
        out.list(&self.rlimits, |out, (resource, value)| {
            out.number(*resource);
            out.number(*value);
        });
        out.list(&self.filters, |out, item| out.bytes(item));
        out.bytes(&self.init_filter);
        out.list(&self.tripwires, |out, (call, errno)| {
            out.number(*call);
            out.number(*errno);
        });
        out.byte(u8::from(self.tripwires_kill));
        out.list(&self.writable, |out, item| out.bytes(item));
        out.finish()
    }

    /// Decodes what [`Plan::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        let owned = |from: &mut Reader<'_>| from.bytes().map(<[u8]>::to_vec);
        Ok(Self {
            host_uid: match from.number()? {
                u64::MAX => None,
                uid => Some(u32::try_from(uid).map_err(|_| Malformed)?),
            },
            cgroups: from.list(|from| u32::try_from(from.number()?).map_err(|_| Malformed))?,
            steps: from.list(Step::decode)?,
            proc_files: from.list(|from| Ok((owned(from)?, owned(from)?)))?,
            network: NetworkPlan::decode(&mut from)?,
            command: from.list(owned)?,
            environment: from.list(owned)?,
            working_dir: owned(&mut from)?,
            rlimits: from.list(|from| Ok((from.number()?, from.number()?)))?,
            filters: from.list(owned)?,
            init_filter: owned(&mut from)?,
            tripwires: from.list(|from| Ok((from.number()?, from.number()?)))?,
            tripwires_kill: from.byte()? != 0,
            writable: from.list(owned)?,
        })
    }
}

impl Step {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Dir { to, mode } => {
                out.byte(0);
                out.bytes(to);
                out.number(u64::from(*mode));
            }
            Self::File { to, mode, content } => {
                out.byte(1);
                out.bytes(to);
                out.number(u64::from(*mode));
                out.bytes(content);
            }
            Self::Copy { to, mode, descriptor } => {
                out.byte(2);
                out.bytes(to);
                out.number(u64::from(*mode));
                out.number(u64::from(*descriptor));
            }
            Self::Symlink { to, target } => {
                out.byte(3);
                out.bytes(to);
                out.bytes(target);
            }
            Self::Bind { to, from, beneath } => {
                out.byte(4);
                out.bytes(to);
                out.bytes(from);
                out.byte(u8::from(beneath.is_some()));
                out.bytes(beneath.as_deref().unwrap_or_default());
            }
            Self::Tmpfs { to, mode, bytes, inodes } => {
                out.byte(5);
                out.bytes(to);
                out.number(u64::from(*mode));
                out.number(*bytes);
                out.number(*inodes);
            }
            Self::State { to, from } => {
                out.byte(7);
                out.bytes(to);
                out.bytes(from);
            }
            Self::Device { to, name } => {
                out.byte(6);
                out.bytes(to);
                out.bytes(name);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = from.byte()?;
        let to = from.bytes()?.to_vec();
        let short = |from: &mut Reader<'_>| u32::try_from(from.number()?).map_err(|_| Malformed);
        Ok(match kind {
            0 => Self::Dir { to, mode: short(from)? },
            1 => Self::File { to, mode: short(from)?, content: from.bytes()?.to_vec() },
            2 => Self::Copy { to, mode: short(from)?, descriptor: short(from)? },
            3 => Self::Symlink { to, target: from.bytes()?.to_vec() },
            4 => {
                let source = from.bytes()?.to_vec();
                let below = from.byte()? != 0;
                let beneath = from.bytes()?.to_vec();
                Self::Bind { to, from: source, beneath: below.then_some(beneath) }
            }
            5 => Self::Tmpfs { to, mode: short(from)?, bytes: from.number()?, inodes: from.number()? },
            6 => Self::Device { to, name: from.bytes()?.to_vec() },
            7 => Self::State { to, from: from.bytes()?.to_vec() },
            _ => return Err(Malformed),
        })
    }
}
