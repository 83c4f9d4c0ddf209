//! One connection to either kind of database, and the one way in which queries are run on both.

use std::{io, sync::Arc};

use deadpool_postgres::PoolError;
use rusqlite::{ErrorCode, types::FromSql as FromSqlite};
use sea_query::{PostgresQueryBuilder, SqliteQueryBuilder};
use sea_query_postgres::PostgresBinder;
use sea_query_rusqlite::RusqliteBinder;
use tokio_postgres::{error::SqlState, types::FromSqlOwned};

use super::{StoreError, counter::Written, postgres::Session, sqlite};

/// A connection. What runs on it is part of the transaction that [`begin`](Self::begin) began.
pub(super) enum Connection {
    Sqlite(rusqlite::Connection),
    Postgres(Session),
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// All queries see the same moment.
    Read,
    /// Nobody else writes meanwhile, in this program or another.
    Write,
}

/// A query of any kind.
pub(super) trait Statement: RusqliteBinder + PostgresBinder {}

impl<S: RusqliteBinder + PostgresBinder> Statement for S {}

/// A value as both kinds of database give it: `i64`, `String`, `Vec<u8>`, or an `Option` of one of them.
pub(super) trait Column: FromSqlite + FromSqlOwned {}

impl<T: FromSqlite + FromSqlOwned> Column for T {}

/// One row of an answer.
pub(super) enum Row<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a tokio_postgres::Row),
}

impl Row<'_> {
    /// The value of a column, by its place in the query.
    pub(super) fn get<T: Column>(&self, column: usize) -> Result<T, SqlError> {
        match self {
            Self::Sqlite(row) => Ok(row.get(column)?),
            Self::Postgres(row) => Ok(row.try_get(column)?),
        }
    }
}

impl Connection {
    /// Begins a transaction.
    pub(super) fn begin(&self, access: Access) -> Result<(), SqlError> {
        match (self, access) {
            (Self::Sqlite(connection), Access::Read) => Ok(run(connection, "BEGIN DEFERRED")?),
            (Self::Sqlite(connection), Access::Write) => {
                // Also what begins with nothing to write must notice, so that no request leaves whose row would be lost.
                sqlite::has_room(connection)?;
                Ok(run(connection, "BEGIN IMMEDIATE")?)
            }
            (Self::Postgres(session), access) => session.begin(access),
        }
    }

    /// Says whether what is committed from now on is on the disk when that is done, and not a moment later.
    pub(super) fn flush_with_commit(&self, with_commit: bool) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(connection) => Ok(sqlite::flush_with_commit(connection, with_commit)?),
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Changes whenever another program has changed something in the file.
    pub(super) fn changes_of_others(&self) -> Result<i64, SqlError> {
        match self {
            Self::Sqlite(connection) => {
                Ok(connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?)
            }
            Self::Postgres(_) => Ok(0),
        }
    }

    /// What has been written with this connection.
    pub(super) fn written(&self) -> Written {
        match self {
            Self::Sqlite(connection) => {
                Written { newest: connection.last_insert_rowid(), rows: connection.total_changes() }
            }
            Self::Postgres(_) => Written::default(),
        }
    }

