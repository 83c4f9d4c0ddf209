//! What network a server sees.

#[cfg(target_os = "linux")]
mod connect;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use crate::protocol::{DNS_PORT, NetworkPlan, TCP_PORTS};
use crate::veth::Lease;
use crate::{Intake, PoolExhausted, PortRefusal, SpawnError, VethPool};

#[cfg(target_os = "linux")]
pub(crate) use connect::Connected;

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
    Veth(Arc<Lease>),
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

    /// A virtual link to the host with addresses of the pool. From inside, only [`Network::proxy`] can
    /// be reached, where the [`Intake`] listens: a packet filter in the sandbox's own network namespace,
    /// which nothing inside can change, refuses everything else, and a sandbox in which it was not seen to
    /// do so does not start. IPv6 is off, and nobody can come in.
    ///
    /// Unlike with [`Network::handoff`], programs must be told of the proxy, and names are resolved by
    /// it, unless the host's end is asked for TCP and UDP port 53 too.
    ///
    /// The host process needs `CAP_NET_ADMIN` in its network namespace, and the kernel nf_tables.
    /// The value is for one sandbox: its addresses are taken from here on.
    ///
    /// # Errors
    /// [`PoolExhausted`] if every link of the pool is in use.
    pub fn veth(pool: &VethPool) -> Result<Self, PoolExhausted> {
        let lease = pool.lease()?;
        let tcp = vec![lease.proxy().port()];
        Ok(Self { kind: Kind::Veth(Arc::new(lease)), tcp, udp: Vec::new() })
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
    /// [`Network::handoff`], the host's end of the link with [`Network::veth`], and nowhere without
    /// a network.
    #[must_use]
    pub fn proxy(&self) -> Option<SocketAddrV4> {
        match &self.kind {
            Kind::None => None,
            Kind::Handoff => Some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, HANDOFF_PROXY_PORT)),
            Kind::Veth(lease) => Some(lease.proxy()),
        }
    }

    /// Where programs inside look names up. With a link, at the host's end, if it was asked to listen at
    /// UDP port 53. Else any address would do: all are the sandbox's own, or none can be reached.
    pub(crate) fn resolver(&self) -> Ipv4Addr {
        match &self.kind {
            Kind::None | Kind::Handoff => Ipv4Addr::new(10, 255, 255, 53),
            Kind::Veth(lease) => lease.host(),
        }
    }

    /// The network as the bootstrap makes it. Takes the lease of a link.
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
            Kind::Veth(lease) if !lease.take() => Err(SpawnError::NetworkTaken),
            Kind::Veth(lease) => {
                let (sandbox, host) = (lease.sandbox().octets(), lease.host().octets());
                Ok(NetworkPlan::Link { sandbox, host, tcp, udp })
            }
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

    #[test]
    fn a_link_is_for_one_sandbox() {
        let pool: VethPool = "192.0.2.32/30".parse().expect("a range");
        let network = Network::veth(&pool).expect("free");
        assert_eq!(network.proxy().map(|proxy| proxy.to_string()).as_deref(), Some("192.0.2.33:3128"));
        assert!(matches!(network.clone().plan(), Ok(NetworkPlan::Link { .. })));
        assert!(matches!(network.plan(), Err(SpawnError::NetworkTaken)));
    }
}
