//! Files, mounts and descriptors.

use std::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{c_string, check, check_long, owned};

pub(crate) const MS_RDONLY: c_ulong = 1;
pub(crate) const MS_BIND: c_ulong = 0x1000;
pub(crate) const MS_REC: c_ulong = 0x4000;
pub(crate) const MS_PRIVATE: c_ulong = 0x4_0000;
pub(crate) const MS_NOSUID: c_ulong = 2;
pub(crate) const MS_NODEV: c_ulong = 4;
pub(crate) const MS_NOEXEC: c_ulong = 8;

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

const SYS_CLOSE_RANGE: c_long = 436;
const SYS_OPENAT2: c_long = 437;
const SYS_MOUNT_SETATTR: c_long = 442;
#[cfg(target_arch = "x86_64")]
const SYS_PIVOT_ROOT: c_long = 155;
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
const SYS_PIVOT_ROOT: c_long = 41;

const CLOSE_RANGE_CLOEXEC: c_long = 4;
const AT_EMPTY_PATH: c_long = 0x1000;
const AT_RECURSIVE: c_long = 0x8000;
const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_NOSUID: u64 = 2;
const MOUNT_ATTR_NODEV: u64 = 4;
const MOUNT_ATTR_NOEXEC: u64 = 8;
const MNT_DETACH: c_int = 2;
const F_DUPFD_CLOEXEC: c_int = 1030;
const EBADF: c_int = 9;
const EBUSY: c_int = 16;

/// The first number after the standard streams.
const FIRST_OWNED: RawFd = 3;

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

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn umount2(target: *const c_char, flags: c_int) -> c_int;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn dup2(from: c_int, to: c_int) -> c_int;
    fn mkdirat(dir: c_int, name: *const c_char, mode: c_uint) -> c_int;
    fn symlinkat(target: *const c_char, dir: c_int, name: *const c_char) -> c_int;
}

/// Takes the control socket, which is standard input, and closes everything but the standard streams.
/// Works once, and belongs before anything else is opened.
///
/// The standard streams stay open. So the numbers 0 to 2 are never free, the kernel never hands them
/// out, and no value ever owns them, which [`place`] relies on.
pub(crate) fn take_control() -> io::Result<OwnedFd> {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::Relaxed) {
        return Err(io::Error::from_raw_os_error(EBUSY));
    }
    // Nobody owns what is closed here: this comes first.
    close_range(FIRST_OWNED, RawFd::MAX, 0)?;
    // SAFETY: integers only; the result is a new descriptor of ours.
    owned(unsafe { fcntl(0, F_DUPFD_CLOEXEC, FIRST_OWNED) })
}

fn close_range(first: RawFd, last: RawFd, flags: c_long) -> io::Result<()> {
    // SAFETY: integers only; the callers say why nobody uses what is closed.
    check_long(unsafe { syscall(SYS_CLOSE_RANGE, c_long::from(first), c_long::from(last), flags) }).map(drop)
}

pub(crate) fn mount_at(source: &[u8], target: &[u8], kind: &[u8], flags: c_ulong, data: &[u8]) -> io::Result<()> {
    let (source, target) = (c_string(source)?, c_string(target)?);
    let (kind, data) = (c_string(kind)?, c_string(data)?);
    // SAFETY: four NUL-terminated strings that live across the call.
    check(unsafe { mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) }).map(drop)
}

/// What a mount is sealed against.
#[derive(Clone, Copy)]
pub(crate) enum Seal {
    /// Read-only, without devices and set-user-id; with all mounts below it.
    Tree,
    /// The same, and no program can be started from it.
    TreeNoExec,
    /// As [`Seal::Tree`], but this mount alone.
    One,
    /// A device: it can be read and written, but no mark on it, such as its time.
    Device,
    /// Without devices and set-user-id only.
    Writable,
}

/// Takes rights from the mount at `fd`.
pub(crate) fn seal_mount(fd: BorrowedFd<'_>, seal: Seal) -> io::Result<()> {
    let base = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    let (set, flags) = match seal {
        Seal::Tree => (base, AT_EMPTY_PATH | AT_RECURSIVE),
        Seal::TreeNoExec => (base | MOUNT_ATTR_NOEXEC, AT_EMPTY_PATH | AT_RECURSIVE),
        Seal::One => (base, AT_EMPTY_PATH),
        Seal::Device => (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, AT_EMPTY_PATH),
        Seal::Writable => (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, AT_EMPTY_PATH | AT_RECURSIVE),
    };
    let attributes = MountAttr { set, clear: 0, propagation: 0, userns: 0 };
    // SAFETY: the kernel reads an empty string and `size_of::<MountAttr>()` bytes.
    check_long(unsafe {
        syscall(SYS_MOUNT_SETATTR, fd.as_raw_fd(), c"".as_ptr(), flags, &raw const attributes, size_of::<MountAttr>())
    })
    .map(drop)
}

/// Makes the working directory, which must be a mount, the root, and lets go of the old one.
pub(crate) fn make_this_the_root() -> io::Result<()> {
    // SAFETY: two NUL-terminated strings. The old root is put over the new one, see pivot_root(2), and
    // taken away there.
    unsafe {
        check_long(syscall(SYS_PIVOT_ROOT, c".".as_ptr(), c".".as_ptr()))?;
        check(umount2(c".".as_ptr(), MNT_DETACH))?;
    }
    std::env::set_current_dir("/")
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

/// Makes a standard stream a copy of `fd` that survives `execve`. Nobody owns those, see [`take_control`].
pub(crate) fn place(fd: BorrowedFd<'_>, stream: RawFd) -> io::Result<()> {
    if !(0..FIRST_OWNED).contains(&stream) {
        return Err(io::Error::from_raw_os_error(EBADF));
    }
    // SAFETY: integers only; `stream` has no owner whose descriptor this would replace.
    check(unsafe { dup2(fd.as_raw_fd(), stream) }).map(drop)
}
