//! What all bodies that are being read may hold together.
//!
//! Each route bounds one body and its time; this bounds their sum. Bytes count as they come, and not as they are announced, so whoever
//! announces much and sends little takes nothing from others. Of those who are not known yet there is a pool of its own: however
//! many they are, they take no room from those who are.

use std::{
    collections::HashMap,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::people::Origin;

/// The pools.
#[derive(Debug)]
pub(crate) struct Bodies {
    strangers: Arc<Pool>,
    providers: Arc<Pool>,
    known: Arc<Pool>,
}

/// Bounds of a pool.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Bytes of all; against many bodies that fill the memory together.
    of_all: usize,
    /// Bytes of one sender; against one who leaves nothing to others.
    of_one: usize,
}

#[derive(Debug)]
struct Pool {
    bounds: Bounds,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    of: HashMap<Sender, usize>,
}

/// Whose bodies are counted together.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Sender {
    Source([u8; 8]),
    Person(Box<str>),
}

/// There is no room for more of this body at the moment.
#[derive(Debug, thiserror::Error)]
#[error("bodies on their way hold all the room there is for them")]
pub(crate) struct NoRoom;

/// The room that one body takes, until this and the body are dropped.
#[derive(Debug)]
pub(crate) struct Room(Arc<Taken>);

#[derive(Debug)]
struct Taken {
    pool: Arc<Pool>,
    sender: Sender,
    bytes: AtomicUsize,
    is_full: AtomicBool,
}

/// A body whose bytes take room as they come.
#[derive(Debug)]
pub(crate) struct Counted<B> {
    body: B,
    taken: Arc<Taken>,
}

impl Bodies {
    /// For the body of somebody who is not known.
    pub(crate) fn of_stranger(&self, address: IpAddr) -> Room {
        self.strangers.room(Sender::Source(Origin::new(address, "").source()))
    }

    /// For the body of somebody who is not known, where only a program that we chose has something to say.
    pub(crate) fn of_provider(&self, address: IpAddr) -> Room {
        self.providers.room(Sender::Source(Origin::new(address, "").source()))
    }

    /// For the body of somebody who is.
    pub(crate) fn of(&self, person: &str) -> Room {
        self.known.room(Sender::Person(person.into()))
    }
}

#[cfg(test)]
impl Bodies {
    /// In which strangers have taken all their room.
    pub(crate) fn full_of_strangers() -> Self {
        Self { strangers: Pool::new(Bounds { of_all: 0, of_one: 0 }), ..Self::default() }
    }

    /// With so little room.
    pub(crate) fn small(bytes: usize) -> Self {
        let bounds = Bounds { of_all: bytes, of_one: bytes };
        Self { strangers: Pool::new(bounds), providers: Pool::new(bounds), known: Pool::new(bounds) }
    }
}

impl Default for Bodies {
    fn default() -> Self {
        Self { strangers: Pool::new(STRANGERS), providers: Pool::new(PROVIDERS), known: Pool::new(KNOWN) }
    }
}

impl Pool {
    fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, held: Mutex::default() })
    }

    fn room(self: &Arc<Self>, sender: Sender) -> Room {
        let (bytes, is_full) = (AtomicUsize::new(0), AtomicBool::new(false));
        Room(Arc::new(Taken { pool: Arc::clone(self), sender, bytes, is_full }))
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// That body, counted.
    pub(crate) fn count<B>(&self, body: B) -> Counted<B> {
        Counted { body, taken: Arc::clone(&self.0) }
    }

    /// Whether the body was given up because there was no room.
    pub(crate) fn is_full(&self) -> bool {
        self.0.is_full.load(Relaxed)
    }
}

