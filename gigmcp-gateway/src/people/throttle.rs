//! How often somebody may try: a bounded table of those who failed.
//!
//! A slot is found by a keyed hash, so nobody can aim at another's. It is never given to somebody else while it counts, so nobody
//! gets rid of what is counted; who shares one by chance waits with the other. To count in all of them takes more tries than the
//! limits on each source and the price of a hash let through.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How the wait grows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// So many tries cost no wait.
    pub(crate) free: u32,
    /// The wait after the next; it doubles with each.
    pub(crate) first: Duration,
    /// It grows no longer than this: nobody can be locked out for good.
    pub(crate) longest: Duration,
    /// After so long without a try, it is as if nothing had been.
    pub(crate) forgotten: Duration,
}

/// A table of tries.
#[derive(Debug)]
pub(crate) struct Throttle {
    pace: Pace,
    hasher: RandomState,
    slots: Mutex<Box<[Option<Slot>]>>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    tries: u32,
    last: Instant,
    told: bool,
}

/// Somebody has to wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Wait {
    pub(crate) for_: Duration,
    /// Nobody was told since the wait began.
    pub(crate) first: bool,
}

impl Throttle {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, hasher: RandomState::new(), slots: Mutex::new(vec![None; SLOTS].into()) }
    }

    /// Counts a try before it is made, so that many at once are many; or says how long to wait, which is not counted, so that
    /// whoever insists does not make it longer.
    pub(crate) fn begin(&self, who: &impl Hash) -> Result<(), Wait> {
        let now = Instant::now();
        let place = self.place(who);
        let slot = &mut self.lock()[place];
        if let Some(counted) = slot.as_mut().filter(|counted| now < counted.last + self.pace.forgotten) {
            let until = counted.last + self.wait(counted.tries);
            if now < until {
                return Err(Wait { for_: until - now, first: !std::mem::replace(&mut counted.told, true) });
            }
            *counted = Slot { tries: counted.tries.saturating_add(1), last: now, told: false };
        } else {
            *slot = Some(Slot { tries: 1, last: now, told: false });
        }
        Ok(())
    }

    /// Forgets the tries of somebody who was right.
    pub(crate) fn succeeded(&self, who: &impl Hash) {
        let place = self.place(who);
        self.lock()[place] = None;
    }

    /// Takes back one try of somebody who was right, and keeps what was counted before.
    pub(crate) fn take_back(&self, who: &impl Hash) {
        let place = self.place(who);
        if let Some(slot) = &mut self.lock()[place] {
            slot.tries = slot.tries.saturating_sub(1);
        }
    }

    fn wait(&self, tries: u32) -> Duration {
        let Some(beyond) = tries.checked_sub(self.pace.free) else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(beyond).unwrap_or(u32::MAX);
        self.pace.first.saturating_mul(factor).min(self.pace.longest)
    }

    fn place(&self, who: &impl Hash) -> usize {
        usize::try_from(self.hasher.hash_one(who) % SLOTS as u64).expect("it is less than a usize")
    }

    fn lock(&self) -> MutexGuard<'_, Box<[Option<Slot>]>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 16,384 of 32 bytes: half a megabyte, whoever comes.
const SLOTS: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        free: 3,
        first: Duration::from_secs(1),
        longest: Duration::from_secs(60),
        forgotten: Duration::from_secs(3600),
    };

    #[tokio::test(start_paused = true)]
    async fn who_fails_waits_longer_each_time_but_never_for_good() {
        let throttle = Throttle::new(PACE);
        for _ in 0..3 {
            assert_eq!(throttle.begin(&"ann"), Ok(()), "the first are free");
        }
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let wait = throttle.begin(&"ann").expect_err("too soon");
            assert_eq!(wait.for_, Duration::from_secs(seconds));
            for _ in 0..100 {
                let insisting = throttle.begin(&"ann").expect_err("too soon");
                assert_eq!(insisting, Wait { first: false, ..wait }, "it grows no longer by insisting");
            }
            assert!(wait.first);
            assert_eq!(throttle.begin(&format!("other {seconds}")), Ok(()), "twin: somebody else");
            tokio::time::advance(wait.for_).await;
            assert_eq!(throttle.begin(&"ann"), Ok(()), "twin: after the wait");
        }
        tokio::time::advance(PACE.forgotten).await;
        for _ in 0..3 {
            assert_eq!(throttle.begin(&"ann"), Ok(()), "all is forgotten");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_right_begins_anew() {
        let throttle = Throttle::new(PACE);
        for _ in 0..3 {
            assert_eq!(throttle.begin(&1), Ok(()));
        }
        assert!(throttle.begin(&1).is_err(), "twin");
        throttle.succeeded(&1);
        assert_eq!(throttle.begin(&1), Ok(()));
        throttle.take_back(&1);
        for _ in 0..3 {
            assert_eq!(throttle.begin(&1), Ok(()));
        }
        assert!(throttle.begin(&1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_does_not_grow_and_nobody_is_pushed_out_of_it() {
        let throttle = Throttle::new(PACE);
        for _ in 0..3 {
            assert_eq!(throttle.begin(&"victim"), Ok(()));
        }
        for other in 0..100_000 {
            let _ = throttle.begin(&other);
        }
        assert!(throttle.begin(&"victim").is_err(), "what is counted stays");
        assert_eq!(throttle.lock().len(), SLOTS);
    }
}
