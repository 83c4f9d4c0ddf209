//! Locks of the kernel's on open files.

use std::fs::{File, TryLockError};
use std::io;
use std::ops::{Deref, DerefMut};

/// A file that is locked until this is dropped, or its process ends.
///
/// Dropping unlocks it. To close it would leave it locked for as long as a process that was just forked has not left its
/// descriptors behind.
#[derive(Debug)]
pub(crate) struct Locked(File);

impl Locked {
    /// Waits until nobody holds it.
    #[cfg(feature = "build")]
    pub(crate) fn alone(file: File) -> io::Result<Self> {
        file.lock()?;
        Ok(Self(file))
    }

    /// Waits until nobody holds it alone.
    pub(crate) fn shared(file: File) -> io::Result<Self> {
        file.lock_shared()?;
        Ok(Self(file))
    }

    /// Nothing, if anybody holds it.
    pub(crate) fn try_alone(file: File) -> io::Result<Option<Self>> {
        Self::tried(file.try_lock(), file)
    }

    /// Nothing, if somebody holds it alone.
    pub(crate) fn try_shared(file: File) -> io::Result<Option<Self>> {
        Self::tried(file.try_lock_shared(), file)
    }

    fn tried(tried: Result<(), TryLockError>, file: File) -> io::Result<Option<Self>> {
        match tried {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Fails only for what is not open.
        let _ = self.0.unlock();
    }
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}
