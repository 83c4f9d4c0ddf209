//! The only unsafe code of the bootstrap: thin wrappers of system calls, each safe to call.
//!
//! The process is single-threaded all the way, which several notes below rely on.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) const CLONE_NEWNS: c_int = 0x0002_0000;
pub(crate) const CLONE_NEWUSER: c_int = 0x1000_0000;
pub(crate) const CLONE_NEWNET: c_int = 0x4000_0000;

pub(crate) const MS_BIND: c_ulong = 0x1000;
pub(crate) const MS_REC: c_ulong = 0x4000;
pub(crate) const MS_PRIVATE: c_ulong = 0x4_0000;
pub(crate) const MS_NOSUID: c_ulong = 2;
pub(crate) const MS_NODEV: c_ulong = 4;

pub(crate) const O_RDONLY: u64 = 0;
pub(crate) const O_WRONLY: u64 = 1;
pub(crate) const O_CREAT: u64 = 0o100;
pub(crate) const O_EXCL: u64 = 0o200;
pub(crate) const O_CLOEXEC: u64 = 0o2_000_000;
pub(crate) const O_PATH: u64 = 0o10_000_000;
#[cfg(target_arch = "aarch64")]
pub(crate) const O_NOFOLLOW: u64 = 0o100_000;
#[cfg(target_arch = "aarch64")]
pub(crate) const O_DIRECTORY: u64 = 0o40_000;
#[cfg(not(target_arch = "aarch64"))]
pub(crate) const O_NOFOLLOW: u64 = 0o400_000;
#[cfg(not(target_arch = "aarch64"))]
pub(crate) const O_DIRECTORY: u64 = 0o200_000;

pub(crate) const RESOLVE_NO_XDEV: u64 = 0x01;
pub(crate) const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
pub(crate) const RESOLVE_NO_SYMLINKS: u64 = 0x04;
pub(crate) const RESOLVE_BENEATH: u64 = 0x08;

pub(crate) const PR_SET_PDEATHSIG: c_int = 1;
pub(crate) const PR_SET_DUMPABLE: c_int = 4;
pub(crate) const PR_SET_NO_NEW_PRIVS: c_int = 38;
pub(crate) const PR_CAP_AMBIENT: c_int = 47;
pub(crate) const PR_CAP_AMBIENT_CLEAR_ALL: c_ulong = 4;

pub(crate) const SIGKILL: c_int = 9;
const SIGCHLD: c_int = 17;
const SIGNALS: c_int = 64;
const SIG_BLOCK: c_int = 0;
const SIG_SETMASK: c_int = 2;

pub(crate) const AF_INET: c_int = 2;
pub(crate) const AF_NETLINK: c_int = 16;
pub(crate) const SOCK_STREAM: c_int = 1;
pub(crate) const SOCK_DGRAM: c_int = 2;
pub(crate) const SOCK_RAW: c_int = 3;
const SOCK_CLOEXEC: c_int = 0o2_000_000;
const SOL_SOCKET: c_int = 1;
const SCM_RIGHTS: c_int = 1;
const MSG_CMSG_CLOEXEC: c_int = 0x4000_0000;
const MSG_NOSIGNAL: c_int = 0x4000;
const SO_REUSEADDR: c_int = 2;
const IPPROTO_IP: c_int = 0;
const IP_PKTINFO: c_int = 8;

const SYS_CLOSE_RANGE: c_long = 436;
const SYS_OPENAT2: c_long = 437;
const SYS_MOUNT_SETATTR: c_long = 442;
const SYS_LANDLOCK_CREATE_RULESET: c_long = 444;
const SYS_LANDLOCK_ADD_RULE: c_long = 445;
const SYS_LANDLOCK_RESTRICT_SELF: c_long = 446;
#[cfg(target_arch = "x86_64")]
const SYS_SECCOMP: c_long = 317;
#[cfg(target_arch = "x86_64")]
const SYS_KEYCTL: c_long = 250;
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
const SYS_SECCOMP: c_long = 277;
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
const SYS_KEYCTL: c_long = 219;

