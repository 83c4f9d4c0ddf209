//! Tells that a tree was not touched since it was measured, without reading its content.

use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::extract::names;

/// What the file system says of every entry of a tree: its number, kind, size, and when it last changed (`ctime`).
///
/// Any write, link or change of mode moves `ctime` to the present, and no call sets it to something else: to leave a
/// fingerprint as it was, one must write to the disk below the file system, or set the machine's clock. It is kept in memory
/// only, so that nobody who can write to the store can write one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Fingerprint(Digest);

/// The fingerprint of a tree, if all in it has been as it is for a while. What changed a moment ago could change again
/// within the same tick of the file system's clock.
pub(crate) fn fingerprint(root: &OwnedFd, now: SystemTime) -> rustix::io::Result<Option<Fingerprint>> {
    let mut taken = Taken { measure: Sha256::new(), newest: Duration::ZERO };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(root, ".", flags, Mode::empty())?;
    taken.add(b"", &fstat(&root)?);
    taken.directory(&root)?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let is_settled = taken.newest + SETTLING < now;
    Ok(is_settled.then(|| Fingerprint(Digest::from_sha256(taken.measure))))
}

struct Taken {
    measure: Sha256,
    newest: Duration,
}

impl Taken {
    fn directory(&mut self, dir: &OwnedFd) -> rustix::io::Result<()> {
        for name in names(dir)? {
            let found = statat(dir, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
            self.add(&name, &found);
            if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                self.directory(&openat(dir, &*name, flags, Mode::empty())?)?;
            }
        }
        self.measure.update(u64::MAX.to_be_bytes()); // the end of a directory: no name is as long
        Ok(())
    }

    fn add(&mut self, name: &[u8], found: &Stat) {
        self.measure.update((name.len() as u64).to_be_bytes());
        self.measure.update(name);
        let numbers = [found.st_dev, found.st_ino, found.st_mode.into(), found.st_size as u64];
        let times = [found.st_mtime as u64, found.st_mtime_nsec, found.st_ctime as u64, found.st_ctime_nsec];
        numbers.iter().chain(&times).for_each(|number| self.measure.update(number.to_be_bytes()));
        let changed = Duration::new(found.st_ctime.try_into().unwrap_or(u64::MAX / 2), 0);
        self.newest = self.newest.max(changed);
    }
}

/// Whole seconds are compared, of a clock that may lag by its tick.
const SETTLING: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;
    use crate::extract::open_directory;

    fn taken(dir: &Path) -> Option<Fingerprint> {
        let later = SystemTime::now() + SETTLING + Duration::from_secs(1);
        fingerprint(&open_directory(dir).unwrap(), later).unwrap()
    }

    #[test]
    fn changes_cannot_be_hidden_behind_times_and_sizes() {
        type Change = fn(&Path);
        let changes: &[(&str, Change, bool)] = &[
            ("nothing", |_| {}, true),
            (
                "content, with size and time as before",
                |dir| {
                    let time = fs::metadata(dir.join("a")).unwrap().modified().unwrap();
                    fs::write(dir.join("a"), "evil").unwrap();
                    fs::File::options().write(true).open(dir.join("a")).unwrap().set_modified(time).unwrap();
                },
                false,
            ),
            (
                "another file of that name",
                |dir| {
                    fs::copy(dir.join("a"), dir.join("b")).unwrap();
                    fs::rename(dir.join("b"), dir.join("a")).unwrap();
                },
                false,
            ),
            (
                "a file more and less",
                |dir| {
                    fs::write(dir.join("b"), "").unwrap();
                    fs::remove_file(dir.join("b")).unwrap();
                },
                false,
            ),
            (
                "a symlink",
                |dir| {
                    fs::remove_file(dir.join("d/l")).unwrap();
                    symlink("y", dir.join("d/l")).unwrap();
                },
                false,
            ),
        ];
        for (case, change, same) in changes {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("a"), "good").unwrap();
            fs::create_dir(dir.path().join("d")).unwrap();
            symlink("x", dir.path().join("d/l")).unwrap();
            let before = taken(dir.path());
            assert!(before.is_some(), "{case}");
            wait_for_the_clock_of(dir.path());
            change(dir.path());
            assert_eq!(taken(dir.path()) == before, *same, "{case}");
        }
    }

    #[test]
    fn what_changed_a_moment_ago_has_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "good").unwrap();
        let soon = fs::metadata(dir.path().join("a")).unwrap().modified().unwrap() + Duration::from_secs(1);
        assert_eq!(fingerprint(&open_directory(dir.path()).unwrap(), soon).unwrap(), None);
        assert!(taken(dir.path()).is_some());
    }

    /// Until a change has another time: in use, [`SETTLING`] does that.
    fn wait_for_the_clock_of(dir: &Path) {
        let outside = tempfile::NamedTempFile::new_in(dir.parent().unwrap()).unwrap();
        let before = fs::metadata(dir.join("d")).unwrap().modified().unwrap();
        while outside.as_file().metadata().unwrap().modified().unwrap() <= before + Duration::from_millis(1) {
            fs::write(outside.path(), "x").unwrap();
        }
    }
}
