//! The process: its user, its rights, its namespaces, its children.

use std::ffi::{CString, c_char, c_int, c_long, c_uint, c_ulong};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use super::{c_string, check, check_long, owned};

pub(crate) const CLONE_NEWNS: c_int = 0x0002_0000;
pub(crate) const CLONE_NEWCGROUP: c_int = 0x0200_0000;
pub(crate) const CLONE_NEWUTS: c_int = 0x0400_0000;
pub(crate) const CLONE_NEWIPC: c_int = 0x0800_0000;
pub(crate) const CLONE_NEWUSER: c_int = 0x1000_0000;
pub(crate) const CLONE_NEWPID: c_int = 0x2000_0000;
pub(crate) const CLONE_NEWNET: c_int = 0x4000_0000;

pub(crate) const PR_SET_PDEATHSIG: c_int = 1;
pub(crate) const PR_SET_DUMPABLE: c_int = 4;
pub(crate) const PR_SET_NAME: c_int = 15;
pub(crate) const PR_SET_SECUREBITS: c_int = 28;
pub(crate) const PR_SET_NO_NEW_PRIVS: c_int = 38;
const PR_CAPBSET_DROP: c_int = 24;
const PR_CAP_AMBIENT: c_int = 47;
const PR_CAP_AMBIENT_CLEAR_ALL: c_ulong = 4;

pub(crate) const SIGKILL: c_int = 9;
const SIGCHLD: c_int = 17;
const SIGSTOP: c_int = 19;
const SIGNALS: c_int = 64;
const SIG_BLOCK: c_int = 0;
const SIG_SETMASK: c_int = 2;

const SOCK_CLOEXEC: c_int = 0o2_000_000;
#[cfg(target_arch = "x86_64")]
const SYS_KEYCTL: c_long = 250;
#[cfg(target_arch = "x86_64")]
const SYS_RT_SIGACTION: c_long = 13;
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
const SYS_KEYCTL: c_long = 219;
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
const SYS_RT_SIGACTION: c_long = 134;
const SYS_PIDFD_OPEN: c_long = 434;
const KEYCTL_JOIN_SESSION_KEYRING: c_long = 1;
const NS_GET_USERNS: c_ulong = 0xb701;
const POLLIN: i16 = 1;
const POLLHUP: i16 = 16;
const CAP_VERSION_3: u32 = 0x2008_0522;
const WNOHANG: c_int = 1;
const EINVAL: c_int = 22;

#[repr(C)]
struct PollFd {
    fd: c_int,
    events: i16,
    revents: i16,
}

#[repr(C)]
struct Rlimit {
    soft: u64,
    hard: u64,
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: c_int,
}

/// `sigset_t` of glibc and musl.
type SignalSet = [u64; 16];

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn unshare(flags: c_int) -> c_int;
    fn sethostname(name: *const c_char, length: usize) -> c_int;
    fn setgroups(count: usize, groups: *const c_uint) -> c_int;
    fn setresgid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
    fn setresuid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
    fn geteuid() -> c_uint;
    fn getegid() -> c_uint;
    fn prctl(option: c_int, ...) -> c_int;
    fn capset(header: *mut CapHeader, data: *const [u32; 6]) -> c_int;
    fn setrlimit(resource: c_uint, limit: *const Rlimit) -> c_int;
    fn getrlimit(resource: c_uint, limit: *mut Rlimit) -> c_int;
    fn fork() -> c_int;
    fn execve(path: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn setsid() -> c_int;
    fn umask(mask: c_uint) -> c_uint;
    fn sigprocmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    fn signalfd(fd: c_int, mask: *const SignalSet, flags: c_int) -> c_int;
    fn poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn _exit(code: c_int) -> !;
}

pub(crate) fn enter_namespaces(flags: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { unshare(flags) }).map(drop)
}

pub(crate) fn join_new_session_keyring() -> io::Result<()> {
    // SAFETY: a null name asks for an anonymous keyring.
    check_long(unsafe { syscall(SYS_KEYCTL, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<c_char>()) }).map(drop)
}

/// Leaves the terminal behind. Fails where we lead a group of processes already, which nobody does who was
/// just forked.
pub(crate) fn new_session() -> io::Result<()> {
    // SAFETY: no arguments.
    check(unsafe { setsid() }).map(drop)
}

/// Sets which rights new files lack.
pub(crate) fn set_umask(mask: u32) {
    // SAFETY: integers only, cannot fail.
    unsafe { umask(mask) };
}

pub(crate) fn ids() -> (u32, u32) {
    // SAFETY: no arguments, cannot fail.
    unsafe { (geteuid(), getegid()) }
}

