//! Streams that a client can come back to. From 2025-11-25 on, the stream of an answer begins with an event that has an id and
//! nothing else, and every message has one; whoever has lost the connection asks for what comes after an id.

mod line;
mod room;

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

pub(super) use self::{line::Line, room::Room};
use super::{Principal, body::Received, shares::Taken};

/// The streams of one session that a client can come back to.
#[derive(Debug)]
pub(super) struct Lines {
    own: Weak<Self>,
    room: Arc<Room>,
    principal: Principal,
    last: AtomicU64,
    kept: Mutex<BTreeMap<u64, Arc<Line>>>,
}

/// One message of such a stream.
#[derive(Debug)]
pub(super) struct Told {
    /// By which a client comes back for what follows.
    pub(super) id: String,
    pub(super) text: Vec<u8>,
    /// What it takes up until it is read, if it is told for the first time.
    pub(super) room: Option<Taken>,
}

/// One connection that tells what is to be told.
#[derive(Debug)]
pub(super) struct Reader {
    line: Arc<Line>,
    number: u64,
    /// The number of the message that it told last, or after which it began.
    last: u64,
    until: Option<Pin<Box<Sleep>>>,
    done: bool,
    /// Its part of its principal's share, if it is a connection of its own.
    share: Option<Taken>,
}

impl Lines {
    /// The streams of a session of this principal, which take up room beside those of all others.
    pub(super) fn new(room: &Arc<Room>, principal: &Principal) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            own: own.clone(),
            room: Arc::clone(room),
            principal: principal.clone(),
            last: AtomicU64::new(0),
            kept: Mutex::default(),
        })
    }

    /// Keeps a stream, and reads from it for at most so long.
    pub(super) fn keep(&self, received: Received, stay: Option<Duration>) -> Reader {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let line = Line::new(&self.own, id, received, self.room.enter(&self.principal));
        let mut kept = self.lock();
        // Whoever asks for the next thing has most likely got what was before; only the end of the last one may be on its way.
        let over: Vec<u64> = kept.iter().filter(|(_, line)| line.is_over()).map(|(id, _)| *id).collect();
        over.iter().rev().skip(1).for_each(|id| drop(kept.remove(id)));
        kept.insert(id, Arc::clone(&line));
        if kept.len() > MAX_KEPT {
            kept.pop_first();
        }
        drop(kept);
        self.room.make_room(&self.principal);
        Reader::new(line, u64::MAX, stay)
    }

    fn forget(&self, id: u64) {
        let forgotten = self.lock().remove(&id);
        drop(forgotten);
    }

    /// Goes on with a stream after the event of this id. Whoever read it before reads no more of it.
    pub(super) fn resume(&self, last_event: &str, stay: Option<Duration>) -> Option<Reader> {
        let (id, last) = last_event.split_once('-')?;
        let (id, last): (u64, u64) = (id.parse().ok()?, last.parse().ok()?);
        self.room.sweep();
        let line = self.lock().get(&id).map(Arc::clone)?;
        Some(Reader::new(line, last, stay))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Line>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// One that tells first what was told after this number.
    fn new(line: Arc<Line>, last: u64, stay: Option<Duration>) -> Self {
        let (number, last) = line.begin(last);
        Self { line, number, last, until: stay.map(|stay| Box::pin(sleep(stay))), done: false, share: None }
    }

    /// The same, as long as which this is taken.
    pub(super) fn taking(mut self, share: Taken) -> Self {
        self.share = Some(share);
        self
    }

    /// The id that a client has before it has read anything.
    pub(super) fn primer(&self) -> String {
        self.id(self.last)
    }

    /// A message that was taken from the stream before it was kept.
    pub(super) fn first(&mut self, text: Vec<u8>) -> Told {
        self.last = self.line.note(&text);
        Told { id: self.id(self.last), text, room: None }
    }

    /// The next message; nothing at the end, or when the client is to come back for the rest.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Told>> {
        if self.done {
            return Poll::Ready(None);
        }
        match self.line.tell(self.number, self.last, context) {
            Poll::Ready(told) => {
                self.done = told.as_ref().is_none_or(|told| told.last);
                self.last = told.as_ref().map_or(self.last, |told| told.number);
                Poll::Ready(told.map(|told| Told { id: self.id(told.number), text: told.text, room: told.room }))
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

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.line.id())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.line.leave(self.number);
    }
}

