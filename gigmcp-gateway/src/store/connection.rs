//! One connection to either kind of database, and the one way in which queries are run on both.

use std::sync::Arc;

use rusqlite::{ErrorCode, types::FromSql as FromSqlite};
use sea_query::{PostgresQueryBuilder, SqliteQueryBuilder};
use sea_query_postgres::PostgresBinder;
use sea_query_rusqlite::RusqliteBinder;
use tokio_postgres::{error::SqlState, types::FromSqlOwned};

use super::{StoreError, postgres::Session};

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
            (Self::Sqlite(connection), Access::Read) => Ok(connection.execute_batch("BEGIN DEFERRED")?),
            (Self::Sqlite(connection), Access::Write) => Ok(connection.execute_batch("BEGIN IMMEDIATE")?),
            (Self::Postgres(session), access) => session.begin(access),
        }
    }

    /// Ends the transaction, and undoes it if it cannot be kept. If something was changed that others follow, they are told.
    pub(super) fn commit(&self, changed: bool) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(connection) => {
                let committed = connection.execute_batch("COMMIT");
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
        self.batch("SAVEPOINT job")?;
        let result = change(self);
        self.batch(match result {
            Ok(_) => "RELEASE SAVEPOINT job",
            Err(_) => "ROLLBACK TO SAVEPOINT job; RELEASE SAVEPOINT job",
        })?;
        result
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

    pub(super) fn batch(&self, sql: &str) -> Result<(), SqlError> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Self::Postgres(session) => session.batch(sql),
        }
    }
}

/// Why a query was not run. The texts say what an operator can do about it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SqlError {
    #[error("{}", sqlite_hint(.0))]
    Sqlite(#[source] Arc<rusqlite::Error>),
    #[error("{}", postgres_hint(.0))]
    Postgres(#[source] Arc<tokio_postgres::Error>),
    #[error("no connection to PostgreSQL; is it running, and is GIG_DATABASE_URL right?")]
    Connect(#[source] Arc<deadpool_postgres::PoolError>),
    #[error("the connection to PostgreSQL was lost; try again")]
    Lost,
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

fn sqlite_hint(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk or quota that holds the database is full; make room, then try again",
        Some(ErrorCode::ReadOnly) => "the database file or its directory may not be written to; check owner and mode",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program keeps the database locked; end it, or try again when it is done"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "the database file is damaged; restore it from a backup"
        }
        Some(ErrorCode::SystemIoFailure) => "the database file could not be read or written",
        _ => "the query failed",
    }
}

fn postgres_hint(error: &tokio_postgres::Error) -> &'static str {
    match error.code() {
        Some(&SqlState::DISK_FULL) => "the disk of PostgreSQL is full; make room, then try again",
        Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => "PostgreSQL takes no writes: it is a standby, or set read-only",
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