    /// Ends the transaction, and undoes it if it cannot be kept. If something was changed that others follow, they are told.
    pub(super) fn commit(&self, changed: bool) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(_) if self.is_undone() => Err(SqlError::Undone),
            Self::Sqlite(connection) => {
                let committed = run(connection, "COMMIT");
                if committed.is_err() {
                    // Some errors, such as a full disk, have done so already.
                    drop(connection.execute_batch("ROLLBACK"));
                }
                Ok(committed?)
            }
            Self::Postgres(session) => session.commit(changed),
        }
    }

    /// Runs `change` so that it leaves the others of its transaction alone when it fails.
    pub(super) fn undone_on_error<T>(
        &self,
        change: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // Outside of the transaction this would be kept, although it is said to have failed with the others.
        if self.is_undone() {
            return Err(SqlError::Undone.into());
        }
        self.often("SAVEPOINT job")?;
        let result = change(self);
        let ended = match result {
            Ok(_) => self.often("RELEASE SAVEPOINT job"),
            Err(_) => self.batch("ROLLBACK TO SAVEPOINT job; RELEASE SAVEPOINT job"),
        };
        if let (Self::Sqlite(connection), Err(_)) = (self, &ended) {
            // Half of it must not be kept with the others; PostgreSQL sees to that by itself.
            drop(connection.execute_batch("ROLLBACK"));
        }
        // What failed first is what is to be told.
        let value = result?;
        ended?;
        Ok(value)
    }

    /// The same for a change that writes with one statement, its last: SQLite leaves nothing of one that fails.
    pub(super) fn undone_alone<T>(&self, change: impl FnOnce(&Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match self {
            Self::Sqlite(_) if self.is_undone() => Err(SqlError::Undone.into()),
            Self::Sqlite(_) => change(self),
            // Here one that fails is the end of its transaction.
            Self::Postgres(_) => self.undone_on_error(change),
        }
    }

    /// Whether the transaction is over without having been ended: a full disk, for example, undoes all of it in SQLite.
    fn is_undone(&self) -> bool {
        match self {
            Self::Sqlite(connection) => connection.is_autocommit(),
            Self::Postgres(_) => false,
        }
    }

    /// Runs a change and gives how many rows it touched.
    pub(super) fn execute(&self, statement: &impl Statement) -> Result<u64, SqlError> {
        match self {
            Self::Sqlite(connection) => {
                let (sql, values) = statement.build_rusqlite(SqliteQueryBuilder);
                Ok(connection.prepare_cached(&sql)?.execute(&*values.as_params())? as u64)
            }
            Self::Postgres(session) => {
                let (sql, values) = statement.build_postgres(PostgresQueryBuilder);
                session.execute(&sql, &values.as_params())
            }
        }
    }

    /// Runs a query and gives what `parse` makes of each row.
    pub(super) fn rows<T>(
        &self,
        statement: &impl Statement,
        mut parse: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        match self {
            Self::Sqlite(connection) => {
                let (sql, values) = statement.build_rusqlite(SqliteQueryBuilder);
                let mut prepared = connection.prepare_cached(&sql).map_err(SqlError::from)?;
                let mut rows = prepared.query(&*values.as_params()).map_err(SqlError::from)?;
                let mut parsed = Vec::new();
                while let Some(row) = rows.next().map_err(SqlError::from)? {
                    parsed.push(parse(&Row::Sqlite(row))?);
                }
                Ok(parsed)
            }
            Self::Postgres(session) => {
                let (sql, values) = statement.build_postgres(PostgresQueryBuilder);
                let rows = session.query(&sql, &values.as_params())?;
                rows.iter().map(|row| parse(&Row::Postgres(row))).collect()
            }
        }
    }

    /// The same for a query that gives one row or none.
    pub(super) fn row<T>(
        &self,
        statement: &impl Statement,
        parse: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.rows(statement, parse)?.into_iter().next())
    }

    /// Lets the transaction take as long as it takes: it is all that is done.
    pub(super) fn takes_its_time(&self) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => {
                session.batch("SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")
            }
        }
    }

    /// The same with one statement that is run again and again.
    fn often(&self, sql: &'static str) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(connection) => Ok(run(connection, sql)?),
            Self::Postgres(session) => session.batch(sql),
        }
    }

    pub(super) fn batch(&self, sql: &str) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Self::Postgres(session) => session.batch(sql),
        }
    }
}

/// Runs a statement that is read only once, however often it is run.
fn run(connection: &rusqlite::Connection, sql: &'static str) -> Result<(), rusqlite::Error> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

/// Why a query was not run. The texts say what an operator can do about it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SqlError {
    #[error("{}", sqlite_hint(.0))]
    Sqlite(#[source] Arc<rusqlite::Error>),
    #[error("{}", postgres_hint(.0))]
    Postgres(#[source] Arc<tokio_postgres::Error>),
    #[error("{}", connect_hint(.0))]
    Connect(#[source] Arc<PoolError>),
    #[error("{}", unreachable_hint(.0))]
    Unreachable(#[source] Arc<tokio_postgres::Error>),
    #[error("the connection to PostgreSQL was lost; try again")]
    Lost,
    #[error("what else was written at that moment failed, and this was undone with it; try again")]
    Undone,
    #[error("{READ_ONLY}")]
    ReadOnly,
    #[error("{FULL}")]
    Full,
    #[error(
        "the file of the database was moved, deleted or replaced; stop the gateway before that, and start it again now"
    )]
    Replaced,
    #[error("what was written could not be flushed to the disk")]
    NotFlushed,
    #[error(
        "the disk failed to keep what was written before, so a loss of power may undo what was done just now; look at the disk, then start the gateway again, and look whether it is still done"
    )]
    FlushFailed,
    #[error("the transaction has ended already")]
    NoTransaction,
}

impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

impl From<tokio_postgres::Error> for SqlError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(Arc::new(error))
    }
}

