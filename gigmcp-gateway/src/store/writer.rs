//! The thread that writes: writes that wait together share one transaction.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    Flush, Job, SqlError,
    connection::Access,
    counter::{Begun, Counter},
    disk::Disk,
    flush::Flusher,
    reader::{Queue, Served},
};

/// Something to write, whether others follow it, and how it comes to the disk.
pub(super) struct Write {
    pub(super) job: Job,
    pub(super) followed: bool,
    pub(super) flush: Flush,
}

/// The thread that writes.
pub(super) struct Writer {
    served: Served,
    /// Of SQLite; PostgreSQL flushes by itself.
    flusher: Option<Flusher>,
    /// Of PostgreSQL's, PostgreSQL knows.
    disk: Disk,
    changes: Arc<watch::Sender<()>>,
    counter: Arc<Counter>,
    /// What SQLite said of other programs' changes.
    seen: Option<i64>,
    /// Whether commits flush now.
    with_commit: Option<bool>,
}

impl Writer {
    pub(super) fn new(
        served: Served,
        flusher: Option<Flusher>,
        disk: Disk,
        changes: Arc<watch::Sender<()>>,
        counter: Arc<Counter>,
    ) -> Self {
        Self { served, flusher, disk, changes, counter, seen: None, with_commit: None }
    }

    /// The life of the thread.
    pub(super) fn run(&mut self, queue: &Queue<Write>) {
        while let Some(first) = queue.0.next() {
            let with_commit = first.flush == Flush::WithCommit;
            match self.begin(with_commit) {
                Ok(begun) => self.transaction(first, queue, &begun),
                Err(error) => self.refuse(first, queue, &error),
            }
        }
    }

    /// Tells whoever waited for a transaction why none could be begun.
    fn refuse(&self, first: Write, queue: &Queue<Write>, error: &SqlError) {
        self.counter.failed();
        for write in queue.with_first(first, error) {
            (write.job)(Err(error.clone()))(Ok(()));
        }
    }

    fn begin(&mut self, with_commit: bool) -> Result<Begun, SqlError> {
        if self.with_commit != Some(with_commit) {
            self.served.connection.flush_with_commit(with_commit)?;
            self.with_commit = Some(with_commit);
        }
        let connection = self.served.begin(Access::Write)?;
        // A transaction that was left open would keep everybody from writing.
        let seen = connection.changes_of_others().inspect_err(|_| drop(connection.batch("ROLLBACK")))?;
        if self.seen.replace(seen) != Some(seen) {
            self.counter.add();
        }
        Ok(self.counter.begun())
    }

    /// Does all that waits and comes to the disk in the same way. What is undone if it cannot be flushed is not together with
    /// what is told without.
    fn transaction(&self, first: Write, queue: &Queue<Write>, begun: &Begun) {
        let connection = &self.served.connection;
        let before = connection.written();
        let with_commit = first.flush == Flush::WithCommit;
        let alike = |next: &Write| (next.flush == Flush::WithCommit) == with_commit;
        let mut followed = false;
        let mut finishes = Vec::new();
        let mut next = Some(first);
        while let Some(Write { job, followed: is_followed, flush }) = next {
            followed |= is_followed;
            finishes.push((flush, job(Ok(connection))));
            next = if finishes.len() < MAX_BATCH { queue.0.try_next_if(alike) } else { None };
        }
        let wrote = connection.written().since(before);
        let committed = connection.commit(followed);
        // Also when it is said to have failed: a connection that was lost may have committed.
        if with_commit {
            self.counter.add();
        }
        match &committed {
            Ok(()) => self.counter.committed(begun, wrote),
            Err(_) => self.counter.failed(),
        }
        if followed {
            self.changes.send_replace(());
        }
        if committed.as_ref().is_err_and(SqlError::is_failed_flush) {
            self.disk.distrust();
        }
        // It stands, and what it ended is ended; but after a hole in the log a loss of power would bring it back.
        let committed = match with_commit {
            true => committed.and_then(|()| self.disk.check()),
            false => committed,
        };
        let soon = finishes.iter().any(|(flush, _)| *flush == Flush::Soon);
        let mut waiting = Vec::new();
        for (flush, finish) in finishes {
            match (flush, &self.flusher, &committed) {
                (Flush::BeforeTold, Some(_), Ok(())) => waiting.push(finish),
                _ => finish(committed.clone()),
            }
        }
        if let Some(flusher) = &self.flusher
            && (!waiting.is_empty() || (soon && committed.is_ok()))
        {
            flusher.flush(waiting);
        }
    }
}

/// How many waiting changes share one transaction, and so how many of others' one may have to wait for.
pub(super) const MAX_BATCH: usize = 32;
