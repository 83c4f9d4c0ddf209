//! Calls that no server makes: they wait for PID 1, which refuses them and tells the host.
//!
//! A flood of them costs the server and nobody else: so many are answered in a stretch of time, the
//! threads of the others wait for the next, and the host is told once a stretch how many there were.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::protocol::{Plan, Report};
use crate::sys;

/// The listener, and what was counted since the host was told last.
pub(crate) struct Tripwires {
    listener: Option<OwnedFd>,
    /// Call and error.
    errors: Vec<(u64, u64)>,
    kill: bool,
    counts: Vec<Count>,
    stretch_began: Instant,
    answered: u32,
}

struct Count {
    call: u32,
    /// The thread that made it last.
    thread: u32,
    untold: u64,
    was_told: bool,
}

impl Tripwires {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            listener: None,
            errors: plan.tripwires.clone(),
            kill: plan.tripwires_kill,
            counts: Vec::new(),
            stretch_began: Instant::now(),
            answered: 0,
        }
    }

    /// Listens to the calls of the server's process and its children.
    pub(crate) fn listen(&mut self, listener: OwnedFd) {
        self.listener = Some(listener);
    }

    /// What to wait for; nothing while the stretch has had its number of answers.
    pub(crate) fn listener(&self) -> Option<BorrowedFd<'_>> {
        let listener = self.listener.as_ref().map(AsFd::as_fd);
        listener.filter(|_| self.answered < ANSWERS_IN_A_STRETCH)
    }

    /// For how long to wait at most: until there is something to tell, or to answer again.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let waiting = self.answered >= ANSWERS_IN_A_STRETCH || self.counts.iter().any(|count| count.untold > 0);
        waiting.then(|| STRETCH.saturating_sub(self.stretch_began.elapsed()))
    }

    /// Answers the call by which the server's process tries, before its program starts, whether this
    /// works. Nobody is told.
    pub(crate) fn answer_trial(&mut self) {
        if let Some(call) = self.next() {
            self.refuse(&call);
        }
    }

    /// Answers one call. The report is the last word: the sandbox is to end, and the call is never
    /// answered.
    pub(crate) fn answer(&mut self) -> Option<Report> {
        let call = self.next()?;
        if self.kill {
            return Some(Report::Tripwire { call: call.number, pid: call.thread, count: 1 });
        }
        self.refuse(&call);
        self.answered += 1;
        match self.counts.iter_mut().find(|count| count.call == call.number) {
            Some(count) => {
                count.untold += 1;
                count.thread = call.thread;
            }
            None => self.counts.push(Count { call: call.number, thread: call.thread, untold: 1, was_told: false }),
        }
        None
    }

    /// Tells the host what it has not been told, once a stretch, but the first of a kind at once.
    pub(crate) fn tell(&mut self, control: BorrowedFd<'_>, when: Tell) {
        let over = self.stretch_began.elapsed() >= STRETCH;
        if over {
            self.stretch_began = Instant::now();
            self.answered = 0;
        }
        let all = over || matches!(when, Tell::Everything);
        let told = self.counts.iter_mut().filter(|count| count.untold > 0 && (all || !count.was_told));
        for count in told {
            let report = Report::Tripwire { call: count.call, pid: count.thread, count: count.untold };
            // Where the host has no room for it now, it is added to the next.
            if sys::try_send(control, &report.encode()).is_ok() {
                count.untold = 0;
                count.was_told = true;
            }
        }
    }

    /// The next call that waits; none if it was taken back, or nobody is left to make one.
    fn next(&mut self) -> Option<sys::WaitingCall> {
        match sys::next_waiting_call(self.listener.as_ref()?.as_fd()) {
            Ok(Some(call)) => Some(call),
            Err(error) if error.raw_os_error() == Some(ENOENT) => None,
            // With the listener closed, the kernel refuses what waits and what comes with ENOSYS.
            Ok(None) | Err(_) => {
                self.listener = None;
                None
            }
        }
    }

    fn refuse(&mut self, call: &sys::WaitingCall) {
        let Some(listener) = &self.listener else { return };
        let error = self.errors.iter().find(|(number, _)| *number == u64::from(call.number));
        let error = error.and_then(|(_, error)| i32::try_from(*error).ok()).unwrap_or(EPERM);
        match sys::refuse_call(listener.as_fd(), call, error) {
            Ok(()) => {}
            // The process was killed meanwhile.
            Err(error) if error.raw_os_error() == Some(ENOENT) => {}
            // Else it would wait for ever.
            Err(_) => self.listener = None,
        }
    }
}

/// What the host is told now.
pub(crate) enum Tell {
    WhatIsDue,
    Everything,
}

const STRETCH: Duration = Duration::from_millis(100);
const ANSWERS_IN_A_STRETCH: u32 = 64;
const EPERM: i32 = 1;
const ENOENT: i32 = 2;
