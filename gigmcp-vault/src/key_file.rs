//! The key ring in a file that only its owner can read.

mod error;
#[cfg(any(fuzzing, test))]
pub(crate) mod laws;
pub(crate) mod private;
pub(crate) mod text;
pub(crate) mod wrapped;

use std::path::Path;

pub use error::{KeyFileError, MalformedKeyFile};
pub use private::Readers;
use zeroize::Zeroizing;

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
        Self::load_shared(path, Readers::Owner)
    }

    /// [`load`](Self::load) for a file that others may have to be able to read too, because an orchestrator or systemd put
    /// it there. See [`Readers`] for whom, and for what is asked instead.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_shared(path: impl AsRef<Path>, readers: Readers) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        let content = private::read(path, readers, MAX_FILE_BYTES)?;
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
        let ring = Self::generate()?;
        ring.save_new(path)?;
        Ok(ring)
    }

    /// Makes the file that holds this ring, as [`create`](Self::create) does for a new one.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn save_new(&self, path: impl AsRef<Path>) -> Result<(), KeyFileError> {
        private::create(path.as_ref(), text::render(self).as_bytes())
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
    /// [`KeyFileError::TooManyKeys`] if nobody could load what would be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), KeyFileError> {
        let path = path.as_ref();
        private::replace(path, self.text_for(path)?.as_bytes())
    }

    fn text_for(&self, path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
        let text = text::render(self);
        let fits = text.len() <= MAX_FILE_BYTES;
        fits.then_some(text).ok_or_else(|| KeyFileError::TooManyKeys { path: path.into(), keys: self.keys().len() })
    }
}

/// Room for some 600 keys. No longer than a secret, so that a wrapped file holds what a plain one does.
const MAX_FILE_BYTES: usize = 64 << 10;
