//! The kernel, reached by number: what a hostile program does.

use std::ffi::{CString, c_int, c_long};
use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn fork() -> c_int;
    fn vfork() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn pause() -> c_int;
    fn poll(fds: *mut [i32; 2], count: u64, timeout: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

/// A system call with up to six arguments.
pub(crate) fn call(number: i64, arguments: &[i64]) -> io::Result<i64> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(ENOSYS));
    }
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: a red team's; callers keep what they point to alive across the call.
    let result = unsafe { syscall(number, a, b, c, d, e, f) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The address of a value, as an argument.
pub(crate) fn at<T: ?Sized>(value: &T) -> i64 {
    std::ptr::from_ref(value).cast::<u8>() as i64
}

/// The address of a value that the kernel writes to.
pub(crate) fn into<T: ?Sized>(value: &mut T) -> i64 {
    std::ptr::from_mut(value).cast::<u8>() as i64
}

/// A path or other text, as an argument; alive for ever.
pub(crate) fn text(value: &str) -> i64 {
    CString::new(value).expect("no NUL").into_raw() as i64
}

/// A descriptor from a call that returns one.
pub(crate) fn descriptor(number: i64, arguments: &[i64]) -> io::Result<OwnedFd> {
    let fd = call(number, arguments)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A descriptor that is not ours to close.
pub(crate) fn borrowed(fd: i32) -> std::mem::ManuallyDrop<File> {
    // SAFETY: never closed; if it is not open, calls fail.
    std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(fd) })
}

pub(crate) fn socket(family: i64, kind: i64, protocol: i64) -> io::Result<OwnedFd> {
    descriptor(crate::numbers::SOCKET, &[family, kind | SOCK_CLOEXEC, protocol])
}

/// How a child ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    Exited(i32),
    Signaled(i32),
}

/// Forks; the child runs this and ends with its result.
pub(crate) fn child(body: impl FnOnce() -> i32) -> io::Result<i32> {
    // SAFETY: the program has one thread when it forks.
    match unsafe { fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => exit(body()),
        pid => Ok(pid),
    }
}

/// A child that waits to be killed.
pub(crate) fn waiting_child() -> io::Result<i32> {
    child(|| wait_for_ever())
}

/// `vfork`; the child ends at once.
pub(crate) fn vfork_child() -> io::Result<i32> {
    // SAFETY: the child does nothing but end.
    match unsafe { vfork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => exit(0),
        pid => Ok(pid),
    }
}

pub(crate) fn wait(pid: i32) -> io::Result<Ended> {
    let mut status = 0;
    // SAFETY: writes one integer.
    if unsafe { waitpid(pid, &raw mut status, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let signal = status & 0x7f;
    Ok(if signal == 0 { Ended::Exited((status >> 8) & 0xff) } else { Ended::Signaled(signal) })
}

pub(crate) fn end(pid: i32) {
    let _ = call(crate::numbers::KILL, &[i64::from(pid), 9]);
    let _ = wait(pid);
}

pub(crate) fn wait_for_ever() -> ! {
    loop {
        // SAFETY: no arguments.
        unsafe { pause() };
    }
}

pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: does not return and runs no handlers.
    unsafe { _exit(code) }
}

/// Ends as a child of ours has.
pub(crate) fn die_of(number: i32) -> ! {
    handle(number, 0);
    let _ = call(crate::numbers::KILL, &[i64::from(std::process::id()), i64::from(number)]);
    exit(1)
}

/// Blocks every signal, or none.
pub(crate) fn block_signals(all: bool) {
    const RT_SIGPROCMASK: i64 = if cfg!(target_arch = "x86_64") { 14 } else { 135 };
    let set = if all { u64::MAX } else { 0 };
    let _ = call(RT_SIGPROCMASK, &[2, at(&set), 0, 8]);
}

pub(crate) fn ignore_signal(number: i32) {
    handle(number, 1);
}

/// Sets `SIG_DFL`, 0, or `SIG_IGN`, 1.
fn handle(number: i32, handler: u64) {
    const RT_SIGACTION: i64 = if cfg!(target_arch = "x86_64") { 13 } else { 134 };
    let _ = call(RT_SIGACTION, &[number.into(), at(&[handler, 0, 0, 0]), 0, 8]);
}

/// Whether a descriptor becomes readable, or its other end closes, in this time.
pub(crate) fn readable(fd: RawFd, milliseconds: i32) -> bool {
    const POLLIN: i32 = 1;
    let mut polled = [[fd, POLLIN]];
    // SAFETY: one `struct pollfd`: the descriptor, then events and results of 16 bits each.
    unsafe { poll(polled.as_mut_ptr(), 1, milliseconds) > 0 }
}

pub(crate) fn field(pid: &str, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

/// Every process in `/proc`.
pub(crate) fn processes() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Every process but this one, its parent, which started the attack, and their children.
pub(crate) fn foreign_processes() -> Vec<i32> {
    let ours = [std::process::id().to_string(), std::os::unix::process::parent_id().to_string()];
    let is_ours = |pid: &i32| {
        let parent = field(&pid.to_string(), "PPid:").unwrap_or_default();
        ours.contains(&pid.to_string()) || ours[0] == parent
    };
    processes().into_iter().filter(|pid| !is_ours(pid)).collect()
}

pub(crate) const ENOSYS: i32 = 38;
pub(crate) const SOCK_CLOEXEC: i64 = 0o2_000_000;
pub(crate) const AT_FDCWD: i64 = -100;