/// Streams of one session; the oldest make room.
const MAX_KEPT: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use std::future::poll_fn;

    use super::{line::MAX_BYTES, *};
    use crate::http::body::{Answer, Part, Parts, stream};

    fn answer(text: &[u8]) -> Part {
        Part::Last(Answer { status: http::StatusCode::OK, text: text.to_vec() })
    }

    /// A stream on which this was told.
    async fn told(lines: &Lines, text: &[u8]) -> String {
        let (parts, received) = stream();
        let mut reader = lines.keep(received, None);
        let primer = reader.primer();
        assert!(parts.send((answer(text), None)).await);
        assert_eq!(next(&mut reader).await.unwrap(), text);
        assert_eq!(next(&mut reader).await, None);
        primer
    }

    async fn next(reader: &mut Reader) -> Option<Vec<u8>> {
        poll_fn(|context| reader.poll(context)).await.map(|told| told.text)
    }

    async fn begun(lines: &Lines) -> (Parts, Reader) {
        let (parts, received) = stream();
        (parts, lines.keep(received, None))
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_stream_is_kept_for_a_time() {
        let room = Room::new(1 << 20, Duration::from_secs(60));
        let lines = Lines::new(&room, &Principal::new("one"));
        let last = told(&lines, b"1").await;
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(next(&mut lines.resume(&last, None).unwrap()).await.unwrap(), b"1", "twin");
        assert!(room.bytes() > 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(lines.resume(&last, None).is_none());
        assert_eq!(room.bytes(), 0);
    }

    #[tokio::test]
    async fn all_sessions_together_keep_no_more_than_fits_and_the_oldest_makes_room() {
        let room = Room::new(256 << 10, Duration::from_secs(60));
        let sessions: Vec<_> =
            (0..100).map(|number| Lines::new(&room, &Principal::new(format!("principal {number}")))).collect();
        let mut ids = Vec::new();
        for lines in &sessions {
            ids.push(told(lines, &[b'1'; 8 << 10]).await);
            assert!(room.bytes() <= 256 << 10);
        }
        assert!(room.bytes() > 200 << 10, "twin: there is room for others");
        assert!(sessions[0].resume(&ids[0], None).is_none());
        assert!(sessions[99].resume(&ids[99], None).is_some());
        drop(sessions);
        assert_eq!(room.bytes(), 0);
    }

    #[tokio::test]
    async fn a_principal_with_much_to_keep_takes_nothing_from_others() {
        let room = Room::new(256 << 10, Duration::from_secs(60));
        let other = Lines::new(&room, &Principal::new("other"));
        let kept = told(&other, b"1").await;
        // What is under way, and what has ended.
        let greedy: Vec<_> = (0..100).map(|_| Lines::new(&room, &Principal::new("greedy"))).collect();
        let mut under_way = Vec::new();
        for lines in &greedy {
            told(lines, &[b'1'; 8 << 10]).await;
            let (parts, mut reader) = begun(lines).await;
            assert!(parts.offer(vec![b'1'; 8 << 10]));
            next(&mut reader).await.unwrap();
            under_way.push((parts, reader));
        }
        assert!(room.bytes() < 256 << 10, "{}", room.bytes());
        assert!(other.resume(&kept, None).is_some());
        // It still hears everything that it listens to.
        let (parts, reader) = under_way.last_mut().unwrap();
        assert!(parts.send((answer(b"2"), None)).await);
        assert_eq!(next(reader).await.unwrap(), b"2");
    }

    #[tokio::test]
    async fn what_nobody_comes_back_for_is_bounded_too() {
        let room = Room::new(4 << 20, Duration::from_secs(60));
        let lines = Lines::new(&room, &Principal::new("one"));
        let (parts, reader) = begun(&lines).await;
        let primer = reader.primer();
        drop(reader);
        // More than waits for a client that is there.
        for _ in 0..1000 {
            assert!(parts.offer(vec![b'1'; 8 << 10]));
        }
        assert!(room.bytes() <= MAX_BYTES + (2 << 10), "{}", room.bytes());
        let long = vec![b'2'; 400 << 10];
        assert!(room.bytes() > MAX_BYTES / 2, "twin: what fits is kept");
        assert!(parts.send((answer(&long), None)).await);
        let mut reader = lines.resume(&primer, None).unwrap();
        let mut last = Vec::new();
        while let Some(text) = next(&mut reader).await {
            last = text;
        }
        assert!(last == long, "the answer is what is told last, however long");
    }
}
