//! A sandbox from its first process to the end of its last.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::watch;

use super::start::{START_TIME, Starting};
use crate::cgroup::{Removal, Tally};
use crate::events::EventLog;
use crate::host_uids::UidLease;
use crate::protocol::Report;
use crate::sandbox::Scissors;
use crate::seccomp::Programs;
use crate::state::State;
use crate::stderr::{Read, StderrLog};
use crate::veth::Link;
use crate::{Event, Exit, OnTripwire, SpawnError, host};

/// A sandbox from fork to the end of its last process.
pub(super) struct Live {
    pub(super) child: Child,
    pub(super) process: Option<OwnedFd>,
    /// PID 1, which ends after everything else inside; known before the server's program starts.
    pub(super) init: Option<OwnedFd>,
    pub(super) control: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    /// When standard error is read again, after more than its budget came.
    pub(super) stderr_resumes: Option<Instant>,
    pub(super) lifeline: Scissors,
    pub(super) log: Arc<StderrLog>,
    pub(super) tally: Option<Tally>,
    /// When it is given up to remove the groups, and when to try again.
    pub(super) removing: Option<(Instant, Instant)>,
    /// The link of [`Network::veth`], which goes with the sandbox.
    pub(super) link: Option<Link>,
    pub(super) wall_time: Option<Duration>,
    pub(super) ends_at: Option<Instant>,
    pub(super) starting: Option<Starting>,
    pub(super) events: EventLog,
    pub(super) programs: &'static Programs,
    pub(super) on_tripwire: OnTripwire,
    pub(super) exit: Option<Exit>,
    pub(super) ended: watch::Sender<Option<Exit>>,
    pub(super) uid: Option<UidLease>,
    pub(super) state: Option<Arc<State>>,
}

