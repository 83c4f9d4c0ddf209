//! Sealed secrets. This module moves opaque bytes; sealing and opening is the vault's.

use rusqlite::{Connection, OptionalExtension, Row};
use sea_query::{Expr, ExprTrait, OnConflict, Order, Query, SqliteQueryBuilder};
use sea_query_rusqlite::RusqliteBinder;

use super::{LedgerChange, LedgerRow, Store, StoreError, ledger, schema::Secrets, servers};
use crate::spec::{EXEC, EnvName, Owner, ServerName};

/// Whose secret, for which server, under which name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct SecretKey {
    pub(crate) owner: Owner,
    pub(crate) server: ServerName,
    pub(crate) name: EnvName,
}

/// A secret as it lies in the database.
#[derive(Clone, Debug)]
pub(crate) struct SecretRow {
    pub(crate) key: SecretKey,
    pub(crate) version: i64,
    /// The host the secret was set for; bound into the seal.
    pub(crate) policy: String,
    pub(crate) created_at: i64,
    pub(crate) sealed: Vec<u8>,
}

/// A secret whose key was wrapped anew.
#[derive(Debug)]
pub(crate) struct Rewrapped {
    pub(crate) key: SecretKey,
    pub(crate) from: Vec<u8>,
    pub(crate) to: Vec<u8>,
}

impl Store {
    /// Stores a sealed secret in place of an older version, and the ledger that tells of it.
    ///
    /// Refused when another writer stored the same or a newer version in between.
    pub(crate) async fn put_secret(&self, row: SecretRow, ledger: LedgerChange) -> Result<(), StoreError> {
        self.write(move |connection| {
            ledger::exchange(connection, &ledger)?;
            if row.key.server.as_str() != EXEC {
                servers::require(connection, &row.key.server)?;
            }
            let (sql, values) = Query::insert()
                .into_table(Secrets::Table)
                .columns(COLUMNS)
                .values_panic([
                    row.key.owner.as_str().into(),
                    row.key.server.as_str().into(),
                    row.key.name.as_str().into(),
                    row.version.into(),
                    row.policy.into(),
                    row.created_at.into(),
                    row.sealed.into(),
                ])
                .on_conflict(
                    OnConflict::columns([Secrets::Owner, Secrets::Server, Secrets::Name])
                        .update_columns([Secrets::Version, Secrets::Policy, Secrets::CreatedAt, Secrets::Sealed])
                        .action_and_where(Expr::col((Secrets::Table, Secrets::Version)).lt(row.version))
                        .to_owned(),
                )
                .build_rusqlite(SqliteQueryBuilder);
            match connection.execute(&sql, &*values.as_params())? {
                0 => Err(StoreError::Exists { what: "a newer version of secret", name: row.key.name.to_string() }),
                _ => Ok(()),
            }
        })
        .await
    }

    /// The sealed secret, if there is one.
    pub(crate) async fn secret(&self, key: SecretKey) -> Result<Option<SecretRow>, StoreError> {
        self.read(move |connection| find(connection, &key)).await
    }

    /// All secrets, still sealed, by server and name.
    pub(crate) async fn secrets(&self) -> Result<Vec<SecretRow>, StoreError> {
        self.read(all).await
    }

    /// The sealed secret and the ledger, as they stood at one time.
    pub(crate) async fn secret_and_ledger(
        &self,
        key: SecretKey,
    ) -> Result<(Option<SecretRow>, Option<LedgerRow>), StoreError> {
        self.read(move |connection| ledger::consistent(connection, |connection| find(connection, &key))).await
    }

    /// All secrets and the ledger, as they stood at one time.
    pub(crate) async fn secrets_and_ledger(&self) -> Result<(Vec<SecretRow>, Option<LedgerRow>), StoreError> {
        self.read(|connection| ledger::consistent(connection, all)).await
    }

    /// Puts rewrapped secrets in the place of what they were made from, and returns how many. One that was set anew or
    /// deleted in between stays as it is.
    pub(crate) async fn rewrap_secrets(&self, rewrapped: Vec<Rewrapped>) -> Result<usize, StoreError> {
        self.write(move |connection| {
            let mut changed = 0;
            for Rewrapped { key, from, to } in rewrapped {
                let (sql, values) = Query::update()
                    .table(Secrets::Table)
                    .value(Secrets::Sealed, to)
                    .and_where(Expr::col(Secrets::Owner).eq(key.owner.as_str()))
                    .and_where(Expr::col(Secrets::Server).eq(key.server.as_str()))
                    .and_where(Expr::col(Secrets::Name).eq(key.name.as_str()))
                    .and_where(Expr::col(Secrets::Sealed).eq(from))
                    .build_rusqlite(SqliteQueryBuilder);
                changed += connection.execute(&sql, &*values.as_params())?;
            }
            Ok(changed)
        })
        .await
    }

