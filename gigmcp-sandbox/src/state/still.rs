//! Makes a sandbox stand still, so that what is measured does not move.
//!
//! By `SIGSTOP` and not by a freezer of control groups: it needs no group, and who is stopped can be killed,
//! whereas a frozen sandbox would outlive a host process that dies at that moment.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::unlinked::{ended, inside, threads};

/// The server's processes, stopped until this is dropped.
pub(super) struct Still {
    /// Those that we stopped. What the server had stopped itself stays so.
    stopped: HashMap<u32, OwnedFd>,
}

impl Still {
    /// Stops every process of the server's.
    ///
    /// New ones may appear, and those not stopped yet may let others go on, so it is looked again until all stand
    /// still. PID 1 is left alone: if this process dies, it ends the others.
    ///
    /// # Errors
    /// `EAGAIN` if they do not come to rest.
    pub(super) fn hold(monitor: u32) -> Result<Self, Errno> {
        let give_up = Instant::now() + PATIENCE;
        let mut still = Self { stopped: HashMap::new() };
        loop {
            let listed = inside(monitor);
            let running: Vec<u32> = listed.into_iter().filter(|process| !is_still(*process)).collect();
            if running.is_empty() {
                return Ok(still);
            }
            still.stop(&running, monitor)?;
            if Instant::now() > give_up {
                return Err(Errno::AGAIN);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn stop(&mut self, running: &[u32], monitor: u32) -> Result<(), Errno> {
        let new = running.iter().filter(|process| !self.stopped.contains_key(process));
        let mut opened = Vec::new();
        for process in new {
            let pid = i32::try_from(*process).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
            match pidfd_open(pid, PidfdFlags::empty()) {
                Ok(handle) => opened.push((*process, handle)),
                // It has ended.
                Err(Errno::SRCH) => {}
                Err(error) => return Err(error),
            }
        }
        // The number may have become somebody else's before it was opened. Whoever has it now, while we hold on to
        // that process, is inside.
        let now: HashSet<u32> = inside(monitor).into_iter().collect();
        self.stopped.extend(opened.into_iter().filter(|(process, _)| now.contains(process)));
        for process in running {
            match self.stopped.get(process).map(|handle| pidfd_send_signal(handle, Signal::STOP)) {
                None | Some(Ok(()) | Err(Errno::SRCH)) => {}
                Some(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        for handle in self.stopped.values() {
            // It may have been killed.
            let _ = pidfd_send_signal(handle, Signal::CONT);
        }
    }
}

/// Whether no thread of the process runs, or can without being told to.
fn is_still(process: u32) -> bool {
    match threads(process) {
        Ok(threads) => threads.into_iter().all(|thread| matches!(state(process, thread), Some('T' | 't' | 'Z' | 'X'))),
        Err(error) => ended(&error),
    }
}

/// Source: proc_pid_stat(5), field 3. One that has ended since counts as dead.
fn state(process: u32, thread: u32) -> Option<char> {
    match fs::read_to_string(format!("/proc/{process}/task/{thread}/stat")) {
        Ok(stat) => stat.rsplit_once(") ")?.1.chars().next(),
        Err(error) => ended(&error).then_some('X'),
    }
}

/// Longer than a thread takes to come out of a call of the kernel's on a busy machine.
const PATIENCE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_micros(200);
