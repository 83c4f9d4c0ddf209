use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fchmod, fstat, openat, readlinkat, statat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::{EXECUTABLE, PLAIN, TreeDigest};
use crate::digest::Digest;
use crate::extract::names;

/// Why a tree could not be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Something in it could not be read.
    #[error("reading {path:?}")]
    Read {
        /// The path from the root, with unprintable bytes escaped.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// Something is in it that sealing does not leave: another mode, a device, a FIFO, a socket.
    #[error("{path:?} is nothing that was unpacked")]
    Foreign {
        /// The path from the root, with unprintable bytes escaped.
        path: String,
    },
}

/// Takes the right to write from everything, and measures it.
pub(crate) fn seal(root: &OwnedFd) -> Result<TreeDigest, SealError> {
    Walk::new(Directories::Seal).tree(root)
}

/// Measures a sealed tree.
pub(crate) fn measure(root: &OwnedFd) -> Result<TreeDigest, SealError> {
    Walk::new(Directories::AreSealed).tree(root)
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Directories {
    Seal,
    AreSealed,
}

struct Walk {
    directories: Directories,
    measure: Sha256,
    path: Vec<u8>,
    /// Content of files with several names, each of which would otherwise be read.
    linked: HashMap<(u64, u64), Digest>,
}

impl Walk {
    fn new(directories: Directories) -> Self {
        Self { directories, measure: Sha256::new_with_prefix(START), path: Vec::new(), linked: HashMap::new() }
    }

    fn tree(mut self, root: &OwnedFd) -> Result<TreeDigest, SealError> {
        // By a descriptor of its own, because reading a directory moves it.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(root, ".", flags, Mode::empty()).map_err(|error| self.unreadable(error))?;
        self.directory(&root)?;
        Ok(TreeDigest(Digest::from_sha256(self.measure)))
    }

    fn directory(&mut self, dir: &OwnedFd) -> Result<(), SealError> {
        for name in names(dir).map_err(|error| self.unreadable(error))? {
            let parent = self.path.len();
            if parent > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&name);
            self.entry(dir, &name)?;
            self.path.truncate(parent);
        }
        match self.directories {
            Directories::Seal => fchmod(dir, Mode::from_raw_mode(EXECUTABLE)).map_err(|error| self.unreadable(error)),
            Directories::AreSealed => {
                let found = fstat(dir).map_err(|error| self.unreadable(error))?;
                if mode(&found) == EXECUTABLE { Ok(()) } else { Err(self.foreign()) }
            }
        }
    }

    fn entry(&mut self, dir: &OwnedFd, name: &[u8]) -> Result<(), SealError> {
        let found = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| self.unreadable(error))?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => {
                self.record(b'd', &[]);
                let below = self.open(dir, name, OFlags::DIRECTORY)?;
                self.directory(&below)
            }
            FileType::RegularFile => self.file(dir, name),
            FileType::Symlink => {
                let target = readlinkat(dir, name, Vec::new()).map_err(|error| self.unreadable(error))?;
                let target = target.to_bytes();
                self.record(b'l', &[&(target.len() as u32).to_be_bytes(), target]);
                Ok(())
            }
            _ => Err(self.foreign()),
        }
    }

    fn file(&mut self, dir: &OwnedFd, name: &[u8]) -> Result<(), SealError> {
        let file = self.open(dir, name, OFlags::NONBLOCK)?;
        let found = fstat(&file).map_err(|error| self.unreadable(error))?;
        let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        let kind = match mode(&found) {
            PLAIN if is_file => b'f',
            EXECUTABLE if is_file => b'x',
            _ => return Err(self.foreign()),
        };
        let key = (found.st_dev, found.st_ino);
        let content = match self.linked.get(&key) {
            Some(content) if found.st_nlink > 1 => *content,
            _ => content(file).map_err(|source| SealError::Read { path: self.text(), source })?,
        };
        if found.st_nlink > 1 {
            self.linked.insert(key, content);
        }
        self.record(kind, &[&(found.st_mtime as u64).to_be_bytes(), content.as_bytes()]);
        Ok(())
    }

    fn open(&self, dir: &OwnedFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, SealError> {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(dir.as_fd(), name, flags, Mode::empty()).map_err(|error| self.unreadable(error))
    }

    fn record(&mut self, kind: u8, rest: &[&[u8]]) {
        self.measure.update([kind]);
        self.measure.update((self.path.len() as u32).to_be_bytes());
        self.measure.update(&self.path);
        rest.iter().for_each(|part| self.measure.update(part));
    }

    fn text(&self) -> String {
        self.path.escape_ascii().to_string()
    }

    fn unreadable(&self, error: Errno) -> SealError {
        SealError::Read { path: self.text(), source: error.into() }
    }

    fn foreign(&self) -> SealError {
        SealError::Foreign { path: self.text() }
    }
}

fn mode(found: &Stat) -> u32 {
    found.st_mode & 0o7777
}

fn content(file: OwnedFd) -> io::Result<Digest> {
    let mut file = File::from(file);
    let mut digest = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Digest::from_sha256(digest)),
            read => digest.update(&piece[..read]),
        }
    }
}

pub(super) const START: &[u8] = b"gigmcp tree v1\n";
const PIECE_BYTES: usize = 128 << 10;
