//! The database: what is installed, who may use it, sealed secrets and the audit trail.
//!
//! One thread writes and one reads, so no query ever blocks an async worker. Before each, all who ask take turns, so
//! that one who asks for very much delays nobody else. Writes that wait together share one transaction: an audit row
//! costs no disk flush of its own under load.

mod audit;
mod ledger;
mod profiles;
mod schema;
mod secrets;
mod servers;
mod turns;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool, mpsc},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

pub(crate) use audit::AuditRow;
pub(crate) use ledger::{LedgerChange, LedgerRow};
pub(crate) use profiles::Profile;
pub(crate) use secrets::{Rewrapped, SecretKey, SecretRow};
pub(crate) use turns::Asker;
use turns::Turns;

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    #[error("the database {} cannot be opened", .path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("the database {} cannot be created; check the directory's permissions", .path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("the database's log {} cannot be written to the disk", .path.display())]
    Sync { path: PathBuf, source: io::Error },
    #[error("the database {} was written by a newer gigmcp; use that version, or restore a backup", .path.display())]
    Newer { path: PathBuf },
    #[error("the database {} could not be brought to this version's schema", .path.display())]
    Migrate { path: PathBuf, source: Box<refinery::Error> },
    #[error("the database refused the query")]
    Query(#[from] rusqlite::Error),
    #[error("{what} `{name}` already exists")]
    Exists { what: &'static str, name: String },
    #[error("there is no {what} `{name}`{}", list(known))]
    Missing { what: &'static str, name: String, known: Vec<String> },
    #[error("{what} `{name}` in the database cannot be read; it was changed by something else")]
    Corrupt { what: &'static str, name: String },
    #[error("the secrets were changed by somebody else at the same time; try again")]
    Changed,
    #[error("the last row of the audit trail could not be written")]
    AuditLost,
    #[error("too much waits for the database already")]
    Busy,
    #[error("the database thread has ended")]
    Stopped,
}

/// What is done with the connection, or without one when a transaction could not be begun.
type Job = Box<dyn FnOnce(Result<&Connection, rusqlite::Error>) -> Finish + Send>;
/// Sends the answer; called after the transaction of a write was committed (`Ok`) or lost (`Err`).
type Finish = Box<dyn FnOnce(Result<(), rusqlite::Error>) + Send>;

/// The open database, as one of those who take turns with it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    threads: Arc<Threads>,
    asker: Asker,
}

/// What leads to the two threads. They end, when all was done, once nobody has it any more.
struct Threads {
    path: PathBuf,
    writer: Arc<Turns<Job>>,
    reader: Arc<Turns<Job>>,
    /// The last row of the audit trail could not be written.
    audit_lost: AtomicBool,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.writer.close();
        self.reader.close();
    }
}

/// The thread's side of its queue. Nobody waits for a thread that has ended.
struct Queue(Arc<Turns<Job>>);

impl Drop for Queue {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

mod migrations {
    refinery::embed_migrations!("migrations");
}

impl Store {
    /// Opens the database, creating it with mode 0600 when it is missing, and migrates it.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        create_private(path)?;
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        migrate(path, &mut connection)?;
        let readable = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let (writer, reader) = (Arc::new(Turns::new()), Arc::new(Turns::new()));
        let (to_write, to_read) = (Queue(Arc::clone(&writer)), Queue(Arc::clone(&reader)));
        let start = |name: &str, run: Box<dyn FnOnce() + Send>| {
            thread::Builder::new()
                .name(name.into())
                .spawn(run)
                .map(drop)
                .map_err(|source| StoreError::Create { path: path.to_owned(), source })
        };
        start("gig-db-write", Box::new(move || write_loop(&connection, &to_write)))?;
        start("gig-db-read", Box::new(move || read_loop(&readable, &to_read)))?;
        let threads = Threads { path: path.to_owned(), writer, reader, audit_lost: AtomicBool::new(false) };
        Ok(Self { threads: Arc::new(threads), asker: Asker::Gateway })
    }

    /// Returns when all that was committed until now would survive a loss of power, which a commit alone does not promise.
    ///
    /// What is committed lies in the log beside the database until it is moved there, and that is synced. The database's own
    /// file must not be opened here: closing it would give up the locks that this process has on it.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let mut log = self.threads.path.clone().into_os_string();
        log.push("-wal");
        let log = PathBuf::from(log);
        match std::fs::File::open(&log).and_then(|log| log.sync_all()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            synced => synced.map_err(|source| StoreError::Sync { path: log, source }),
        }
    }

    /// The same database in another's turn.
    pub(crate) fn in_turn_of(&self, asker: Asker) -> Self {
        Self { threads: Arc::clone(&self.threads), asker }
    }

    /// Runs a query that changes nothing.
    async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (job, answer) = job(query);
        self.threads.reader.push(self.asker.clone(), job)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    /// Runs a query that changes nothing, blocking the caller.
    fn read_blocking<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, result) = mpsc::channel();
        let job: Job = Box::new(move |connection| {
            drop(answer.send(connection.map_err(StoreError::Query).and_then(query)));
            Box::new(|_| {})
        });
        self.threads.reader.push(self.asker.clone(), job)?;
        result.recv().map_err(|_| StoreError::Stopped)?
    }

    /// Runs a change; it is on disk when this returns `Ok`, and undone when it returns `Err`.
    async fn write<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (job, answer) = job(undone_on_error(change));
        self.threads.writer.push(self.asker.clone(), job)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    /// The same for what must not be turned away.
    async fn write_promised<F>(&self, change: F) -> Result<(), StoreError>
    where
        F: FnOnce(&Connection) -> Result<(), StoreError> + Send + 'static,
    {
        let (job, answer) = job(undone_on_error(change));
        self.threads.writer.push_promised(self.asker.clone(), job)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }
}

