//! Whether the disk is still believed when it says that it kept something.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::SqlError;

/// What is known of the disk under SQLite, by all who write to it.
///
/// Linux tells once that a flush failed, forgets what it could not write, and says of the next flush that all is well
/// (<https://wiki.postgresql.org/wiki/Fsync_Errors>). What was written then may be missing in the middle of the log, and what
/// comes after it would not be found again, however it was flushed. So the disk is not believed again until the program is
/// started anew, which reads what there is.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Found>);

#[derive(Debug, Default)]
struct Found {
    /// The last flush failed.
    last: AtomicBool,
    /// The kernel said once that it could not keep something.
    ever: AtomicBool,
}

impl Disk {
    /// Believes it no more.
    pub(super) fn distrust(&self) {
        if !self.0.ever.swap(true, Ordering::SeqCst) {
            tracing::error!(
                "the disk did not keep what was written, so no change is believed to be kept, and no call is made that the audit trail could lose: look at the disk, then start again"
            );
        }
    }

    /// Whether what was just flushed is there after a loss of power.
    pub(super) fn check(&self) -> Result<(), SqlError> {
        if self.0.ever.load(Ordering::SeqCst) { Err(SqlError::FlushFailed) } else { Ok(()) }
    }

    /// Whether what is written now may be lost.
    pub(super) fn may_lose(&self) -> bool {
        self.0.last.load(Ordering::Relaxed) || self.check().is_err()
    }

    /// Flushes what lies in the log.
    pub(super) fn flush(&self, log: &Path) -> Result<(), SqlError> {
        self.check()?;
        let flushed = self.sync(log).map_err(|error| {
            tracing::error!("the database's log {} cannot be written to the disk: {error}", log.display());
            SqlError::NotFlushed
        });
        self.0.last.store(flushed.is_err(), Ordering::Relaxed);
        // Somebody else may have been told meanwhile what the kernel does not say twice.
        flushed.and_then(|()| self.check())
    }

    /// The same, with what the kernel says. Where there is no log, nothing failed.
    pub(super) fn sync(&self, log: &Path) -> io::Result<()> {
        File::open(log)?.sync_data().inspect_err(|_| self.distrust())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_failed_once_is_not_believed_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("gigmcp.db-wal");
        let disk = Disk::default();
        assert!(matches!(disk.flush(&log), Err(SqlError::NotFlushed)), "there is none");
        File::create(&log).expect("a file");
        disk.flush(&log).expect("twin: it was not the disk");
        disk.check().expect("twin");
        std::fs::remove_file(&log).expect("it is there");
        // What the kernel cannot flush.
        std::os::unix::fs::symlink("/proc/self/stat", &log).expect("a link");
        assert!(matches!(disk.flush(&log), Err(SqlError::NotFlushed)));
        std::fs::remove_file(&log).expect("it is there");
        File::create(&log).expect("a file");
        assert!(matches!(disk.flush(&log), Err(SqlError::FlushFailed)), "although it could be flushed now");
        assert!(matches!(disk.clone().check(), Err(SqlError::FlushFailed)), "and for all who have it");
    }
}
