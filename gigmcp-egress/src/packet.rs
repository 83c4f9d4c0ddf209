use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;

use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A UDP socket that answers from the address it was asked at. In a sandbox every address is local, and a resolver there
/// drops an answer from any other than the one it asked.
pub(crate) struct PacketSocket(UdpSocket);

/// Where a packet came from and where it went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    peer: SockaddrIn,
    local: Option<in_addr>,
}

impl PacketSocket {
    /// Takes a bound IPv4 socket over.
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        if !matches!(socket.local_addr()?, SocketAddr::V4(_)) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the DNS socket is not bound to an IPv4 address"));
        }
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        Ok(Self(UdpSocket::from_std(socket)?))
    }

    /// Waits for a packet. Cancel safe: a packet is either returned or still in the socket.
    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Route)> {
        self.0.async_io(Interest::READABLE, || self.try_receive(buffer)).await
    }

    /// Sends a packet back on the route of the question.
    pub(crate) async fn send(&self, packet: &[u8], route: &Route) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, || self.try_send(packet, route)).await
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Route)> {
        let mut control = nix::cmsg_space!(in_pktinfo);
        let mut slices = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrIn>(self.0.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty())?;
        let local = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4PacketInfo(asked) => Some(asked.ipi_addr),
            _ => None,
        });
        let peer = message.address.ok_or(io::ErrorKind::InvalidData)?;
        Ok((message.bytes, Route { peer, local }))
    }

    fn try_send(&self, packet: &[u8], route: &Route) -> io::Result<()> {
        let source = route.local.map(|local| in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: local,
            ipi_addr: in_addr { s_addr: 0 },
        });
        let control: Vec<_> = source.iter().map(ControlMessage::Ipv4PacketInfo).collect();
        sendmsg(self.0.as_raw_fd(), &[IoSlice::new(packet)], &control, MsgFlags::empty(), Some(&route.peer))?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_leaves_from_the_address_that_was_asked() {
        let bound = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = bound.local_addr().unwrap().port();
        let socket = PacketSocket::new(bound).unwrap();
        for asked in ["127.0.0.1", "127.9.8.7"] {
            let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            client.send_to(b"question", (asked, port)).await.unwrap();
            let mut buffer = [0; 64];
            let (length, route) = socket.receive(&mut buffer).await.unwrap();
            socket.send(&buffer[..length], &route).await.unwrap();
            let (_, from) = client.recv_from(&mut buffer).await.unwrap();
            assert_eq!(from, SocketAddr::new(asked.parse().unwrap(), port));
        }
    }

    #[tokio::test]
    async fn an_ipv6_socket_is_refused() {
        let bound = std::net::UdpSocket::bind("[::1]:0");
        if let Ok(bound) = bound {
            assert_eq!(PacketSocket::new(bound).err().unwrap().kind(), io::ErrorKind::Unsupported);
        }
    }
}