/// A change that leaves the others of its transaction alone when it fails.
fn undone_on_error<T>(
    change: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> impl FnOnce(&Connection) -> Result<T, StoreError> {
    |connection| {
        connection.execute_batch("SAVEPOINT job")?;
        let result = change(connection);
        connection.execute_batch(match result {
            Ok(_) => "RELEASE job",
            Err(_) => "ROLLBACK TO job; RELEASE job",
        })?;
        result
    }
}

/// What a thread does, and where its answer comes.
fn job<T, F>(work: F) -> (Job, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
{
    let (answer, result) = oneshot::channel();
    let job: Job = Box::new(move |connection| {
        let done = connection.map_err(StoreError::Query).and_then(work);
        Box::new(move |committed| {
            let done = done.and_then(|value| committed.map(|()| value).map_err(StoreError::Query));
            // The asker may have gone away; the change stands all the same.
            drop(answer.send(done));
        })
    });
    (job, result)
}

fn read_loop(connection: &Connection, queue: &Queue) {
    while let Some(job) = queue.0.next() {
        job(Ok(connection))(Ok(()));
    }
}

fn write_loop(connection: &Connection, queue: &Queue) {
    while let Some(first) = queue.0.next() {
        if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
            first(Err(error))(Ok(()));
            continue;
        }
        let mut finishes = vec![first(Ok(connection))];
        while finishes.len() < MAX_BATCH
            && let Some(next) = queue.0.try_next()
        {
            finishes.push(next(Ok(connection)));
        }
        let committed = connection.execute_batch("COMMIT");
        if committed.is_err() {
            drop(connection.execute_batch("ROLLBACK"));
        }
        for finish in finishes {
            finish(match &committed {
                Ok(()) => Ok(()),
                Err(error) => Err(rusqlite::Error::ToSqlConversionFailure(error.to_string().into())),
            });
        }
    }
}

fn create_private(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |source| StoreError::Create { path: path.to_owned(), source };
    let options = std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    options.map(drop).map_err(failed)
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, StoreError> {
    let failed = |source| StoreError::Open { path: path.to_owned(), source };
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    if mode.contains(OpenFlags::SQLITE_OPEN_READ_WRITE) {
        connection.pragma_update(None, "journal_mode", "wal").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "normal").map_err(failed)?;
    }
    Ok(connection)
}

fn migrate(path: &Path, connection: &mut Connection) -> Result<(), StoreError> {
    let migrated = migrations::migrations::runner().run(connection);
    migrated.map(drop).map_err(|source| match source.kind() {
        // The database has a migration that this program does not know.
        refinery::error::Kind::MissingVersion(_) => StoreError::Newer { path: path.to_owned() },
        _ => StoreError::Migrate { path: path.to_owned(), source: Box::new(source) },
    })
}

fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!("; there are: {}", names.join(", ")),
    }
}

