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
    pub(super) check: Option<Check>,
    pub(super) enforcement: Option<Enforcement>,
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
                // The bootstrap waits for its end of the link. If it is gone, so is everything.
                let told = link.is_none() || agree(control).is_ok();
                (starting.intake, self.link) = (intake, link);
                if !told {
                    self.lifeline.cut();
                }
            }
            Err(error) => {
                starting.failure = Some(error);
                self.lifeline.cut();
                // There may be no PID 1 yet that would notice.
                self.kill();
            }
        }
    }

    /// Lets the server's program start if every demanded layer is in force.
    pub(super) fn judge(&mut self, found: BTreeMap<String, String>) {
        let Some(starting) = &mut self.starting else { return };
        let Some(check) = starting.check.take() else { return self.lifeline.cut() };
        match (check(&found), &self.control) {
            (Ok(enforcement), Some(control)) if agree(control).is_ok() => starting.enforcement = Some(enforcement),
            (Ok(_), _) => self.lifeline.cut(),
            (Err(error), _) => {
                starting.failure = Some(error);
                self.lifeline.cut();
            }
        }
    }

    pub(super) fn running(&mut self) {
        let Some(mut starting) = self.starting.take() else { return };
        let Some(enforcement) = starting.enforcement.take() else {
            // It runs without our word, so it is not our PID 1 that says so.
            self.starting = Some(starting);
            return self.lifeline.cut();
        };
        if let Some(state) = &self.state {
            state.runs(self.child.id());
        }
        self.ends_at = self.wall_time.and_then(|time| Instant::now().checked_add(time));
        let intake = starting.intake;
        let result = match self.control.as_ref().map(OwnedFd::try_clone) {
            Some(Ok(control)) => Ok(Started { enforcement, intake, control, monitor: self.child.id() }),
            _ => Err(SpawnError::Host { what: "copying a descriptor", source: Errno::MFILE.into() }),
        };
        // A caller that has given up has cut the lifeline.
        let _ = starting.started.send(result);
    }
}

/// Far longer than a start takes on a machine under load.
pub(super) const START_TIME: Duration = Duration::from_secs(30);
