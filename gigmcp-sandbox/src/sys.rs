//! The only unsafe code of the library: what no safe wrapper we use knows.

use std::ffi::{c_int, c_long, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut u32) -> c_int;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: u32) -> c_int;
}

const SOL_SOCKET: c_int = 1;
const SO_BINDTODEVICE: c_int = 25;
const SO_NETNS_COOKIE: c_int = 71;
#[cfg(target_arch = "x86_64")]
const SYS_KCMP: c_long = 312;
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
const SYS_KCMP: c_long = 272;
const KCMP_FILES: c_long = 2;

/// A number that only the sockets of one network namespace have, ever. Since Linux 5.14.
pub(crate) fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as u32;
    // SAFETY: the kernel writes at most `length` bytes into a number of that size, and the length.
    let result = unsafe {
        getsockopt(socket.as_raw_fd(), SOL_SOCKET, SO_NETNS_COOKIE, (&raw mut cookie).cast(), &raw mut length)
    };
    match result {
        0 if length as usize == size_of::<u64>() => Ok(cookie),
        0 => Err(io::ErrorKind::InvalidData.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// From now on the socket sees and sends packets of this interface only.
pub(crate) fn bind_to_interface(socket: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    // SAFETY: the kernel reads `length` bytes of a string that lives across the call.
    let result =
        unsafe { setsockopt(socket.as_raw_fd(), SOL_SOCKET, SO_BINDTODEVICE, name.as_ptr().cast(), name.len() as u32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether two threads have the same table of descriptors. Where the kernel does not tell, they have not.
pub(crate) fn have_same_descriptors(one: u32, other: u32) -> bool {
    // SAFETY: integers only.
    unsafe { syscall(SYS_KCMP, c_long::from(one), c_long::from(other), KCMP_FILES, 0 as c_long, 0 as c_long) == 0 }
}
