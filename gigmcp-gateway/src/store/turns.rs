//! The queue before the threads of the database: whoever asks has a line of its own, and the lines take turns.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use gigmcp_egress::Identity;

use super::StoreError;
use crate::spec::ProfileSlug;

/// In whose turn something is done.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Asker {
    /// This program and its command line.
    Gateway,
    /// The sandbox of one running server.
    Instance(Identity),
    /// The clients of one profile, named by what they call, whether there is such a profile or not.
    Profile(ProfileSlug),
}

/// Jobs for threads: nobody's waits for more than one of each other's. A line is there while something stands in it.
pub(super) struct Turns<J> {
    lines: Mutex<Lines<J>>,
    changed: Condvar,
}

/// A job in its line.
struct InLine<J> {
    job: J,
    /// It is not given up with others that were.
    promised: bool,
}

struct Lines<J> {
    /// None of them is empty.
    jobs: HashMap<Asker, VecDeque<InLine<J>>>,
    /// Everyone with a line, once; the first is next.
    order: VecDeque<Asker>,
    /// How many threads wait for a job, and have not been woken.
    waiting: usize,
    closed: bool,
}

impl<J> Turns<J> {
    pub(super) fn new() -> Self {
        let lines = Lines { jobs: HashMap::new(), order: VecDeque::new(), waiting: 0, closed: false };
        Self { lines: Mutex::new(lines), changed: Condvar::new() }
    }

    /// Puts a job at the end of its line, unless that is too long for anybody to stand there who still waits.
    pub(super) fn push(&self, asker: Asker, job: J) -> Result<(), StoreError> {
        self.put(asker, InLine { job, promised: false }, MAX_LINE)
    }

    /// The same however long the line is; and the first time that others are given up, it stays.
    pub(super) fn push_promised(&self, asker: Asker, job: J) -> Result<(), StoreError> {
        self.put(asker, InLine { job, promised: true }, usize::MAX)
    }

