//! From which instances something has left lately: the row of a call while something did is on the disk before its answer.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::flush::Flush;
use crate::trail::AuditRow;

/// When the audit trail was told last of something else than a call, of each instance: a request, a credential.
#[derive(Debug, Default)]
pub(super) struct Sent(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    last: HashMap<String, Instant>,
    /// Up to then, it was forgotten.
    forgotten: Option<Instant>,
}

impl Sent {
    /// Notes what a row says, and how long it may wait for the disk: only that of a call of a tool may, and only if nothing has
    /// left its server meanwhile. What left has a row of its own in any case.
    pub(super) fn note(&self, row: &AuditRow) -> Flush {
        let now = Instant::now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if row.kind != "tool" {
            if known.last.len() >= MAX_KNOWN && !known.last.contains_key(&row.instance) {
                known.last.clear();
                known.forgotten = Some(now);
            }
            known.last.insert(row.instance.clone(), now);
            return Flush::BeforeTold;
        }
        let took = Duration::from_micros(u64::try_from(row.duration_us).unwrap_or(u64::MAX));
        let began = took.checked_add(MARGIN).and_then(|before| now.checked_sub(before));
        let last = known.last.get(&row.instance).copied().max(known.forgotten);
        match (began, last) {
            (_, None) => Flush::Soon,
            (Some(began), Some(last)) if last < began => Flush::Soon,
            _ => Flush::BeforeTold,
        }
    }
}

/// More instances than run at once.
const MAX_KNOWN: usize = 4096;
/// From the end of a call until its row is noted.
const MARGIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::testing::row;

    fn tool(instance: &str, duration_us: i64) -> AuditRow {
        let (kind, instance) = ("tool".to_owned(), instance.to_owned());
        AuditRow { kind, instance, credentials: String::new(), duration_us, ..row("a_tool") }
    }

    #[test]
    fn only_the_row_of_a_call_that_sends_nothing_may_wait_for_the_disk() {
        let sent = Sent::default();
        assert_eq!(sent.note(&tool("tickets-1", 100)), Flush::Soon);
        assert_eq!(sent.note(&tool("tickets-1", 100)), Flush::Soon, "twin: other calls");
        let left = AuditRow { kind: "request".to_owned(), instance: "tickets-1".to_owned(), ..row("GET a") };
        assert_eq!(sent.note(&left), Flush::BeforeTold);
        assert_eq!(sent.note(&tool("tickets-1", 100)), Flush::BeforeTold);
        assert_eq!(sent.note(&tool("tickets-2", 100)), Flush::Soon, "twin: another instance");
        assert_eq!(sent.note(&tool("tickets-1", i64::MAX)), Flush::BeforeTold, "one that takes for ever");
    }

    #[test]
    fn what_was_forgotten_counts_as_sent() {
        let sent = Sent::default();
        assert_eq!(sent.note(&tool("quiet", 100)), Flush::Soon, "twin");
        for number in 0..=MAX_KNOWN {
            sent.note(&AuditRow { instance: format!("i{number}"), ..row("GET a") });
        }
        assert_eq!(sent.note(&tool("quiet", 100)), Flush::BeforeTold);
    }
}