    /// Deletes all secrets and the ledger. Needs no key: for when it is lost.
    pub(crate) async fn delete_all_secrets(&self) -> Result<usize, StoreError> {
        self.write(|connection| {
            let (sql, values) = Query::delete().from_table(Secrets::Table).build_rusqlite(SqliteQueryBuilder);
            let deleted = connection.execute(&sql, &*values.as_params())?;
            ledger::delete(connection)?;
            Ok(deleted)
        })
        .await
    }

    /// Whether any secret was ever sealed and kept. Blocks; for the start of the program.
    pub(crate) fn holds_secrets(&self) -> Result<bool, StoreError> {
        self.read_blocking(|connection| {
            let (sql, values) = Query::select()
                .expr(Expr::col(Secrets::Name).count())
                .from(Secrets::Table)
                .build_rusqlite(SqliteQueryBuilder);
            let count: i64 = connection.query_row(&sql, &*values.as_params(), |row| row.get(0))?;
            Ok(count > 0)
        })
    }

    /// Deletes a secret, and puts the ledger in place that does not tell of it any more.
    pub(crate) async fn delete_secret(&self, key: SecretKey, ledger: LedgerChange) -> Result<(), StoreError> {
        self.write(move |connection| {
            ledger::exchange(connection, &ledger)?;
            let (sql, values) = Query::delete()
                .from_table(Secrets::Table)
                .and_where(Expr::col(Secrets::Owner).eq(key.owner.as_str()))
                .and_where(Expr::col(Secrets::Server).eq(key.server.as_str()))
                .and_where(Expr::col(Secrets::Name).eq(key.name.as_str()))
                .build_rusqlite(SqliteQueryBuilder);
            match connection.execute(&sql, &*values.as_params())? {
                0 => Err(StoreError::Missing { what: "secret", name: key.name.to_string(), known: Vec::new() }),
                _ => Ok(()),
            }
        })
        .await
    }
}

fn find(connection: &Connection, key: &SecretKey) -> Result<Option<SecretRow>, StoreError> {
    let (sql, values) = Query::select()
        .columns(COLUMNS)
        .from(Secrets::Table)
        .and_where(Expr::col(Secrets::Owner).eq(key.owner.as_str()))
        .and_where(Expr::col(Secrets::Server).eq(key.server.as_str()))
        .and_where(Expr::col(Secrets::Name).eq(key.name.as_str()))
        .build_rusqlite(SqliteQueryBuilder);
    let row = connection.prepare_cached(&sql)?.query_row(&*values.as_params(), raw).optional()?;
    row.map(parse).transpose()
}

fn all(connection: &Connection) -> Result<Vec<SecretRow>, StoreError> {
    let (sql, values) = Query::select()
        .columns(COLUMNS)
        .from(Secrets::Table)
        .order_by(Secrets::Server, Order::Asc)
        .order_by(Secrets::Name, Order::Asc)
        .build_rusqlite(SqliteQueryBuilder);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(&*values.as_params(), raw)?;
    rows.map(|row| parse(row?)).collect()
}

/// Deletes a server's secrets, and returns how many there were.
pub(super) fn delete_of_server(connection: &Connection, server: &ServerName) -> Result<usize, StoreError> {
    let (sql, values) = Query::delete()
        .from_table(Secrets::Table)
        .and_where(Expr::col(Secrets::Server).eq(server.as_str()))
        .build_rusqlite(SqliteQueryBuilder);
    Ok(connection.execute(&sql, &*values.as_params())?)
}

const COLUMNS: [Secrets; 7] = [
    Secrets::Owner,
    Secrets::Server,
    Secrets::Name,
    Secrets::Version,
    Secrets::Policy,
    Secrets::CreatedAt,
    Secrets::Sealed,
];

type Raw = (String, String, String, i64, String, i64, Vec<u8>);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?))
}

fn parse((owner, server, name, version, policy, created_at, sealed): Raw) -> Result<SecretRow, StoreError> {
    let corrupt = || StoreError::Corrupt { what: "secret", name: name.clone() };
    let key = SecretKey {
        owner: owner.parse().map_err(|_| corrupt())?,
        server: server.parse().map_err(|_| corrupt())?,
        name: name.parse().map_err(|_| corrupt())?,
    };
    Ok(SecretRow { key, version, policy, created_at, sealed })
}

#[cfg(test)]
impl Store {
    /// As somebody does who can write to the database.
    pub(crate) async fn overwrite_for_test(
        &self,
        key: SecretKey,
        version: i64,
        created_at: i64,
        sealed: Vec<u8>,
        ledger: LedgerChange,
    ) -> Result<(), StoreError> {
        self.write(move |connection| {
            ledger::exchange(connection, &ledger)?;
            let (sql, values) = Query::update()
                .table(Secrets::Table)
                .values([
                    (Secrets::Version, version.into()),
                    (Secrets::CreatedAt, created_at.into()),
                    (Secrets::Sealed, sealed.into()),
                ])
                .and_where(Expr::col(Secrets::Name).eq(key.name.as_str()))
                .build_rusqlite(SqliteQueryBuilder);
            connection.execute(&sql, &*values.as_params())?;
            Ok(())
        })
        .await
    }
}
