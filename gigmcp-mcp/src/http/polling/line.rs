//! One stream that a client can come back to.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use super::{Lines, room::Place};
use crate::http::{
    body::{Answer, Part, Received},
    shares::Taken,
};

/// What was told on one of them, and what is still to be told to whoever came for it last.
#[derive(Debug)]
pub(in crate::http) struct Line {
    lines: Weak<Lines>,
    id: u64,
    state: Mutex<State>,
    reader: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// Nothing when all has been told.
    received: Option<Received>,
    /// What may have been lost with a connection, by number.
    told: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
    count: u64,
    place: Place,
}

/// The next message for a reader.
pub(super) struct Next {
    pub(super) number: u64,
    pub(super) text: Vec<u8>,
    pub(super) last: bool,
    pub(super) room: Option<Taken>,
}

impl Line {
    pub(super) fn new(lines: &Weak<Lines>, id: u64, received: Received, place: Place) -> Arc<Self> {
        Arc::new_cyclic(|line| {
            received.belongs_to(line.clone());
            let state = State { received: Some(received), told: VecDeque::new(), bytes: 0, count: 0, place };
            Self { lines: lines.clone(), id, state: Mutex::new(state), reader: AtomicU64::new(0) }
        })
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().received.is_none()
    }

    /// A new reader: its number, and the number of the message after which it goes on, which may not be one that is still to come.
    pub(super) fn begin(&self, last: u64) -> (u64, u64) {
        let state = self.state();
        let reader = self.reader.fetch_add(1, Ordering::AcqRel) + 1;
        if let Some(received) = &state.received {
            received.set_away(false);
        }
        let before = |first: &(u64, Vec<u8>)| first.0 - 1;
        let last = state.told.iter().find(|(number, _)| *number > last).map_or(state.count, before);
        (reader, last)
    }

    /// This reader has gone. Whoever came after it is there.
    pub(super) fn leave(&self, reader: u64) {
        let state = self.state();
        if self.reader.load(Ordering::Acquire) == reader
            && let Some(received) = &state.received
        {
            received.set_away(true);
            drop(state);
            self.hear();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears for a client that is away, so that what it is told takes up no more than what has been told.
    pub(in crate::http) fn hear(&self) {
        let mut state = self.state();
        let mut heard = false;
        let part = |state: &mut State| state.received.as_mut().filter(|received| received.is_away())?.waiting();
        while let Some(part) = part(&mut state) {
            let (Part::Event(text) | Part::Last(Answer { text, .. })) = &part;
            state.note(text);
            heard = true;
            if matches!(part, Part::Last(_)) {
                self.end(&mut state);
            }
        }
        drop(state);
        if heard {
            self.make_room();
        }
    }

    /// The next message for this reader after the one of this number, with its number and whether it is the last. What was told
    /// before is taken from what is kept, one message at a time: readers that nobody reads hold nothing.
    pub(super) fn tell(&self, reader: u64, after: u64, context: &mut Context<'_>) -> Poll<Option<Next>> {
        let mut state = self.state();
        // Whoever comes back is told what has been noted, so what is taken is noted before anybody can come.
        if self.reader.load(Ordering::Acquire) != reader {
            return Poll::Ready(None);
        }
        let kept = || state.told.iter().find(|(number, _)| *number > after);
        if let Some((number, text)) = (state.count > after).then(kept).flatten() {
            return Poll::Ready(Some(Next { number: *number, text: text.clone(), last: false, room: None }));
        }
        let Some(received) = &mut state.received else { return Poll::Ready(None) };
        let Some((part, room)) = std::task::ready!(received.poll(context)) else {
            self.end(&mut state);
            return Poll::Ready(None);
        };
        let last = matches!(part, Part::Last(_));
        let (Part::Event(text) | Part::Last(Answer { text, .. })) = part;
        let number = state.note(&text);
        if last {
            self.end(&mut state);
        }
        drop(state);
        self.make_room();
        Poll::Ready(Some(Next { number, text, last, room }))
    }

    /// Keeps what is told; its number.
    pub(super) fn note(&self, text: &[u8]) -> u64 {
        let number = self.state().note(text);
        self.make_room();
        number
    }

    fn make_room(&self) {
        let Some(lines) = self.lines.upgrade() else { return };
        // If only what is under way takes up the room, nobody else pays for it.
        if !lines.room.make_room(&lines.principal) {
            self.state().forget_all();
        }
    }

    fn end(&self, state: &mut State) {
        if state.received.take().is_some() {
            state.place.is_over(self.lines.clone(), self.id);
        }
    }
}

impl State {
    fn note(&mut self, text: &[u8]) -> u64 {
        self.count += 1;
        self.bytes += text.len() + MESSAGE_BYTES;
        self.place.grow(text.len() + MESSAGE_BYTES);
        self.told.push_back((self.count, text.to_vec()));
        // The newest may be the answer, which is what a client comes back for.
        while self.bytes > MAX_BYTES && self.told.len() > 1 {
            self.forget_oldest();
        }
        self.count
    }

    fn forget_oldest(&mut self) {
        let Some((_, oldest)) = self.told.pop_front() else { return };
        self.bytes -= oldest.len() + MESSAGE_BYTES;
        self.place.shrink(oldest.len() + MESSAGE_BYTES);
    }

    fn forget_all(&mut self) {
        while !self.told.is_empty() {
            self.forget_oldest();
        }
    }
}

/// Bytes of what was told on one that are kept, in case they were lost. One message may be longer.
pub(super) const MAX_BYTES: usize = 256 << 10;
/// What a message takes up beside its text.
const MESSAGE_BYTES: usize = 64;
