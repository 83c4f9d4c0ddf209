//! A directory that outlives the server, and its quota.
//!
//! The server writes to a directory of the host's own file system, where the kernel keeps no count
//! for us without project quotas, which few file systems have switched on. So one thread of the
//! host process measures, and a server over its quota is ended.

mod locked;
mod still;
mod unlinked;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, chownat, fchmod, fstat, mkdirat, openat2,
    statat,
};
use rustix::io::Errno;

use self::locked::Locked;
use self::still::Still;
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
    /// Where the server sees it.
    inside: PathBuf,
    top: Locked,
    data: OwnedFd,
    device: u64,
    quota: StateQuota,
    over: AtomicBool,
    /// The process that waits for PID 1, once the server runs; 0 before.
    monitor: AtomicU32,
    /// A file of the server's cannot become larger.
    file_bytes: u64,
    /// The last measurements, a bit each, the latest lowest: whether it failed.
    failed: AtomicU32,
    /// When the server may be stopped for measuring again.
    stop_again: Mutex<Instant>,
}

impl State {
    /// Opens a state directory for one sandbox, whose processes have this uid if it is not ours.
    ///
    /// As root, everything in it is given to that uid. So it must be empty, or have been one before.
    pub(crate) fn open(
        path: &Path,
        inside: &Path,
        quota: StateQuota,
        file_bytes: u64,
        owner: Option<&UidLease>,
    ) -> Result<Self, SpawnError> {
        let refused = |why| SpawnError::RefusedPath { path: path.to_owned(), why };
        let unreadable = |_| refused(PathRefusal::Unreadable);
        sources::check_state(path).map_err(refused)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS)
            .map_err(unreadable)?;
        let top = Locked::new(top).map_err(|_| SpawnError::StateInUse { path: path.to_owned() })?;
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
        let stop_again = Mutex::new(Instant::now());
        let inside = inside.to_owned();
        let state = Self { inside, top, data, device, quota, over, monitor, file_bytes, failed, stop_again };
        if !state.measure().map_err(|_| refused(PathRefusal::Unreadable))?.fits(quota) {
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

    /// Lets others use the directory, although it may be being measured.
    pub(crate) fn release(&self) {
        self.top.release();
    }

    /// Whether the server was ended for using more than its quota.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn measure(&self) -> Result<Found, Unmeasured> {
        let (mut found, mut dirs) = (Found::default(), vec![PathBuf::from(".")]);
        let before = now();
        self.walk(|_, path, entry| {
            found.files += 1;
            // In units of 512 bytes whatever the file system's own are. Sparse files cost what they hold.
            found.bytes = found.bytes.saturating_add(u64::try_from(entry.st_blocks).unwrap_or(0) * 512);
            if FileType::from_raw_mode(entry.st_mode) == FileType::Directory {
                dirs.push(path.to_owned());
            }
            // More than that need not be looked at.
            Ok(found.files <= self.quota.files)
        })?;
        match self.monitor.load(Ordering::Relaxed) {
            0 => {}
            monitor => {
                let unlinked =
                    unlinked::bytes(monitor, &self.inside, self.device, self.file_bytes).map_err(Unmeasured::Failed)?;
                found.bytes = found.bytes.saturating_add(unlinked);
                found.moved = dirs.iter().any(|dir| self.changed_since(before, dir));
            }
        }
        Ok(found)
    }

    /// Whether something came into or left this directory since shortly before, or may have.
    ///
    /// The time of a change is no finer than a tick of the kernel's, and on a file system of the network another
    /// machine's: there it is of no use, and only those who use the directory of a sandbox are to blame.
    fn changed_since(&self, before: i64, dir: &Path) -> bool {
        let changed = open_below(&self.data, dir).and_then(fstat);
        let changed =
            changed.map(|found| found.st_ctime * 1000 + i64::try_from(found.st_ctime_nsec).unwrap_or(0) / 1_000_000);
        changed.map_or(true, |changed| changed >= before - TICK_MS)
    }

    /// Measures again while the server stands still, if something moved: what is carried from where we have not
    /// been yet to where we have been is not seen, and what is carried the other way is seen twice. For the second,
    /// which would end it, the server is stopped however lately it was.
    fn look(&self) -> Result<Found, Unmeasured> {
        let first = self.measure()?;
        let mut stop_again = self.stop_again.lock().unwrap_or_else(PoisonError::into_inner);
        let started = Instant::now();
        if !first.moved || first.fits(self.quota) && started < *stop_again {
            return Ok(first);
        }
        let still = Still::hold(self.monitor.load(Ordering::Relaxed)).map_err(Unmeasured::Failed);
        let second = still.and_then(|_still| self.measure());
        *stop_again = Instant::now() + started.elapsed() * BETWEEN_STOPS;
        second
    }

