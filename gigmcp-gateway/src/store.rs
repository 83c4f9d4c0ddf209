//! The database: what is installed, who may use it, sealed secrets and the audit trail.
//!
//! One thread writes and one reads, so no query ever blocks an async worker. Writes that wait
//! together share one transaction: an audit row costs no disk flush of its own under load.

mod audit;
mod profiles;
mod schema;
mod secrets;
mod servers;

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
pub(crate) use profiles::Profile;
pub(crate) use secrets::{SecretKey, SecretRow};

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    #[error("the database {} cannot be opened", .path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("the database {} cannot be created; check the directory's permissions", .path.display())]
    Create { path: PathBuf, source: io::Error },
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
    #[error("the last row of the audit trail could not be written")]
    AuditLost,
    #[error("the database thread has ended")]
    Stopped,
}

type Job = Box<dyn FnOnce(&Connection) -> Finish + Send>;
/// Sends the answer; called after the transaction of a write was committed (`Ok`) or lost (`Err`).
type Finish = Box<dyn FnOnce(Result<(), rusqlite::Error>) + Send>;

/// The open database. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    writer: mpsc::Sender<Job>,
    reader: mpsc::Sender<Job>,
    /// The last row of the audit trail could not be written.
    audit_lost: Arc<AtomicBool>,
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
        let (writer, write_jobs) = mpsc::channel();
        let (reader, read_jobs) = mpsc::channel();
        let start = |name: &str, run: Box<dyn FnOnce() + Send>| {
            thread::Builder::new()
                .name(name.into())
                .spawn(run)
                .map(drop)
                .map_err(|source| StoreError::Create { path: path.to_owned(), source })
        };
        start("gig-db-write", Box::new(move || write_loop(&connection, &write_jobs)))?;
        start("gig-db-read", Box::new(move || read_loop(&readable, &read_jobs)))?;
        Ok(Self { writer, reader, audit_lost: Arc::default() })
    }

    /// Runs a query that changes nothing.
    async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        submit(&self.reader, query).await
    }

    /// Runs a query that changes nothing, blocking the caller.
    fn read_blocking<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, result) = mpsc::channel();
        let job: Job = Box::new(move |connection| {
            drop(answer.send(query(connection)));
            Box::new(|_| {})
        });
        self.reader.send(job).map_err(|_| StoreError::Stopped)?;
        result.recv().map_err(|_| StoreError::Stopped)?
    }

    /// Runs a change; it is on disk when this returns `Ok`, and undone when it returns `Err`.
    async fn write<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let change = move |connection: &Connection| {
            connection.execute_batch("SAVEPOINT job")?;
            let result = change(connection);
            connection.execute_batch(match result {
                Ok(_) => "RELEASE job",
                Err(_) => "ROLLBACK TO job; RELEASE job",
            })?;
            result
        };
        submit(&self.writer, change).await
    }
}

async fn submit<T, F>(queue: &mpsc::Sender<Job>, work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
{
    let (answer, result) = oneshot::channel();
    let job: Job = Box::new(move |connection| {
        let done = work(connection);
        Box::new(move |committed| {
            let done = done.and_then(|value| committed.map(|()| value).map_err(StoreError::Query));
            // The asker may have gone away; the change stands all the same.
            drop(answer.send(done));
        })
    });
    queue.send(job).map_err(|_| StoreError::Stopped)?;
    result.await.map_err(|_| StoreError::Stopped)?
}

fn read_loop(connection: &Connection, jobs: &mpsc::Receiver<Job>) {
    for job in jobs {
        job(connection)(Ok(()));
    }
}

fn write_loop(connection: &Connection, jobs: &mpsc::Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
            first(connection)(Err(error));
            continue;
        }
        let mut finishes = vec![first(connection)];
        while finishes.len() < MAX_BATCH
            && let Ok(next) = jobs.try_recv()
        {
            finishes.push(next(connection));
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

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// How many waiting changes share one transaction.
const MAX_BATCH: usize = 256;
/// How long a change waits for another process, such as the command line, to finish its own.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
