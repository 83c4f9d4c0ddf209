//! Streams that a client can come back to. From 2025-11-25 on, the stream of an answer begins with an event that has an id and
//! nothing else, and every message has one; whoever has lost the connection asks for what comes after an id.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::body::{Answer, Part, Received};

/// The streams of one session that a client can come back to.
#[derive(Debug, Default)]
pub(super) struct Lines {
    last: AtomicU64,
    kept: Mutex<BTreeMap<u64, Arc<Line>>>,
}

/// What was told on one of them, and what is still to be told to whoever came for it last.
#[derive(Debug)]
struct Line {
    state: Mutex<State>,
    reader: AtomicU64,
}

#[derive(Debug)]
struct State {
    received: Received,
    /// What may have been lost with a connection, by number.
    told: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
    count: u64,
    over: bool,
}

/// One message of such a stream.
#[derive(Debug)]
pub(super) struct Told {
    /// By which a client comes back for what follows.
    pub(super) id: String,
    pub(super) text: Vec<u8>,
}

/// One connection that tells what is to be told.
#[derive(Debug)]
pub(super) struct Reader {
    line: Arc<Line>,
    id: u64,
    number: u64,
    again: VecDeque<(u64, Vec<u8>)>,
    until: Option<Pin<Box<Sleep>>>,
    done: bool,
}

impl Lines {
    /// Keeps a stream, and reads from it for at most so long.
    pub(super) fn keep(&self, received: Received, stay: Option<Duration>) -> Reader {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let state = State { received, told: VecDeque::new(), bytes: 0, count: 0, over: false };
        let line = Arc::new(Line { state: Mutex::new(state), reader: AtomicU64::new(0) });
        let mut kept = self.lock();
        // Whoever asks for the next thing has most likely got what was before; only the end of the last one may be on its way.
        let over: Vec<u64> = kept.iter().filter(|(_, line)| line.state().over).map(|(id, _)| *id).collect();
        over.iter().rev().skip(1).for_each(|id| drop(kept.remove(id)));
        kept.insert(id, Arc::clone(&line));
        if kept.len() > MAX_KEPT {
            kept.pop_first();
        }
        drop(kept);
        Reader::new(id, line, VecDeque::new(), stay)
    }

    /// Goes on with a stream after the event of this id. Whoever read it before reads no more of it.
    pub(super) fn resume(&self, last_event: &str, stay: Option<Duration>) -> Option<Reader> {
        let (id, last) = last_event.split_once('-')?;
        let (id, last): (u64, u64) = (id.parse().ok()?, last.parse().ok()?);
        let line = self.lock().get(&id).map(Arc::clone)?;
        let again = line.state().told.iter().filter(|(number, _)| *number > last).cloned().collect();
        Some(Reader::new(id, line, again, stay))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Line>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, text: &[u8]) -> u64 {
        self.count += 1;
        self.bytes += text.len();
        self.told.push_back((self.count, text.to_vec()));
        while self.bytes > MAX_BYTES
            && let Some((_, oldest)) = self.told.pop_front()
        {
            self.bytes -= oldest.len();
        }
        self.count
    }
}

impl Reader {
    fn new(id: u64, line: Arc<Line>, again: VecDeque<(u64, Vec<u8>)>, stay: Option<Duration>) -> Self {
        let number = line.reader.fetch_add(1, Ordering::AcqRel) + 1;
        line.state().received.is_away(false);
        Self { line, id, number, again, until: stay.map(|stay| Box::pin(sleep(stay))), done: false }
    }

    /// The id that a client has before it has read anything.
    pub(super) fn primer(&self) -> String {
        let first = self.again.front().map_or_else(|| self.line.state().count + 1, |(number, _)| *number);
        format!("{}-{}", self.id, first - 1)
    }

    /// A message that was taken from the stream before it was kept.
    pub(super) fn first(&self, text: Vec<u8>) -> Told {
        Told { id: format!("{}-{}", self.id, self.line.state().note(&text)), text }
    }

    /// The next message; nothing at the end, or when the client is to come back for the rest.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Told>> {
        if self.done || self.line.reader.load(Ordering::Acquire) != self.number {
            return Poll::Ready(None);
        }
        if let Some((number, text)) = self.again.pop_front() {
            return Poll::Ready(Some(Told { id: format!("{}-{number}", self.id), text }));
        }
        let mut state = self.line.state();
        if state.over {
            return Poll::Ready(None);
        }
        match state.received.poll(context) {
            Poll::Ready(part) => {
                self.done = !matches!(part, Some(Part::Event(_)));
                state.over = self.done;
                let told = part.map(|part| match part {
                    Part::Event(text) | Part::Last(Answer { text, .. }) => {
                        Told { id: format!("{}-{}", self.id, state.note(&text)), text }
                    }
                });
                Poll::Ready(told)
            }
            Poll::Pending => match self.until.as_mut().map(|until| until.as_mut().poll(context)) {
                Some(Poll::Ready(())) => {
                    self.done = true;
                    Poll::Ready(None)
                }
                Some(Poll::Pending) | None => Poll::Pending,
            },
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.line.reader.load(Ordering::Acquire) == self.number {
            self.line.state().received.is_away(true);
        }
    }
}

/// Streams of one session; the oldest make room.
const MAX_KEPT: usize = 16;
/// Bytes of what was told on one that are kept, in case they were lost.
const MAX_BYTES: usize = 256 << 10;