/// Becomes `id` for good, with no supplementary group.
pub(crate) fn become_user(id: u32) -> io::Result<()> {
    // SAFETY: an empty list is not read; the rest are integers. Single-threaded.
    unsafe {
        check(setgroups(0, ptr::null()))?;
        check(setresgid(id, id, id))?;
        check(setresuid(id, id, id)).map(drop)
    }
}

pub(crate) fn process_control(option: c_int, argument: c_ulong) -> io::Result<c_int> {
    // SAFETY: the options used take integers only.
    check(unsafe { prctl(option, argument, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) })
}

pub(crate) fn set_host_name(name: &[u8]) -> io::Result<()> {
    // SAFETY: reads as many bytes as the length says.
    check(unsafe { sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// Names the process in lists; a name has 15 bytes at most.
pub(crate) fn set_name(name: &std::ffi::CStr) {
    // SAFETY: reads a NUL-terminated string. It cannot fail.
    unsafe { prctl(PR_SET_NAME, name.as_ptr()) };
}

/// Empties every capability set, the bounding and the ambient one first, as that takes a capability.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    let mut number: c_ulong = 0;
    loop {
        match process_control(PR_CAPBSET_DROP, number) {
            Ok(_) => number += 1,
            // One past the last that the kernel knows.
            Err(error) if error.raw_os_error() == Some(EINVAL) && number > 0 => break,
            Err(error) => return Err(error),
        }
    }
    process_control(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)?;
    let mut header = CapHeader { version: CAP_VERSION_3, pid: 0 };
    // SAFETY: version 3 reads two 12-byte records after the header; six zero words are those.
    check(unsafe { capset(&raw mut header, &[0; 6]) }).map(drop)
}

/// Keeps every capability of this user namespace across `execve`.
#[cfg(leaves_out_layers)]
pub(crate) fn keep_capabilities() -> io::Result<()> {
    const PR_CAP_AMBIENT_RAISE: c_ulong = 2;
    const LAST: c_ulong = 40;
    let mut header = CapHeader { version: CAP_VERSION_3, pid: 0 };
    let (low, high) = (u32::MAX, (1 << (LAST - 31)) - 1);
    // SAFETY: version 3 reads two 12-byte records after the header: effective, permitted, inheritable.
    check(unsafe { capset(&raw mut header, &[low, low, low, high, high, high]) })?;
    for number in 0..=LAST {
        // SAFETY: integers only.
        check(unsafe { prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0 as c_ulong, 0 as c_ulong) })?;
    }
    Ok(())
}

pub(crate) fn set_rlimit(resource: u32, value: u64) -> io::Result<()> {
    let limit = Rlimit { soft: value, hard: value };
    // SAFETY: reads one struct.
    check(unsafe { setrlimit(resource, &raw const limit) }).map(drop)
}

/// The hard limit.
pub(crate) fn rlimit(resource: u32) -> io::Result<u64> {
    let mut limit = Rlimit { soft: 0, hard: 0 };
    // SAFETY: writes one struct.
    check(unsafe { getrlimit(resource, &raw mut limit) })?;
    Ok(limit.hard)
}

/// On which side of a fork we are.
pub(crate) enum Forked {
    /// With the child's number.
    Parent(i32),
    Child,
}

pub(crate) fn fork_process() -> io::Result<Forked> {
    // SAFETY: single-threaded, so the child may go on using the allocator and the library.
    match check(unsafe { fork() })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// Replaces the program. Returns only the error.
pub(crate) fn execute(path: &[u8], argv: &[Vec<u8>], environment: &[Vec<u8>]) -> io::Error {
    let prepare = |items: &[Vec<u8>]| items.iter().map(|item| c_string(item)).collect::<io::Result<Vec<_>>>();
    let (path, argv, environment) = match (c_string(path), prepare(argv), prepare(environment)) {
        (Ok(path), Ok(argv), Ok(environment)) => (path, argv, environment),
        (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => return error,
    };
    let pointers = |items: &[CString]| {
        let mut list: Vec<_> = items.iter().map(|item| item.as_ptr()).collect();
        list.push(ptr::null());
        list
    };
    let (argv_list, environment_list) = (pointers(&argv), pointers(&environment));
    // SAFETY: NUL-terminated strings in null-terminated lists, all alive across the call.
    unsafe { execve(path.as_ptr(), argv_list.as_ptr(), environment_list.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends the process at once.
pub(crate) fn exit_now(code: c_int) -> ! {
    // SAFETY: does not return and runs no handlers.
    unsafe { _exit(code) }
}

/// How a child ended.
pub(crate) enum Ended {
    Exited(i32),
    Signaled(i32),
}

/// Reaps one child that has ended, if there is one.
pub(crate) fn reap() -> Option<(i32, Ended)> {
    let mut status = 0;
    // SAFETY: writes one integer.
    let pid = unsafe { waitpid(-1, &raw mut status, WNOHANG) };
    (pid > 0).then(|| {
        let signal = status & 0x7f;
        let ended = if signal == 0 { Ended::Exited((status >> 8) & 0xff) } else { Ended::Signaled(signal) };
        (pid, ended)
    })
}

/// Sends a signal to a process inside.
pub(crate) fn send_signal(pid: i32, number: i32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { kill(pid, number) }).map(drop)
}

/// Kills every other process of our namespace. There may be none.
pub(crate) fn kill_all_others() {
    // SAFETY: integers only. For PID 1, -1 is everybody else in its namespace.
    unsafe { kill(-1, SIGKILL) };
}

/// A descriptor of a process that nobody has waited for yet; it becomes readable when that has ended.
pub(crate) fn open_process(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: integers only; the kernel's result is a new descriptor, closed by `execve`.
    owned(unsafe { syscall(SYS_PIDFD_OPEN, c_long::from(pid), 0 as c_long) } as c_int)
}

/// Waits until this child has ended.
pub(crate) fn wait_for(pid: i32) {
    let mut status = 0;
    // SAFETY: writes one integer. It fails only if there is no such child, or a signal came.
    while unsafe { waitpid(pid, &raw mut status, 0) } == -1
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// Blocks every signal and returns a descriptor that becomes readable when a child ends.
pub(crate) fn child_signals() -> io::Result<File> {
    // Whoever started the host may have ignored it, which is inherited: nobody is told then of a child's end, nor how it was.
    reset_signal(SIGCHLD)?;
    let all: SignalSet = [u64::MAX; 16];
    let mut children: SignalSet = [0; 16];
    children[0] = 1 << (SIGCHLD - 1);
    // SAFETY: reads one set each.
    unsafe {
        check(sigprocmask(SIG_BLOCK, &raw const all, ptr::null_mut()))?;
        owned(signalfd(-1, &raw const children, SOCK_CLOEXEC)).map(File::from)
    }
}

/// Gives every signal its default disposition and blocks none.
pub(crate) fn reset_signals() -> io::Result<()> {
    let none: SignalSet = [0; 16];
    // These two refuse it, and have it anyway.
    for number in (1..=SIGNALS).filter(|number| ![SIGKILL, SIGSTOP].contains(number)) {
        reset_signal(number)?;
    }
    // SAFETY: reads one set.
    check(unsafe { sigprocmask(SIG_SETMASK, &raw const none, ptr::null_mut()) }).map(drop)
}

/// Gives a signal its default disposition.
///
/// Not by the library, which refuses its own two, 32 and 33: its `posix_spawn`, by which we were
/// started, ignores them, and `execve` would keep that.
fn reset_signal(number: c_int) -> io::Result<()> {
    let default = [0_u64; 4];
    // SAFETY: reads `struct sigaction` of the kernel, all zero: SIG_DFL, no flags, no mask of 8 bytes.
    check_long(unsafe {
        syscall(SYS_RT_SIGACTION, c_long::from(number), &raw const default, ptr::null::<u64>(), 8 as c_long)
    })
    .map(drop)
}

/// What is the matter with a descriptor.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) input: bool,
    /// Nothing more will come.
    pub(crate) hung_up: bool,
    pub(crate) any: bool,
}

/// Waits until one of the descriptors is readable or hung up, or for so long, rounded up to
/// milliseconds; without a time, for ever.
pub(crate) fn wait_readable<const N: usize>(
    fds: [Option<BorrowedFd<'_>>; N],
    time: Option<Duration>,
) -> io::Result<[Ready; N]> {
    // The kernel passes over -1.
    let mut list = fds.map(|fd| PollFd { fd: fd.map_or(-1, |fd| fd.as_raw_fd()), events: POLLIN, revents: 0 });
    let milliseconds = time.map_or(-1, |time| c_int::try_from(time.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX));
    // SAFETY: reads and writes `N` structs.
    match check(unsafe { poll(list.as_mut_ptr(), N as c_ulong, milliseconds) }) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        result => drop(result?),
    }
    Ok(list.map(|item| Ready {
        input: item.revents & POLLIN != 0,
        hung_up: item.revents & POLLHUP != 0,
        any: item.revents != 0,
    }))
}

/// The error of asking for the user namespace that owns a namespace. `EPERM` means that it is
/// not ours nor below ours.
pub(crate) fn owning_user_namespace(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: no argument is read; returns a new descriptor.
    owned(unsafe { ioctl(namespace.as_raw_fd(), NS_GET_USERNS) })
}
