//! What the thread is given to start a sandbox.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::start::{Check, Started};
use crate::cgroup::Cgroup;
use crate::events::EventLog;
use crate::host_uids::UidLease;
use crate::sandbox::Scissors;
use crate::seccomp::Programs;
use crate::state::State;
use crate::stderr::StderrLog;
use crate::{Exit, Network, OnTripwire, SpawnError};

/// A sandbox to be started.
pub(crate) struct Job {
    /// Plan, lifeline, standard input, output and error, then the files to be copied.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// The read end of standard error.
    pub(crate) stderr: OwnedFd,
    pub(crate) lifeline: Scissors,
    pub(crate) log: Arc<StderrLog>,
    pub(crate) group: Option<Arc<Cgroup>>,
    pub(crate) uid: Option<UidLease>,
    pub(crate) state: Option<Arc<State>>,
    pub(crate) network: Network,
    pub(crate) wall_time: Option<Duration>,
    pub(crate) events: EventLog,
    /// In force inside, for the names of calls.
    pub(crate) programs: &'static Programs,
    pub(crate) on_tripwire: OnTripwire,
    pub(crate) check: Check,
    pub(crate) started: oneshot::Sender<Result<Started, SpawnError>>,
    pub(crate) ended: watch::Sender<Option<Exit>>,
    #[cfg(test)]
    pub(crate) seam: crate::attacks::Seam,
}

impl Job {
    /// Tells that there is no sandbox, once nothing of it is left: the caller may start the next at once.
    pub(super) fn fail(self, what: &'static str, source: io::Error) {
        let Self { started, network, uid, state, group, .. } = self;
        drop((network, uid, group));
        if let Some(state) = state {
            state.release();
        }
        // A caller that has given up does not listen.
        let _ = started.send(Err(SpawnError::Host { what, source }));
    }
}
