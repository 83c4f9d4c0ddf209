//! What happened to a sandbox at its limits, as it is told to the host.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Cgroup, Counts, Removal};
use crate::Event;

/// The groups of a live sandbox, with what was told of them so far.
#[derive(Debug)]
pub(crate) struct Tally {
    group: Arc<Cgroup>,
    told: Counts,
    /// When to look again, and how long to wait after that.
    again: Option<(Instant, Duration)>,
    /// Before this no more refusals are told.
    quiet_until: Option<Instant>,
    /// Whether there are such.
    held_back: bool,
}

impl Tally {
    pub(crate) fn new(group: Arc<Cgroup>) -> Self {
        Self { group, told: Counts::default(), again: None, quiet_until: None, held_back: false }
    }

    pub(crate) fn group(&self) -> &Cgroup {
        &self.group
    }

    /// Whether a process inside was killed for want of memory, as far as was looked.
    pub(crate) fn out_of_memory(&self) -> bool {
        self.told.oom_kills > Some(0)
    }

    /// When to look even if nothing happens.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        let quiet_until = self.quiet_until.filter(|_| self.held_back);
        self.again.map(|(at, _)| at).into_iter().chain(quiet_until).min()
    }

    /// Looks because something may have happened; what is not there yet will be soon.
    pub(crate) fn hint(&mut self, now: Instant) -> Vec<Event> {
        let found = self.look(now);
        if found.is_empty() && self.again.is_none() {
            self.look_again(now, FIRST_PAUSE);
        }
        found
    }

    /// Says what happened since the last time.
    pub(crate) fn look(&mut self, now: Instant) -> Vec<Event> {
        let mut found = Vec::new();
        let counts = self.group.counts();
        if let Some(count) = more(counts.oom_kills, self.told.oom_kills) {
            self.told.oom_kills = counts.oom_kills;
            found.push(Event::OomKill { count });
        }
        if let Some(count) = more(counts.processes_refused, self.told.processes_refused) {
            // A fork bomb is refused a million times a second.
            self.held_back = self.quiet_until.is_some_and(|until| until > now);
            if !self.held_back {
                self.told.processes_refused = counts.processes_refused;
                self.quiet_until = Some(now + QUIET);
                found.push(Event::PidsExhausted { count });
            }
        }
        match self.again {
            Some((at, _)) if at > now => {}
            Some((_, pause)) if found.is_empty() && pause < LAST_PAUSE => self.look_again(now, pause * 2),
            _ => self.again = None,
        }
        found
    }

    /// What happened until the end, however short ago something was told.
    pub(crate) fn last_look(&mut self, now: Instant) -> Vec<Event> {
        self.quiet_until = None;
        self.look(now)
    }

    /// See [`Cgroup::remove`].
    pub(crate) fn remove(&self) -> Removal {
        self.group.remove()
    }

    fn look_again(&mut self, now: Instant, pause: Duration) {
        self.again = Some((now + pause, pause));
    }
}

fn more(now: Option<u64>, before: Option<u64>) -> Option<u64> {
    now?.checked_sub(before.unwrap_or(0)).filter(|more| *more > 0)
}

/// Between two tellings of refused processes.
const QUIET: Duration = Duration::from_secs(1);
/// v1 tells that it is going to kill a process; that it has done so is seen after a moment.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LAST_PAUSE: Duration = Duration::from_millis(128);
