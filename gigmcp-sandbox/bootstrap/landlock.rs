//! The Landlock ruleset of the server: the second wall, to the ABI the kernel has.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::sys;

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
/// All of ABI 1, but for making character and block devices.
const ABI_1: u64 = (1 << 13) - 1;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_BLOCK: u64 = 1 << 11;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
const CONNECT_TCP: u64 = 1 << 1;
const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
const SCOPE_SIGNAL: u64 = 1 << 1;

/// What only makes sense for a directory; the kernel refuses it in a rule for a file.
const FILE_RIGHTS: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

/// Confines the calling process to these places to write and these TCP ports to dial. Returns the ABI applied, or `None` where the kernel has none.
pub(crate) fn apply(writable: &[Vec<u8>], tcp: &[u16]) -> io::Result<Option<u32>> {
    let abi = match sys::landlock_abi() {
        Ok(abi) => abi,
        Err(error) if matches!(error.raw_os_error(), Some(ENOSYS | EOPNOTSUPP)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut files = ABI_1;
    for (since, right) in [(2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)] {
        if abi >= since {
            files |= right;
        }
    }
    let ports = if abi >= 4 { CONNECT_TCP } else { 0 };
    let scopes = if abi >= 6 { SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL } else { 0 };
    let size = match abi {
        0..=3 => 8,
        4..=5 => 16,
        _ => 24,
    };
    let ruleset = sys::landlock_ruleset(&[files, ports, scopes], size)?;
    let allow = |path: &Path, access: u64| -> io::Result<()> {
        let opened = match sys::open_at(None, path.as_os_str().as_bytes(), sys::O_PATH, 0, 0) {
            Ok(opened) => opened,
            // A device that this host does not have.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let opened = File::from(opened);
        let access = if opened.metadata()?.is_dir() { access } else { access & FILE_RIGHTS };
        sys::landlock_allow_path(ruleset.as_fd(), access & files, opened.as_fd())
    };

    allow(Path::new("/"), READ_DIR)?;
    for entry in fs::read_dir("/")? {
        let path = entry?.path();
        if fs::symlink_metadata(&path)?.is_symlink() {
            continue;
        }
        let access = match path.as_os_str().as_bytes() {
            b"/proc" | b"/.gig" => READ_FILE | READ_DIR,
            b"/dev" => READ_DIR,
            _ => READ_FILE | READ_DIR | EXECUTE,
        };
        allow(&path, access)?;
    }
    for device in ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts"] {
        let access = READ_FILE | WRITE_FILE | READ_DIR | TRUNCATE | IOCTL_DEV;
        allow(&Path::new("/dev").join(device), access)?;
    }
    let everything = (files & !MAKE_CHAR & !MAKE_BLOCK) & !IOCTL_DEV;
    for path in writable {
        allow(Path::new(std::ffi::OsStr::from_bytes(path)), everything)?;
    }
    if ports != 0 {
        for port in tcp {
            sys::landlock_allow_port(ruleset.as_fd(), CONNECT_TCP, *port)?;
        }
    }
    sys::landlock_restrict(ruleset.as_fd())?;
    Ok(Some(abi))
}

const ENOSYS: i32 = 38;
const EOPNOTSUPP: i32 = 95;
