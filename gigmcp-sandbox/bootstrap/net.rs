//! The network namespace: loopback, then what the plan asks for.
//!
//! IPv6 gets no route on purpose: a connection to a global IPv6 address fails at once with
//! `ENETUNREACH` and clients fall back to IPv4, where the proxy sees them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::netlink::{self, Messages};
use crate::protocol::{NetworkPlan, Report, Stage};
use crate::{At, Failure, left_out, link, sys};

/// Long enough that a burst of connections never meets a dropped SYN, which costs a second.
const BACKLOG: i32 = 4096;
/// The loopback interface is the first of every network namespace.
const LOOPBACK_INDEX: u32 = 1;

/// Makes the network and tells the host, who gets its end with the message.
pub(crate) fn make(plan: &NetworkPlan, control: &OwnedFd) -> Result<(), Failure> {
    if !left_out("net") {
        loopback_up()?;
    }
    let report = |descriptors: &[OwnedFd]| {
        sys::send(control.as_fd(), &Report::Network.encode(), descriptors).at(Stage::Network)
    };
    match plan {
        NetworkPlan::None => report(&[]),
        NetworkPlan::Handoff { tcp, udp } => {
            route_everything_here().at(Stage::Network)?;
            report(&open_sockets(tcp, udp)?)
        }
        NetworkPlan::Link { sandbox, host, tcp, udp } => {
            let link = link::Link { sandbox: *sandbox, host: *host, tcp, udp };
            link.filter()?;
            let namespace = File::open("/proc/self/ns/net").at(Stage::Network)?;
            report(&[namespace.into()])?;
            // The host answers, or kills us where it cannot make the link. There is no PID 1 yet.
            let (length, _) = sys::receive(control.as_fd(), &mut [0; 16]).at(Stage::Link)?;
            if length == 0 {
                return Err(io::Error::from(io::ErrorKind::BrokenPipe)).at(Stage::Link);
            }
            link.configure()
        }
    }
}

/// Brings the loopback interface up.
fn loopback_up() -> Result<(), Failure> {
    let socket = sys::open_socket(sys::AF_INET, sys::SOCK_DGRAM, 0).at(Stage::Network)?;
    sys::interface_up(socket.as_fd(), b"lo").at(Stage::Network)
}

/// Adds `local 0.0.0.0/0 dev lo` to the local table, as `ip route add local default dev lo` does.
fn route_everything_here() -> io::Result<()> {
    let mut request = Messages::default();
    let flags = netlink::ACK | netlink::EXCLUSIVE | netlink::CREATE;
    // struct rtmsg: family, destination and source length, tos, table, protocol, scope, type, flags
    let route = [sys::AF_INET as u8, 0, 0, 0, RT_TABLE_LOCAL, RTPROT_BOOT, RT_SCOPE_HOST, RTN_LOCAL, 0, 0, 0, 0];
    request.add(netlink::NEW_ROUTE, flags, &route, |route| route.bytes(RTA_OIF, &LOOPBACK_INDEX.to_ne_bytes()));
    request.send(netlink::ROUTE)
}

const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_HOST: u8 = 254;
const RTN_LOCAL: u8 = 2;
const RTA_OIF: u16 = 4;

/// Opens what the host will accept and receive from.
///
/// `SO_REUSEPORT` stays off, so no process inside can bind beside a listener.
fn open_sockets(tcp: &[u16], udp: &[u16]) -> Result<Vec<OwnedFd>, Failure> {
    let mut sockets = Vec::with_capacity(tcp.len() + udp.len());
    for port in tcp {
        sockets.push(listener(*port).at_with(Stage::Listeners, format!("tcp {port}").as_bytes())?);
    }
    for port in udp {
        sockets.push(packet_socket(*port).at_with(Stage::Listeners, format!("udp {port}").as_bytes())?);
    }
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
fn packet_socket(port: u16) -> io::Result<OwnedFd> {
    let socket = sys::open_socket(sys::AF_INET, sys::SOCK_DGRAM, 0)?;
    sys::ask_for_destination(socket.as_fd())?;
    sys::bind_any(socket.as_fd(), port)?;
    Ok(socket)
}
