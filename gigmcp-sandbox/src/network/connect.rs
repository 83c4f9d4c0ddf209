//! The host's end of a network.

use std::os::fd::OwnedFd;

use crate::network::{HANDOFF_PROXY_PORT, Kind};
use crate::veth::Link;
use crate::{Intake, Network, SpawnError};

/// The host's end of a network. The link goes with the sandbox, the intake to the caller.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) intake: Option<Intake>,
    pub(crate) link: Option<Link>,
}

impl Network {
    /// Makes the host's end of what the bootstrap has made and sent.
    pub(crate) fn connect(&self, sent: Vec<OwnedFd>) -> Result<Connected, SpawnError> {
        match &self.kind {
            Kind::None => Ok(Connected { intake: None, link: None }),
            Kind::Handoff => {
                let intake = Intake::handed_over(sent, &self.tcp, &self.udp, HANDOFF_PROXY_PORT)?;
                Ok(Connected { intake: Some(intake), link: None })
            }
            Kind::Veth(lease) => {
                let link = Link::make(lease.clone(), sent)?;
                let intake = link.listen(&self.tcp, &self.udp)?;
                Ok(Connected { intake: Some(intake), link: Some(link) })
            }
        }
    }
}
