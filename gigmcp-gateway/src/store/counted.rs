//! What was told to the audit trail since the program began, counted for who watches it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::Store;
use crate::trail::AuditRow;

/// Counts by kind, and whether it was allowed. Kinds are words of this program, so there are few.
#[derive(Debug, Default)]
pub(crate) struct Counted(Mutex<BTreeMap<(String, bool), Tally>>);

/// Sums over rows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    pub(crate) alarms: u64,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
    pub(crate) micros: u64,
}

impl Counted {
    pub(super) fn count(&self, row: &AuditRow) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = counts.entry((row.kind.clone(), row.verdict == "allowed")).or_default();
        let more = |sum: &mut u64, of: i64| *sum = sum.wrapping_add(u64::try_from(of).unwrap_or(0));
        tally.rows = tally.rows.wrapping_add(1);
        tally.alarms = tally.alarms.wrapping_add(u64::from(row.alarm));
        more(&mut tally.bytes_up, row.bytes_up);
        more(&mut tally.bytes_down, row.bytes_down);
        more(&mut tally.micros, row.duration_us);
    }
}

impl Store {
    /// The counts by kind, and whether it was allowed.
    pub(crate) fn counted(&self) -> BTreeMap<(String, bool), Tally> {
        self.threads.counted.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