    fn put(&self, asker: Asker, job: InLine<J>, longest: usize) -> Result<(), StoreError> {
        let mut guard = self.lock();
        let lines = &mut *guard;
        if lines.closed {
            return Err(StoreError::Stopped);
        }
        match lines.jobs.entry(asker) {
            Entry::Occupied(line) if line.get().len() >= longest => return Err(StoreError::Busy),
            Entry::Occupied(mut line) => line.get_mut().push_back(job),
            Entry::Vacant(line) => {
                lines.order.push_back(line.key().clone());
                line.insert(VecDeque::from([job]));
            }
        }
        // To wake somebody costs more than to put it there.
        let awaited = lines.waiting.checked_sub(1);
        lines.waiting = awaited.unwrap_or_default();
        drop(guard);
        if awaited.is_some() {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// The next job, once there is one; none when this was closed and nothing is left.
    pub(super) fn next(&self) -> Option<J> {
        let idle = |lines: &mut Lines<J>| lines.order.is_empty() && !lines.closed;
        let mut lines = self.lock();
        while idle(&mut lines) {
            // Whoever wakes it takes that back. One that wakes by itself is counted twice, and woken in vain.
            lines.waiting += 1;
            lines = self.changed.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
        lines.take()
    }

    /// The next job, if there is one now and it is one of these.
    pub(super) fn try_next_if(&self, wanted: impl FnOnce(&J) -> bool) -> Option<J> {
        let mut lines = self.lock();
        let next = lines.order.front().and_then(|asker| lines.jobs.get(asker)?.front());
        if next.is_some_and(|next| wanted(&next.job)) { lines.take() } else { None }
    }

    /// All that stand in line, to be told that it cannot be done. What was promised stays there, once.
    pub(super) fn give_up(&self) -> Vec<J> {
        let mut given_up = Vec::new();
        let Lines { jobs, order, .. } = &mut *self.lock();
        for line in jobs.values_mut() {
            for waits in std::mem::take(line) {
                match waits.promised {
                    true => line.push_back(InLine { promised: false, ..waits }),
                    false => given_up.push(waits.job),
                }
            }
        }
        jobs.retain(|_, line| !line.is_empty());
        order.retain(|asker| jobs.contains_key(asker));
        given_up
    }

    #[cfg(test)]
    fn try_next(&self) -> Option<J> {
        self.try_next_if(|_| true)
    }

    /// Takes no more jobs; those that are here are still given out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Takes no more jobs, and drops those that are here.
    pub(super) fn abandon(&self) {
        let mut lines = self.lock();
        lines.closed = true;
        lines.order.clear();
        let dropped = std::mem::take(&mut lines.jobs);
        drop(lines);
        drop(dropped);
        self.changed.notify_all();
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().jobs.values().map(VecDeque::len).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Lines<J>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J> Lines<J> {
    fn take(&mut self) -> Option<J> {
        let asker = self.order.pop_front()?;
        let line = self.jobs.get_mut(&asker)?;
        let job = line.pop_front();
        match line.is_empty() {
            true => drop(self.jobs.remove(&asker)),
            false => self.order.push_back(asker),
        }
        job.map(|waits| waits.job)
    }
}

/// More jobs than one asker can wait for: a sandbox may have 256 connections and 512 streams, and all clients together 1,024
/// connections. What stands here beyond that was given up while the disk stood still.
const MAX_LINE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str) -> Asker {
        Asker::Instance(Identity::new(name))
    }

    #[test]
    fn lines_take_turns_and_each_stays_in_order() {
        let turns = Turns::new();
        for (asker, job) in [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("b", "b2")] {
            turns.push(instance(asker), job).expect("open");
        }
        let given: Vec<_> = std::iter::from_fn(|| turns.try_next()).collect();
        assert_eq!(given, ["a1", "b1", "c1", "a2", "b2", "a3"]);
        let lines = turns.lock();
        assert!(lines.jobs.is_empty() && lines.order.is_empty(), "nothing is kept of who has nothing to do");
    }

    #[test]
    fn what_is_not_wanted_stays_first() {
        let turns = Turns::new();
        for (asker, job) in [("a", 1), ("b", 2)] {
            turns.push(instance(asker), job).expect("open");
        }
        assert_eq!(turns.try_next_if(|job| *job == 2), None);
        assert_eq!(turns.try_next_if(|job| *job == 1), Some(1), "twin");
        assert_eq!(turns.try_next_if(|job| *job == 2), Some(2));
        assert_eq!(turns.try_next_if(|_| true), None);
    }

    #[test]
    fn all_are_given_up_but_what_was_promised_and_that_the_second_time() {
        let turns = Turns::new();
        for (asker, job) in [("a", 1), ("b", 2), ("c", 3)] {
            turns.push(instance(asker), job).expect("open");
            turns.push_promised(instance(asker), job * 10).expect("open");
        }
        turns.push(instance("d"), 4).expect("open");
        let mut given_up = turns.give_up();
        given_up.sort_unstable();
        assert_eq!(given_up, [1, 2, 3, 4]);
        assert_eq!(turns.try_next(), Some(10), "twin: in its turn");
        turns.push_promised(instance("a"), 50).expect("open");
        let mut given_up = turns.give_up();
        given_up.sort_unstable();
        assert_eq!(given_up, [20, 30], "what was there before");
        assert_eq!((turns.try_next(), turns.try_next()), (Some(50), None), "twin");
        let lines = turns.lock();
        assert!(lines.jobs.is_empty() && lines.order.is_empty(), "nothing is kept of who was given up");
    }

    #[test]
    fn who_comes_late_is_next_but_one() {
        let turns = Turns::new();
        for job in 0..1000 {
            turns.push(instance("loud"), job).expect("open");
        }
        assert_eq!(turns.try_next(), Some(0));
        turns.push(instance("quiet"), 5000).expect("open");
        let before = std::iter::from_fn(|| turns.try_next()).take_while(|job| *job != 5000).count();
        assert_eq!(before, 1);
    }

    #[test]
    fn a_line_has_an_end_but_not_for_what_was_promised() {
        let turns = Turns::new();
        for job in 0..MAX_LINE {
            turns.push(instance("loud"), job).expect("there is room");
        }
        assert!(matches!(turns.push(instance("loud"), 0), Err(StoreError::Busy)));
        turns.push(instance("quiet"), 0).expect("twin: another's line");
        turns.push_promised(instance("loud"), 0).expect("twin: a row that was promised");
        assert_eq!(turns.waiting(), MAX_LINE + 2);
        turns.try_next();
        turns.try_next();
        turns.try_next();
        turns.push(instance("loud"), 0).expect("twin: one has gone");
    }

    #[test]
    fn what_is_in_line_at_the_close_is_still_done() {
        let turns = Turns::new();
        turns.push(Asker::Gateway, 1).expect("open");
        turns.close();
        assert!(matches!(turns.push(Asker::Gateway, 2), Err(StoreError::Stopped)));
        assert_eq!((turns.next(), turns.next()), (Some(1), None));

        let abandoned = Turns::new();
        abandoned.push(Asker::Gateway, 1).expect("open");
        abandoned.abandon();
        assert_eq!(abandoned.next(), None, "unless the thread is gone");
    }
}
