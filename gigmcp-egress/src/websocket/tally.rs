use std::sync::atomic::{AtomicU64, Ordering};

use crate::audit::{Entry, Verdict};

/// What a relay moved, and its one audit event: recorded when the relay says so, or when it is dropped.
pub(crate) struct Tally {
    entry: Option<Entry>,
    /// Payload to the upstream.
    up: AtomicU64,
    /// Payload to the sandbox.
    down: AtomicU64,
    /// Grows with every byte on the wire, either way.
    moved: AtomicU64,
}

/// A direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// To the upstream.
    Up,
    /// To the sandbox.
    Down,
}

impl Tally {
    pub(crate) fn new(entry: Entry) -> Self {
        Self { entry: Some(entry), up: AtomicU64::new(0), down: AtomicU64::new(0), moved: AtomicU64::new(0) }
    }

    /// Notes payload that leaves.
    pub(crate) fn passed(&self, way: Way, bytes: usize) {
        let counter = match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        };
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes bytes on the wire.
    pub(crate) fn moved(&self, bytes: usize) {
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes on the wire until now.
    pub(crate) fn total_moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Records, and waits for it.
    pub(crate) async fn record(mut self, verdict: Verdict) {
        if let Some(mut entry) = self.take() {
            entry.set_verdict(verdict);
            entry.record().await;
        }
    }

    fn take(&mut self) -> Option<Entry> {
        let mut entry = self.entry.take()?;
        entry.set_bytes(*self.up.get_mut(), *self.down.get_mut());
        Some(entry)
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        drop(self.take()); // records that it was aborted
    }
}
