//! How often somebody may ask: a bounded table.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Buckets that fill steadily, and from which each request takes one.
///
/// A slot is found by a keyed hash, so nobody can aim at another's; who shares one by chance shares its bucket. It holds when the
/// bucket will be full again, which says all.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Between two requests, in the long run.
    interval: Duration,
    /// So many may come at once.
    burst: u32,
    hasher: RandomState,
    slots: Mutex<Box<[Option<Instant>]>>,
}

impl Pace {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second;
        Self { interval, burst, hasher: RandomState::new(), slots: Mutex::new(vec![None; SLOTS].into()) }
    }

    /// Takes one, or says how long to wait. To insist costs nothing more.
    pub(crate) fn take(&self, who: &impl Hash) -> Result<(), Duration> {
        let now = Instant::now();
        let place = usize::try_from(self.hasher.hash_one(who) % SLOTS as u64).expect("it is less than a usize");
        let slot = &mut self.slots.lock().unwrap_or_else(PoisonError::into_inner)[place];
        let full = slot.map_or(now, |full| full.max(now)) + self.interval;
        let latest = now + self.interval * self.burst;
        match full <= latest {
            true => {
                *slot = Some(full);
                Ok(())
            }
            false => Err(full - latest),
        }
    }
}

/// 16,384 of 16 bytes, whoever comes.
const SLOTS: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_at_once_are_let_in_and_then_one_at_a_time() {
        let pace = Pace::new(10, 5);
        for _ in 0..5 {
            assert_eq!(pace.take(&"ann"), Ok(()));
        }
        for _ in 0..100 {
            assert_eq!(pace.take(&"ann"), Err(Duration::from_millis(100)), "to insist makes it no longer");
        }
        assert_eq!(pace.take(&"ben"), Ok(()), "twin: somebody else");
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(pace.take(&"ann"), Ok(()), "twin: after the wait");
        assert!(pace.take(&"ann").is_err());
        tokio::time::advance(Duration::from_secs(3600)).await;
        for _ in 0..5 {
            assert_eq!(pace.take(&"ann"), Ok(()), "the bucket is full again");
        }
        assert!(pace.take(&"ann").is_err(), "and holds no more than that");
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_does_not_grow() {
        let pace = Pace::new(10, 5);
        for other in 0..100_000 {
            let _ = pace.take(&other);
        }
        assert_eq!(pace.slots.lock().expect("nobody panicked").len(), SLOTS);
    }
}