impl Live {
    /// The next moment that something is overdue.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.starting.as_ref().map_or(self.ends_at, |starting| Some(starting.deadline))
    }

    /// When the supervisor has something to do for it even if nothing happens.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let look = self.tally.as_ref().and_then(Tally::next_look);
        let again = self.removing.map(|(_, again)| again);
        self.deadline().into_iter().chain(self.stderr_resumes).chain(look).chain(again).min()
    }

    /// Tells what was found at the limits. One process killed for want of memory ends the whole: half a
    /// server is no server. v2 kills all at once by itself.
    pub(super) fn tell_limits(&mut self, look: impl FnOnce(&mut Tally) -> Vec<Event>) {
        let found = self.tally.as_mut().map(look).unwrap_or_default();
        found.into_iter().for_each(|event| self.events.push(event));
        if self.out_of_memory() {
            self.lifeline.cut();
        }
    }

    /// Whether no process is left.
    pub(super) fn has_ended(&self) -> bool {
        self.process.is_none() && self.init.is_none() && self.control.is_none()
    }

    pub(super) fn out_of_memory(&self) -> bool {
        self.tally.as_ref().is_some_and(Tally::out_of_memory)
    }

    /// Tries to remove the groups, and says whether that is over. Processes whose parent was killed may
    /// take a moment to leave.
    pub(super) fn remove_groups(&mut self, now: Instant) -> bool {
        if self.removing.is_none() {
            self.tell_limits(|tally| tally.last_look(now));
        }
        let (give_up, again) = *self.removing.get_or_insert((now + REMOVAL_TIME, now));
        match self.tally.as_ref().filter(|_| again <= now).map(Tally::remove) {
            Some(Removal::Busy(pause)) => {
                self.removing = Some((give_up, now + pause));
                give_up <= now
            }
            Some(Removal::Done) => true,
            None => self.tally.is_none(),
        }
    }

    /// How it ended, once everything is known.
    pub(super) fn exit(&self) -> Exit {
        match self.exit {
            _ if self.state.as_ref().is_some_and(|state| state.is_over()) => Exit::StateQuota,
            // The server's end is the consequence, or was about to be.
            None | Some(Exit::Exited(_) | Exit::Signaled(_)) if self.out_of_memory() => Exit::OomKilled,
            exit => exit.unwrap_or(Exit::Killed),
        }
    }

    /// Gives up a start that takes too long, or ends a server that ran too long.
    pub(super) fn run_late(&mut self) {
        match &mut self.starting {
            // Told at the end of what is there, unless that does not come either.
            Some(starting) if !starting.is_late => {
                starting.is_late = true;
                starting.deadline = Instant::now() + REMOVAL_TIME;
                self.give_up(SpawnError::TimedOut { seconds: START_TIME.as_secs() });
            }
            Some(_) => {
                let failure = self.starting.take().map(|starting| (starting.started, starting.failure));
                if let Some((started, Some(failure))) = failure {
                    let _ = started.send(Err(failure));
                }
            }
            None => {
                self.ends_at = None;
                self.ended_as(Exit::TimedOut);
                self.lifeline.cut();
                self.kill();
            }
        }
    }

    pub(super) fn kill(&self) {
        if let Some(process) = &self.process {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }

    pub(super) fn hear(&mut self, report: Report, descriptors: Vec<OwnedFd>) {
        match (report, &mut self.starting) {
            (Report::Network, Some(_)) => self.connect(descriptors),
            (Report::Posture(found), Some(starting)) if starting.posture.is_none() => {
                starting.posture = Some(found.into_iter().collect());
                self.judge();
            }
            (Report::Failed { stage, errno, detail }, Some(starting)) => {
                let source = io::Error::from_raw_os_error(errno);
                let fix = host::fix(stage, errno);
                starting.failure = Some(SpawnError::Setup { stage, detail, fix, source });
                self.lifeline.cut();
            }
            (Report::Running, Some(_)) => self.running(),
            (Report::Exited(code), None) => self.ended_as(Exit::Exited(code)),
            (Report::Signaled(SIGSYS), None) => self.ended_as(Exit::SeccompKilled),
            (Report::Signaled(signal), None) => self.ended_as(Exit::Signaled(signal)),
            (Report::Tripwire { call, pid, count }, None) => self.tripped(call, pid, count),
            // Out of turn: only a PID 1 that is not ours any more would say so.
            (
                Report::Network
                | Report::Monitor
                | Report::Posture(_)
                | Report::Failed { .. }
                | Report::Running
                | Report::Exited(_)
                | Report::Signaled(_)
                | Report::Tripwire { .. }
                | Report::Listener,
                _,
            ) => self.lifeline.cut(),
        }
    }

    pub(super) fn tripped(&mut self, call: u32, pid: u32, count: u64) {
        let call = self.programs.call_name(call);
        self.events.push(Event::Tripwire { call, pid, count });
        if self.on_tripwire == OnTripwire::Kill {
            // PID 1 has ended everything before it said so.
            self.ended_as(Exit::Tripwire { call });
            self.lifeline.cut();
        }
    }

    /// The first reason counts: what comes after it is its consequence.
    pub(super) fn ended_as(&mut self, exit: Exit) {
        self.exit.get_or_insert(exit);
    }

    /// Reads once, at most what the pipe holds unless the server has enlarged it.
    pub(super) fn read_stderr(&mut self) -> Read {
        let Some(stderr) = &self.stderr else {
            return Read::Nothing;
        };
        let mut buffer = [0_u8; 64 << 10];
        match rustix::io::read(stderr, &mut buffer) {
            Ok(0) => {
                self.stderr = None;
                Read::Nothing
            }
            Ok(length) => self.log.push(&buffer[..length]),
            Err(Errno::INTR) => Read::Some,
            Err(_) => Read::Nothing,
        }
    }
}

/// How long groups may take to become empty after the last process we know of has ended.
const REMOVAL_TIME: Duration = Duration::from_secs(5);
/// The same on every architecture that we run on.
const SIGSYS: i32 = 31;
