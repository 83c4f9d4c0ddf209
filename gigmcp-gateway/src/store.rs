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
mod devices;
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
mod schema;
mod secrets;
mod sent;
mod servers;
mod sessions;
mod sqlite;
mod tokens;
mod told;
mod turns;
mod unseen;
mod users;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
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
pub(crate) use audit_search::Search;
pub(crate) use catalogues::CatalogueKey;
pub(crate) use cell::{Base64, Cell};
pub(crate) use connection::SqlError;
use connection::{Access, Connection};
pub(crate) use copy::{Before, Complete, Moment, Record, Scratch, newest_version};
use counted::Counted;
pub(crate) use counted::Tally;
pub(crate) use devices::{DEVICE_SECONDS, NewDevice};
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
pub(crate) use provider_sessions::{EndedBy, ProviderSession, SealedGrant};
pub(crate) use secrets::{Rewrapped, SecretHead, SecretKey, SecretRow};
use sent::Sent;
pub(crate) use servers::ServerRow;
pub(crate) use sessions::{LiveSession, NewSession, SessionRow};
pub(crate) use tokens::{Absent, NewToken, TokenOwner, TokenRow};
pub(crate) use told::{By, Standing, Told};
pub(crate) use turns::Asker;
use turns::Turns;
pub(crate) use users::{NewUser, SignIn, UserRow};

use crate::spec::ServerName;
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

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    #[error("the database {} cannot be opened", .path.display())]
    Open { path: PathBuf, source: SqlError },
    #[error("the database {database} cannot be used")]
    Connect { database: String, source: SqlError },
    #[error("the database {} cannot be opened for writing; check owner and mode of the file and of its directory", .path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("the database {database} was written by a newer gigmcp; use that version, or restore a backup")]
    Newer { database: String },
    #[error(
        "the database {database} could not be brought to this version's schema: {}",
        connection::hint_of(&**source).unwrap_or("it may be another program's")
    )]
    Migrate { database: String, source: Box<refinery::Error> },
    #[error("there is no database of gigmcp: {database}")]
    Absent { database: String },
    #[error("there is something in the database already ({found}); --replace deletes it")]
    NotEmpty { found: String },
    #[error("the table `{table}` is not what it is in a database of that version")]
    Unlike { table: String },
    #[error(
        "a row of the table `{table}` refers to one that is not there, so a backup could not be restored; `PRAGMA foreign_key_check` shows which, delete it"
    )]
    Dangling { table: String },
    #[error("the database's log {} cannot be written to the disk", .path.display())]
    Sync { path: PathBuf, source: io::Error },
    #[error("the threads of the database cannot be started")]
    Runtime { source: io::Error },
    #[error("the database refused the query")]
    Query(#[from] SqlError),
    #[error("{what} `{name}` already exists")]
    Exists { what: &'static str, name: String },
    #[error("there is no {what} `{name}`{}", list(known))]
    Missing { what: &'static str, name: String, known: Vec<String> },
    #[error("{what} `{name}` in the database cannot be read; it was changed by something else")]
    Corrupt { what: &'static str, name: String },
    #[error("the secrets were changed by somebody else at the same time; try again")]
    Changed,
    #[error("the server {server} was changed by somebody else at the same time; look at it again")]
    Moved { server: ServerName },
    #[error(
        "this is the last administrator who can sign in; make somebody else one first (`gigmcp-gateway user role WHO admin`)"
    )]
    LastAdministrator,
    #[error("this is the only way to sign in to this account; give it a password or another identity first")]
    LastIdentity,
    #[error("sign in at the identity provider once more first, beginning with POST /api/v1/oidc/confirm")]
    NotFresh,
    #[error("the account `local` is that of this machine and stays; disable it instead")]
    LocalAccount,
    #[error(
        "the account {0} is disabled, or its identity provider refuses it, so nothing is made that lets it in; enable it first (`gigmcp-gateway user enable {0}`)"
    )]
    Disabled(crate::spec::Owner),
    #[error("the account is of the role {role}, which is more than may be given here")]
    TooMuch { role: crate::people::Role },
    #[error("whoever asked for this may not do so any more; sign in again")]
    Revoked,
    #[error("there are {max} {what} already; revoke those that are not used")]
    TooMany { what: &'static str, max: u64 },
    #[error("{what} would be longer than {max} bytes; say less")]
    TooLong { what: &'static str, max: usize },
    #[error("the last row of the audit trail could not be written")]
    AuditLost,
    #[error("the database gave no answer where it must give one")]
    NoAnswer,
    #[error("too much waits for the database already")]
    Busy,
    #[error("the database thread has ended")]
    Stopped,
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
    /// How many changes there have been of what tokens open, by this program and by others on the same file of SQLite.
    generation: Arc<AtomicU64>,
    admissions: Admissions,
    /// The last row of the audit trail could not be written.
    audit_lost: AtomicBool,
    /// What was committed could not be flushed to the disk.
    flush_failed: Arc<AtomicBool>,
    sent: Sent,
    /// How many rows were added to it by this program, and who is told when it is many more.
    audit_rows: AtomicU64,
    audit_grew: Notify,
    /// What was told to it since this program began.
    counted: Counted,
}

/// Something to write, whether others follow it, and how it comes to the disk.
struct Write {
    job: Job,
    followed: bool,
    flush: Flush,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.writer.close();
        self.reader.close();
    }
}

