//! Takes sockets in, and asks the kernel whose they are.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

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
                Ok(Self::new(sent, tcp, udp, proxy_port, Origin { cookie: *first }))
            }
            _ => Err(failed("not of one network namespace of its own", io::ErrorKind::InvalidData.into())),
        }
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
        if cookie == self.cookie { Ok(()) } else { Err(AcceptError::Foreign) }
    }
}
