//! The key ring in a file that only its owner can read.

mod error;
mod text;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

pub use error::{KeyFileError, MalformedKeyFile};

use crate::key_ring::KeyRing;

impl KeyRing {
    /// Reads a key file.
    ///
    /// The file must be a regular file, not a symbolic link, owned by the effective user or root, with no permission
    /// for group or others, and hold exactly the format of `FORMAT.md`.
    ///
    /// # Errors
    /// [`KeyFileError`] says what is wrong with which file, and the fix.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        // Without NONBLOCK, opening a FIFO would hang before it could be seen to be one.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)
            .map_err(|source| KeyFileError::opening(path, source))?;
        check(path, &file)?;
        let mut content = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES + 1));
        file.take(MAX_FILE_BYTES as u64 + 1)
            .read_to_end(&mut content)
            .map_err(|source| KeyFileError::io("reading", path, source))?;
        text::parse(&content).map_err(|(line, problem)| KeyFileError::Malformed { path: path.into(), line, problem })
    }

    /// Makes a new key ring and the file that holds it, mode 0600. Never touches a file that is there already.
    ///
    /// Missing parent directories are made with mode 0700. The file appears whole or not at all, and is synced to disk
    /// with its directory before the ring is returned, so no secret is sealed under a key that a power cut can take
    /// away. The file system must know hard links.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] if the path is taken, by whatever; otherwise what could not be done to which file.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        let ring = Self::generate()?;
        let directory = directory_of(path);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| KeyFileError::io("making the directory of", path, source))?;
        // A file that is there must be whole, also for a process that starts at the same time: written under a
        // name of its own, then linked to the right one, which fails if that is taken.
        let mut suffix = [0; 8];
        getrandom::fill(&mut suffix)?;
        let new = with_suffix(path, &format!(".{}.new", hex::encode(suffix)));
        write_new(&new, &ring)?;
        let linked = fs::hard_link(&new, path);
        remove_unfinished(&new);
        linked.map_err(|source| KeyFileError::creating(path, source))?;
        sync_directory(directory)?;
        Ok(ring)
    }

    /// [`load`](Self::load), or [`create`](Self::create) if there is no file. Two processes that start together agree
    /// on one ring.
    ///
    /// # Errors
    /// As those two; a file that is there but wrong is an error, never replaced.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        match Self::load(path) {
            Err(KeyFileError::Missing { .. }) => {}
            loaded => return loaded,
        }
        match Self::create(path) {
            Err(KeyFileError::Exists { .. }) => Self::load(path),
            created => created,
        }
    }

    /// Replaces the file at `path` with this ring, atomically: after a crash it holds the old ring or the new one.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] names a left-over `PATH.new`: another replacement is running or was interrupted.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), KeyFileError> {
        let path = path.as_ref();
        let new = with_suffix(path, ".new");
        write_new(&new, self)?;
        if let Err(source) = fs::rename(&new, path) {
            remove_unfinished(&new);
            return Err(KeyFileError::io("replacing", path, source));
        }
        sync_directory(directory_of(path))
    }
}

fn check(path: &Path, file: &File) -> Result<(), KeyFileError> {
    let found = file.metadata().map_err(|source| KeyFileError::io("examining", path, source))?;
    if !found.is_file() {
        return Err(KeyFileError::NotRegular { path: path.into() });
    }
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user && found.uid() != 0 {
        return Err(KeyFileError::WrongOwner { path: path.into(), owner: found.uid(), user });
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::OpenToOthers { path: path.into(), mode });
    }
    Ok(())
}

fn write_new(path: &Path, ring: &KeyRing) -> Result<(), KeyFileError> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|source| KeyFileError::creating(path, source))?;
    let written = file
        .set_permissions(fs::Permissions::from_mode(0o600)) // a umask may have taken more away
        .and_then(|()| file.write_all(text::render(ring).as_bytes()))
        .and_then(|()| file.sync_all());
    written.map_err(|source| {
        remove_unfinished(path);
        KeyFileError::io("writing", path, source)
    })
}

/// The error that led here is the one to report; a file that cannot be removed is named by the next attempt.
fn remove_unfinished(path: &Path) {
    drop(fs::remove_file(path));
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn sync_directory(directory: &Path) -> Result<(), KeyFileError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| KeyFileError::io("syncing the directory", directory, source))
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Room for some 600 keys.
const MAX_FILE_BYTES: usize = 64 << 10;
