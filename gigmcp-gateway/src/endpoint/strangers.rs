//! How often those may ask whose token is not known to open anything.
//!
//! A token that opened something lately is looked up whatever others do from the same address. Any other takes one of few tries of its
//! address before it reaches the database; one that then turns out to be good is known from there on.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{api::Pace, people::Origin};

#[derive(Debug)]
pub(super) struct Strangers {
    tries: Pace,
    /// Hashes of tokens that opened something lately. What is in here is still looked up: it opens nothing by itself.
    known: Mutex<HashSet<Box<str>>>,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { tries: Pace::new(PER_SECOND, BURST), known: Mutex::default() }
    }
}

impl Strangers {
    /// Whether a token is looked up that comes from there, or how long it has to wait.
    pub(super) fn may_ask(&self, hash: &str, address: IpAddr) -> Result<(), Duration> {
        match self.known().contains(hash) {
            true => Ok(()),
            false => self.tries.take(&Origin::new(address, "").source()),
        }
    }

    /// A token opened something.
    pub(super) fn let_in(&self, hash: &str) {
        let mut known = self.known();
        if !known.contains(hash) {
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
            known.insert(hash.into());
        }
    }

    /// A token opened nothing.
    pub(super) fn turned_away(&self, hash: &str) {
        self.known().remove(hash);
    }

    fn known(&self) -> MutexGuard<'_, HashSet<Box<str>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Many clients may share one address, and one whose token has expired asks now and then.
const PER_SECOND: u32 = 50;
const BURST: u32 = 500;
/// 64 hexadecimal digits each.
const MAX_KNOWN: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[tokio::test(start_paused = true)]
    async fn who_fails_too_often_waits_and_who_has_a_token_does_not() {
        let strangers = Strangers::default();
        strangers.let_in("good");
        for _ in 0..BURST {
            assert_eq!(strangers.may_ask("bad", HERE), Ok(()), "before it is known how it ends");
        }
        strangers.turned_away("bad");
        assert!(strangers.may_ask("bad", HERE).is_err());
        assert!(strangers.may_ask("other", HERE).is_err(), "whatever token it is");
        for _ in 0..10 * BURST {
            assert_eq!(strangers.may_ask("good", HERE), Ok(()), "twin: it opened something");
        }
        assert_eq!(strangers.may_ask("bad", THERE), Ok(()), "twin: from elsewhere");
        strangers.turned_away("good");
        assert!(strangers.may_ask("good", HERE).is_err(), "and now it opens nothing any more");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(strangers.may_ask("bad", HERE), Ok(()), "twin: after the wait");
    }

    #[test]
    fn the_table_does_not_grow() {
        let strangers = Strangers::default();
        for number in 0..3 * MAX_KNOWN {
            strangers.let_in(&number.to_string());
        }
        assert!(strangers.known().len() <= MAX_KNOWN);
    }
}
