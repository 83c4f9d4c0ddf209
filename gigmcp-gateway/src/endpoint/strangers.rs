//! How often those may ask whose token opens nothing.
//!
//! Only what fails is counted, so whoever has a token is never slowed down by what they do with it. From an address that failed too
//! often, only tokens that opened something lately are looked up: others do not reach the database.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{api::Pace, people::Origin};

#[derive(Debug)]
pub(super) struct Strangers {
    failed: Pace,
    /// Hashes of tokens that opened something lately. What is in here is still looked up: it opens nothing by itself.
    known: Mutex<HashSet<Box<str>>>,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { failed: Pace::new(PER_SECOND, BURST), known: Mutex::default() }
    }
}

impl Strangers {
    /// Whether a token is looked up that comes from there, or how long it has to wait.
    pub(super) fn may_ask(&self, hash: &str, address: IpAddr) -> Result<(), Duration> {
        let looked = self.failed.look(&source(address));
        if looked.is_err() && self.known().contains(hash) {
            return Ok(());
        }
        looked
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

    /// What came from there opened nothing; an error if that was too often.
    pub(super) fn turned_away(&self, hash: &str, address: IpAddr) -> Result<(), Duration> {
        self.known().remove(hash);
        self.failed.take(&source(address))
    }

    fn known(&self) -> MutexGuard<'_, HashSet<Box<str>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn source(address: IpAddr) -> [u8; 8] {
    Origin::new(address, "").source()
}

/// Many clients may share one address, and one whose token has expired asks now and then.
const PER_SECOND: u32 = 20;
const BURST: u32 = 200;
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
            assert_eq!(strangers.may_ask("bad", HERE), Ok(()));
            assert_eq!(strangers.turned_away("bad", HERE), Ok(()));
        }
        assert!(strangers.may_ask("bad", HERE).is_err());
        assert!(strangers.may_ask("other", HERE).is_err(), "whatever token it is");
        assert_eq!(strangers.may_ask("good", HERE), Ok(()), "twin: it opened something");
        assert_eq!(strangers.may_ask("bad", THERE), Ok(()), "twin: from elsewhere");
        assert!(strangers.turned_away("good", HERE).is_err());
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
