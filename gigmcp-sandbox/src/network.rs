//! What network a server sees.

use std::net::{TcpListener, UdpSocket};

/// What network a server sees. Either way there is no interface but loopback, and no route out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    pub(crate) handoff: bool,
}

impl Network {
    /// Every IPv4 address is local to the sandbox, and the sockets that listen there on ports
    /// 443, 80, 3128 and 53 are handed to the host as an [`Intake`]. IPv6 has no route, so a
    /// connection to an IPv6 address fails at once and clients fall back to IPv4.
    ///
    /// Where the kernel has Landlock, TCP can be dialled at these ports only, also between
    /// processes inside; Unix sockets and pipes are not limited so.
    #[must_use]
    pub fn handoff() -> Self {
        Self { handoff: true }
    }

    /// Nothing but a loopback interface of the sandbox's own.
    #[must_use]
    pub fn none() -> Self {
        Self { handoff: false }
    }
}

/// The host's end of a sandbox's network.
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

/// Sockets that live in the sandbox's network namespace and are owned by the host.
///
/// What is accepted here was dialled inside this sandbox and nowhere else: the socket itself is
/// the caller's identity. The peer address means nothing; `local_addr` of an accepted connection
/// is the address that was dialled. All are blocking; call `set_nonblocking` for tokio.
#[derive(Debug)]
pub struct Intake {
    /// TCP listeners, by the port dialled: 443 and 80 for clients that know of no proxy, and
    /// [`Intake::proxy_port`].
    pub tcp: Vec<PortListener>,
    /// The port of `tcp` for clients that were told of a proxy, at `http://127.0.0.1:3128` inside.
    pub proxy_port: u16,
    /// DNS over UDP. `IP_PKTINFO` is on: answer from the address that was asked.
    pub dns_udp: UdpSocket,
    /// DNS over TCP.
    pub dns_tcp: TcpListener,
}

/// A listener and the port it stands for.
#[derive(Debug)]
pub struct PortListener {
    /// The port dialled inside.
    pub port: u16,
    /// Accepts what was dialled, at whatever address.
    pub listener: TcpListener,
}

impl Intake {
    /// Sorts descriptors in the order the bootstrap sends them; `None` if some are missing.
    #[cfg(target_os = "linux")]
    pub(crate) fn from_descriptors(descriptors: Vec<std::os::fd::OwnedFd>) -> Option<Self> {
        use std::os::fd::OwnedFd;

        use crate::protocol::TCP_PORTS;

        let [https, http, proxy, dns_tcp, dns_udp] = <[OwnedFd; 5]>::try_from(descriptors).ok()?;
        let [https_port, http_port, proxy_port] = TCP_PORTS;
        let listener = |port, fd: OwnedFd| PortListener { port, listener: fd.into() };
        Some(Self {
            tcp: vec![listener(https_port, https), listener(http_port, http), listener(proxy_port, proxy)],
            proxy_port,
            dns_udp: dns_udp.into(),
            dns_tcp: dns_tcp.into(),
        })
    }
}