/// Seconds since 1970.
pub(crate) fn now_seconds() -> i64 {
    i64::try_from(since_epoch().as_secs()).unwrap_or(i64::MAX)
}

/// Milliseconds since 1970.
pub(crate) fn now_millis() -> i64 {
    i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX)
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// How many waiting changes share one transaction, and so how many of others' one may have to wait for.
const MAX_BATCH: usize = 32;
/// How long a change waits for another process, such as the command line, to finish its own.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
impl Store {
    /// A new database.
    pub(crate) fn open_for_test() -> (Self, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Self::open(&directory.path().join("gigmcp.db")).expect("a new database");
        store.stays_open();
        (store, directory)
    }

    /// Tests open databases side by side, which SQLite cannot stand while another one is closed: see `Host::open`.
    pub(crate) fn stays_open(&self) {
        std::mem::forget(self.clone());
    }

    /// Makes both threads wait until the answer is dropped.
    pub(crate) async fn hold(&self) -> mpsc::Sender<()> {
        let (release, held) = mpsc::channel();
        let held = Arc::new(std::sync::Mutex::new(held));
        for turns in [&self.threads.reader, &self.threads.writer] {
            let held = Arc::clone(&held);
            let (begun, begins) = oneshot::channel();
            let wait: Job = Box::new(move |_| {
                begun.send(()).expect("it is waited for");
                // Nothing is sent; the end of the sender is waited for.
                let _ = held.lock().expect("not poisoned").recv();
                Box::new(|_| {})
            });
            turns.push(Asker::Gateway, wait).expect("the thread runs");
            begins.await.expect("the thread runs");
        }
        release
    }

    /// How much waits for either thread.
    pub(crate) fn waiting(&self) -> usize {
        self.threads.reader.waiting() + self.threads.writer.waiting()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[tokio::test]
    async fn a_change_that_could_not_begin_is_not_made() {
        let (store, directory) = Store::open_for_test();
        store.write(|connection| Ok(connection.busy_timeout(Duration::ZERO)?)).await.expect("a setting");
        let other = Connection::open(directory.path().join("gigmcp.db")).expect("another program");
        let made = Arc::new(AtomicBool::new(false));
        let make = || {
            let made = Arc::clone(&made);
            store.write(move |_| {
                made.store(true, Ordering::SeqCst);
                Ok(())
            })
        };
        other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
        let refused = make().await;
        assert!(matches!(refused, Err(StoreError::Query(_))) && !made.load(Ordering::SeqCst), "{refused:?}");
        other.execute_batch("ROLLBACK").expect("as it began");
        make().await.expect("twin: nobody else writes");
        assert!(made.load(Ordering::SeqCst));
        std::mem::forget(other); // as `stays_open`
    }

    #[tokio::test]
    async fn a_change_is_made_although_nobody_waits_for_it_any_more() {
        let (store, _directory) = Store::open_for_test();
        let held = store.hold().await;
        let promised = store.write_promised(|connection| Ok(connection.execute_batch("CREATE TABLE kept (x)")?));
        assert!(tokio::time::timeout(Duration::ZERO, promised).await.is_err());
        drop(held);
        store
            .write(|connection| Ok(connection.execute_batch("INSERT INTO kept VALUES (1)")?))
            .await
            .expect("it is there");
    }
}