const CLOSE_RANGE_CLOEXEC: c_long = 4;
const AT_EMPTY_PATH: c_long = 0x1000;
const AT_RECURSIVE: c_long = 0x8000;
const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_NOSUID: u64 = 2;
const MOUNT_ATTR_NODEV: u64 = 4;
const KEYCTL_JOIN_SESSION_KEYRING: c_long = 1;
const SECCOMP_SET_MODE_FILTER: c_long = 1;
const NS_GET_USERNS: c_ulong = 0xb701;
const SIOCGIFFLAGS: c_ulong = 0x8913;
const SIOCSIFFLAGS: c_ulong = 0x8914;
const IFF_UP: i16 = 1;
const POLLIN: i16 = 1;
const F_GETFD: c_int = 1;
const F_SETFD: c_int = 2;
const F_DUPFD_CLOEXEC: c_int = 1030;
const CAP_VERSION_3: u32 = 0x2008_0522;
const WNOHANG: c_int = 1;
const EBADF: c_int = 9;
const EBUSY: c_int = 16;

/// The last of the standard streams.
const LAST_STREAM: RawFd = 2;
/// Descriptors of ours lie from here on where the fixed numbers of the protocol get in the way.
const FIRST_HIGH: RawFd = 64;

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
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

#[repr(C)]
struct PollFd {
    fd: c_int,
    events: i16,
    revents: i16,
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

#[repr(C)]
struct SockFprog {
    length: u16,
    filter: *const c_void,
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
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
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
    fn setsid() -> c_int;
    fn umask(mask: c_uint) -> c_uint;
    fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn bind(fd: c_int, address: *const SockaddrIn, length: c_uint) -> c_int;
    fn listen(fd: c_int, backlog: c_int) -> c_int;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: c_uint) -> c_int;
    fn sendmsg(fd: c_int, message: *const Msghdr, flags: c_int) -> isize;
    fn recvmsg(fd: c_int, message: *mut Msghdr, flags: c_int) -> isize;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn dup2(from: c_int, to: c_int) -> c_int;
    fn signal(signal: c_int, handler: usize) -> usize;
    fn sigprocmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    fn signalfd(fd: c_int, mask: *const SignalSet, flags: c_int) -> c_int;
    fn poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
    fn mkdirat(dir: c_int, name: *const c_char, mode: c_uint) -> c_int;
    fn symlinkat(target: *const c_char, dir: c_int, name: *const c_char) -> c_int;
    fn _exit(code: c_int) -> !;
}

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

/// Takes the descriptors that the process was started with, all below 64, and closes every other
/// one but the standard streams. Works once, and belongs before anything else is opened.
///
/// The standard streams stay open, also those taken. So the numbers 0 to 2 are never free, the
/// kernel never hands them out, and no value ever owns them, which [`place`] relies on.
pub(crate) fn inherit<const N: usize>(numbers: [RawFd; N]) -> io::Result<[OwnedFd; N]> {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::Relaxed) {
        return Err(io::Error::from_raw_os_error(EBUSY));
    }
    // Nobody owns what is closed here and below: this comes first, and its copies lie in between.
    close_range(FIRST_HIGH, RawFd::MAX, 0)?;
    let mut taken = Vec::with_capacity(N);
    for number in numbers {
        // SAFETY: integers only; the result is a new descriptor of ours.
        taken.push(owned(unsafe { fcntl(number, F_DUPFD_CLOEXEC, FIRST_HIGH) })?);
    }
    close_range(LAST_STREAM + 1, FIRST_HIGH - 1, 0)?;
    taken.try_into().map_err(|_| io::Error::from_raw_os_error(EBADF))
}

fn close_range(first: RawFd, last: RawFd, flags: c_long) -> io::Result<()> {
    // SAFETY: integers only; the callers say why nobody uses what is closed.
    check_long(unsafe { syscall(SYS_CLOSE_RANGE, c_long::from(first), c_long::from(last), flags) }).map(drop)
}

fn is_open(number: RawFd) -> bool {
    // SAFETY: integers only.
    unsafe { fcntl(number, F_GETFD) != -1 }
}

pub(crate) fn enter_namespaces(flags: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { unshare(flags) }).map(drop)
}

