//! A sandbox until its server's program runs.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::sync::oneshot;

use super::live::Live;
use crate::channel::agree;
use crate::network::Connected;
use crate::{Enforcement, Intake, Network, SpawnError};

/// Judges what the bootstrap read back, before the server's program starts.
pub(crate) type Check = Box<dyn FnOnce(&BTreeMap<String, String>) -> Result<Enforcement, SpawnError> + Send>;

/// What is known once the server's program runs.
pub(crate) struct Started {
    /// For what the host says to PID 1.
    pub(crate) control: OwnedFd,
    pub(crate) enforcement: Enforcement,
    pub(crate) intake: Option<Intake>,
    /// The process that waits for PID 1.
    pub(crate) monitor: u32,
}

pub(super) struct Starting {
    pub(super) started: oneshot::Sender<Result<Started, SpawnError>>,
    pub(super) deadline: Instant,
    /// Whether it was given up for want of time.
    pub(super) is_late: bool,
    pub(super) check: Option<Check>,
    pub(super) posture: Option<BTreeMap<String, String>>,
    /// What the program was allowed to start with, and a second descriptor of the control socket.
    pub(super) agreed: Option<(Enforcement, OwnedFd)>,
    pub(super) network: Network,
    pub(super) intake: Option<Intake>,
    pub(super) failure: Option<SpawnError>,
}

impl Live {
    /// Makes the host's end of the network.
    pub(super) fn connect(&mut self, descriptors: Vec<OwnedFd>) {
        let (Some(starting), Some(control)) = (&mut self.starting, &self.control) else { return };
        match starting.network.connect(descriptors) {
            Ok(Connected { intake, link }) => {
                // The bootstrap waits for its end of the link.
                let told = if link.is_some() { agree(control) } else { Ok(()) };
                (starting.intake, self.link) = (intake, link);
                if let Err(error) = told {
                    self.give_up(SpawnError::Host { what: "telling the bootstrap of its link", source: error.into() });
                }
            }
            Err(error) => self.give_up(error),
        }
    }

    /// Ends a start at a moment when there may be no PID 1 yet that would notice the cut.
    pub(super) fn give_up(&mut self, error: SpawnError) {
        if let Some(starting) = &mut self.starting {
            starting.failure.get_or_insert(error);
        }
        self.lifeline.cut();
        self.kill();
    }

    /// Remembers PID 1, whose end is awaited from now on.
    pub(super) fn meet_init(&mut self, descriptors: Vec<OwnedFd>, watch: impl FnOnce(&OwnedFd) -> Result<(), Errno>) {
        let (Some(starting), Some(init), None) = (&mut self.starting, descriptors.into_iter().next(), &self.init)
        else {
            return self.lifeline.cut();
        };
        match watch(&init) {
            Ok(()) => {
                self.init = Some(init);
                self.judge();
            }
            Err(error) => {
                starting.failure = Some(SpawnError::Host { what: "watching PID 1", source: error.into() });
                self.lifeline.cut();
            }
        }
    }

    /// Lets the server's program start if every demanded layer is in force. Nothing may fail here after that.
    pub(super) fn judge(&mut self) {
        let (Some(starting), Some(_), Some(control)) = (&mut self.starting, &self.init, &self.control) else { return };
        let Some(posture) = &starting.posture else { return };
        let Some(check) = starting.check.take() else { return self.lifeline.cut() };
        let second = || control.try_clone().map_err(|source| SpawnError::Host { what: "copying a descriptor", source });
        match check(posture).and_then(|enforcement| Ok((enforcement, second()?))) {
            Ok(agreed) if agree(control).is_ok() => starting.agreed = Some(agreed),
            Ok(_) => self.lifeline.cut(),
            Err(error) => {
                starting.failure = Some(error);
                self.lifeline.cut();
            }
        }
    }

    pub(super) fn running(&mut self) {
        let Some(mut starting) = self.starting.take() else { return };
        let Some((enforcement, control)) = starting.agreed.take() else {
            // It runs without our word, so it is not our PID 1 that says so.
            self.starting = Some(starting);
            return self.lifeline.cut();
        };
        if let Some(state) = &self.state {
            state.runs(self.child.id());
        }
        self.ends_at = self.wall_time.and_then(|time| Instant::now().checked_add(time));
        let started = Started { enforcement, intake: starting.intake, control, monitor: self.child.id() };
        // A caller that has given up has cut the lifeline.
        let _ = starting.started.send(Ok(started));
    }
}

/// Far longer than a start takes on a machine under load.
pub(super) const START_TIME: Duration = Duration::from_secs(30);
