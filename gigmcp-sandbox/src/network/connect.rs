//! The host's end of a network.

use std::os::fd::OwnedFd;

use crate::network::{HANDOFF_PROXY_PORT, Kind};
use crate::{Intake, Network, SpawnError};

impl Network {
    /// Makes the host's end of what the bootstrap has made and sent.
    pub(crate) fn connect(&self, sent: Vec<OwnedFd>) -> Result<Option<Intake>, SpawnError> {
        match &self.kind {
            Kind::None => Ok(None),
            Kind::Handoff => Intake::handed_over(sent, &self.tcp, &self.udp, HANDOFF_PROXY_PORT).map(Some),
        }
    }
}
