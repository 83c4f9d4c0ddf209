use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::forward::http1::Connection;
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
    connection: Connection,
    since: Instant,
}

impl Pool {
    pub(crate) fn new(limits: &Limits) -> Self {
        let Limits { pooled_per_host, pooled_per_identity, pooled_deadline, .. } = *limits;
        let (resting, swept) = (Mutex::default(), Mutex::new(Instant::now()));
        Self { resting, swept, per_key: pooled_per_host, per_identity: pooled_per_identity, deadline: pooled_deadline }
    }

    /// A connection that is open and has nothing under way.
    pub(crate) fn take(&self, key: &PoolKey) -> Option<Connection> {
        // Each is asked, and closed, without the lock that all share.
        loop {
            let Resting { mut connection, since } = self.pop(key)?;
            if since.elapsed() < self.deadline && connection.is_ready() {
                return Some(connection);
            }
        }
    }

    fn pop(&self, key: &PoolKey) -> Option<Resting> {
        let mut resting = self.resting();
        let same = resting.get_mut(key)?;
        let last = same.pop();
        if same.is_empty() {
            resting.remove(key);
        }
        last
    }

    /// Closes what rests for an identity whose sandbox is gone.
    pub(crate) fn forget(&self, identity: &Identity) {
        self.resting().retain(|key, _| key.identity != *identity);
    }

    /// Keeps a connection that is ready for the next request.
    pub(crate) fn put(&self, key: PoolKey, connection: Connection) {
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
            resting.retain(|_, own| {
                own.retain(|resting| resting.since.elapsed() < self.deadline);
                !own.is_empty()
            });
        }
        let identity = key.identity.clone();
        let same = resting.entry(key).or_default();
        if same.len() >= self.per_key {
            return;
        }
        same.push(Resting { connection, since: Instant::now() });
        let own = || resting.iter().filter(|(key, _)| key.identity == identity);
        if own().map(|(_, same)| same.len()).sum::<usize>() > self.per_identity {
            // The first of each is the one that has rested longest.
            let oldest = own().min_by_key(|(_, same)| same.first().map(|resting| resting.since));
            let oldest = oldest.map(|(key, _)| key.clone()).expect("more than none rest");
            let same = resting.get_mut(&oldest).expect("it was just found");
            same.remove(0);
            if same.is_empty() {
                resting.remove(&oldest);
            }
        }
    }

    fn resting(&self) -> MutexGuard<'_, HashMap<PoolKey, Vec<Resting>>> {
        self.resting.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;
    use crate::rule::Scheme;

    async fn connection() -> (Connection, DuplexStream) {
        let (near, far) = duplex(64);
        (Connection::open(Box::new(near), &Limits::default()).await.unwrap(), far)
    }

    fn key(host: &str) -> PoolKey {
        let destination = Destination { scheme: Scheme::Https, host: host.parse().unwrap(), port: 443 };
        PoolKey { identity: Identity::new("one"), destination, offer: Offer::Http1 }
    }

    #[tokio::test]
    async fn a_host_whose_connections_are_all_taken_is_not_the_one_that_rested_longest() {
        let pool = Pool::new(&Limits { pooled_per_identity: 1, ..Limits::default() });
        let (a, _a) = connection().await;
        let (b, _b) = connection().await;
        let (c, _c) = connection().await;
        pool.put(key("a.example.com"), a);
        assert!(pool.take(&key("a.example.com")).is_some());
        pool.put(key("b.example.com"), b);
        pool.put(key("c.example.com"), c);
        let rests = |host| pool.take(&key(host)).is_some();
        assert_eq!((rests("a.example.com"), rests("b.example.com"), rests("c.example.com")), (false, false, true));
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_while_it_rested_is_not_given() {
        let pool = Pool::new(&Limits::default());
        let (open, _far) = connection().await;
        let (closed, gone) = connection().await;
        pool.put(key("a.example.com"), open);
        pool.put(key("a.example.com"), closed);
        drop(gone);
        assert!(pool.take(&key("a.example.com")).is_some(), "the other one");
        assert!(pool.take(&key("a.example.com")).is_none());
    }
}
