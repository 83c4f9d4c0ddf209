//! When what was committed to SQLite is on the disk for good, and who waits for that.
//!
//! A commit without a flush is in the hands of the operating system: it survives the end of this program, whatever kind of end
//! that is, but not a loss of power. What must survive that too is told only after a flush, which this thread makes for all
//! that was committed until then, while the database goes on.

use std::{
    fs::File,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use super::{Finish, SqlError, StoreError};

/// Whether a write is told before it is on the disk for good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flush {
    /// The commit flushes; what could not be flushed is undone.
    WithCommit,
    /// After the commit, and before it is told.
    BeforeTold,
    /// A moment after it was told: a loss of power in this moment takes it.
    Soon,
    /// There is nothing to flush: only a question whether something could be written.
    Nothing,
}

/// What was committed together and not flushed, and whether SQLite found that the disk failed.
struct Committed {
    waiting: Vec<Finish>,
    disk: Disk,
}

/// The way to the thread that flushes. It ends with this.
pub(super) struct Flusher(Sender<Committed>);

impl Flusher {
    /// Starts the thread. `failed` says whether the last flush did.
    pub(super) fn start(log: PathBuf, failed: Arc<AtomicBool>) -> Result<Self, StoreError> {
        let (sender, committed) = channel();
        super::start("gig-db-flush", move || run(&log, &committed, &failed))?;
        Ok(Self(sender))
    }

    /// Flushes what was committed, and then tells those who wait.
    pub(super) fn flush(&self, waiting: Vec<Finish>) {
        // The thread lives as long as this; if it does not, who waits is told that nobody is there.
        drop(self.0.send(Committed { waiting, disk: Disk::Sound }));
    }

    /// Believes the disk no more: a flush with a commit failed.
    pub(super) fn distrust(&self) {
        drop(self.0.send(Committed { waiting: Vec::new(), disk: Disk::Failed }));
    }
}

fn run(log: &PathBuf, committed: &Receiver<Committed>, failed: &AtomicBool) {
    let mut disk = Disk::Sound;
    while let Ok(first) = committed.recv() {
        let mut all = first;
        if all.waiting.is_empty() {
            wait_for_more(committed, &mut all);
        }
        committed.try_iter().for_each(|more| all.add(more));
        let Committed { waiting, disk: found } = all;
        disk = disk.and(found);
        let flushed = disk.flush(log);
        failed.store(flushed.is_err(), Ordering::Relaxed);
        waiting.into_iter().for_each(|finish| finish(flushed.clone()));
    }
}

impl Committed {
    fn add(&mut self, more: Self) {
        self.waiting.extend(more.waiting);
        self.disk = self.disk.and(more.disk);
    }
}

/// What a flush may be believed of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Disk {
    Sound,
    /// A flush failed once. Linux tells so once, forgets what it could not write, and says of the next flush that all is well
    /// (<https://wiki.postgresql.org/wiki/Fsync_Errors>). What was written then may be missing in the middle of the log, and
    /// what comes after it would not be found again.
    Failed,
}

impl Disk {
    fn and(self, other: Self) -> Self {
        if other == Self::Failed { other } else { self }
    }

    fn flush(&mut self, log: &PathBuf) -> Result<(), SqlError> {
        if *self == Self::Failed {
            return Err(SqlError::FlushFailed);
        }
        let unwritten = |error| {
            tracing::error!("the database's log {} cannot be written to the disk: {error}", log.display());
            SqlError::NotFlushed
        };
        let log = File::open(log).map_err(unwritten)?;
        log.sync_data().map_err(|error| {
            *self = Self::Failed;
            tracing::error!(
                "no call is made any more that the audit trail could lose: look at the disk, then start again"
            );
            unwritten(error)
        })
    }
}

/// While nobody waits, one flush is made for all that is committed in a few milliseconds.
fn wait_for_more(committed: &Receiver<Committed>, all: &mut Committed) {
    let until = Instant::now() + SOON;
    while all.waiting.is_empty() {
        match committed.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(more) => all.add(more),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What a loss of power may take of what nobody waits for, beside the time of the flush itself.
const SOON: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_whether_it_is_on_the_disk() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("gigmcp.db-wal");
        let failed = Arc::<AtomicBool>::default();
        let flusher = Flusher::start(log.clone(), Arc::clone(&failed)).expect("a thread");
        let flush = || {
            let (sender, told) = channel();
            flusher.flush(vec![Box::new(move |flushed| sender.send(flushed).expect("it is waited for"))]);
            told.recv().expect("it is told")
        };
        assert!(matches!(flush(), Err(SqlError::NotFlushed)));
        assert!(failed.load(Ordering::SeqCst), "no call begins whose row could be lost");
        File::create(&log).expect("a file");
        flush().expect("twin: it can be flushed");
        assert!(!failed.load(Ordering::SeqCst));
        flusher.distrust();
        assert!(matches!(flush(), Err(SqlError::FlushFailed)), "SQLite found that the disk failed");
        assert!(failed.load(Ordering::SeqCst));
    }

    #[test]
    fn a_disk_that_failed_once_is_not_believed_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("gigmcp.db-wal");
        let mut disk = Disk::Sound;
        assert!(matches!(disk.flush(&log), Err(SqlError::NotFlushed)), "there is none");
        File::create(&log).expect("a file");
        disk.flush(&log).expect("twin: it was not the disk");
        std::fs::remove_file(&log).expect("it is there");
        // What the kernel cannot flush.
        std::os::unix::fs::symlink("/proc/self/stat", &log).expect("a link");
        assert!(matches!(disk.flush(&log), Err(SqlError::NotFlushed)));
        std::fs::remove_file(&log).expect("it is there");
        File::create(&log).expect("a file");
        assert!(matches!(disk.flush(&log), Err(SqlError::FlushFailed)), "although it could be flushed now");
    }

    #[test]
    fn what_nobody_waits_for_is_flushed_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let failed = Arc::<AtomicBool>::default();
        let (sender, committed) = channel();
        sender.send(Committed { waiting: Vec::new(), disk: Disk::Sound }).expect("it is read");
        drop(sender);
        run(&directory.path().join("absent"), &committed, &failed);
        assert!(failed.load(Ordering::SeqCst), "it was tried");
    }
}