/// A thread's side of its queue. Nobody waits for a thread that has ended.
struct Queue<J>(Arc<Turns<J>>);

impl<J> Drop for Queue<J> {
    fn drop(&mut self) {
        self.0.abandon();
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
            generation: Arc::default(),
            admissions: Admissions::default(),
            audit_lost: AtomicBool::new(false),
            flush_failed: Arc::default(),
            sent: Sent::default(),
            audit_rows: AtomicU64::new(0),
            audit_grew: Notify::new(),
            counted: Counted::default(),
        };
        let flusher =
            threads.log.clone().map(|log| Flusher::start(log, Arc::clone(&threads.flush_failed))).transpose()?;
        let queue = Queue(Arc::clone(&threads.writer));
        let mut writer = Writer {
            served: writing,
            flusher,
            changes,
            generation: Arc::clone(&threads.generation),
            seen: None,
            with_commit: None,
        };
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
        match std::fs::File::open(log).and_then(|log| log.sync_all()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            synced => synced.map_err(|source| StoreError::Sync { path: log.clone(), source }),
        }
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
    async fn write_promised<F>(&self, flush: Flush, change: F) -> Result<(), StoreError>
    where
        F: FnOnce(&Connection) -> Result<(), StoreError> + Send + 'static,
    {
        let (job, answer) = job(|connection| connection.undone_on_error(change));
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

/// A connection, and the file that it leads to.
struct Served {
    connection: Connection,
    file: Option<Arc<sqlite::Identity>>,
}

impl Served {
    fn begin(&self, access: Access) -> Result<&Connection, SqlError> {
        if let Some(file) = &self.file {
            file.check()?;
        }
        self.connection.begin(access).map(|()| &self.connection)
    }
}

fn read_loop(served: &Served, queue: &Queue<Job>) {
    while let Some(job) = queue.0.next() {
        match served.begin(Access::Read) {
            Err(error) => job(Err(error))(Ok(())),
            Ok(connection) => {
                let finish = job(Ok(connection));
                // What was read was read, however the transaction ends.
                drop(connection.commit(false));
                finish(Ok(()));
            }
        }
    }
}

/// The thread that writes.
struct Writer {
    served: Served,
    /// Of SQLite; PostgreSQL flushes by itself.
    flusher: Option<Flusher>,
    changes: Arc<watch::Sender<()>>,
    generation: Arc<AtomicU64>,
    /// What SQLite said of other programs' changes.
    seen: Option<i64>,
    /// Whether commits flush now.
    with_commit: Option<bool>,
}

impl Writer {
    fn run(&mut self, queue: &Queue<Write>) {
        while let Some(first) = queue.0.next() {
            let with_commit = first.flush == Flush::WithCommit;
            match self.begin(with_commit) {
                Ok(()) => self.transaction(first, queue),
                Err(error) => (first.job)(Err(error))(Ok(())),
            }
        }
    }

    fn begin(&mut self, with_commit: bool) -> Result<(), SqlError> {
        if self.with_commit != Some(with_commit) {
            self.served.connection.flush_with_commit(with_commit)?;
            self.with_commit = Some(with_commit);
        }
        let connection = self.served.begin(Access::Write)?;
        let seen = connection.changes_of_others()?;
        if self.seen.replace(seen) != Some(seen) {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Does all that waits and comes to the disk in the same way. What is undone if it cannot be flushed is not together with
    /// what is told without.
    fn transaction(&self, first: Write, queue: &Queue<Write>) {
        let connection = &self.served.connection;
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
        let committed = connection.commit(followed);
        // Also when it is said to have failed: a connection that was lost may have committed.
        if with_commit {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        if followed {
            self.changes.send_replace(());
        }
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

/// What is to be told of a migration that did not go through.
fn not_migrated(database: impl fmt::Display, source: refinery::Error) -> StoreError {
    let database = database.to_string();
    match source.kind() {
        // The database has a migration that this program does not know.
        refinery::error::Kind::MissingVersion(_) => StoreError::Newer { database },
        _ => StoreError::Migrate { database, source: Box::new(source) },
    }
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
