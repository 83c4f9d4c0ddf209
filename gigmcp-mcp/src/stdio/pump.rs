//! The two tasks between a server's pipes and those who wait.

use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, mpsc},
};

use super::{
    limits::Counters,
    lines::{Line, Lines},
    oversized::{Answers, answered},
    shared::Shared,
};
use crate::{
    message::{InvalidMessage, Message, RequestId, Response},
    object::{Members, items},
    upstream::CallError,
};

/// A line on its way to the server, with its share of the room for such lines.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) line: Vec<u8>,
    pub(super) _budget: Option<OwnedSemaphorePermit>,
}

/// Reads what the server says until it ends.
pub(super) async fn read_from(stdout: impl AsyncRead + Unpin, shared: Arc<Shared>) {
    let max_line_bytes = shared.limits.max_line_bytes;
    let mut lines = Lines::new(stdout, max_line_bytes);
    while let Ok(Some(line)) = lines.next().await {
        match line {
            Line::Whole(line) => shared.receive(line),
            Line::TooLong { head, tail } => {
                Counters::add(&shared.counters.oversized_lines);
                let error = CallError::TooLong { limit_bytes: max_line_bytes };
                match answered(head, tail) {
                    Answers::Call(id) => shared.settle(id, Err(error)),
                    // It may have been the answer to any of them, and that one would never come.
                    Answers::Unknown => shared.pending.fail_all(&error),
                    Answers::Nothing => {}
                }
            }
        }
    }
    shared.close();
}

/// Writes what was queued until the server no longer reads.
pub(super) async fn write_to(
    mut stdin: impl AsyncWrite + Unpin,
    shared: Arc<Shared>,
    mut queue: mpsc::Receiver<Outgoing>,
) {
    let mut text = Vec::new();
    while let Some(mut outgoing) = queue.recv().await {
        text.clear();
        text.shrink_to(WRITE_BYTES);
        // The room is given back after the write, so these are kept until then.
        let mut written = Vec::new();
        loop {
            append_line(&mut text, &outgoing.line);
            written.push(outgoing);
            match queue.try_recv() {
                Ok(next) if text.len() < WRITE_BYTES => outgoing = next,
                Ok(next) => {
                    append_line(&mut text, &next.line);
                    written.push(next);
                    break;
                }
                Err(_) => break,
            }
        }
        if stdin.write_all(&text).await.is_err() || stdin.flush().await.is_err() {
            break;
        }
    }
    shared.close();
}

/// One line out of one JSON text. A client may have put line ends between its tokens (inside
/// strings JSON has none); kept, they would let it write lines of its own to the server.
pub(super) fn append_line(text: &mut Vec<u8>, json: &[u8]) {
    text.extend(json.iter().map(|&byte| match byte {
        b'\n' | b'\r' => b' ',
        other => other,
    }));
    text.push(b'\n');
}

impl Shared {
    fn receive(self: &Arc<Self>, line: &[u8]) {
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        let Ok(raw) = serde_json::from_slice::<&RawValue>(line) else {
            return Counters::add(&self.counters.invalid_lines);
        };
        if raw.get().starts_with('[') {
            // A server of revision 2025-03-26 may answer in batches.
            match items(raw, MAX_BATCH) {
                Ok(batch) => batch.into_iter().for_each(|message| self.receive_one(message)),
                Err(_) => Counters::add(&self.counters.invalid_lines),
            }
        } else {
            self.receive_one(raw);
        }
    }

    fn receive_one(self: &Arc<Self>, raw: &RawValue) {
        match Message::from_raw(raw) {
            Ok(Message::Response(Response { id, verdict })) => match id.as_ref().and_then(RequestId::as_u64) {
                Some(id) => self.settle(id, Ok(verdict)),
                None => Counters::add(&self.counters.unexpected_responses),
            },
            Ok(Message::Request(request)) => self.answer(request),
            Ok(Message::Notification(notification)) => self.hear(notification),
            Err(InvalidMessage::Json(_)) => Counters::add(&self.counters.invalid_lines),
            Err(InvalidMessage::Envelope { reason }) => {
                Counters::add(&self.counters.invalid_lines);
                let id = Members::of(raw).ok().and_then(|members| RequestId::from_raw(members.value("id")?)?.as_u64());
                if let Some(id) = id {
                    self.settle(id, Err(CallError::Protocol { reason }));
                }
            }
        }
    }

    fn settle(&self, id: u64, answer: super::pending::Answer) {
        if !self.pending.settle(id, answer) {
            Counters::add(&self.counters.unexpected_responses);
        }
    }
}

/// Messages in one batch of a server.
const MAX_BATCH: usize = 1024;
const WRITE_BYTES: usize = 64 << 10;
