//! How often servers are called.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{identity::Caller, pace::Talk};
use crate::{guard::Guard, name::ServerId, sink::ClientId};

/// Who has called whom, as far as there are bounds, and who has told whom something of an extension.
#[derive(Debug, Default)]
pub(super) struct Rates {
    calls: Mutex<HashMap<Key, Bucket>>,
    told: Mutex<HashMap<(ServerId, Caller), Talk>>,
}

/// A server, and one caller of it or all together.
type Key = (ServerId, Option<Caller>);

/// Holds as many calls as may be made now; one drips in from time to time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    calls: f64,
    since: Instant,
}

impl Rates {
    /// Lets a call through, or says when one may be made again.
    pub(super) fn admit(&self, server: &ServerId, guard: &Guard, caller: &Caller) -> Result<(), Duration> {
        let rate = guard.policy().rate;
        let own = rate.calls_per_minute_and_client.map(|most| ((server.clone(), Some(caller.clone())), most));
        let all = rate.calls_per_minute.map(|most| ((server.clone(), None), most));
        if own.is_none() && all.is_none() {
            return Ok(());
        }
        let now = Instant::now();
        let mut buckets = self.lock();
        let mut full: Vec<(Key, Bucket)> = Vec::with_capacity(2);
        // A call that one of the two refuses is taken from neither.
        for (key, most) in own.into_iter().chain(all) {
            let bucket = buckets.get(&key).map_or(Bucket::full(most, now), |bucket| bucket.filled(most, now));
            if bucket.calls < 1.0 {
                return Err(Duration::from_secs_f64((1.0 - bucket.calls) * 60.0 / f64::from(most.max(1))));
            }
            full.push((key, Bucket { calls: bucket.calls - 1.0, ..bucket }));
        }
        if buckets.len() >= MAX_BUCKETS {
            buckets.retain(|_, bucket| now.duration_since(bucket.since) < MINUTE);
        }
        buckets.extend(full);
        Ok(())
    }

    /// Whether a caller may tell a server so many bytes more that want no answer: each time is taken note of.
    pub(super) fn may_tell(&self, server: &ServerId, caller: Caller, bytes: usize) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= MAX_BUCKETS {
            told.retain(|_, talk| !talk.is_over());
        }
        told.entry((server.clone(), caller)).or_default().may_go_on(bytes)
    }

    pub(super) fn forget(&self, client: ClientId) {
        let forgotten = Some(Caller::Client(client));
        self.lock().retain(|(_, caller), _| *caller != forgotten);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Bucket>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    fn full(most: u32, now: Instant) -> Self {
        Self { calls: f64::from(most), since: now }
    }

    fn filled(self, most: u32, now: Instant) -> Self {
        let dripped = now.duration_since(self.since).as_secs_f64() / 60.0 * f64::from(most);
        Self { calls: (self.calls + dripped).min(f64::from(most)), since: now }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// Beyond this, those are forgotten that have not called for a minute: theirs are full again.
const MAX_BUCKETS: usize = 10_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;
    use crate::{RateLimits, ServerPolicy};

    #[tokio::test(start_paused = true)]
    async fn each_client_and_all_together_have_a_bucket() {
        let policy = ServerPolicy {
            rate: RateLimits { calls_per_minute: Some(3), calls_per_minute_and_client: Some(2) },
            ..ServerPolicy::default()
        };
        let guard = Guard::new("s".parse().unwrap(), policy);
        let rates = Rates::default();
        let (s, t): (ServerId, ServerId) = ("s".parse().unwrap(), "t".parse().unwrap());
        let client = ClientId::new();
        let (one, other) = (Caller::Client(client), Caller::Owner("somebody".into()));
        assert_eq!([&one, &one].map(|caller| rates.admit(&s, &guard, caller)), [Ok(()); 2]);
        assert_eq!(rates.admit(&s, &guard, &one), Err(Duration::from_secs(30)), "its own are used up");
        assert_eq!(rates.admit(&s, &guard, &other), Ok(()), "another's are not");
        assert_eq!(rates.admit(&s, &guard, &other), Err(Duration::from_secs(20)), "those of all are");
        assert_eq!(rates.admit(&t, &guard, &other), Ok(()), "another server's are not");
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(rates.admit(&s, &guard, &one), Ok(()), "time gives them back");
        rates.forget(client);
        assert!(rates.lock().keys().all(|(_, caller)| *caller != Some(one.clone())));
    }
}
