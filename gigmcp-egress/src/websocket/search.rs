use std::sync::Arc;

use super::frame::Opcode;
use super::reader::Piece;
use super::relay::{Filter, POLICY_VIOLATION, Violation};
use crate::live::{LivePlaceholders, Owner, StreamScan};
use crate::refusal::Refusal;

/// Looks for placeholders in what a sandbox sends: there is no place for one in a frame.
///
/// A placeholder is found over the bounds of frames and messages. Control frames are a stream of their own, because they
/// may stand in the middle of a message.
pub(crate) struct Search {
    live: Arc<LivePlaceholders>,
    judge: Box<dyn Fn(&Owner) -> Refusal + Send>,
    messages: StreamScan,
    controls: StreamScan,
}

impl Search {
    pub(crate) fn new(live: Arc<LivePlaceholders>, judge: Box<dyn Fn(&Owner) -> Refusal + Send>) -> Self {
        let (messages, controls) = (live.scan(), live.scan());
        Self { live, judge, messages, controls }
    }
}

impl Filter for Search {
    const MALFORMED: Refusal = Refusal::Frame;

    fn pass(&mut self, piece: Piece) -> Result<Option<Piece>, Violation> {
        let (scan, text) = match piece.opcode {
            Opcode::Close => (&mut self.controls, piece.payload.get(CODE_BYTES..).unwrap_or_default()),
            Opcode::Ping | Opcode::Pong => (&mut self.controls, &piece.payload[..]),
            Opcode::Continuation | Opcode::Text | Opcode::Binary => (&mut self.messages, &piece.payload[..]),
        };
        match scan.feed(&self.live, text) {
            Some(owner) => Err(Violation { refusal: (self.judge)(&owner), code: POLICY_VIOLATION }),
            None => Ok(Some(piece)),
        }
    }
}

/// A close frame has them before its reason.
pub(crate) const CODE_BYTES: usize = 2;
