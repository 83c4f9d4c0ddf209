//! When what was committed to SQLite is on the disk for good, and who waits for that.
//!
//! A commit without a flush is in the hands of the operating system: it survives the end of this program, whatever kind of end
//! that is, but not a loss of power. What must survive that too is told only after a flush, which this thread makes for all
//! that was committed until then, while the database goes on.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use super::{Finish, StoreError, disk::Disk};

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

/// Whoever waits until what was committed together is flushed.
type Waiting = Vec<Finish>;

/// The way to the thread that flushes. It ends with this.
pub(super) struct Flusher {
    to: Sender<Waiting>,
    /// It has been told of something, and has not begun to flush that yet.
    told: Arc<AtomicBool>,
}

impl Flusher {
    /// Starts the thread.
    pub(super) fn start(log: PathBuf, disk: Disk) -> Result<Self, StoreError> {
        let (to, committed) = channel();
        let told = Arc::<AtomicBool>::default();
        let tells = Arc::clone(&told);
        super::start("gig-db-flush", move || run(&log, &committed, &tells, &disk))?;
        Ok(Self { to, told })
    }

    /// Flushes what was committed, and then tells those who wait.
    pub(super) fn flush(&self, waiting: Waiting) {
        if self.told.swap(true, Ordering::AcqRel) && waiting.is_empty() {
            return;
        }
        // The thread lives as long as this; if it does not, who waits is told that nobody is there.
        drop(self.to.send(waiting));
    }
}

fn run(log: &Path, committed: &Receiver<Waiting>, told: &AtomicBool, disk: &Disk) {
    while let Ok(mut waiting) = committed.recv() {
        if waiting.is_empty() {
            wait_for_more(committed, &mut waiting);
        }
        waiting.extend(committed.try_iter().flatten());
        // What was told until here was committed before; what is committed from now on may not be part of the flush.
        told.swap(false, Ordering::AcqRel);
        let flushed = disk.flush(log);
        waiting.into_iter().for_each(|finish| finish(flushed.clone()));
    }
}

/// While nobody waits, one flush is made for all that is committed in a few milliseconds.
fn wait_for_more(committed: &Receiver<Waiting>, waiting: &mut Waiting) {
    let until = Instant::now() + SOON;
    while waiting.is_empty() {
        match committed.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(more) => waiting.extend(more),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What a loss of power may take of what nobody waits for, beside the time of the flush itself.
const SOON: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::{super::SqlError, *};

    #[test]
    fn who_waits_is_told_whether_it_is_on_the_disk() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("gigmcp.db-wal");
        let disk = Disk::default();
        let flusher = Flusher::start(log.clone(), disk.clone()).expect("a thread");
        let flush = || {
            let (sender, told) = channel();
            flusher.flush(vec![Box::new(move |flushed| sender.send(flushed).expect("it is waited for"))]);
            told.recv().expect("it is told")
        };
        assert!(matches!(flush(), Err(SqlError::NotFlushed)));
        assert!(disk.may_lose(), "no call begins whose row could be lost");
        File::create(&log).expect("a file");
        flush().expect("twin: it can be flushed");
        assert!(!disk.may_lose());
        disk.distrust();
        assert!(matches!(flush(), Err(SqlError::FlushFailed)), "SQLite found that the disk failed");
        assert!(disk.may_lose());
    }

    #[test]
    fn who_tells_of_something_wakes_it_once_until_it_is_flushed() {
        let (to, committed) = channel();
        let flusher = Flusher { to, told: Arc::default() };
        let waits = || -> Waiting { vec![Box::new(|_| {})] };
        for (waiting, messages) in [(Vec::new(), 1), (Vec::new(), 0), (waits(), 1), (Vec::new(), 0), (waits(), 1)] {
            flusher.flush(waiting);
            assert_eq!(committed.try_iter().count(), messages);
        }
        let directory = tempfile::tempdir().expect("a directory");
        let (end, ended) = channel();
        end.send(Vec::new()).expect("it is read");
        drop(end);
        run(&directory.path().join("absent"), &ended, &flusher.told, &Disk::default());
        flusher.flush(Vec::new());
        assert_eq!(committed.try_iter().count(), 1, "what comes after a flush");
    }

    #[test]
    fn what_nobody_waits_for_is_flushed_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = Disk::default();
        let (sender, committed) = channel();
        sender.send(Vec::new()).expect("it is read");
        drop(sender);
        run(&directory.path().join("absent"), &committed, &AtomicBool::new(true), &disk);
        assert!(disk.may_lose(), "it was tried");
    }
}
