//! The one row that tells which secrets there are. This module moves opaque bytes; what they say is the ledger's.

use rusqlite::{Connection, OptionalExtension};
use sea_query::{Expr, ExprTrait, OnConflict, Query, SqliteQueryBuilder};
use sea_query_rusqlite::RusqliteBinder;

use super::{Store, StoreError, schema::SecretLedger};

/// The ledger as it lies in the database.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LedgerRow {
    /// Grows at every change; bound into the seal.
    pub(crate) counter: i64,
    pub(crate) sealed: Vec<u8>,
}

/// A ledger, and the one whose place it takes. Refused with [`StoreError::Changed`] if that is not the present one.
#[derive(Clone, Debug)]
pub(crate) struct LedgerChange {
    pub(crate) from: Option<LedgerRow>,
    pub(crate) to: LedgerRow,
}

impl Store {
    /// Puts a ledger in the place of another, while the secrets stay as they are.
    pub(crate) async fn exchange_ledger(&self, ledger: LedgerChange) -> Result<(), StoreError> {
        self.write(move |connection| exchange(connection, &ledger)).await
    }
}

/// Compares and swaps. Whoever changes secrets does this first: in the database it is where writers wait for each other.
pub(super) fn exchange(connection: &Connection, ledger: &LedgerChange) -> Result<(), StoreError> {
    let LedgerChange { from, to } = ledger;
    let (sql, values) = match from {
        Some(from) => Query::update()
            .table(SecretLedger::Table)
            .value(SecretLedger::Counter, to.counter)
            .value(SecretLedger::Sealed, to.sealed.clone())
            .and_where(Expr::col(SecretLedger::Id).eq(ONLY))
            .and_where(Expr::col(SecretLedger::Counter).eq(from.counter))
            .and_where(Expr::col(SecretLedger::Sealed).eq(from.sealed.clone()))
            .build_rusqlite(SqliteQueryBuilder),
        None => Query::insert()
            .into_table(SecretLedger::Table)
            .columns([SecretLedger::Id, SecretLedger::Counter, SecretLedger::Sealed])
            .values_panic([ONLY.into(), to.counter.into(), to.sealed.clone().into()])
            .on_conflict(OnConflict::column(SecretLedger::Id).do_nothing().to_owned())
            .build_rusqlite(SqliteQueryBuilder),
    };
    match connection.execute(&sql, &*values.as_params())? {
        0 => Err(StoreError::Changed),
        _ => Ok(()),
    }
}

/// What `read` reads and the ledger, as they stood at one time: every change of the secrets changes the ledger too, so it is
/// read before and after.
pub(super) fn consistent<T>(
    connection: &Connection,
    read: impl Fn(&Connection) -> Result<T, StoreError>,
) -> Result<(T, Option<LedgerRow>), StoreError> {
    let mut before = find(connection)?;
    for _ in 0..MAX_READS {
        let read = read(connection)?;
        let after = find(connection)?;
        if before == after {
            return Ok((read, after));
        }
        before = after;
    }
    Err(StoreError::Changed)
}

pub(super) fn delete(connection: &Connection) -> Result<(), StoreError> {
    let (sql, values) = Query::delete().from_table(SecretLedger::Table).build_rusqlite(SqliteQueryBuilder);
    connection.execute(&sql, &*values.as_params())?;
    Ok(())
}

fn find(connection: &Connection) -> Result<Option<LedgerRow>, StoreError> {
    let (sql, values) = Query::select()
        .columns([SecretLedger::Counter, SecretLedger::Sealed])
        .from(SecretLedger::Table)
        .build_rusqlite(SqliteQueryBuilder);
    let mut statement = connection.prepare_cached(&sql)?;
    let row =
        statement.query_row(&*values.as_params(), |row| Ok(LedgerRow { counter: row.get(0)?, sealed: row.get(1)? }));
    Ok(row.optional()?)
}

/// The id of the one row.
const ONLY: i64 = 1;
/// Secrets change a few times a day; this is for whoever floods.
const MAX_READS: usize = 16;
