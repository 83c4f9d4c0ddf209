//! An image's tree: hostile until shown otherwise.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat2, readlinkat, stat, statat};
use rustix::io::Errno;

use crate::plan::{ETC_FILES, Root, inside};
use crate::protocol::Step;
use crate::{RootfsRefusal, SpawnError};

/// Adds the image's top-level entries to the root, each checked and bound by itself, and a copy
/// of its `/etc` with our files in place of its own.
pub(crate) fn plan(root: &mut Root, dir: &Path) -> Result<(), SpawnError> {
    let image = Image::open(dir)?;
    for name in image.names(&image.top)? {
        let below = Path::new(&name);
        let path = Path::new("/").join(below);
        if IGNORED.iter().any(|ignored| below == Path::new(ignored)) || root.own.contains(&path) {
            continue;
        }
        match image.kind(&image.top, below)? {
            FileType::Directory if below == Path::new("etc") => image.copy_etc(root)?,
            _ if below == Path::new("etc") => {
                return Err(image.refused(RootfsRefusal::EtcNotADirectory));
            }
            FileType::Directory | FileType::RegularFile => root.bind_beneath(&path, dir, below),
            FileType::Symlink => {
                let target = image.link(&image.top, below)?;
                if !stays_inside(&target) {
                    return Err(image.refused(RootfsRefusal::EscapingSymlink));
                }
                root.symlink(&path, &target);
            }
            FileType::Socket
            | FileType::Fifo
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => return Err(image.refused(RootfsRefusal::Special)),
        }
    }
    Ok(())
}

struct Image<'a> {
    dir: &'a Path,
    top: OwnedFd,
}

