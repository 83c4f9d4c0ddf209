//! Sockets, and messages with descriptors.

use std::ffi::{c_int, c_uint, c_ulong, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use super::{check, owned};

const AF_UNIX: c_int = 1;
pub(crate) const AF_INET: c_int = 2;
pub(crate) const AF_NETLINK: c_int = 16;
pub(crate) const SOCK_STREAM: c_int = 1;
pub(crate) const SOCK_DGRAM: c_int = 2;
pub(crate) const SOCK_RAW: c_int = 3;
const SOCK_SEQPACKET: c_int = 5;
pub(crate) const SOCK_NONBLOCK: c_int = 0o4000;
const SOCK_CLOEXEC: c_int = 0o2_000_000;
const SOL_SOCKET: c_int = 1;
const SCM_RIGHTS: c_int = 1;
const MSG_CMSG_CLOEXEC: c_int = 0x4000_0000;
const MSG_NOSIGNAL: c_int = 0x4000;
const MSG_DONTWAIT: c_int = 0x40;
const SO_REUSEADDR: c_int = 2;
const SO_BINDTODEVICE: c_int = 25;
const IPPROTO_IP: c_int = 0;
const IP_PKTINFO: c_int = 8;

const SIOCGIFFLAGS: c_ulong = 0x8913;
const SIOCSIFFLAGS: c_ulong = 0x8914;
const SIOCGIFINDEX: c_ulong = 0x8933;
const IFF_UP: i16 = 1;

#[repr(C)]
struct Iovec {
    base: *mut c_void,
    length: usize,
}

#[repr(C)]
struct Msghdr {
    name: *mut c_void,
    name_length: c_uint,
    iov: *mut Iovec,
    iov_length: usize,
    control: *mut c_void,
    control_length: usize,
    flags: c_int,
}

#[repr(C)]
struct SockaddrIn {
    family: u16,
    port: u16,
    address: u32,
    zero: [u8; 8],
}

#[repr(C)]
struct Ifreq {
    name: [u8; 16],
    flags: i16,
    padding: [u8; 22],
}

unsafe extern "C" {
    fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn bind(fd: c_int, address: *const SockaddrIn, length: c_uint) -> c_int;
    fn listen(fd: c_int, backlog: c_int) -> c_int;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: c_uint) -> c_int;
    fn sendto(
        fd: c_int,
        bytes: *const c_void,
        length: usize,
        flags: c_int,
        to: *const SockaddrIn,
        to_length: c_uint,
    ) -> isize;
    fn sendmsg(fd: c_int, message: *const Msghdr, flags: c_int) -> isize;
    fn recvmsg(fd: c_int, message: *mut Msghdr, flags: c_int) -> isize;
    fn socketpair(family: c_int, kind: c_int, protocol: c_int, pair: *mut [c_int; 2]) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
}

/// Two connected sockets that keep messages apart.
pub(crate) fn message_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut pair = [-1; 2];
    // SAFETY: writes two integers.
    check(unsafe { socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, &raw mut pair) })?;
    Ok((owned(pair[0])?, owned(pair[1])?))
}

pub(crate) fn open_socket(family: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: integers only.
    owned(unsafe { socket(family, kind | SOCK_CLOEXEC, protocol) })
}

/// Binds an IPv4 socket to a port of every address.
pub(crate) fn bind_any(fd: BorrowedFd<'_>, port: u16) -> io::Result<()> {
    let address = SockaddrIn { family: AF_INET as u16, port: port.to_be(), address: 0, zero: [0; 8] };
    // SAFETY: reads one struct of the length given.
    check(unsafe { bind(fd.as_raw_fd(), &raw const address, size_of::<SockaddrIn>() as c_uint) }).map(drop)
}

pub(crate) fn start_listening(fd: BorrowedFd<'_>, backlog: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { listen(fd.as_raw_fd(), backlog) }).map(drop)
}

