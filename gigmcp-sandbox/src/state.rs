//! A directory that outlives the server, and its quota.
//!
//! The server writes to a directory of the host's own file system, where the kernel keeps no count
//! for us without project quotas, which few file systems have switched on. So one thread of the
//! host process measures, and a server over its quota is ended.

mod unlinked;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, chownat, fchmod, flock, fstat,
    mkdirat, openat2, statat,
};
use rustix::io::Errno;

use crate::host_uids::UidLease;
use crate::made_once::MadeOnce;
use crate::sandbox::Scissors;
use crate::{PathRefusal, SpawnError, StateQuota, sources};

/// A state directory in use; nobody else can use it until this is dropped.
///
/// The server gets the directory `data` in it and never sees the one around, which only the host's own
/// user may enter: what a server leaves, such as a program that is set-user-id, is in nobody's reach.
#[derive(Debug)]
pub(crate) struct State {
    top: OwnedFd,
    data: OwnedFd,
    device: u64,
    quota: StateQuota,
    over: AtomicBool,
    /// The process that waits for PID 1, once the server runs; 0 before.
    monitor: AtomicU32,
    /// Measurements that failed in a row.
    failed: AtomicU32,
}

impl State {
    /// Opens a state directory for one sandbox, whose processes have this uid if it is not ours.
    ///
    /// As root, everything in it is given to that uid. So it must be empty, or have been one before.
    pub(crate) fn open(path: &Path, quota: StateQuota, owner: Option<&UidLease>) -> Result<Self, SpawnError> {
        let refused = |why| SpawnError::RefusedPath { path: path.to_owned(), why };
        let unreadable = |_| refused(PathRefusal::Unreadable);
        sources::check_state(path).map_err(refused)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS)
            .map_err(unreadable)?;
        // The lock ends with the last descriptor, so a killed host leaves none behind.
        flock(&top, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| SpawnError::StateInUse { path: path.to_owned() })?;
        for entry in Dir::read_from(&top).map_err(unreadable)? {
            if ![b".".as_slice(), b"..", DATA.as_bytes()].contains(&entry.map_err(unreadable)?.file_name().to_bytes()) {
                return Err(refused(PathRefusal::NotState));
            }
        }
        fchmod(&top, Mode::RWXU).map_err(unreadable)?;
        match mkdirat(&top, DATA, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(_) => return Err(refused(PathRefusal::Unreadable)),
        }
        let data = open_below(&top, Path::new(DATA)).map_err(unreadable)?;
        let device = fstat(&data).map_err(unreadable)?.st_dev;
        let (over, monitor, failed) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
        let state = Self { top, data, device, quota, over, monitor, failed };
        if !state.measure().map_err(unreadable)?.fits(quota) {
            return Err(SpawnError::StateQuota { path: path.to_owned(), quota });
        }
        if let Some(lease) = owner {
            state.give_to(lease.uid()).map_err(unreadable)?;
        }
        Ok(state)
    }

    /// From now on, files that only the sandbox's processes still have count too.
    pub(crate) fn runs(&self, monitor: u32) {
        self.monitor.store(monitor, Ordering::Relaxed);
    }

    /// Lets others use the directory. Closing it would not while it is being measured, or while a
    /// process that was just forked has not left its descriptors behind.
    pub(crate) fn release(&self) {
        // Fails only for what is not open.
        let _ = flock(&self.top, FlockOperation::Unlock);
    }

    /// Whether the server was ended for using more than its quota.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn measure(&self) -> Result<Found, Errno> {
        let mut found = Found::default();
        self.walk(|_, _, entry| {
            found.files += 1;
            // In units of 512 bytes whatever the file system's own are. Sparse files cost what they hold.
            found.bytes = found.bytes.saturating_add(u64::try_from(entry.st_blocks).unwrap_or(0) * 512);
            // More than that need not be looked at.
            Ok(found.files <= self.quota.files)
        })?;
        match self.monitor.load(Ordering::Relaxed) {
            0 => {}
            monitor => found.bytes = found.bytes.saturating_add(unlinked::bytes(monitor, self.device)?),
        }
        Ok(found)
    }

    /// Whether the server is over its quota, or has kept us from finding out for too long.
    fn is_too_much(&self) -> bool {
        match self.measure() {
            Ok(found) => {
                self.failed.store(0, Ordering::Relaxed);
                !found.fits(self.quota)
            }
            // Too deep, on purpose.
            Err(Errno::NAMETOOLONG) => true,
            // Descriptors that another has used up may come back, what was made unreadable does not.
            Err(_) => self.failed.fetch_add(1, Ordering::Relaxed) >= FAILURES,
        }
    }

    /// What other sandboxes, with other uids, left there becomes the server's.
    fn give_to(&self, owner: u32) -> Result<(), Errno> {
        let (uid, gid) = (Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)));
        rustix::fs::fchown(&self.data, uid, gid)?;
        self.walk(|dir, name, _| chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map(|()| true))
    }

    /// Visits everything below, following no symlink, until the visitor has seen enough.
    fn walk(&self, mut visit: impl FnMut(&OwnedFd, &Path, &Stat) -> Result<bool, Errno>) -> Result<(), Errno> {
        let mut open = vec![(open_below(&self.data, Path::new("."))?, None)];
        while let Some((dir, entries)) = open.last_mut() {
            let entries: &mut Dir = match entries {
                Some(entries) => entries,
                None => entries.insert(Dir::read_from(&*dir)?),
            };
            let Some(entry) = entries.next() else {
                open.pop();
                continue;
            };
            let entry = entry?;
            let name = PathBuf::from(OsStr::from_bytes(entry.file_name().to_bytes()));
            if name == Path::new(".") || name == Path::new("..") {
                continue;
            }
            let looked = statat(&*dir, &name, AtFlags::SYMLINK_NOFOLLOW);
            // Not by what the directory says of it: some file systems' do not.
            let kind = match looked.and_then(|found| Ok((visit(dir, &name, &found)?, found.st_mode))) {
                Ok((true, mode)) => FileType::from_raw_mode(mode),
                Ok((false, _)) => return Ok(()),
                // Gone since it was listed.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            };
            if kind == FileType::Directory {
                if open.len() >= DEPTH {
                    return Err(Errno::NAMETOOLONG);
                }
                match open_below(&open[open.len() - 1].0, &name) {
                    Ok(below) => open.push((below, None)),
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

fn open_below(dir: &OwnedFd, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(dir.as_fd(), name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

#[derive(Clone, Copy, Debug, Default)]
struct Found {
    bytes: u64,
    files: u64,
}

impl Found {
    fn fits(self, quota: StateQuota) -> bool {
        self.bytes <= quota.bytes && self.files <= quota.files
    }
}

/// Has the state measured until the sandbox is gone. Over its quota, the lifeline is cut.
pub(crate) fn watch(state: &Arc<State>, lifeline: Scissors) -> io::Result<()> {
    static STARTED: MadeOnce<()> = MadeOnce::new();
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner).push((Arc::downgrade(state), lifeline));
    let start = || std::thread::Builder::new().name("gigmcp-state".to_owned()).spawn(measure_all);
    STARTED.get_or_make(|| start().map(drop)).copied()
}

fn measure_all() {
    loop {
        std::thread::sleep(INTERVAL);
        let watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (state, lifeline) in &watched {
            let Some(state) = state.upgrade() else { continue };
            if state.is_too_much() {
                state.over.store(true, Ordering::Relaxed);
                lifeline.cut();
            }
        }
        WATCHED.lock().unwrap_or_else(PoisonError::into_inner).retain(|(state, _)| state.strong_count() > 0);
    }
}

static WATCHED: Mutex<Vec<(Weak<State>, Scissors)>> = Mutex::new(Vec::new());
/// What the server has of a state directory.
pub(crate) const DATA: &str = "data";
/// Two seconds' worth.
const FAILURES: u32 = 8;
/// How long a server can be over its quota unnoticed.
const INTERVAL: Duration = Duration::from_millis(250);
/// Each level takes a descriptor while measuring.
const DEPTH: usize = 64;
