//! The database: what is installed, who may use it, sealed secrets and the audit trail.
//!
//! One thread writes and one reads, so no query ever blocks an async worker. Before each, all who ask take turns, so
//! that one who asks for very much delays nobody else. Writes that wait together share one transaction, and a third thread
//! flushes what may be flushed later: an audit row costs no disk flush of its own under load.

mod address;
mod admissions;
mod api_keys;
mod audit;
mod audit_search;
mod catalog;
mod catalogues;
mod cell;
mod connection;
mod copy;
mod counted;
mod counter;
mod devices;
mod disk;
mod error;
mod flush;
mod heads;
mod holdings;
mod idempotency;
mod identities;
mod installs;
mod instances;
mod invitations;
mod ledger;
mod pins;
mod policies;
mod postgres;
mod profile_changes;
mod profiles;
mod programs;
mod provider_sessions;
mod reader;
mod schema;
mod secrets;
mod sent;
mod servers;
mod sessions;
mod shape;
mod sqlite;
mod tokens;
mod told;
mod turns;
mod unseen;
mod users;
mod writer;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
        mpsc,
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::{Notify, oneshot, watch};

pub(crate) use address::{Address, InvalidAddress};
pub(crate) use admissions::Admission;
use admissions::Admissions;
pub(crate) use api_keys::{ApiKeyRow, NewApiKey};
pub(crate) use audit::{Page, Prune, Pruned, Tail};
pub(crate) use audit_search::{Ahead, Search};
pub(crate) use catalogues::CatalogueKey;
pub(crate) use cell::{Base64, Cell};
use connection::Connection;
pub(crate) use connection::SqlError;
pub(crate) use copy::{Before, Complete, Moment, Record, Scratch, newest_version};
use counted::Counted;
pub(crate) use counted::Tally;
use counter::Counter;
pub(crate) use devices::{DEVICE_SECONDS, NewDevice};
use disk::Disk;
pub(crate) use error::StoreError;
use error::not_migrated;
use flush::{Flush, Flusher};
pub(crate) use holdings::Edition;
pub(crate) use idempotency::{Begun, Kept, OnceKey};
pub(crate) use identities::{Fresh, Happened, IdentityRow, IdentitySignIn, LastOne, Linking, Outcome, SessionFor};
pub(crate) use installs::{InstallRow, NewInstall, PolicyRow};
pub(crate) use instances::{InstanceRow, InstancesOf};
pub(crate) use invitations::{InvitationKind, InvitationRow};
pub(crate) use ledger::{LedgerChange, LedgerRow};
pub(crate) use pins::{PinRow, PinSet, PinnedServer};
pub(crate) use profiles::{Joins, Profile, ProfileId};
pub(crate) use programs::Program;
pub(crate) use provider_sessions::{Claim, EndedBy, ProviderSession, SealedGrant};
use reader::{Queue, Served, read_loop};
pub(crate) use secrets::{Rewrapped, SecretHead, SecretKey, SecretRow};
use sent::Sent;
pub(crate) use servers::ServerRow;
pub(crate) use sessions::{LiveSession, NewSession, SessionRow};
pub(crate) use tokens::{Absent, NewToken, TokenOwner, TokenRow};
pub(crate) use told::{By, Standing, Told};
pub(crate) use turns::Asker;
use turns::Turns;
pub(crate) use users::{NewUser, SignIn, UserRow};
use writer::{Write, Writer};

pub(crate) use crate::trail::AuditRow;

/// Which database.
#[derive(Clone, Debug)]
pub(crate) enum Database {
    /// A file, created when it is missing.
    Sqlite(PathBuf),
    Postgres(Address),
}

impl fmt::Display for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(formatter),
            Self::Postgres(address) => address.fmt(formatter),
        }
    }
}

impl Database {
    /// Whether there may be something in it.
    pub(crate) fn exists(&self) -> bool {
        match self {
            Self::Sqlite(path) => path.exists(),
            Self::Postgres(_) => true,
        }
    }

    fn log(&self) -> Option<PathBuf> {
        let Self::Sqlite(path) = self else { return None };
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        Some(log.into())
    }
}

/// What is done with the connection, or without one when a transaction could not be begun.
type Job = Box<dyn FnOnce(Result<&Connection, SqlError>) -> Finish + Send>;
/// Sends the answer; called after the transaction of a write was committed (`Ok`) or lost (`Err`).
type Finish = Box<dyn FnOnce(Result<(), SqlError>) + Send>;

/// The open database, as one of those who take turns with it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    threads: Arc<Threads>,
    asker: Asker,
}

/// What leads to the threads. They end, when all was done, once nobody has it any more.
struct Threads {
    /// SQLite's log of what is committed and not in its file yet.
    log: Option<PathBuf>,
    writer: Arc<Turns<Write>>,
    reader: Arc<Turns<Job>>,
    /// Told when something was changed that others follow.
    changes: Arc<watch::Sender<()>>,
    /// How many changes there have been of what tokens open.
    counter: Arc<Counter>,
    admissions: Admissions,
    /// The last row of the audit trail could not be written.
    audit_lost: AtomicBool,
    /// Whether it keeps what is flushed.
    disk: Disk,
    sent: Sent,
    /// How many rows were added to it by this program, and who is told when it is many more.
    audit_rows: AtomicU64,
    audit_grew: Notify,
    /// What was told to it since this program began.
    counted: Counted,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.writer.close();
        self.reader.close();
    }
}

