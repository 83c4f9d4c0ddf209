//! Takes sockets in, and asks the kernel whose they are.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, getpeername, socket_with};

use crate::protocol::Stage;
use crate::{AcceptError, Intake, Origin, PortListener, PortSocket, SpawnError, host, sys};

impl Intake {
    /// Sockets that the bootstrap opened in the order of these ports and sent.
    pub(crate) fn handed_over(
        sent: Vec<OwnedFd>,
        tcp: &[u16],
        udp: &[u16],
        proxy_port: u16,
    ) -> Result<Self, SpawnError> {
        if sent.len() != tcp.len() + udp.len() {
            return Err(failed("not all arrived", rustix::io::Errno::MFILE.into()));
        }
        let cookie = |socket: &OwnedFd| sys::netns_cookie(socket.as_fd()).map_err(|error| failed("cookie", error));
        let ours = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let ours = cookie(&ours.map_err(|error| failed("cookie", error.into()))?)?;
        let theirs = sent.iter().map(cookie).collect::<Result<Vec<_>, _>>()?;
        match theirs.first() {
            Some(first) if *first != ours && theirs.iter().all(|cookie| cookie == first) => {
                Ok(Self::new(sent, tcp, udp, proxy_port, Origin { cookie: *first, peer: None }))
            }
            _ => Err(failed("not of one network namespace of its own", io::ErrorKind::InvalidData.into())),
        }
    }

    /// Sockets that were bound to the host's end of a link.
    pub(crate) fn of_link(
        sockets: Vec<OwnedFd>,
        tcp: &[u16],
        udp: &[u16],
        proxy_port: u16,
        sandbox: Ipv4Addr,
    ) -> io::Result<Self> {
        let cookie = sockets.first().map(|socket| sys::netns_cookie(socket.as_fd()));
        let cookie = cookie.ok_or(io::ErrorKind::InvalidInput)??;
        Ok(Self::new(sockets, tcp, udp, proxy_port, Origin { cookie, peer: Some(sandbox) }))
    }

    fn new(sockets: Vec<OwnedFd>, tcp: &[u16], udp: &[u16], proxy_port: u16, origin: Origin) -> Self {
        let mut sockets = sockets.into_iter();
        let listener =
            |(port, fd): (&u16, OwnedFd)| PortListener { port: *port, listener: fd.into(), origin: origin.clone() };
        let tcp = tcp.iter().zip(sockets.by_ref()).map(listener).collect();
        let udp = udp.iter().zip(sockets).map(|(port, fd)| PortSocket { port: *port, socket: fd.into() }).collect();
        Self { tcp, udp, proxy_port, origin }
    }
}

fn failed(what: &str, source: io::Error) -> SpawnError {
    let errno = source.raw_os_error().unwrap_or(0);
    SpawnError::Setup {
        stage: Stage::Listeners,
        detail: what.to_owned(),
        fix: host::fix(Stage::Listeners, errno),
        source,
    }
}

impl Origin {
    pub(super) fn verify_socket(&self, connection: BorrowedFd<'_>) -> Result<(), AcceptError> {
        let cookie = sys::netns_cookie(connection).map_err(AcceptError::Unknown)?;
        let known = match self.peer {
            None => true,
            Some(peer) => {
                let found = getpeername(connection).map_err(|errno| AcceptError::Unknown(errno.into()))?;
                found.and_then(|found| SocketAddrV4::try_from(found).ok()).is_some_and(|found| *found.ip() == peer)
            }
        };
        if cookie == self.cookie && known { Ok(()) } else { Err(AcceptError::Foreign) }
    }
}
