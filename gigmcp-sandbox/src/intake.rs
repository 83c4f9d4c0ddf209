//! The sockets behind which a sandbox's network ends.

#[cfg(target_os = "linux")]
mod open;

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

/// The host's sockets at which everything ends that a sandbox sends.
///
/// What arrives here comes from this sandbox: the socket itself is the identity, and every connection is
/// looked at again when it is accepted. With [`Network::handoff`](crate::Network::handoff) the sockets
/// live in the sandbox's network namespace, the peer address means nothing, and `local_addr` of an
/// accepted connection is the address that was dialled. With [`Network::veth`](crate::Network::veth) they
/// are bound to the sandbox's link; only programs of this host could still connect, and their
/// connections are refused when they are accepted.
///
/// Keep it as long as the sandbox: a port that nobody listens at refuses, but with a link it is then
/// another program's for the taking.
#[derive(Debug)]
pub struct Intake {
    /// TCP listeners. With hand-off: 443 and 80 for clients that know of no proxy, the proxy's, DNS on
    /// 53, and what was asked for; with a link only the proxy's and what was asked for.
    pub tcp: Vec<PortListener>,
    /// UDP sockets: with hand-off DNS, and what was asked for. `IP_PKTINFO` is on there: answer from the
    /// address that was asked.
    pub udp: Vec<PortSocket>,
    /// The port of `tcp` for clients that were told of a proxy, at
    /// [`Network::proxy`](crate::Network::proxy).
    pub proxy_port: u16,
    origin: Origin,
}

impl Intake {
    /// The listener for a TCP port, once.
    pub fn take_tcp(&mut self, port: u16) -> Option<PortListener> {
        let index = self.tcp.iter().position(|listener| listener.port == port)?;
        Some(self.tcp.remove(index))
    }

    /// The socket for a UDP port, once.
    pub fn take_udp(&mut self, port: u16) -> Option<UdpSocket> {
        let index = self.udp.iter().position(|socket| socket.port == port)?;
        Some(self.udp.remove(index).socket)
    }

    /// What tells the sandbox's connections from others.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin.clone()
    }
}

/// A TCP listener and the port it stands for.
#[derive(Debug)]
pub struct PortListener {
    port: u16,
    listener: TcpListener,
    origin: Origin,
}

impl PortListener {
    /// The port dialled inside.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for a connection and makes sure that it is the sandbox's.
    ///
    /// # Errors
    /// [`AcceptError`]. The next call may succeed.
    pub fn accept(&self) -> Result<TcpStream, AcceptError> {
        let (connection, _) = self.listener.accept().map_err(AcceptError::Accept)?;
        self.origin.verify(&connection)?;
        Ok(connection)
    }

    /// The same for tokio.
    ///
    /// # Errors
    /// If the listener cannot be registered with the runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn into_tokio(self) -> io::Result<AsyncPortListener> {
        self.listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        Ok(AsyncPortListener { port: self.port, listener, origin: self.origin })
    }

    /// The bare listener, for a runtime of your own. Every connection accepted from it must pass
    /// [`Origin::verify`] first.
    #[must_use]
    pub fn into_parts(self) -> (TcpListener, Origin) {
        (self.listener, self.origin)
    }
}

/// A [`PortListener`] in a tokio runtime.
#[derive(Debug)]
pub struct AsyncPortListener {
    port: u16,
    listener: tokio::net::TcpListener,
    origin: Origin,
}

impl AsyncPortListener {
    /// The port dialled inside.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for a connection and makes sure that it is the sandbox's. Cancel safe.
    ///
    /// # Errors
    /// [`AcceptError`]. The next call may succeed.
    pub async fn accept(&self) -> Result<tokio::net::TcpStream, AcceptError> {
        let (connection, _) = self.listener.accept().await.map_err(AcceptError::Accept)?;
        self.origin.verify(&connection)?;
        Ok(connection)
    }
}

/// A UDP socket and the port it stands for. With a link, programs of this host can send to it too:
/// answer datagrams from the sandbox's address only, [`Origin::peer`].
#[derive(Debug)]
pub struct PortSocket {
    /// The port that datagrams are sent to inside.
    pub port: u16,
    /// Receives what was sent, and answers.
    pub socket: UdpSocket,
}

/// What all connections of one sandbox have in common and no other has: the network namespace they
/// live in, by its cookie; with a link, the address at its other end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    cookie: u64,
    peer: Option<Ipv4Addr>,
}

impl Origin {
    /// With a link, the address that all of the sandbox's connections and datagrams come from.
    #[must_use]
    pub fn peer(&self) -> Option<Ipv4Addr> {
        self.peer
    }

    /// Makes sure that an accepted connection is the sandbox's, before a byte of it is read.
    ///
    /// # Errors
    /// [`AcceptError::Foreign`] if it is not, [`AcceptError::Unknown`] if the kernel does not say.
    pub fn verify(&self, connection: &impl Connection) -> Result<(), AcceptError> {
        #[cfg(target_os = "linux")]
        return self.verify_socket(connection.as_fd());
        #[cfg(not(target_os = "linux"))]
        Err(AcceptError::Unknown(io::Error::new(io::ErrorKind::Unsupported, format!("{connection:p}"))))
    }
}

/// A connected socket: whatever has a descriptor, where there are descriptors.
#[cfg(unix)]
pub trait Connection: std::os::fd::AsFd {}

#[cfg(unix)]
impl<T: std::os::fd::AsFd> Connection for T {}

/// A connected socket.
#[cfg(not(unix))]
pub trait Connection {}

#[cfg(not(unix))]
impl<T> Connection for T {}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// None could be accepted.
    #[error("accepting a connection from the sandbox")]
    Accept(#[source] io::Error),
    /// The kernel does not say whose it is; its other end may be gone. It was closed.
    #[error("asking whose connection this is")]
    Unknown(#[source] io::Error),
    /// It is not the sandbox's. It was closed, and no byte of it was read.
    #[error("the connection is not the sandbox's")]
    Foreign,
}
