//! Makes and removes the host's end of a link.

use std::fmt::Debug;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Ifa, IfaF, Iff, Ifla, IflaInfo, Nda, Nud, RtAddrFamily, RtScope, RtaType, Rtm, Rtn};
use neli::consts::socket::NlFamily;
use neli::err::SocketError;
use neli::nl::{NlPayload, NlmsghdrBuilder};
use neli::rtnl::{IfaddrmsgBuilder, Ifinfomsg, IfinfomsgBuilder, NdmsgBuilder, Rtattr, RtattrBuilder};
use neli::socket::synchronous::NlSocketHandle;
use neli::types::{Buffer, RtBuffer};
use neli::utils::Groups;
use neli::{Size, ToBytes};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use crate::protocol::{LINK_NAME, Stage, link_address};
use crate::veth::Lease;
use crate::{SpawnError, host};

/// A link whose other end is in the network namespace of a sandbox. Dropping it removes both ends, as
/// the end of that namespace does.
#[derive(Debug)]
pub(crate) struct Link {
    lease: Arc<Lease>,
}

impl Link {
    /// Makes both ends at once, the sandbox's in that namespace, where nothing of the host sees it come
    /// and go. Needs `CAP_NET_ADMIN` in the host's network namespace and no other right.
    ///
    /// The namespace is let go at once: a descriptor of it would keep the link alive.
    pub(crate) fn make(lease: Arc<Lease>, sent: Vec<OwnedFd>) -> Result<Self, SpawnError> {
        let name = lease.interface();
        let made = match &sent[..] {
            [namespace] => Self::try_make(lease, namespace.as_fd()),
            _ => Err(Errno::MFILE.into()),
        };
        made.map_err(|source| {
            let fix = host::fix(Stage::Link, source.raw_os_error().unwrap_or(0));
            SpawnError::Setup { stage: Stage::Link, detail: name, fix, source }
        })
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    fn try_make(lease: Arc<Lease>, namespace: BorrowedFd<'_>) -> io::Result<Self> {
        let name = lease.interface();
        let socket = connect()?;
        let flags = NlmF::CREATE | NlmF::EXCL;
        request(&socket, Rtm::Newlink, flags, pair(&lease, namespace)?)?;
        // From here on, what fails takes the link with it.
        let link = Self { lease };
        let index = index(&name)?;
        request(&socket, Rtm::Newlink, NlmF::empty(), only_for_the_host(index)?)?;
        let no_ipv6 = request(&socket, Rtm::Newlink, NlmF::empty(), no_ipv6_address(index)?);
        // A kernel without IPv6.
        no_ipv6.or_else(|error| if is(&error, Errno::AFNOSUPPORT) { Ok(()) } else { Err(error) })?;
        link.give_address(&socket, index)?;
        request(&socket, Rtm::Newlink, NlmF::empty(), up(index)?)?;
        link.introduce_sandbox(&socket, index)?;
        Ok(link)
    }

    fn remove(&self) -> io::Result<()> {
        let message = link_message(0, [attribute(Ifla::Ifname, &self.lease.interface()[..])?])?;
        request(&connect()?, Rtm::Dellink, NlmF::empty(), message)
    }

    /// The address, and with it a route to the other end and nowhere else.
    fn give_address(&self, socket: &NlSocketHandle, index: i32) -> io::Result<()> {
        let attributes = [
            attribute(Ifa::Local, &self.lease.host().octets()[..])?,
            attribute(Ifa::Address, &self.lease.sandbox().octets()[..])?,
        ];
        let address = IfaddrmsgBuilder::default()
            .ifa_family(RtAddrFamily::Inet)
            .ifa_prefixlen(32)
            .ifa_flags(IfaF::empty())
            .ifa_scope(RtScope::Universe)
            .ifa_index(index.cast_unsigned())
            .rtattrs(attributes.into_iter().collect())
            .build()
            .map_err(io::Error::other)?;
        request(socket, Rtm::Newaddr, NlmF::CREATE | NlmF::EXCL, address)
    }

    /// Says what the hardware address of the other end is, so that no question is ever asked.
    fn introduce_sandbox(&self, socket: &NlSocketHandle, index: i32) -> io::Result<()> {
        let sandbox = self.lease.sandbox().octets();
        let attributes = [attribute(Nda::Dst, &sandbox[..])?, attribute(Nda::Lladdr, &link_address(sandbox)[..])?];
        let neighbour = NdmsgBuilder::default()
            .ndm_family(RtAddrFamily::Inet)
            .ndm_index(index)
            .ndm_state(Nud::PERMANENT)
            .ndm_type(Rtn::Unspec)
            .rtattrs(attributes.into_iter().collect())
            .build()
            .map_err(io::Error::other)?;
        request(socket, Rtm::Newneigh, NlmF::CREATE | NlmF::REPLACE, neighbour)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // As a rule the end of the sandbox's namespace has taken it along already. Where something keeps
        // that alive, such as a connection the other end of which does not take what is left, it goes now.
        let _ = self.remove();
    }
}

/// The number of a link of the host's. Needs no right.
pub(crate) fn index(name: &str) -> io::Result<i32> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(netdevice::name_to_index(socket, name)?.cast_signed())
}

