//! The tree while it is written.

mod file;
mod lower;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, linkat, mkdirat, openat, openat2, statat, symlinkat};
use rustix::io::Errno;

pub(super) use file::NewFile;
pub(super) use lower::Touched;

use super::error::Fault;
use super::whiteout::is_plain;
use super::{ExtractError, names, open_directory};
use crate::remove::remove_all;
use crate::tar::{EntryPath, LayerRefusal};

/// A directory that an image is unpacked into. Everything is reached from its descriptor.
pub(super) struct Tree {
    pub(super) root: OwnedFd,
    /// The directory that was used last: most entries are beside the one before.
    parent: Option<(Box<[u8]>, Rc<OwnedFd>)>,
    /// Directories that were made on the way to an entry, and have none of their own.
    pub(super) implied: u64,
}

impl Tree {
    pub(super) fn open(path: &Path) -> Result<Self, ExtractError> {
        let failed = |error: Errno| ExtractError::Open(error.into());
        let root = open_directory(path).map_err(failed)?;
        if !names(&root).map_err(failed)?.is_empty() {
            return Err(failed(Errno::NOTEMPTY));
        }
        if folds_names(&root).map_err(failed)? {
            return Err(ExtractError::FoldsNames);
        }
        Ok(Self { root, parent: None, implied: 0 })
    }

    pub(super) fn directory(&mut self, path: &EntryPath) -> Result<(), Fault> {
        let (parent, name) = self.parent(path)?;
        match mkdirat(&parent, name, WRITABLE) {
            Err(Errno::EXIST) if kind(&parent, name)? == Some(FileType::Directory) => Ok(()),
            Err(Errno::EXIST) => {
                self.remove(path)?;
                mkdirat(&parent, name, WRITABLE).map_err(Fault::write)
            }
            made => made.map_err(Fault::write),
        }
    }

    /// A new file, in place of what was there: other links to that keep their content.
    pub(super) fn file(&mut self, path: &EntryPath) -> Result<NewFile, Fault> {
        let (parent, name) = self.parent(path)?;
        let create = || {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(&parent, name, flags, Mode::RUSR | Mode::WUSR)
        };
        match create() {
            Err(Errno::EXIST) => {
                self.remove(path)?;
                create()
            }
            made => made,
        }
        .map(NewFile::new)
        .map_err(Fault::write)
    }

    pub(super) fn symlink(&mut self, path: &EntryPath, target: &[u8]) -> Result<(), Fault> {
        let (parent, name) = self.parent(path)?;
        match symlinkat(target, &parent, name) {
            Err(Errno::EXIST) => {
                self.remove(path)?;
                symlinkat(target, &parent, name).map_err(Fault::write)
            }
            made => made.map_err(Fault::write),
        }
    }

    pub(super) fn hard_link(&mut self, path: &EntryPath, target: &EntryPath) -> Result<(), Fault> {
        let (target_dir, target_name) = target.split();
        if target.is_root() || target == path || !is_plain(target) {
            return Err(LayerRefusal::HardLink.into());
        }
        let from = self.existing(target_dir)?.ok_or(LayerRefusal::HardLink)?;
        if !matches!(kind(&from, target_name)?, Some(FileType::RegularFile | FileType::Symlink)) {
            return Err(LayerRefusal::HardLink.into());
        }
        let (parent, name) = self.parent(path)?;
        let link = || match linkat(&from, target_name, &parent, name, AtFlags::empty()) {
            // It was below what it is to replace.
            Err(Errno::NOENT) => Err(LayerRefusal::HardLink.into()),
            made => made.map_err(Fault::write),
        };
        if kind(&parent, name)?.is_some() {
            self.remove(path)?;
        }
        link()
    }

    /// Removes whatever is there.
    pub(super) fn remove(&mut self, path: &EntryPath) -> Result<(), Fault> {
        let (dir, name) = path.split();
        match self.existing(dir)? {
            Some(parent) => self.remove_at(&parent, name),
            None => Ok(()),
        }
    }

    fn remove_at(&mut self, parent: impl AsFd, name: &[u8]) -> Result<(), Fault> {
        self.parent = None; // it may be what is removed
        remove_all(parent, name).map_err(Fault::write)
    }

    /// The directory that an entry is in, made if need be.
    fn parent<'p>(&mut self, path: &'p EntryPath) -> Result<(Rc<OwnedFd>, &'p [u8]), Fault> {
        let (dir, name) = path.split();
        if let Some(found) = self.existing(dir)? {
            return Ok((found, name));
        }
        let mut at = Rc::new(open_beneath(self.root.as_fd(), b".").map_err(Fault::write)?);
        for part in dir.split(|byte| *byte == b'/') {
            match mkdirat(&at, part, WRITABLE) {
                Ok(()) => self.implied += 1,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(Fault::write(error)),
            }
            at = Rc::new(open_beneath(at.as_fd(), part).map_err(Fault::write)?);
        }
        self.parent = Some((dir.into(), Rc::clone(&at)));
        Ok((at, name))
    }

    /// A directory, if it is there. Something else in its place, or on the way, is refused.
    fn existing(&mut self, dir: &[u8]) -> Result<Option<Rc<OwnedFd>>, Fault> {
        if let Some((known, descriptor)) = &self.parent
            && **known == *dir
        {
            return Ok(Some(Rc::clone(descriptor)));
        }
        match open_beneath(self.root.as_fd(), if dir.is_empty() { b"." } else { dir }) {
            Ok(descriptor) => {
                let descriptor = Rc::new(descriptor);
                self.parent = Some((dir.into(), Rc::clone(&descriptor)));
                Ok(Some(descriptor))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(self.why_not(dir)?.into()),
            Err(error) => Err(Fault::write(error)),
        }
    }

    /// What is in the way to a directory.
    fn why_not(&self, dir: &[u8]) -> Result<LayerRefusal, Fault> {
        let mut at = open_beneath(self.root.as_fd(), b".").map_err(Fault::write)?;
        for part in dir.split(|byte| *byte == b'/') {
            match kind(&at, part)? {
                Some(FileType::Symlink) => return Ok(LayerRefusal::ThroughSymlink),
                Some(FileType::Directory) => at = open_beneath(at.as_fd(), part).map_err(Fault::write)?,
                _ => break,
            }
        }
        Ok(LayerRefusal::BelowFile)
    }
}

/// A directory below another one, by real directories of the same file system only.
fn open_beneath(dir: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    openat2(dir, path, flags, Mode::empty(), resolve)
}

fn kind(dir: impl AsFd, name: &[u8]) -> Result<Option<FileType>, Fault> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(Fault::write(error)),
    }
}

/// Whether the file system takes names that differ for the same: then one entry would quietly replace another.
fn folds_names(root: &OwnedFd) -> Result<bool, Errno> {
    let made = ["a", "\u{e4}"];
    let other = ["A", "a\u{308}"];
    for name in made {
        mkdirat(root, name, WRITABLE)?;
    }
    let found = other.iter().any(|name| statat(root, *name, AtFlags::SYMLINK_NOFOLLOW).is_ok());
    for name in made {
        remove_all(root, name.as_bytes())?;
    }
    Ok(found)
}

/// Of directories until the tree is sealed.
const WRITABLE: Mode = Mode::RWXU;
