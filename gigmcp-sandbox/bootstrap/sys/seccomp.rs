//! seccomp: installing programs, and answering the calls that wait.

use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::{check, check_long, owned, wait_readable};

#[cfg(target_arch = "x86_64")]
const SYS_SECCOMP: c_long = 317;
#[cfg(target_arch = "x86_64")]
const SYS_SETNS: c_long = 308;
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
const SYS_SECCOMP: c_long = 277;
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
const SYS_SETNS: c_long = 268;
const SECCOMP_SET_MODE_FILTER: c_long = 1;
const SECCOMP_FILTER_FLAG_NEW_LISTENER: c_long = 1 << 3;
/// Since Linux 5.19: once PID 1 has a call, only fatal signals interrupt it, so none is seen twice.
const SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: c_long = 1 << 5;
const SECCOMP_IOCTL_NOTIF_RECV: c_ulong = 0xc050_2100;
const SECCOMP_IOCTL_NOTIF_SEND: c_ulong = 0xc018_2101;
const ENOENT: i32 = 2;
const EBUSY: i32 = 16;
const EINVAL: i32 = 22;

#[repr(C)]
struct SockFprog {
    length: u16,
    filter: *const c_void,
}

/// `struct seccomp_notif`.
#[repr(C)]
#[derive(Default)]
struct Received {
    id: u64,
    pid: u32,
    flags: u32,
    number: c_int,
    arch: u32,
    instruction_pointer: u64,
    arguments: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
}

/// Installs one seccomp program, given as the kernel's 8-byte instructions.
pub(crate) fn install_filter(program: &[u8]) -> io::Result<()> {
    install(program, 0).map(drop)
}

/// Installs one seccomp program and returns the descriptor that its waiting calls are told by. None
/// if there is such a descriptor already, of whoever runs this machine or container: the kernel
/// knows one only, and calls that would wait are refused with `ENOSYS`.
pub(crate) fn install_filter_that_tells(program: &[u8]) -> io::Result<Option<OwnedFd>> {
    let new_listener = SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let installed = match install(program, new_listener | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        Err(error) if error.raw_os_error() == Some(EINVAL) => install(program, new_listener),
        result => result,
    };
    match installed {
        Ok(listener) => owned(listener as c_int).map(Some),
        Err(error) if error.raw_os_error() == Some(EBUSY) => install_filter(program).map(|()| None),
        Err(error) => Err(error),
    }
}

fn install(program: &[u8], flags: c_long) -> io::Result<c_long> {
    let length = u16::try_from(program.len() / 8).map_err(|_| io::Error::from_raw_os_error(EINVAL))?;
    // The kernel wants instructions aligned as `struct sock_filter`, a `u32` at most.
    let aligned: Vec<u64> = program
        .chunks_exact(8)
        .map(|chunk| u64::from_ne_bytes(chunk.try_into().expect("chunks are 8 bytes")))
        .collect();
    let program = SockFprog { length, filter: aligned.as_ptr().cast() };
    // SAFETY: reads the header and `length` instructions of 8 bytes, all alive.
    check_long(unsafe { syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, flags, &raw const program) })
}

/// A call that waits for an answer.
pub(crate) struct WaitingCall {
    id: u64,
    pub(crate) number: u32,
    /// The thread, as its number is in our process namespace.
    pub(crate) thread: u32,
}

/// The next waiting call; none if nobody is left who could make one.
///
/// Does not block. Fails with `ENOENT` where a call was taken back meanwhile, because a signal came or
/// the process was killed; the kernel counts those calls too, so receiving does not wait for another.
pub(crate) fn next_waiting_call(listener: BorrowedFd<'_>) -> io::Result<Option<WaitingCall>> {
    let [waiting] = wait_readable([Some(listener)], Some(Duration::ZERO))?;
    match (waiting.input, waiting.hung_up) {
        (true, _) => {}
        (false, true) => return Ok(None),
        (false, false) => return Err(io::Error::from_raw_os_error(ENOENT)),
    }
    let mut received = Received::default();
    // SAFETY: reads and writes one `struct seccomp_notif` of the 80 bytes that the request names.
    check(unsafe { ioctl(listener.as_raw_fd(), SECCOMP_IOCTL_NOTIF_RECV, &raw mut received) })?;
    Ok(Some(WaitingCall { id: received.id, number: received.number as u32, thread: received.pid }))
}

/// Answers a waiting call with an error. It fails with `ENOENT` if the process was killed meanwhile.
pub(crate) fn refuse_call(listener: BorrowedFd<'_>, call: &WaitingCall, errno: i32) -> io::Result<()> {
    let mut response = Response { id: call.id, value: 0, error: -errno, flags: 0 };
    // SAFETY: reads one `struct seccomp_notif_resp` of the 24 bytes that the request names.
    check(unsafe { ioctl(listener.as_raw_fd(), SECCOMP_IOCTL_NOTIF_SEND, &raw mut response) }).map(drop)
}

/// Makes a call that no server makes, in a way that changes nothing; returns the error.
pub(crate) fn try_tripwire() -> i32 {
    // SAFETY: integers only; there is no descriptor -1.
    match check_long(unsafe { syscall(SYS_SETNS, -1 as c_long, 0 as c_long) }) {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(0),
    }
}