pub(crate) fn mount_at(source: &[u8], target: &[u8], kind: &[u8], flags: c_ulong, data: &[u8]) -> io::Result<()> {
    let (source, target) = (c_string(source)?, c_string(target)?);
    let (kind, data) = (c_string(kind)?, c_string(data)?);
    // SAFETY: four NUL-terminated strings that live across the call.
    check(unsafe { mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) }).map(drop)
}

/// Makes the mount at `fd`, and all below it, read-only, without devices and set-user-id.
pub(crate) fn seal_mount(fd: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = MountAttr {
        set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
        clear: 0,
        propagation: 0,
        userns: 0,
    };
    // SAFETY: the kernel reads an empty string and `size_of::<MountAttr>()` bytes.
    check_long(unsafe {
        syscall(
            SYS_MOUNT_SETATTR,
            fd.as_raw_fd(),
            c"".as_ptr(),
            AT_EMPTY_PATH | AT_RECURSIVE,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

pub(crate) fn open_at(
    dir: Option<BorrowedFd<'_>>,
    path: &[u8],
    flags: u64,
    mode: u64,
    resolve: u64,
) -> io::Result<OwnedFd> {
    const AT_FDCWD: c_int = -100;
    let path = c_string(path)?;
    let how = OpenHow { flags: flags | O_CLOEXEC, mode, resolve };
    let dir = dir.map_or(AT_FDCWD, |dir| dir.as_raw_fd());
    // SAFETY: the kernel reads a NUL-terminated string and `size_of::<OpenHow>()` bytes.
    let fd = check_long(unsafe { syscall(SYS_OPENAT2, dir, path.as_ptr(), &raw const how, size_of::<OpenHow>()) })?;
    owned(fd as c_int)
}

pub(crate) fn make_dir_at(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> io::Result<()> {
    let name = c_string(name)?;
    // SAFETY: one NUL-terminated string that lives across the call.
    check(unsafe { mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) }).map(drop)
}

pub(crate) fn make_symlink_at(dir: BorrowedFd<'_>, name: &[u8], target: &[u8]) -> io::Result<()> {
    let (name, target) = (c_string(name)?, c_string(target)?);
    // SAFETY: two NUL-terminated strings that live across the call.
    check(unsafe { symlinkat(target.as_ptr(), dir.as_raw_fd(), name.as_ptr()) }).map(drop)
}

/// Marks every descriptor numbered `first` or higher to be closed by `execve`.
pub(crate) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    close_range(first, RawFd::MAX, CLOSE_RANGE_CLOEXEC)
}

/// Moves a descriptor out of the way of the fixed numbers.
pub(crate) fn move_up(fd: OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: integers only; the result is a new descriptor of ours.
    owned(unsafe { fcntl(fd.as_raw_fd(), F_DUPFD_CLOEXEC, FIRST_HIGH) })
}

/// Makes `number` a copy of `fd` that survives `execve`. It must be a standard stream, which nobody
/// owns, see [`inherit`], or not be open, so that nobody can.
pub(crate) fn place(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if !(0..=LAST_STREAM).contains(&number) && is_open(number) {
        return Err(io::Error::from_raw_os_error(EBUSY));
    }
    // SAFETY: integers only; `number` has no owner whose descriptor this would replace.
    check(unsafe { dup2(fd.as_raw_fd(), number) })?;
    // SAFETY: integers only.
    check(unsafe { fcntl(number, F_SETFD, 0 as c_int) }).map(drop)
}

pub(crate) fn join_new_session_keyring() -> io::Result<()> {
    // SAFETY: a null name asks for an anonymous keyring.
    check_long(unsafe { syscall(SYS_KEYCTL, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<c_char>()) }).map(drop)
}

pub(crate) fn new_session() {
    // SAFETY: no arguments. Failure means that we lead a session already, which is as good.
    unsafe { setsid() };
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

/// Empties the effective, permitted and inheritable sets.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    let mut header = CapHeader { version: CAP_VERSION_3, pid: 0 };
    // SAFETY: version 3 reads two 12-byte records after the header; six zero words are those.
    check(unsafe { capset(&raw mut header, &[0; 6]) }).map(drop)
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

pub(crate) enum Forked {
    Parent,
    Child,
}

pub(crate) fn fork_process() -> io::Result<(Forked, i32)> {
    // SAFETY: single-threaded, so the child may go on using the allocator and the library.
    match check(unsafe { fork() })? {
        0 => Ok((Forked::Child, 0)),
        pid => Ok((Forked::Parent, pid)),
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

/// Blocks every signal and returns a descriptor that becomes readable when a child ends.
pub(crate) fn child_signals() -> io::Result<File> {
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
    for number in 1..=SIGNALS {
        // SAFETY: SIG_DFL (0) is a valid disposition; SIGKILL, SIGSTOP and the library's own
        // refuse it, and have it anyway.
        unsafe { signal(number, 0) };
    }
    // SAFETY: reads one set.
    check(unsafe { sigprocmask(SIG_SETMASK, &raw const none, ptr::null_mut()) }).map(drop)
}

/// Waits until one of the descriptors is readable or hung up; `None` does not wait for long.
pub(crate) fn wait_readable(fds: [BorrowedFd<'_>; 2], timeout: c_int) -> io::Result<[bool; 2]> {
    let mut list = fds.map(|fd| PollFd { fd: fd.as_raw_fd(), events: POLLIN, revents: 0 });
    // SAFETY: reads and writes two structs.
    check(unsafe { poll(list.as_mut_ptr(), 2, timeout) })?;
    Ok(list.map(|item| item.revents != 0))
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

/// Brings an interface up.
pub(crate) fn interface_up(socket: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let mut request = Ifreq { name: [0; 16], flags: 0, padding: [0; 22] };
    for (to, from) in request.name.iter_mut().zip(name) {
        *to = *from;
    }
    // SAFETY: both calls read and write one `struct ifreq` of 40 bytes.
    unsafe {
        check(ioctl(socket.as_raw_fd(), SIOCGIFFLAGS, &raw mut request))?;
        request.flags |= IFF_UP;
        check(ioctl(socket.as_raw_fd(), SIOCSIFFLAGS, &raw mut request)).map(drop)
    }
}

/// The error of asking for the user namespace that owns a namespace. `EPERM` means that it is
/// not ours nor below ours.
pub(crate) fn owning_user_namespace(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: no argument is read; returns a new descriptor.
    owned(unsafe { ioctl(namespace.as_raw_fd(), NS_GET_USERNS) })
}

const MAX_DESCRIPTORS: usize = 16;

#[repr(C, align(8))]
struct Control {
    length: usize,
    level: c_int,
    kind: c_int,
    descriptors: [RawFd; MAX_DESCRIPTORS],
}

const CONTROL_HEADER: usize = size_of::<usize>() + 2 * size_of::<c_int>();

/// Sends one message with descriptors.
pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8], descriptors: &[OwnedFd]) -> io::Result<()> {
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
    let sent = unsafe { sendmsg(fd.as_raw_fd(), &raw const message, MSG_NOSIGNAL) };
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

/// Installs one seccomp program, given as the kernel's 8-byte instructions.
pub(crate) fn install_filter(program: &[u8]) -> io::Result<()> {
    let program_length = u16::try_from(program.len() / 8).map_err(|_| io::Error::from_raw_os_error(22))?;
    // The kernel wants instructions aligned as `struct sock_filter`, a `u32` at most.
    let aligned: Vec<u64> = program
        .chunks_exact(8)
        .map(|chunk| u64::from_ne_bytes(chunk.try_into().expect("chunks are 8 bytes")))
        .collect();
    let program = SockFprog { length: program_length, filter: aligned.as_ptr().cast() };
    // SAFETY: reads the header and `length` instructions of 8 bytes, all alive.
    check_long(unsafe { syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, 0 as c_long, &raw const program) }).map(drop)
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

/// A memfd that survives `execve` once it is placed.
pub(crate) fn memory_file(name: &CStr) -> io::Result<File> {
    unsafe extern "C" {
        fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
    }
    // SAFETY: reads one NUL-terminated string; returns a new descriptor.
    owned(unsafe { memfd_create(name.as_ptr(), 1) }).map(File::from)
}
