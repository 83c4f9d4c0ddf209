//! The one row that tells which secrets there are. This module moves opaque bytes; what they say is the ledger's.

use sea_query::{Expr, ExprTrait, OnConflict, Query};

use super::{Store, StoreError, Told, connection::Connection, holdings, schema::SecretLedger};

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
        self.change(move |connection| exchange(connection, &ledger)).await
    }

    /// The same where the secrets may be others than those that the ledger of before told of. What holds one itself ends.
    pub(crate) async fn accept_ledger(&self, ledger: LedgerChange, told: impl Into<Told>) -> Result<(), StoreError> {
        self.change_told(told, move |connection| {
            exchange(connection, &ledger)?;
            holdings::renew_all(connection)
        })
        .await
    }
}

/// Compares and swaps. Whoever changes secrets does this first: in the database it is where writers wait for each other.
pub(super) fn exchange(connection: &Connection, ledger: &LedgerChange) -> Result<(), StoreError> {
    let LedgerChange { from, to } = ledger;
    let exchanged = match from {
        Some(from) => connection.execute(
            Query::update()
                .table(SecretLedger::Table)
                .value(SecretLedger::Counter, to.counter)
                .value(SecretLedger::Sealed, to.sealed.clone())
                .and_where(Expr::col(SecretLedger::Id).eq(ONLY))
                .and_where(Expr::col(SecretLedger::Counter).eq(from.counter))
                .and_where(Expr::col(SecretLedger::Sealed).eq(from.sealed.clone())),
        ),
        None => connection.execute(
            Query::insert()
                .into_table(SecretLedger::Table)
                .columns([SecretLedger::Id, SecretLedger::Counter, SecretLedger::Sealed])
                .values_panic([ONLY.into(), to.counter.into(), to.sealed.clone().into()])
                .on_conflict(OnConflict::column(SecretLedger::Id).do_nothing().to_owned()),
        ),
    };
    match exchanged? {
        0 => Err(StoreError::Changed),
        _ => Ok(()),
    }
}

pub(super) fn delete(connection: &Connection) -> Result<(), StoreError> {
    connection.execute(Query::delete().from_table(SecretLedger::Table))?;
    Ok(())
}

pub(super) fn find(connection: &Connection) -> Result<Option<LedgerRow>, StoreError> {
    let select =
        Query::select().columns([SecretLedger::Counter, SecretLedger::Sealed]).from(SecretLedger::Table).take();
    connection.row(&select, |row| Ok(LedgerRow { counter: row.get(0)?, sealed: row.get(1)? }))
}

/// The id of the one row.
const ONLY: i64 = 1;
