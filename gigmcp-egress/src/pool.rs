use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;

use crate::body::Body;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::request::Destination;

/// Resting upstream connections. One identity never gets the connection of another.
pub(crate) struct Pool {
    resting: Mutex<HashMap<PoolKey, Vec<Resting>>>,
    swept: Mutex<Instant>,
    per_key: usize,
    per_identity: usize,
    deadline: Duration,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct PoolKey {
    pub(crate) identity: Identity,
    pub(crate) destination: Destination,
    pub(crate) offer: Offer,
}

/// What was offered to the upstream when the connection was made. Not what it chose: a request that may go over HTTP/2 must
/// not be sent over HTTP/1.1 because of an earlier one that could not.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Offer {
    /// HTTP/1.1, and HTTP/2 only if the upstream has nothing else.
    Http1,
    /// HTTP/2 or HTTP/1.1.
    Either,
    /// HTTP/1.1 alone, on a connection of its own.
    Upgrade,
}

struct Resting {
    sender: SendRequest<Body>,
    since: Instant,
}

impl Pool {
    pub(crate) fn new(limits: &Limits) -> Self {
        let Limits { pooled_per_host, pooled_per_identity, pooled_deadline, .. } = *limits;
        let (resting, swept) = (Mutex::default(), Mutex::new(Instant::now()));
        Self { resting, swept, per_key: pooled_per_host, per_identity: pooled_per_identity, deadline: pooled_deadline }
    }

    /// A connection that is open and has nothing under way.
    pub(crate) fn take(&self, key: &PoolKey) -> Option<SendRequest<Body>> {
        let mut resting = self.resting();
        let senders = resting.get_mut(key)?;
        while let Some(Resting { sender, since }) = senders.pop() {
            if sender.is_ready() && since.elapsed() < self.deadline {
                return Some(sender);
            }
        }
        resting.remove(key);
        None
    }

    /// Closes what rests for an identity whose sandbox is gone.
    pub(crate) fn forget(&self, identity: &Identity) {
        self.resting().retain(|key, _| key.identity != *identity);
    }

    /// The body of an answer that gives its connection back when it has been read to its regular end.
    ///
    /// An answer that came before the whole request was sent leaves the connection in doubt; it is not kept (`sent`).
    pub(crate) fn returning(
        self: Arc<Self>,
        key: PoolKey,
        sender: SendRequest<Body>,
        body: Incoming,
        sent: Sent,
    ) -> ReturningBody {
        let lease = (sent == Sent::Whole).then_some(Lease { pool: self, key, sender });
        let mut body = ReturningBody { body, lease };
        if body.body.is_end_stream() {
            body.give_back();
        }
        body
    }

    fn put(&self, key: PoolKey, sender: SendRequest<Body>) {
        let mut resting = self.resting();
        // Connections nobody takes any more are closed by the next one that rests, but not all looked at for each.
        let now = Instant::now();
        let mut swept = self.swept.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let due = now.duration_since(*swept) >= SWEEP_INTERVAL;
        if due {
            *swept = now;
        }
        drop(swept);
        if due {
            resting.retain(|_, senders| {
                senders.retain(|resting| !resting.sender.is_closed() && resting.since.elapsed() < self.deadline);
                !senders.is_empty()
            });
        }
        let identity = key.identity.clone();
        let senders = resting.entry(key).or_default();
        if senders.len() >= self.per_key {
            return;
        }
        senders.push(Resting { sender, since: Instant::now() });
        let own = || resting.iter().filter(|(key, _)| key.identity == identity);
        if own().map(|(_, senders)| senders.len()).sum::<usize>() > self.per_identity {
            // The first of each is the one that has rested longest.
            let oldest = own().min_by_key(|(_, senders)| senders.first().map(|resting| resting.since));
            let oldest = oldest.map(|(key, _)| key.clone()).expect("more than none rest");
            let senders = resting.get_mut(&oldest).expect("it was just found");
            senders.remove(0);
            if senders.is_empty() {
                resting.remove(&oldest);
            }
        }
    }

    fn resting(&self) -> MutexGuard<'_, HashMap<PoolKey, Vec<Resting>>> {
        self.resting.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// How much of a request was sent when its answer came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sent {
    Whole,
    InPart,
}

pub(crate) struct ReturningBody {
    body: Incoming,
    lease: Option<Lease>,
}

struct Lease {
    pool: Arc<Pool>,
    key: PoolKey,
    sender: SendRequest<Body>,
}

impl ReturningBody {
    fn give_back(&mut self) {
        if let Some(Lease { pool, key, mut sender }) = self.lease.take() {
            if sender.is_ready() {
                pool.put(key, sender);
                return;
            }
            // Not ready means that the request is still being written or that the connection closes; hyper will tell.
            tokio::spawn(async move {
                if let Ok(Ok(())) = tokio::time::timeout(SETTLE_DEADLINE, sender.ready()).await {
                    pool.put(key, sender);
                }
            });
        }
    }
}

impl http_body::Body for ReturningBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            Some(Err(_)) => this.lease = None,
            Some(Ok(_)) if !this.body.is_end_stream() => {}
            Some(Ok(_)) | None => this.give_back(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const SETTLE_DEADLINE: Duration = Duration::from_millis(500);
