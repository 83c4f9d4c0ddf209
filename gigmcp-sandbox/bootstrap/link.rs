//! The sandbox's end of a link to the host, and the filter in front of it.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use crate::netlink::{self, Messages};
use crate::nft::Filter;
use crate::protocol::{LINK_NAME, Stage, link_address};
use crate::{At, Failure, sys};

/// Two addresses, and the ports of the host's that can be reached.
pub(crate) struct Link<'a> {
    pub(crate) sandbox: [u8; 4],
    pub(crate) host: [u8; 4],
    pub(crate) tcp: &'a [u16],
    pub(crate) udp: &'a [u16],
}

impl Link<'_> {
    /// Loads the filter, before there is anything to reach.
    pub(crate) fn filter(&self) -> Result<(), Failure> {
        let Self { sandbox, host, tcp, udp } = *self;
        Filter { sandbox, host, tcp, udp }.load().at(Stage::Filter)
    }

    /// Gives the end that the host has put here its address and one route, then proves that the filter
    /// holds.
    pub(crate) fn configure(&self) -> Result<(), Failure> {
        let socket = sys::open_socket(sys::AF_INET, sys::SOCK_DGRAM, 0).at(Stage::Link)?;
        let index = sys::interface_index(socket.as_fd(), LINK_NAME.as_bytes()).at(Stage::Link)?;
        no_ipv6(index).at(Stage::Link)?;
        self.bring_up(index).at(Stage::Link)?;
        self.prove_filter()
    }

    fn bring_up(&self, index: u32) -> io::Result<()> {
        let mut requests = Messages::default();
        let new = netlink::ACK | netlink::CREATE | netlink::EXCLUSIVE;
        // struct ifaddrmsg: family, prefix length, flags, scope, interface
        let address = [&[sys::AF_INET as u8, 32, 0, 0][..], &index.to_ne_bytes()].concat();
        requests.add(netlink::NEW_ADDRESS, new, &address, |address| {
            address.bytes(IFA_LOCAL, &self.sandbox);
            address.bytes(IFA_ADDRESS, &self.sandbox);
            address.bytes(IFA_FLAGS, &IFA_F_NOPREFIXROUTE.to_ne_bytes());
        });
        // Nothing asks for hardware addresses, and no question is answered: both ends know.
        let flags = (IFF_UP | IFF_NOARP, IFF_UP | IFF_NOARP | IFF_MULTICAST);
        requests.add(netlink::NEW_LINK, netlink::ACK, &interface(index, flags), |_| ());
        // struct ndmsg: family, padding, interface, state, flags, type
        let neighbour =
            [&[sys::AF_INET as u8, 0, 0, 0][..], &index.to_ne_bytes(), &NUD_PERMANENT.to_ne_bytes(), &[0, 0]].concat();
        requests.add(netlink::NEW_NEIGHBOUR, netlink::ACK | netlink::CREATE | netlink::REPLACE, &neighbour, |to| {
            to.bytes(NDA_DST, &self.host);
            to.bytes(NDA_LLADDR, &link_address(self.host));
        });
        // struct rtmsg: family, destination and source length, tos, table, protocol, scope, type, flags
        let route = [sys::AF_INET as u8, 32, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_LINK, RTN_UNICAST, 0, 0, 0, 0];
        requests.add(netlink::NEW_ROUTE, new, &route, |route| {
            route.bytes(RTA_DST, &self.host);
            route.bytes(RTA_OIF, &index.to_ne_bytes());
            route.bytes(RTA_PREFSRC, &self.sandbox);
        });
        requests.send(netlink::ROUTE)
    }

    /// Sends to a port of the host's that is closed to us, and to a stranger, straight out of the
    /// interface. Only our filter answers that with `EPERM`; without it, both would be sent.
    fn prove_filter(&self) -> Result<(), Failure> {
        let socket = sys::open_socket(sys::AF_INET, sys::SOCK_DGRAM, 0).at(Stage::Filter)?;
        sys::bind_to_interface(socket.as_fd(), LINK_NAME.as_bytes()).at(Stage::Filter)?;
        let closed = (1..=u16::MAX).find(|port| !self.udp.contains(port)).unwrap_or(1);
        for (address, port) in [(self.host, closed), (STRANGER, closed)] {
            match sys::send_empty(socket.as_fd(), address, port) {
                Err(error) if error.raw_os_error() == Some(EPERM) => {}
                Err(error) => return Err(Failure::new(Stage::Filter, &error, "unexpected answer")),
                Ok(()) => {
                    let error = io::Error::from_raw_os_error(0);
                    return Err(Failure::new(Stage::Filter, &error, "it lets packets through"));
                }
            }
        }
        Ok(())
    }
}

/// The interface never gets an address of IPv6 by itself, nor, where the kernel's settings can be
/// written, any other part of it; the filter would refuse that too.
fn no_ipv6(index: u32) -> io::Result<()> {
    let mut request = Messages::default();
    request.add(netlink::NEW_LINK, netlink::ACK, &interface(index, (0, 0)), |link| {
        link.nested(IFLA_AF_SPEC, |families| {
            families.nested(AF_INET6, |inet6| inet6.bytes(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]));
        });
    });
    match request.send(netlink::ROUTE) {
        // A kernel without IPv6.
        Err(error) if error.raw_os_error() == Some(EAFNOSUPPORT) => return Ok(()),
        result => result?,
    }
    match fs::write(format!("/proc/sys/net/ipv6/conf/{LINK_NAME}/disable_ipv6"), "1") {
        // In many containers the kernel's settings are read-only, or a security module says so.
        Err(error) if matches!(error.raw_os_error(), Some(ENOENT | EROFS | EACCES)) => Ok(()),
        result => result,
    }
}

/// `struct ifinfomsg`: family, padding, type, index, flags, which flags are meant.
fn interface(index: u32, (flags, change): (u32, u32)) -> Vec<u8> {
    [[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), change.to_ne_bytes()].concat()
}

/// TEST-NET-1, which nobody has.
const STRANGER: [u8; 4] = [192, 0, 2, 1];

const IFF_UP: u32 = 0x1;
const IFF_NOARP: u32 = 0x80;
const IFF_MULTICAST: u32 = 0x1000;
const IFLA_AF_SPEC: u16 = 26;
const AF_INET6: u16 = 10;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
const NUD_PERMANENT: u16 = 0x80;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const EROFS: i32 = 30;
const EAFNOSUPPORT: i32 = 97;