impl<'a> Image<'a> {
    fn open(dir: &'a Path) -> Result<Self, SpawnError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat2(CWD, dir, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
            Ok(top) if dir.is_absolute() => {
                let image = Self { dir, top };
                if image.is_the_hosts_root() { Err(image.refused(RootfsRefusal::Host)) } else { Ok(image) }
            }
            Ok(_) | Err(Errno::NOTDIR) => {
                Err(SpawnError::RefusedRootfs { path: dir.to_owned(), why: RootfsRefusal::WrongKind })
            }
            Err(error) => Err(SpawnError::Read { path: dir.to_owned(), source: error.into() }),
        }
    }

    /// By whatever path: what would be shown is everything.
    fn is_the_hosts_root(&self) -> bool {
        match (fstat(&self.top), stat("/")) {
            (Ok(top), Ok(root)) => (top.st_dev, top.st_ino) == (root.st_dev, root.st_ino),
            _ => true,
        }
    }

    fn refused(&self, why: RootfsRefusal) -> SpawnError {
        SpawnError::RefusedRootfs { path: self.dir.to_owned(), why }
    }

    fn unreadable(&self, below: &Path, error: Errno) -> SpawnError {
        SpawnError::Read { path: self.dir.join(below), source: error.into() }
    }

    fn names(&self, dir: &OwnedFd) -> Result<Vec<PathBuf>, SpawnError> {
        let failed = |error| self.unreadable(Path::new(""), error);
        let mut names = Vec::new();
        for entry in Dir::read_from(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                if names.len() == DIRECTORY_ENTRIES {
                    return Err(self.refused(RootfsRefusal::TooManyEntries));
                }
                names.push(PathBuf::from(std::ffi::OsStr::from_bytes(name)));
            }
        }
        names.sort();
        Ok(names)
    }

    fn kind(&self, dir: &OwnedFd, name: &Path) -> Result<FileType, SpawnError> {
        let found = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let found = found.map_err(|error| self.unreadable(name, error))?;
        Ok(FileType::from_raw_mode(found.st_mode))
    }

    fn link(&self, dir: &OwnedFd, name: &Path) -> Result<PathBuf, SpawnError> {
        let target = readlinkat(dir, name, Vec::new());
        let target = target.map_err(|error| self.unreadable(name, error))?;
        Ok(PathBuf::from(std::ffi::OsStr::from_bytes(target.to_bytes())))
    }

    fn open_below(&self, dir: &OwnedFd, name: &Path, flags: OFlags) -> Result<OwnedFd, SpawnError> {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(dir.as_fd(), name, flags, Mode::empty(), resolve).map_err(|error| self.unreadable(name, error))
    }

    /// Copies `/etc` entry by entry, so that our files win and no mount point lies in it.
    fn copy_etc(&self, root: &mut Root) -> Result<(), SpawnError> {
        let etc = self.open_below(&self.top, Path::new("etc"), OFlags::DIRECTORY)?;
        let ours = ETC_FILES.iter().map(|(name, _)| PathBuf::from(name));
        let skipped: BTreeSet<PathBuf> = ours.chain(SECRETS.iter().map(PathBuf::from)).collect();
        let mut budget = Budget { entries: ETC_ENTRIES, bytes: ETC_BYTES };
        // Paths and not descriptors, of which a hostile image could have us hold thousands.
        let mut left = vec![PathBuf::new()];
        while let Some(below) = left.pop() {
            let dir = match below.as_os_str().is_empty() {
                true => self.open_below(&etc, Path::new("."), OFlags::DIRECTORY)?,
                false => self.open_below(&etc, &below, OFlags::DIRECTORY)?,
            };
            for name in self.names(&dir)? {
                let path = below.join(&name);
                if skipped.contains(&path) {
                    continue;
                }
                budget.entry().ok_or_else(|| self.refused(RootfsRefusal::EtcTooLarge))?;
                let to = Path::new("/etc").join(&path);
                let kind = self.kind(&dir, &name)?;
                if root.replaces(&to) || kind != FileType::Directory && root.blocks(&to) {
                    continue;
                }
                match kind {
                    FileType::Directory => {
                        root.steps.push(Step::Dir { to: inside(&to), mode: 0o755 });
                        left.push(path);
                    }
                    FileType::RegularFile => {
                        let file = self.open_below(&dir, &name, OFlags::empty())?;
                        let content = self.content(&path, file, &mut budget)?;
                        root.steps.push(Step::File { to: inside(&to), mode: 0o444, content });
                    }
                    // Resolved inside, by the server, where it can lead nowhere else.
                    FileType::Symlink => root.symlink(&to, &self.link(&dir, &name)?),
                    FileType::Socket
                    | FileType::Fifo
                    | FileType::CharacterDevice
                    | FileType::BlockDevice
                    | FileType::Unknown => return Err(self.refused(RootfsRefusal::Special)),
                }
            }
        }
        Ok(())
    }

    fn content(&self, path: &Path, file: OwnedFd, budget: &mut Budget) -> Result<Vec<u8>, SpawnError> {
        let found = fstat(&file).map_err(|error| self.unreadable(path, error))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(self.refused(RootfsRefusal::Special));
        }
        let mut content = Vec::new();
        File::from(file)
            .take(budget.bytes + 1)
            .read_to_end(&mut content)
            .map_err(|source| SpawnError::Read { path: self.dir.join(path), source })?;
        budget.bytes =
            budget.bytes.checked_sub(content.len() as u64).ok_or_else(|| self.refused(RootfsRefusal::EtcTooLarge))?;
        Ok(content)
    }
}

struct Budget {
    entries: usize,
    bytes: u64,
}

impl Budget {
    fn entry(&mut self) -> Option<()> {
        self.entries = self.entries.checked_sub(1)?;
        Some(())
    }
}

/// Whether a symlink in the root directory stays in the image: absolute targets are resolved
/// inside, relative ones must not climb.
fn stays_inside(target: &Path) -> bool {
    let mut depth = 0_i32;
    for part in target.components() {
        match part {
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
        if depth < 0 {
            return false;
        }
    }
    !target.as_os_str().is_empty()
}

/// Top-level entries that the sandbox makes itself.
const IGNORED: &[&str] = &["proc", "dev", "sys", "tmp", "run", ".gig"];
/// Files of `/etc` that no server needs.
const SECRETS: &[&str] = &["shadow", "shadow-", "gshadow", "gshadow-", "mtab"];
/// In one directory that is read: the top, or one of `/etc`.
const DIRECTORY_ENTRIES: usize = 4096;
const ETC_ENTRIES: usize = 8192;
const ETC_BYTES: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_level_symlinks_stay_inside_or_are_refused() {
        for (target, expected) in [
            ("usr/bin", true),
            ("/usr/bin", true),
            ("usr/../lib", true),
            ("../etc", false),
            ("usr/../../etc", false),
            ("", false),
        ] {
            assert_eq!(stays_inside(Path::new(target)), expected, "{target}");
        }
    }
}
