//! What network a server sees.

#[cfg(target_os = "linux")]
mod connect;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::protocol::{DNS_PORT, NetworkPlan, TCP_PORTS};
use crate::{Intake, PortRefusal, SpawnError};

/// What network a server sees: none, or one whose only other end is the host's [`Intake`].
#[derive(Clone, Debug)]
pub struct Network {
    kind: Kind,
    tcp: Vec<u16>,
    udp: Vec<u16>,
}

#[derive(Clone, Debug)]
enum Kind {
    None,
    Handoff,
}

impl Network {
    /// Every IPv4 address is local to the sandbox, and the sockets that listen there on ports
    /// 443, 80, 3128 and 53 are handed to the host as an [`Intake`]. There is no interface but loopback
    /// and no route out. IPv6 has no route at all, so a connection to an IPv6 address fails at once and
    /// clients fall back to IPv4.
    ///
    /// Where the kernel has Landlock, TCP can be dialled at these ports only, also between
    /// processes inside; Unix sockets and pipes are not limited so.
    #[must_use]
    pub fn handoff() -> Self {
        Self { kind: Kind::Handoff, tcp: TCP_PORTS.to_vec(), udp: vec![DNS_PORT] }
    }

    /// Nothing but a loopback interface of the sandbox's own.
    #[must_use]
    pub fn none() -> Self {
        Self { kind: Kind::None, tcp: Vec::new(), udp: Vec::new() }
    }

    /// Further TCP ports at which the [`Intake`] listens, such as those a manifest names. A port that
    /// it has already is no error.
    #[must_use]
    pub fn tcp_ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        add(&mut self.tcp, ports);
        self
    }

    /// Further UDP ports at which the [`Intake`] has sockets.
    #[must_use]
    pub fn udp_ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        add(&mut self.udp, ports);
        self
    }

    /// Where programs inside reach the proxy, for their environment: `127.0.0.1:3128` with
    /// [`Network::handoff`], and nowhere without a network.
    #[must_use]
    pub fn proxy(&self) -> Option<SocketAddrV4> {
        match &self.kind {
            Kind::None => None,
            Kind::Handoff => Some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, HANDOFF_PROXY_PORT)),
        }
    }

    /// The network as the bootstrap makes it.
    pub(crate) fn plan(&self) -> Result<NetworkPlan, SpawnError> {
        let refused = |why| Err(SpawnError::RefusedPorts { why });
        if self.tcp.len() + self.udp.len() > MAX_SOCKETS {
            return refused(PortRefusal::TooMany { max: MAX_SOCKETS });
        }
        if self.tcp.contains(&0) || self.udp.contains(&0) {
            return refused(PortRefusal::Zero);
        }
        let (tcp, udp) = (self.tcp.clone(), self.udp.clone());
        match &self.kind {
            Kind::None if !tcp.is_empty() || !udp.is_empty() => refused(PortRefusal::NoNetwork),
            Kind::None => Ok(NetworkPlan::None),
            Kind::Handoff => Ok(NetworkPlan::Handoff { tcp, udp }),
        }
    }
}

/// The host's end of a sandbox's network, until it is taken.
#[derive(Debug)]
pub struct NetworkHandle {
    pub(crate) intake: Option<Intake>,
}

impl NetworkHandle {
    /// The listeners, once. `None` with [`Network::none`] and after the first call.
    pub fn take(&mut self) -> Option<Intake> {
        self.intake.take()
    }
}

fn add(ports: &mut Vec<u16>, more: impl IntoIterator<Item = u16>) {
    let mut known: BTreeSet<u16> = ports.iter().copied().collect();
    ports.extend(more.into_iter().filter(|port| known.insert(*port)));
}

const HANDOFF_PROXY_PORT: u16 = 3128;
/// As many as fit in one message from the bootstrap.
const MAX_SOCKETS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_added_once_and_checked() {
        let planned = |network: Network| network.plan();
        let added = Network::handoff().tcp_ports([5432, 443, 5432]).udp_ports([53, 123]);
        let expected = NetworkPlan::Handoff { tcp: vec![443, 80, 3128, 53, 5432], udp: vec![53, 123] };
        assert_eq!(planned(added).expect("twin of the refusals"), expected);
        assert!(planned(Network::handoff().tcp_ports(1000..1027)).is_ok(), "as many as there may be");
        for (case, network, expected) in [
            ("one more", Network::handoff().tcp_ports(1000..1028), PortRefusal::TooMany { max: 32 }),
            ("no port at all", Network::handoff().udp_ports([0]), PortRefusal::Zero),
            ("nowhere to listen", Network::none().tcp_ports([80]), PortRefusal::NoNetwork),
        ] {
            let Err(SpawnError::RefusedPorts { why }) = planned(network) else { panic!("{case}") };
            assert_eq!(why, expected, "{case}");
        }
    }
}