    /// Whether the server is over its quota, or has kept us from finding out too often.
    fn is_too_much(&self) -> bool {
        let failed = match self.look() {
            Ok(found) if !found.fits(self.quota) => return true,
            Ok(_) => 0,
            Err(Unmeasured::OnPurpose) => return true,
            // Descriptors that another has used up may come back.
            Err(Unmeasured::Failed(_)) => 1,
        };
        let failures = self.failed.load(Ordering::Relaxed) << 1 | failed;
        self.failed.store(failures, Ordering::Relaxed);
        failures.count_ones() > FAILURES
    }

    /// What other sandboxes, with other uids, left there becomes the server's.
    fn give_to(&self, owner: u32) -> Result<(), Errno> {
        let (uid, gid) = (Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)));
        rustix::fs::fchown(&self.data, uid, gid)?;
        let give = |dir: &OwnedFd, path: &Path, _: &Stat| {
            let name = path.file_name().ok_or(Errno::INVAL)?;
            chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map(|()| true)
        };
        self.walk(give).map_err(|error| match error {
            Unmeasured::OnPurpose => Errno::NAMETOOLONG,
            Unmeasured::Failed(errno) => errno,
        })
    }

    /// Visits everything below, with the directory it is in and its path, following no symlink, until the visitor
    /// has seen enough.
    fn walk(&self, mut visit: impl FnMut(&OwnedFd, &Path, &Stat) -> Result<bool, Errno>) -> Result<(), Unmeasured> {
        let top = open_below(&self.data, Path::new(".")).map_err(Unmeasured::of_directory)?;
        let mut open = vec![(top, PathBuf::new(), None)];
        while let Some((dir, path, entries)) = open.last_mut() {
            let entries: &mut Dir = match entries {
                Some(entries) => entries,
                None => entries.insert(Dir::read_from(&*dir).map_err(Unmeasured::Failed)?),
            };
            let Some(entry) = entries.next() else {
                open.pop();
                continue;
            };
            let entry = entry.map_err(Unmeasured::Failed)?;
            let name = Path::new(OsStr::from_bytes(entry.file_name().to_bytes()));
            if name == Path::new(".") || name == Path::new("..") {
                continue;
            }
            let path = path.join(name);
            let looked = statat(&*dir, name, AtFlags::SYMLINK_NOFOLLOW);
            // Not by what the directory says of it: some file systems' do not.
            let kind = match looked.and_then(|found| Ok((visit(dir, &path, &found)?, found.st_mode))) {
                Ok((true, mode)) => FileType::from_raw_mode(mode),
                Ok((false, _)) => return Ok(()),
                // Gone since it was listed.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(Unmeasured::of_directory(error)),
            };
            if kind == FileType::Directory {
                let below = open_below(dir, name);
                if open.len() >= DEPTH {
                    return Err(Unmeasured::OnPurpose);
                }
                match below {
                    Ok(below) => open.push((below, path, None)),
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    Err(error) => return Err(Unmeasured::of_directory(error)),
                }
            }
        }
        Ok(())
    }
}

/// Why it is not known what is there.
#[derive(Clone, Copy, Debug)]
enum Unmeasured {
    /// The server made it so: too deep, or closed to its own user, as whom we look.
    OnPurpose,
    /// We could not, which may be our fault or another's.
    Failed(Errno),
}

impl Unmeasured {
    fn of_directory(errno: Errno) -> Self {
        match errno {
            Errno::ACCESS => Self::OnPurpose,
            _ => Self::Failed(errno),
        }
    }
}

/// What file systems say the time is, in milliseconds.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

fn open_below(dir: impl AsFd, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(dir.as_fd(), name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

#[derive(Clone, Copy, Debug, Default)]
struct Found {
    bytes: u64,
    files: u64,
    /// Whether something may have been missed, or seen twice.
    moved: bool,
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
/// Of the last 32, which are eight seconds' worth.
const FAILURES: u32 = 8;
/// A tick of the slowest kernel, doubled.
const TICK_MS: i64 = 20;
/// A server is stopped for at most a twentieth of its time, unless it seems to be over its quota.
const BETWEEN_STOPS: u32 = 19;
/// How long a server can be over its quota unnoticed.
const INTERVAL: Duration = Duration::from_millis(250);
/// Each level takes a descriptor while measuring.
const DEPTH: usize = 64;
