//! The network namespace: loopback, a route that makes every IPv4 address local, listeners.
//!
//! IPv6 gets no route on purpose: a connection to a global IPv6 address fails at once with
//! `ENETUNREACH` and clients fall back to IPv4, where the proxy sees them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use crate::protocol::{DNS_PORT, Stage, TCP_PORTS};
use crate::{At, Failure, sys};

/// Long enough that a burst of connections never meets a dropped SYN, which costs a second.
const BACKLOG: i32 = 4096;
/// The loopback interface is the first of every network namespace.
const LOOPBACK_INDEX: u32 = 1;

/// Brings the loopback interface up.
pub(crate) fn loopback_up() -> Result<(), Failure> {
    let socket = sys::open_socket(sys::AF_INET, sys::SOCK_DGRAM, 0).at(Stage::Network)?;
    sys::interface_up(socket.as_fd(), b"lo").at(Stage::Network)
}

/// Adds `local 0.0.0.0/0 dev lo` to the local table, as `ip route add local default dev lo` does.
pub(crate) fn route_everything_here() -> Result<(), Failure> {
    let socket = sys::open_socket(sys::AF_NETLINK, sys::SOCK_RAW, 0).at(Stage::Network)?;
    request(File::from(socket)).at(Stage::Network)
}

fn request(mut socket: File) -> io::Result<()> {
    socket.write_all(&new_local_route())?;
    let mut answer = [0_u8; 512];
    let length = socket.read(&mut answer)?;
    // `struct nlmsghdr` of 16 bytes, then the error number: 0 in an acknowledgement.
    let (kind, error) = match (answer.get(4..6), answer.get(16..20)) {
        (Some(kind), Some(error)) if length >= 20 => {
            (u16::from_ne_bytes([kind[0], kind[1]]), i32::from_ne_bytes([error[0], error[1], error[2], error[3]]))
        }
        _ => return Err(io::ErrorKind::UnexpectedEof.into()),
    };
    const NLMSG_ERROR: u16 = 2;
    match (kind, error) {
        (NLMSG_ERROR, 0) => Ok(()),
        (NLMSG_ERROR, error) => Err(io::Error::from_raw_os_error(-error)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// `RTM_NEWROUTE` with a zero-length destination, type local, scope host, table local.
fn new_local_route() -> Vec<u8> {
    const RTM_NEWROUTE: u16 = 24;
    // NLM_F_REQUEST | NLM_F_ACK | NLM_F_EXCL | NLM_F_CREATE
    const FLAGS: u16 = 0x1 | 0x4 | 0x200 | 0x400;
    const RT_TABLE_LOCAL: u8 = 255;
    const RTPROT_BOOT: u8 = 3;
    const RT_SCOPE_HOST: u8 = 254;
    const RTN_LOCAL: u8 = 2;
    const RTA_OIF: u16 = 4;

    let mut message = Vec::with_capacity(36);
    message.extend_from_slice(&36_u32.to_ne_bytes());
    message.extend_from_slice(&RTM_NEWROUTE.to_ne_bytes());
    message.extend_from_slice(&FLAGS.to_ne_bytes());
    message.extend_from_slice(&1_u32.to_ne_bytes()); // sequence number
    message.extend_from_slice(&0_u32.to_ne_bytes()); // to the kernel
    // struct rtmsg: family, destination and source length, tos, table, protocol, scope, type
    message.extend_from_slice(&[sys::AF_INET as u8, 0, 0, 0, RT_TABLE_LOCAL, RTPROT_BOOT, RT_SCOPE_HOST, RTN_LOCAL]);
    message.extend_from_slice(&0_u32.to_ne_bytes()); // flags
    message.extend_from_slice(&8_u16.to_ne_bytes());
    message.extend_from_slice(&RTA_OIF.to_ne_bytes());
    message.extend_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    message
}

/// Opens what the host will accept from: TCP in the order of `TCP_PORTS`, TCP 53, UDP 53.
///
/// `SO_REUSEPORT` stays off, so no process inside can bind beside a listener.
pub(crate) fn open_listeners() -> Result<Vec<OwnedFd>, Failure> {
    let mut sockets = Vec::with_capacity(TCP_PORTS.len() + 2);
    for port in TCP_PORTS.into_iter().chain([DNS_PORT]) {
        sockets.push(listener(port).at_with(Stage::Listeners, port.to_string().as_bytes())?);
    }
    sockets.push(dns_socket().at_with(Stage::Listeners, b"udp 53")?);
    Ok(sockets)
}

fn listener(port: u16) -> io::Result<OwnedFd> {
    let socket = sys::open_socket(sys::AF_INET, sys::SOCK_STREAM, 0)?;
    sys::reuse_address(socket.as_fd())?;
    sys::bind_any(socket.as_fd(), port)?;
    sys::start_listening(socket.as_fd(), BACKLOG)?;
    Ok(socket)
}

/// An answer must come from the address that was asked, so each datagram says which it was.
fn dns_socket() -> io::Result<OwnedFd> {
    let socket = sys::open_socket(sys::AF_INET, sys::SOCK_DGRAM, 0)?;
    sys::ask_for_destination(socket.as_fd())?;
    sys::bind_any(socket.as_fd(), DNS_PORT)?;
    Ok(socket)
}
