//! Calls that no server makes, as the sandbox tells of them: in the audit, and in the log without drowning it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use gigmcp_sandbox::{Event, Events};
use tokio::time::Instant;

use crate::{
    calls::Calls,
    egress::Instance,
    output::whole,
    store::{AuditRow, Store, now_millis},
};

/// Writes one row the first time that an instance makes such a call. How often it does so later is the log's to tell: a
/// server must not be able to fill the audit.
pub(crate) async fn audit(store: Store, row: AuditRow, calls: Arc<Calls>, mut happening: Events) {
    let mut seen = BTreeSet::new();
    while let Some(event) = happening.next().await {
        let Event::Tripwire { call, .. } = event else { continue };
        if seen.insert(call) {
            let calls = calls.at(std::time::Instant::now());
            let row = AuditRow { at_ms: now_millis(), subject: call.to_owned(), calls, ..row.clone() };
            if let Err(error) = store.add_audit(row).await {
                tracing::error!("the call {call} of a server could not be audited: {}", whole(&error));
            }
        }
    }
}

/// The row of an instance, but for the call and the time.
pub(crate) fn row(instance: &Instance) -> AuditRow {
    AuditRow {
        at_ms: 0,
        kind: "tripwire".to_owned(),
        owner: instance.owner.to_string(),
        profile: instance.profile(),
        server: instance.server.to_string(),
        instance: instance.identity.to_string(),
        subject: String::new(),
        verdict: "refused".to_owned(),
        alarm: true,
        ..AuditRow::default()
    }
}

/// What is still to be told of such calls. The first of each is told at once, the others as a number once a minute: the
/// sandbox tells up to ten times a second of each.
#[derive(Debug, Default)]
pub(crate) struct Untold(BTreeMap<&'static str, Tripped>);

/// A call, the thread that made it last, and how often it was made.
pub(crate) type Told = (&'static str, u32, u64);

#[derive(Debug)]
struct Tripped {
    pid: u32,
    count: u64,
    /// Not before this time.
    next: Instant,
}

impl Untold {
    /// Counts calls. What it returns is to be told now.
    pub(crate) fn add(&mut self, (call, pid, count): Told, now: Instant) -> Option<Told> {
        match self.0.get_mut(call) {
            Some(tripped) => {
                tripped.pid = pid;
                tripped.count += count;
                None
            }
            None => {
                self.0.insert(call, Tripped { pid, count: 0, next: now + EVERY });
                Some((call, pid, count))
            }
        }
    }

    /// When there is something to tell again.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.values().filter(|tripped| tripped.count > 0).map(|tripped| tripped.next).min()
    }

    /// What is due by then.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Told> {
        let due = self.0.iter_mut().filter(|(_, tripped)| tripped.count > 0 && tripped.next <= now);
        due.map(|(call, tripped)| {
            tripped.next = now + EVERY;
            (*call, tripped.pid, std::mem::take(&mut tripped.count))
        })
        .collect()
    }

    /// All of it.
    pub(crate) fn rest(self) -> impl Iterator<Item = Told> {
        let left = self.0.into_iter().filter(|(_, tripped)| tripped.count > 0);
        left.map(|(call, tripped)| (call, tripped.pid, tripped.count))
    }
}

const EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_call_is_told_at_once_and_the_others_as_a_number() {
        let (mut untold, start) = (Untold::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(untold.add(("unshare", 2, 1), start), Some(("unshare", 2, 1)));
        assert_eq!(untold.next(), None, "nothing is left to tell");
        for _ in 0..1000 {
            assert_eq!(untold.add(("unshare", 3, 7), after(1)), None);
        }
        assert_eq!(untold.add(("mount", 4, 1), after(2)), Some(("mount", 4, 1)), "twin: another call");
        assert_eq!((untold.due(after(59)), untold.next()), (vec![], Some(after(60))));
        assert_eq!(untold.due(after(61)), [("unshare", 3, 7000)]);
        assert_eq!(untold.next(), None);
        assert_eq!(untold.add(("unshare", 5, 2), after(62)), None);
        assert_eq!(untold.due(after(120)), [], "a minute after it was told last");
        assert_eq!(untold.rest().collect::<Vec<_>>(), [("unshare", 5, 2)]);
    }
}
