//! Landlock.

use std::ffi::{c_int, c_long, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use super::{check_long, owned};

const SYS_LANDLOCK_CREATE_RULESET: c_long = 444;
const SYS_LANDLOCK_ADD_RULE: c_long = 445;
const SYS_LANDLOCK_RESTRICT_SELF: c_long = 446;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// The Landlock ABI of the kernel.
pub(crate) fn landlock_abi() -> io::Result<u32> {
    // SAFETY: a null pointer with size 0 and flag 1 asks for the version.
    let abi =
        check_long(unsafe { syscall(SYS_LANDLOCK_CREATE_RULESET, ptr::null::<c_void>(), 0 as c_long, 1 as c_long) })?;
    Ok(abi as u32)
}

/// Makes a ruleset handling these rights; `size` says how much of them the kernel knows.
pub(crate) fn landlock_ruleset(handled: &[u64; 3], size: usize) -> io::Result<OwnedFd> {
    // SAFETY: reads `size` bytes, at most the 24 of `handled`.
    let fd = check_long(unsafe { syscall(SYS_LANDLOCK_CREATE_RULESET, handled.as_ptr(), size.min(24), 0 as c_long) })?;
    owned(fd as c_int)
}

/// Allows `access` beneath an open file or directory.
pub(crate) fn landlock_allow_path(ruleset: BorrowedFd<'_>, access: u64, parent: BorrowedFd<'_>) -> io::Result<()> {
    // `struct landlock_path_beneath_attr` is packed: 8 bytes of rights, 4 of descriptor.
    let mut rule = [0_u8; 12];
    rule[..8].copy_from_slice(&access.to_ne_bytes());
    rule[8..].copy_from_slice(&parent.as_raw_fd().to_ne_bytes());
    // SAFETY: reads the 12 bytes.
    check_long(unsafe { syscall(SYS_LANDLOCK_ADD_RULE, ruleset.as_raw_fd(), 1 as c_long, rule.as_ptr(), 0 as c_long) })
        .map(drop)
}

/// Allows `access` to a TCP port.
pub(crate) fn landlock_allow_port(ruleset: BorrowedFd<'_>, access: u64, port: u16) -> io::Result<()> {
    let rule = [access, u64::from(port)];
    // SAFETY: reads the 16 bytes.
    check_long(unsafe { syscall(SYS_LANDLOCK_ADD_RULE, ruleset.as_raw_fd(), 2 as c_long, rule.as_ptr(), 0 as c_long) })
        .map(drop)
}

pub(crate) fn landlock_restrict(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: integers only.
    check_long(unsafe { syscall(SYS_LANDLOCK_RESTRICT_SELF, ruleset.as_raw_fd(), 0 as c_long) }).map(drop)
}