fn set_option(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<()> {
    let on: c_int = 1;
    // SAFETY: reads one integer of the length given.
    check(unsafe { setsockopt(fd.as_raw_fd(), level, name, (&raw const on).cast(), size_of::<c_int>() as c_uint) })
        .map(drop)
}

pub(crate) fn reuse_address(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_option(fd, SOL_SOCKET, SO_REUSEADDR)
}

pub(crate) fn ask_for_destination(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_option(fd, IPPROTO_IP, IP_PKTINFO)
}

/// Sends and receives through this interface only.
pub(crate) fn bind_to_interface(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    // SAFETY: reads as many bytes as the name has.
    check(unsafe {
        setsockopt(fd.as_raw_fd(), SOL_SOCKET, SO_BINDTODEVICE, name.as_ptr().cast(), name.len() as c_uint)
    })
    .map(drop)
}

/// Sends a datagram without content.
pub(crate) fn send_empty(fd: BorrowedFd<'_>, address: [u8; 4], port: u16) -> io::Result<()> {
    let to = SockaddrIn {
        family: AF_INET as u16,
        port: port.to_be(),
        address: u32::from_ne_bytes(address),
        zero: [0; 8],
    };
    // SAFETY: no bytes are read, and one struct of the length given.
    let sent = unsafe {
        sendto(fd.as_raw_fd(), ptr::null(), 0, MSG_NOSIGNAL, &raw const to, size_of::<SockaddrIn>() as c_uint)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn interface_request(name: &[u8]) -> Ifreq {
    let mut request = Ifreq { name: [0; 16], flags: 0, padding: [0; 22] };
    for (to, from) in request.name.iter_mut().zip(name) {
        *to = *from;
    }
    request
}

/// The number of an interface.
pub(crate) fn interface_index(socket: BorrowedFd<'_>, name: &[u8]) -> io::Result<u32> {
    let mut request = interface_request(name);
    // SAFETY: reads and writes one `struct ifreq` of 40 bytes.
    check(unsafe { ioctl(socket.as_raw_fd(), SIOCGIFINDEX, &raw mut request) })?;
    // `ifr_ifindex`, an integer where the flags are.
    let [low, high] = request.flags.to_ne_bytes();
    Ok(u32::from_ne_bytes([low, high, request.padding[0], request.padding[1]]))
}

/// Brings an interface up.
pub(crate) fn interface_up(socket: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let mut request = interface_request(name);
    // SAFETY: both calls read and write one `struct ifreq` of 40 bytes.
    unsafe {
        check(ioctl(socket.as_raw_fd(), SIOCGIFFLAGS, &raw mut request))?;
        request.flags |= IFF_UP;
        check(ioctl(socket.as_raw_fd(), SIOCSIFFLAGS, &raw mut request)).map(drop)
    }
}

const MAX_DESCRIPTORS: usize = 32;

#[repr(C, align(8))]
struct Control {
    length: usize,
    level: c_int,
    kind: c_int,
    descriptors: [RawFd; MAX_DESCRIPTORS],
}

const CONTROL_HEADER: usize = size_of::<usize>() + 2 * size_of::<c_int>();

/// Sends one message with descriptors.
///
/// The kernel counts descriptors in flight by user. Where sandboxes run as their caller, another program of his can have used
/// them up for a moment, so it is tried for a while.
pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8], descriptors: &[OwnedFd]) -> io::Result<()> {
    for _ in 0..TRIES {
        match send_message(fd, bytes, descriptors, 0) {
            Err(error) if error.raw_os_error() == Some(ETOOMANYREFS) => {
                drop(super::wait_readable::<0>([], Some(TRY_PAUSE)));
            }
            outcome => return outcome,
        }
    }
    send_message(fd, bytes, descriptors, 0)
}

const ETOOMANYREFS: c_int = 109;
const TRIES: usize = 100;
const TRY_PAUSE: Duration = Duration::from_millis(10);

/// Sends one message if there is room for it at once.
pub(crate) fn try_send(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    send_message(fd, bytes, &[], MSG_DONTWAIT)
}

fn send_message(fd: BorrowedFd<'_>, bytes: &[u8], descriptors: &[OwnedFd], flags: c_int) -> io::Result<()> {
    let mut control = Control {
        length: CONTROL_HEADER + size_of_val(descriptors),
        level: SOL_SOCKET,
        kind: SCM_RIGHTS,
        descriptors: [-1; MAX_DESCRIPTORS],
    };
    for (to, from) in control.descriptors.iter_mut().zip(descriptors) {
        *to = from.as_raw_fd();
    }
    let mut iov = Iovec { base: bytes.as_ptr().cast_mut().cast(), length: bytes.len() };
    let message = Msghdr {
        name: ptr::null_mut(),
        name_length: 0,
        iov: &raw mut iov,
        iov_length: 1,
        control: if descriptors.is_empty() { ptr::null_mut() } else { (&raw mut control).cast() },
        control_length: if descriptors.is_empty() { 0 } else { (control.length + 7) & !7 },
        flags: 0,
    };
    // SAFETY: the kernel reads `bytes` and the control record, both alive; descriptors are open.
    let sent = unsafe { sendmsg(fd.as_raw_fd(), &raw const message, MSG_NOSIGNAL | flags) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receives one message with descriptors.
pub(crate) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = Control { length: 0, level: 0, kind: 0, descriptors: [-1; MAX_DESCRIPTORS] };
    let mut iov = Iovec { base: buffer.as_mut_ptr().cast(), length: buffer.len() };
    let mut message = Msghdr {
        name: ptr::null_mut(),
        name_length: 0,
        iov: &raw mut iov,
        iov_length: 1,
        control: (&raw mut control).cast(),
        control_length: size_of::<Control>(),
        flags: 0,
    };
    // SAFETY: the kernel writes at most the lengths given into two buffers of ours.
    let length = unsafe { recvmsg(fd.as_raw_fd(), &raw mut message, MSG_CMSG_CLOEXEC) };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut received = Vec::new();
    if message.control_length >= CONTROL_HEADER && control.level == SOL_SOCKET && control.kind == SCM_RIGHTS {
        let count = (control.length - CONTROL_HEADER) / size_of::<RawFd>();
        for fd in control.descriptors.iter().take(count) {
            received.push(owned(*fd)?);
        }
    }
    Ok((length as usize, received))
}
