//! Answers written into one JSON array.

use super::shares::Taken;

/// The answers of a batch, in one piece, and what they take of somebody's share until they are all there.
#[derive(Debug, Default)]
pub(super) struct Array {
    text: Vec<u8>,
    rooms: Vec<Taken>,
}

impl Array {
    /// One more answer.
    pub(super) fn push(&mut self, answer: &[u8]) {
        self.text.push(if self.text.is_empty() { b'[' } else { b',' });
        self.text.extend_from_slice(answer);
    }

    /// Keeps this until the end.
    pub(super) fn holds(&mut self, room: Option<Taken>) {
        self.rooms.extend(room);
    }

    /// All of it; nothing if there was no answer.
    pub(super) fn end(mut self) -> Option<Vec<u8>> {
        if self.text.is_empty() {
            return None;
        }
        self.text.push(b']');
        Some(self.text)
    }
}
