//! The socket between the host and the bootstrap.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::protocol::Report;

/// A bootstrap that has its plan.
pub(crate) struct Launched {
    pub(crate) child: Child,
    /// Readable once it has ended, which it does after PID 1.
    pub(crate) process: OwnedFd,
    pub(crate) control: OwnedFd,
}

/// Starts the bootstrap with an empty environment and one descriptor, and sends it the rest.
pub(crate) fn launch(mut bootstrap: Command, descriptors: &[OwnedFd]) -> io::Result<Launched> {
    let flags = SocketFlags::CLOEXEC;
    let (control, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let mut child =
        bootstrap.env_clear().stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let prepare = || -> io::Result<OwnedFd> {
        let pid = Pid::from_child(&child);
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); 256];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let bytes = [IoSlice::new(b"plan")];
        sendmsg(&control, &bytes, &mut ancillary, SendFlags::NOSIGNAL)?;
        fcntl_setfl(&control, fcntl_getfl(&control)? | OFlags::NONBLOCK)?;
        Ok(process)
    };
    match prepare() {
        Ok(process) => Ok(Launched { child, process, control }),
        Err(error) => {
            // It waits for its plan and has done nothing yet.
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

/// Tells PID 1 that the server's program may start.
pub(crate) fn agree(control: &OwnedFd) -> Result<(), Errno> {
    rustix::net::send(control, b"start", SendFlags::NOSIGNAL).map(drop)
}

/// Asks PID 1 to give the server a signal.
pub(crate) fn send_signal(control: &OwnedFd, number: u8) -> Result<(), Errno> {
    rustix::net::send(control, &[number], SendFlags::NOSIGNAL | SendFlags::DONTWAIT).map(drop)
}

/// Receives one report; `None` at the end. Descriptors are taken only while the sandbox starts, so
/// nothing inside can send any later.
pub(crate) fn receive(control: &OwnedFd, starting: bool) -> Result<Option<(Report, Vec<OwnedFd>)>, Errno> {
    let mut bytes = vec![0_u8; REPORT_BYTES];
    let mut space = [MaybeUninit::uninit(); 256];
    let mut ancillary = if starting { RecvAncillaryBuffer::new(&mut space) } else { RecvAncillaryBuffer::default() };
    let mut buffers = [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(control, &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    let report = Report::decode(&bytes[..received.bytes]).map_err(|_| Errno::PROTO)?;
    Ok(Some((report, descriptors)))
}

/// More than the posture takes.
const REPORT_BYTES: usize = 32 << 10;
