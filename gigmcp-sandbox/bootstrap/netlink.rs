//! Netlink: as much of its encoding as rtnetlink and nf_tables need here.

use std::fs::File;
use std::io::{self, Read, Write};

use crate::sys;

pub(crate) const ROUTE: i32 = 0;
pub(crate) const NETFILTER: i32 = 12;

// linux/rtnetlink.h
pub(crate) const NEW_LINK: u16 = 16;
pub(crate) const NEW_ADDRESS: u16 = 20;
pub(crate) const NEW_ROUTE: u16 = 24;
pub(crate) const NEW_NEIGHBOUR: u16 = 28;

const REQUEST: u16 = 0x1;
pub(crate) const ACK: u16 = 0x4;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const EXCLUSIVE: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const APPEND: u16 = 0x800;

/// Messages for one request, one behind the other.
#[derive(Default)]
pub(crate) struct Messages {
    bytes: Vec<u8>,
    sequence: u32,
    acknowledged: usize,
}

impl Messages {
    /// Adds a message: `struct nlmsghdr`, the fixed part of its kind, then attributes.
    pub(crate) fn add(&mut self, kind: u16, flags: u16, fixed: &[u8], attributes: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.bytes.len();
        self.sequence += 1;
        self.acknowledged += usize::from(flags & ACK != 0);
        self.bytes.extend_from_slice(&0_u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0_u32.to_ne_bytes()); // to the kernel
        self.bytes.extend_from_slice(fixed);
        attributes(&mut Attributes(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).expect("messages are short");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Has the kernel carry them out. An error is the first that it answered.
    pub(crate) fn send(self, protocol: i32) -> io::Result<()> {
        // The kernel has answered once the call that sends returns, so nothing is waited for.
        let socket = sys::open_socket(sys::AF_NETLINK, sys::SOCK_RAW | sys::SOCK_NONBLOCK, protocol)?;
        let mut socket = File::from(socket);
        socket.write_all(&self.bytes)?;
        let mut acknowledged = 0;
        let mut answer = [0_u8; 4096];
        loop {
            match socket.read(&mut answer) {
                Ok(length) => acknowledged += usize::from(read_answer(&answer[..length])?),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        // A message without its answer was not carried out.
        if acknowledged < self.acknowledged { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

/// Whether this is an acknowledgement; an error answer is that error.
fn read_answer(answer: &[u8]) -> io::Result<bool> {
    const NLMSG_ERROR: u16 = 2;
    // `struct nlmsghdr` of 16 bytes, then the error number: 0 in an acknowledgement.
    let (Some(kind), Some(error)) = (answer.get(4..6), answer.get(16..20)) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    match (u16::from_ne_bytes([kind[0], kind[1]]), i32::from_ne_bytes([error[0], error[1], error[2], error[3]])) {
        (NLMSG_ERROR, 0) => Ok(true),
        (NLMSG_ERROR, error) => Err(io::Error::from_raw_os_error(-error)),
        _ => Ok(false),
    }
}

/// The attributes at the end of a message, or within another attribute.
pub(crate) struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    /// An attribute with these bytes.
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.filled(kind, |out| out.extend_from_slice(value));
    }

    /// A string with the NUL that the kernel wants.
    pub(crate) fn string(&mut self, kind: u16, value: &str) {
        self.filled(kind, |out| {
            out.extend_from_slice(value.as_bytes());
            out.push(0);
        });
    }

    /// A number in network order, as nf_tables has them.
    pub(crate) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An attribute that holds attributes.
    pub(crate) fn nested(&mut self, kind: u16, inner: impl FnOnce(&mut Attributes<'_>)) {
        const NLA_F_NESTED: u16 = 1 << 15;
        self.filled(kind | NLA_F_NESTED, |out| inner(&mut Attributes(out)));
    }

    fn filled(&mut self, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.0.len();
        self.0.extend_from_slice(&0_u16.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        fill(self.0);
        let length = u16::try_from(self.0.len() - start).expect("attributes are short");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}