impl Store {
    /// Opens the database and migrates it. Blocks; for the start of the program.
    pub(crate) fn open(database: &Database) -> Result<Self, StoreError> {
        let changes = Arc::new(watch::Sender::new(()));
        let served = |connection, file| Served { connection, file };
        let (writing, reading) = match database {
            Database::Sqlite(path) => {
                let opened = sqlite::open(path)?;
                let file = Some(Arc::new(sqlite::Identity::of(path)?));
                let reader = served(Connection::Sqlite(opened.reader), file.clone());
                (served(Connection::Sqlite(opened.writer), file), vec![reader])
            }
            Database::Postgres(address) => {
                let sessions = postgres::open(address, 1 + READERS, &changes)?;
                let mut sessions = sessions.into_iter().map(|session| served(Connection::Postgres(session), None));
                (sessions.next().expect("there are several"), sessions.collect())
            }
        };
        let threads = Threads {
            log: database.log(),
            writer: Arc::new(Turns::new()),
            reader: Arc::new(Turns::new()),
            changes: Arc::clone(&changes),
            counter: Arc::new(Counter::of(database.log().as_deref())),
            admissions: Admissions::default(),
            audit_lost: AtomicBool::new(false),
            disk: Disk::default(),
            sent: Sent::default(),
            audit_rows: AtomicU64::new(0),
            audit_grew: Notify::new(),
            counted: Counted::default(),
        };
        let flusher = threads.log.clone().map(|log| Flusher::start(log, threads.disk.clone())).transpose()?;
        let queue = Queue(Arc::clone(&threads.writer));
        let mut writer = Writer::new(writing, flusher, threads.disk.clone(), changes, Arc::clone(&threads.counter));
        start("gig-db-write", move || writer.run(&queue))?;
        for connection in reading {
            let queue = Queue(Arc::clone(&threads.reader));
            start("gig-db-read", move || read_loop(&connection, &queue))?;
        }
        Ok(Self { threads: Arc::new(threads), asker: Asker::Gateway })
    }

    /// Returns when all that was committed until now would survive a loss of power, which a commit alone does not promise with
    /// SQLite.
    ///
    /// What is committed lies in the log beside the database until it is moved there, and that is synced. The database's own
    /// file must not be opened here: closing it would give up the locks that this process has on it.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let Some(log) = &self.threads.log else { return Ok(()) };
        match self.threads.disk.sync(log) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            synced => synced.map_err(|source| StoreError::Sync { path: log.clone(), source })?,
        }
        Ok(self.threads.disk.check()?)
    }

    /// Changes whenever servers, profiles, tokens or secrets may have been changed: by this program, or by another gateway
    /// on the same PostgreSQL. Another program on the same SQLite file is not noticed.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.threads.changes.subscribe()
    }

    /// Ends when this program has added many rows to the audit trail since it was asked last.
    pub(crate) async fn audit_grew(&self) {
        self.threads.audit_grew.notified().await;
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

    /// Runs a change that others follow; it is on disk when this returns `Ok`, and undone when it returns `Err`.
    async fn change<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (job, answer) = job(|connection| connection.undone_on_error(change));
        self.threads.writer.push(self.asker.clone(), Write { job, followed: true, flush: Flush::WithCommit })?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    /// The same for what nobody follows.
    async fn write<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_flushed(Flush::WithCommit, change).await
    }

    /// The same for what comes to the disk in another way.
    async fn write_flushed<T, F>(&self, flush: Flush, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (job, answer) = job(|connection| connection.undone_on_error(change));
        self.threads.writer.push(self.asker.clone(), Write { job, followed: false, flush })?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    /// The same for what nobody waits for, and what is left out when there is no room.
    fn write_if_room<F>(&self, change: F)
    where
        F: FnOnce(&Connection) -> Result<(), StoreError> + Send + 'static,
    {
        let (job, _) = job(|connection| connection.undone_on_error(change));
        drop(self.threads.writer.push(self.asker.clone(), Write { job, followed: false, flush: Flush::Soon }));
    }

    /// The same for what must not be turned away.
    async fn write_promised<T, F>(&self, flush: Flush, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.promised(flush, |connection| connection.undone_on_error(change)).await
    }

    /// The same for what undoes itself when it fails.
    async fn promised<T, F>(&self, flush: Flush, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (job, answer) = job(change);
        self.threads.writer.push_promised(self.asker.clone(), Write { job, followed: false, flush })?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }
}

impl Store {
    /// The same as `write_promised` without waiting. `done` is told how it ended, in the thread of the database.
    fn write_later<F>(
        &self,
        change: F,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) -> Result<(), StoreError>
    where
        F: FnOnce(&Connection) -> Result<(), StoreError> + Send + 'static,
    {
        let job: Job = Box::new(move |connection| {
            let made = connection.map_err(StoreError::Query).and_then(|connection| connection.undone_on_error(change));
            Box::new(move |committed| done(made.and(committed.map_err(StoreError::Query))))
        });
        self.threads.writer.push_promised(self.asker.clone(), Write { job, followed: false, flush: Flush::BeforeTold })
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

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let started = thread::Builder::new().name(name.into()).spawn(run);
    started.map(drop).map_err(|source| StoreError::Runtime { source })
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

/// How many read at once from PostgreSQL; SQLite has one.
const READERS: usize = 4;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod migration_tests;
#[cfg(test)]
mod postgres_fault_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
pub(crate) use testing::{TestDatabase, on_both};
#[cfg(test)]
mod tests;
#[cfg(test)]
use writer::MAX_BATCH;
