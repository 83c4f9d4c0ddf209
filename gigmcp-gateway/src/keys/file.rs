//! Changing the key file: one at a time, and always whole.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use gigmcp_vault::{KeyFileError, KeyRing};

use super::{MasterKey, MasterKeyError};

/// The key file while nobody else of gigmcp changes it. Two who rotate at the same time would lose one's key.
#[derive(Debug)]
pub(crate) struct KeyFile {
    key: MasterKey,
    path: PathBuf,
    /// The lock is the directory's: the file itself is replaced.
    directory: File,
}

impl KeyFile {
    pub(super) fn lock(key: MasterKey, path: PathBuf) -> Result<Self, MasterKeyError> {
        if path.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
            return Err(MasterKeyError::Link { path });
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = |source| MasterKeyError::Lock { path: path.clone(), source };
        let directory = match File::open(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeyFileError::Missing { path }.into());
            }
            opened => opened.map_err(failed)?,
        };
        match directory.try_lock() {
            Ok(()) => Ok(Self { key, path, directory }),
            Err(TryLockError::WouldBlock) => Err(MasterKeyError::Locked { path }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) async fn load(&self) -> Result<KeyRing, MasterKeyError> {
        self.key.load().await
    }

    /// Reads a file that is not wrapped yet.
    pub(crate) fn load_plain(&self) -> Result<KeyRing, MasterKeyError> {
        Ok(KeyRing::load(&self.path)?)
    }

    /// Puts the ring in the place of the one in the file, wrapped as the settings say. It is on the disk when this returns.
    pub(crate) async fn replace(&self, ring: &KeyRing) -> Result<(), MasterKeyError> {
        self.clear()?;
        match self.key.wrap.open()? {
            None => ring.save(&self.path)?,
            Some(wrap) => ring.save_wrapped(&self.path, &*wrap).await?,
        }
        Ok(())
    }

    /// Has what wraps the file wrap its key anew. `false` if nothing wraps it.
    pub(crate) async fn rewrap(&self) -> Result<bool, MasterKeyError> {
        self.clear()?;
        match self.key.wrap.open()? {
            None => Ok(false),
            Some(wrap) => {
                KeyRing::rewrap_file(&self.path, &*wrap).await.map_err(|error| self.key.explained(error))?;
                Ok(true)
            }
        }
    }

    /// What a replacement leaves behind that was killed. No secret was sealed with a key that is in there only: those who
    /// replace the file wait for its end before they seal.
    fn clear(&self) -> Result<(), MasterKeyError> {
        let mut left = self.path.clone().into_os_string();
        left.push(".new");
        let left = PathBuf::from(left);
        match fs::remove_file(&left) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(MasterKeyError::LeftOver { path: left, source })
            }
            _ => Ok(()),
        }
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        // Closing it would not do while a process that was just forked has not left its descriptors behind.
        let _ = self.directory.unlock();
    }
}

impl MasterKey {
    /// Makes a file of the ring at `path`, wrapped as the settings say; never in the place of another.
    pub(crate) async fn write_new(&self, path: &Path, ring: &KeyRing) -> Result<(), MasterKeyError> {
        match self.wrap.open()? {
            None => ring.save_new(path)?,
            Some(wrap) => ring.save_new_wrapped(path, &*wrap).await?,
        }
        Ok(())
    }

    /// Whether something wraps the file.
    pub(crate) fn is_wrapped(&self) -> bool {
        !matches!(self.wrap, super::WrapSettings::Nothing)
    }
}