impl Taken {
    fn take(&self, bytes: usize) -> Result<(), NoRoom> {
        let mut held = self.pool.lock();
        let own = held.of.get(&self.sender).copied().unwrap_or_default();
        let Bounds { of_all, of_one } = self.pool.bounds;
        if own + bytes > of_one || held.bytes + bytes > of_all {
            self.is_full.store(true, Relaxed);
            return Err(NoRoom);
        }
        held.bytes += bytes;
        held.of.insert(self.sender.clone(), own + bytes);
        self.bytes.fetch_add(bytes, Relaxed);
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let bytes = self.bytes.load(Relaxed);
        if bytes == 0 {
            return;
        }
        let mut held = self.pool.lock();
        held.bytes -= bytes;
        if let Some(own) = held.of.get_mut(&self.sender) {
            *own -= bytes;
            if *own == 0 {
                held.of.remove(&self.sender);
            }
        }
    }
}

impl<B> Body for Counted<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        polled.map(|frame| {
            frame.map(|frame| {
                let frame = frame.map_err(Into::into)?;
                this.taken.take(frame.data_ref().map_or(0, Bytes::len))?;
                Ok(frame)
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Of those who sign in, mostly: each body is of 16 KiB at most, and has some seconds.
const STRANGERS: Bounds = Bounds { of_all: 8 << 20, of_one: 256 << 10 };
/// What an identity provider says of sessions that are over is as small; how many it says at once is its own affair.
const PROVIDERS: Bounds = Bounds { of_all: 4 << 20, of_one: 128 << 10 };
/// What one calls tools with comes to 4 MiB at most; several programs of one person may do so at once.
const KNOWN: Bounds = Bounds { of_all: 128 << 20, of_one: 32 << 20 };

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    fn bodies() -> Bodies {
        let bounds = Bounds { of_all: 25, of_one: 10 };
        Bodies { strangers: Pool::new(bounds), providers: Pool::new(bounds), known: Pool::new(bounds) }
    }

    async fn read(room: &Room, bytes: usize) -> bool {
        let body = room.count(Full::new(Bytes::from(vec![b'x'; bytes])));
        let read = body.collect().await;
        if let Err(error) = &read {
            assert!(error.is::<NoRoom>() && room.is_full());
        }
        read.is_ok()
    }

    #[tokio::test]
    async fn one_sender_takes_no_more_than_a_share_and_all_no_more_than_there_is() {
        let bodies = bodies();
        let (ann, also_ann, ben, eve) = (bodies.of("ann"), bodies.of("ann"), bodies.of("ben"), bodies.of("eve"));
        assert!(read(&ann, 10).await, "twin");
        assert!(!read(&also_ann, 1).await, "whose share is taken");
        assert!(read(&ben, 10).await, "twin: another's is not");
        assert!(!read(&eve, 6).await, "there is not that much left");
        assert!(read(&bodies.of("eve"), 5).await, "twin: as much as there is");
        drop(ann);
        assert!(read(&bodies.of("ann"), 5).await, "twin: it was given back");
    }

    #[tokio::test]
    async fn strangers_take_no_room_from_those_who_are_known() {
        let bodies = bodies();
        let mut rooms = Vec::new();
        for last in 0..10 {
            let room = bodies.of_stranger(IpAddr::from([192, 0, 2, last]));
            rooms.push((read(&room, 10).await, room));
        }
        assert_eq!(rooms.iter().filter(|(was_read, _)| *was_read).count(), 2, "of 25");
        assert!(read(&bodies.of("ann"), 10).await, "twin");
        assert!(read(&bodies.of_provider(IpAddr::from([192, 0, 2, 1])), 10).await, "nor from the identity provider");
        drop(rooms);
        assert!(read(&bodies.of_stranger(IpAddr::from([192, 0, 2, 9])), 10).await, "twin: afterwards");
        assert!(bodies.strangers.lock().of.is_empty(), "nothing is kept of who sent something");
    }

    #[tokio::test]
    async fn what_is_given_up_gives_back_what_came_of_it() {
        let bodies = bodies();
        let room = bodies.of("ann");
        let mut body = room.count(Full::new(Bytes::from_static(b"0123456789")));
        drop(body.frame().await);
        drop(room);
        assert!(!read(&bodies.of("ann"), 1).await, "it is still being read");
        drop(body);
        assert!(read(&bodies.of("ann"), 10).await, "twin");
    }
}
