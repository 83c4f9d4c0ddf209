//! The lock of a state directory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A directory that nobody else can lock until this is released or dropped, or its process ends.
///
/// Closing it would leave it locked while it is being measured, or while a process that was just forked has not left its
/// descriptors behind.
#[derive(Debug)]
pub(super) struct Locked(OwnedFd);

impl Locked {
    pub(super) fn new(dir: OwnedFd) -> Result<Self, Errno> {
        flock(&dir, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self(dir))
    }

    pub(super) fn release(&self) {
        // Fails only for what is not open.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.release();
    }
}

impl AsFd for Locked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::fs::File;

    use super::*;

    #[test]
    fn what_was_forked_meanwhile_does_not_keep_it_locked() {
        let path = std::env::temp_dir().join(format!("gigmcp-locked-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let lock = || Locked::new(File::open(&path).unwrap().into());
        let held = lock().unwrap();
        assert_eq!(lock().unwrap_err(), Errno::WOULDBLOCK, "twin: while it is held");
        let forked = held.0.try_clone().unwrap();
        drop(held);
        let again = lock().unwrap();
        drop(forked);
        assert_eq!(lock().unwrap_err(), Errno::WOULDBLOCK, "nor does its end unlock it for others");
        again.release();
        lock().unwrap();
        std::fs::remove_dir(&path).unwrap();
    }
}