impl SqlError {
    /// Whether SQLite asked the disk to keep something, and the disk said that it could not.
    pub(super) fn is_failed_flush(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_FSYNC)
    }

    /// Whether it came only after all the time that is waited for somebody else who writes, or for PostgreSQL to answer: whoever
    /// is next would wait as long again.
    pub(super) fn is_late(&self) -> bool {
        match self {
            Self::Sqlite(error) => error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy),
            Self::Postgres(error) => error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE),
            Self::Connect(error) => match &**error {
                PoolError::Timeout(_) => true,
                PoolError::Backend(error) => is_timed_out(error),
                _ => false,
            },
            Self::Full | Self::ReadOnly | Self::Undone | Self::Unreachable(_) => false,
            Self::Lost | Self::Replaced | Self::NotFlushed | Self::FlushFailed | Self::NoTransaction => false,
        }
    }

    /// Whether nothing was written, and the same may be possible soon: a full disk, a lock of another program, a database that
    /// cannot be reached.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Sqlite(error) => {
                matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy))
            }
            Self::Full | Self::ReadOnly | Self::Undone | Self::Connect(_) | Self::Unreachable(_) => true,
            Self::Postgres(_) | Self::Lost | Self::Replaced | Self::NotFlushed | Self::FlushFailed => false,
            Self::NoTransaction => false,
        }
    }
}

fn sqlite_hint(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => FULL,
        Some(ErrorCode::ReadOnly) => "the database file or its directory may not be written to; check owner and mode",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program keeps the database locked; end it, or try again when it is done"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "the database file is damaged; move it away and restore a backup (`gigmcp-gateway restore FILE`)"
        }
        Some(ErrorCode::CannotOpen) => {
            "the database file, or -wal or -shm beside it, cannot be opened for writing; check owner and mode of all three and of their directory"
        }
        Some(ErrorCode::SystemIoFailure) => "the database file could not be read or written",
        _ => "the query failed",
    }
}

/// What to do about what is behind another error.
pub(super) fn hint_of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut causes = std::iter::successors(Some(error), |error: &&'a (dyn std::error::Error + 'static)| error.source());
    causes.find_map(|cause| match (cause.downcast_ref(), cause.downcast_ref()) {
        (Some(error), _) => Some(sqlite_hint(error)),
        (_, Some(error)) => Some(postgres_hint(error)),
        (None, None) => None,
    })
}

fn is_timed_out(error: &tokio_postgres::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

fn connect_hint(error: &PoolError) -> &'static str {
    match error {
        PoolError::Backend(error) => unreachable_hint(error),
        _ => NO_CONNECTION,
    }
}

fn unreachable_hint(error: &tokio_postgres::Error) -> &'static str {
    match error.code() {
        Some(_) => postgres_hint(error),
        // Nothing else tells this apart.
        None if error.to_string() == "error performing TLS handshake" => {
            "no TLS with PostgreSQL: it offers none, or its certificate is not for the host of GIG_DATABASE_URL, or not by an authority that GIG_DATABASE_CA or this machine trusts"
        }
        None => NO_CONNECTION,
    }
}

const NO_CONNECTION: &str = "no connection to PostgreSQL; is it running, and is GIG_DATABASE_URL right?";

const FULL: &str = "the disk or quota that holds the database is full; make room, then try again";
const READ_ONLY: &str = "PostgreSQL takes no writes: it is a standby, or set read-only";

fn postgres_hint(error: &tokio_postgres::Error) -> &'static str {
    match error.code() {
        Some(&SqlState::DISK_FULL) => "the disk of PostgreSQL is full; make room, then try again",
        Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => READ_ONLY,
        Some(&SqlState::INVALID_CATALOG_NAME) => "there is no such database; create it, or correct GIG_DATABASE_URL",
        Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) => "PostgreSQL does not take connections to that database",
        Some(&SqlState::LOCK_NOT_AVAILABLE) => "another gateway has written to the database for too long",
        Some(&SqlState::TOO_MANY_CONNECTIONS) => "PostgreSQL has no connection left; raise max_connections",
        Some(&SqlState::QUERY_CANCELED) => "PostgreSQL took too long",
        Some(&(SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW)) => {
            "PostgreSQL is stopping or starting; try again"
        }
        Some(&(SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION)) => {
            "PostgreSQL refused user or password; check GIG_DATABASE_URL"
        }
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            "the user of GIG_DATABASE_URL has not the rights; it must own the schema"
        }
        _ if error.is_closed() => "the connection to PostgreSQL was lost; try again",
        _ => "the query failed",
    }
}
