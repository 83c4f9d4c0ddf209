//! Host users for sandboxes that are started by root.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::SpawnError;

/// The host uids, used as gids too, that sandboxes run as when the host process is root; each live
/// sandbox of the process has its own. Unused when the host process is not root.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostUids(RangeInclusive<u32>);

/// A range of host uids that is empty or holds root or the overflow uid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("host uids for sandboxes must be a range from 1000 or higher that leaves out 65534 and 65535")]
pub struct InvalidHostUids;

impl HostUids {
    /// Uses this range. Nothing else on the host should run as, or own files as, a uid of it.
    ///
    /// # Errors
    /// [`InvalidHostUids`] if it is empty, starts below 1000, or holds 65534 or 65535.
    pub fn new(range: RangeInclusive<u32>) -> Result<Self, InvalidHostUids> {
        let valid = *range.start() >= 1000
            && !range.is_empty()
            && *range.end() < u32::MAX
            && !range.contains(&65534)
            && !range.contains(&65535);
        valid.then_some(Self(range)).ok_or(InvalidHostUids)
    }

    /// Takes a uid that no live sandbox of this process has.
    pub(crate) fn lease(&self) -> Result<UidLease, SpawnError> {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let size = (self.0.end() - self.0.start()) + 1;
        // Two gateways on one host start at different places of the range; and what a server left behind
        // under its uid meets another server with that uid as late as possible.
        let offset =
            std::process::id().wrapping_mul(2_654_435_761).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % size;
        let uid = (0..size)
            .map(|step| self.0.start() + (offset + step) % size)
            .find(|uid| !taken.contains(uid))
            .ok_or(SpawnError::HostUidsExhausted { range: size as usize })?;
        taken.insert(uid);
        Ok(UidLease(uid))
    }
}

impl Default for HostUids {
    /// 61184 to 65519, which systemd keeps for services with `DynamicUser=`: no distribution gives
    /// them to people or packages, and containers that map the usual 65,536 ids have them. On a host
    /// with such services, choose a range of your own.
    fn default() -> Self {
        Self(61184..=65519)
    }
}

/// A uid in use; dropping it frees the uid.
#[derive(Debug)]
pub(crate) struct UidLease(u32);

impl UidLease {
    pub(crate) fn uid(&self) -> u32 {
        self.0
    }
}

impl Drop for UidLease {
    fn drop(&mut self) {
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

static NEXT: AtomicU32 = AtomicU32::new(0);
static TAKEN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ranges_of_plain_users_are_taken() {
        for (case, range, expected) in [
            ("the default", 61184..=65519, true), // twin of the refusals
            ("one uid", 70000..=70000, true),
            ("root", 0..=10, false),
            ("system users", 999..=2000, false),
            ("the overflow uid", 65000..=66000, false),
            #[allow(clippy::reversed_empty_ranges, reason = "that is the case")]
            ("nothing", 3000..=2000, false),
        ] {
            assert_eq!(HostUids::new(range).is_ok(), expected, "{case}");
        }
    }

    #[test]
    fn live_leases_differ_and_come_back() {
        let uids = HostUids::new(70_010..=70_011).expect("a plain range");
        let (first, second) = (uids.lease().expect("free"), uids.lease().expect("free"));
        assert_ne!(first.uid(), second.uid());
        assert!(matches!(uids.lease(), Err(SpawnError::HostUidsExhausted { range: 2 })));
        drop(first);
        assert!(uids.lease().is_ok());
    }
}