/// Both ends of a link. One queue each: a link per processor would take memory for nothing.
fn pair(lease: &Lease, namespace: BorrowedFd<'_>) -> io::Result<Ifinfomsg> {
    let queues =
        || -> io::Result<_> { Ok([attribute(Ifla::NumTxQueues, 1_u32)?, attribute(Ifla::NumRxQueues, 1_u32)?]) };
    let end = |name: &str, address: Ipv4Addr| -> io::Result<_> {
        let named = [attribute(Ifla::Ifname, name)?, attribute(Ifla::Address, &link_address(address.octets())[..])?];
        Ok(named.into_iter().chain(queues()?))
    };
    let place = attribute(Ifla::NetNsFd, namespace.as_raw_fd())?;
    let sandbox = link_message(0, end(LINK_NAME, lease.sandbox())?.chain([place]))?;
    let peer = RtBuffer::from_iter([attribute(VETH_INFO_PEER, sandbox)?]);
    let info = RtBuffer::from_iter([attribute(IflaInfo::Kind, "veth")?, attribute(IflaInfo::Data, peer)?]);
    let info = attribute(Ifla::Linkinfo, info)?;
    link_message(0, end(&lease.interface(), lease.host())?.chain([info]))
}

/// Second walls at the host's end: what comes in here goes no further than this host, with an address
/// that belongs here, and changes no route.
fn only_for_the_host(index: i32) -> io::Result<Ifinfomsg> {
    let settings = [
        (DEVCONF_FORWARDING, 0),
        (DEVCONF_ACCEPT_REDIRECTS, 0),
        (DEVCONF_SEND_REDIRECTS, 0),
        (DEVCONF_RP_FILTER, 1),
        (DEVCONF_ACCEPT_SOURCE_ROUTE, 0),
        (DEVCONF_ARP_IGNORE, 8),
    ];
    let settings = settings.into_iter().map(|(name, value): (u16, u32)| attribute(name, value));
    let settings = settings.collect::<io::Result<RtBuffer<u16, Buffer>>>()?;
    family_setting(index, AF_INET, attribute(IFLA_INET_CONF, settings)?)
}

/// The host's end never gets an address of IPv6 by itself.
fn no_ipv6_address(index: i32) -> io::Result<Ifinfomsg> {
    family_setting(index, AF_INET6, attribute(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE)?)
}

fn family_setting(index: i32, family: u16, setting: Rtattr<u16, Buffer>) -> io::Result<Ifinfomsg> {
    let families = RtBuffer::from_iter([attribute(family, RtBuffer::from_iter([setting]))?]);
    link_message(index, [attribute(Ifla::AfSpec, families)?])
}

fn link_message(index: i32, attributes: impl IntoIterator<Item = Rtattr<Ifla, Buffer>>) -> io::Result<Ifinfomsg> {
    IfinfomsgBuilder::default()
        .ifi_family(RtAddrFamily::Unspecified)
        .ifi_index(index)
        .rtattrs(attributes.into_iter().collect())
        .build()
        .map_err(io::Error::other)
}

fn up(index: i32) -> io::Result<Ifinfomsg> {
    IfinfomsgBuilder::default()
        .ifi_family(RtAddrFamily::Unspecified)
        .ifi_index(index)
        .ifi_flags(Iff::UP | Iff::NOARP)
        .ifi_change(Iff::UP | Iff::NOARP | Iff::MULTICAST)
        .build()
        .map_err(io::Error::other)
}

fn attribute<T: RtaType, P: Size + ToBytes>(kind: T, value: P) -> io::Result<Rtattr<T, Buffer>> {
    RtattrBuilder::default().rta_type(kind).rta_payload(value).build().map_err(io::Error::other)
}

fn connect() -> io::Result<NlSocketHandle> {
    NlSocketHandle::connect(NlFamily::Route, None, Groups::empty()).map_err(failed)
}

/// Has the kernel do something, and waits for its answer.
fn request<P>(socket: &NlSocketHandle, kind: Rtm, flags: NlmF, payload: P) -> io::Result<()>
where
    P: Size + ToBytes + Debug,
{
    let message = NlmsghdrBuilder::default()
        .nl_type(kind)
        .nl_flags(NlmF::REQUEST | NlmF::ACK | flags)
        .nl_payload(NlPayload::Payload(payload))
        .build()
        .map_err(io::Error::other)?;
    socket.send(&message).map_err(failed)?;
    let (answers, _) = socket.recv::<Rtm, Buffer>().map_err(failed)?;
    for answer in answers {
        match answer.map_err(io::Error::other)?.nl_payload() {
            NlPayload::Ack(_) => return Ok(()),
            NlPayload::Err(error) => return Err(io::Error::from_raw_os_error(-error.error())),
            NlPayload::DumpExtAck(_) | NlPayload::Payload(_) | NlPayload::Empty => {}
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// The kernel's own error, by which the fix is found, where there is one.
fn failed(error: SocketError) -> io::Error {
    let errno = match &error {
        SocketError::Io(source) => source.raw_os_error(),
        _ => None,
    };
    errno.map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    Errno::from_io_error(error) == Some(errno)
}

// linux/veth.h, linux/if_link.h, linux/ip.h: what neli has no names for
const VETH_INFO_PEER: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const DEVCONF_FORWARDING: u16 = 1;
const DEVCONF_ACCEPT_REDIRECTS: u16 = 4;
const DEVCONF_SEND_REDIRECTS: u16 = 6;
const DEVCONF_RP_FILTER: u16 = 8;
const DEVCONF_ACCEPT_SOURCE_ROUTE: u16 = 9;
const DEVCONF_ARP_IGNORE: u16 = 19;
