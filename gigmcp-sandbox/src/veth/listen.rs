//! Sockets at the host's end of a link.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

use crate::protocol::Stage;
use crate::veth::{Lease, Link};
use crate::{Intake, SpawnError, host, sys};

impl Link {
    /// Listens at these ports of the host's end for what comes over the link. Other machines cannot
    /// reach these sockets; programs of this host can, and are told by their address, which
    /// [`Origin::verify`](crate::Origin::verify) looks at.
    pub(crate) fn listen(&self, tcp: &[u16], udp: &[u16]) -> Result<Intake, SpawnError> {
        let lease = self.lease();
        let ports = tcp.iter().map(|port| (SocketType::STREAM, *port));
        let ports = ports.chain(udp.iter().map(|port| (SocketType::DGRAM, *port)));
        let mut sockets = Vec::new();
        for (kind, port) in ports {
            let address = SocketAddrV4::new(lease.host(), port);
            let socket = open(lease, kind, address).map_err(|error| failed(&address.to_string(), error))?;
            sockets.push(socket);
        }
        Intake::of_link(sockets, tcp, udp, lease.proxy().port(), lease.sandbox())
            .map_err(|error| failed("cookie", error))
    }
}

/// Bound to the interface before it is bound to the address, so there is no moment at which anybody else
/// could reach it.
fn open(lease: &Lease, kind: SocketType, address: SocketAddrV4) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
    sys::bind_to_interface(socket.as_fd(), &lease.interface())?;
    if kind == SocketType::STREAM {
        // What is left of an earlier connection does not matter; `SO_REUSEPORT` stays off.
        set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    if kind == SocketType::STREAM {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

fn failed(what: &str, source: io::Error) -> SpawnError {
    let fix = host::fix(Stage::Listeners, source.raw_os_error().unwrap_or(0));
    SpawnError::Setup { stage: Stage::Listeners, detail: what.to_owned(), fix, source }
}

/// As with the hand-off: a dropped SYN costs a second.
const BACKLOG: i32 = 4096;
