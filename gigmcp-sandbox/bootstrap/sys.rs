//! The only unsafe code of the bootstrap: thin wrappers of system calls, each safe to call.
//!
//! The process is single-threaded all the way, which several notes below rely on.

mod files;
mod landlock;
mod network;
mod process;
mod seccomp;
mod standing;

use std::ffi::{CString, c_int, c_long};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

pub(crate) use files::*;
pub(crate) use landlock::*;
pub(crate) use network::*;
pub(crate) use process::*;
pub(crate) use seccomp::*;
pub(crate) use standing::*;

fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_long(result: c_long) -> io::Result<c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::from_raw_os_error(22))
}

/// Takes ownership of a descriptor that the kernel has just returned.
fn owned(fd: c_int) -> io::Result<OwnedFd> {
    let fd = check(fd)?;
    // SAFETY: the kernel made this descriptor for us in the call just before; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
