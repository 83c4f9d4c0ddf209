//! Sealed secrets. This module moves opaque bytes; sealing and opening is the vault's.

use std::collections::HashMap;

use sea_query::{Expr, ExprTrait, OnConflict, Order, Query};

use super::{
    LedgerChange, LedgerRow, Store, StoreError, Told,
    connection::{Connection, Row},
    holdings, ledger,
    schema::Secrets,
    servers,
};
use crate::spec::{ACCOUNT, EXEC, Owner, REGISTRY, SecretName, ServerName};

/// Whose secret, for which server, under which name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct SecretKey {
    pub(crate) owner: Owner,
    pub(crate) server: ServerName,
    pub(crate) name: SecretName,
}

/// A secret as it lies in the database.
#[derive(Clone, Debug)]
pub(crate) struct SecretRow {
    pub(crate) key: SecretKey,
    pub(crate) version: i64,
    /// The hosts and the place the secret was set for; bound into the seal.
    pub(crate) policy: String,
    pub(crate) created_at: i64,
    pub(crate) sealed: Vec<u8>,
}

/// What is known of a secret without opening it.
#[derive(Clone, Debug)]
pub(crate) struct SecretHead {
    pub(crate) key: SecretKey,
    pub(crate) version: i64,
    pub(crate) policy: String,
    pub(crate) created_at: i64,
}

/// A secret whose key was wrapped anew.
#[derive(Debug)]
pub(crate) struct Rewrapped {
    pub(crate) key: SecretKey,
    pub(crate) from: Vec<u8>,
    pub(crate) to: Vec<u8>,
}

impl Store {
    /// Stores a sealed secret in place of an older version, and the ledger that tells of it. What the owner runs and holds it
    /// itself ends.
    ///
    /// Refused when another writer stored the same or a newer version in between.
    pub(crate) async fn put_secret(
        &self,
        row: SecretRow,
        ledger: LedgerChange,
        told: impl Into<Told>,
    ) -> Result<(), StoreError> {
        self.change_told(told, move |connection| {
            ledger::exchange(connection, &ledger)?;
            if ![ACCOUNT, EXEC, REGISTRY].contains(&row.key.server.as_str()) {
                servers::require(connection, &row.key.server)?;
            }
            match connection.execute(
                Query::insert()
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
                    ),
            )? {
                0 => Err(StoreError::Exists { what: "a newer version of secret", name: row.key.name.to_string() }),
                _ => holdings::renew(connection, &row.key),
            }
        })
        .await
    }

    /// The sealed secret, if there is one.
    pub(crate) async fn secret(&self, key: SecretKey) -> Result<Option<SecretRow>, StoreError> {
        self.read(move |connection| find(connection, &key)).await
    }

    /// Which version of each secret of a server is the present one.
    pub(crate) async fn secret_versions(
        &self,
        owner: Owner,
        server: ServerName,
    ) -> Result<HashMap<SecretName, i64>, StoreError> {
        self.read(move |connection| {
            let select = Query::select()
                .columns([Secrets::Name, Secrets::Version])
                .from(Secrets::Table)
                .and_where(Expr::col(Secrets::Owner).eq(owner.as_str()))
                .and_where(Expr::col(Secrets::Server).eq(server.as_str()))
                .take();
            let versions = connection.rows(&select, |row| {
                let name: String = row.get(0)?;
                let name = name.parse().map_err(|_| StoreError::Corrupt { what: "secret", name })?;
                Ok((name, row.get(1)?))
            })?;
            Ok(versions.into_iter().collect())
        })
        .await
    }

    /// What is known of the secrets of somebody without what was sealed, by server and name.
    pub(crate) async fn secrets_of(&self, owner: Owner) -> Result<Vec<SecretHead>, StoreError> {
        self.read(move |connection| {
            let select = Query::select()
                .columns([Secrets::Server, Secrets::Name, Secrets::Version, Secrets::Policy, Secrets::CreatedAt])
                .from(Secrets::Table)
                .and_where(Expr::col(Secrets::Owner).eq(owner.as_str()))
                .order_by(Secrets::Server, Order::Asc)
                .order_by(Secrets::Name, Order::Asc)
                .take();
            connection.rows(&select, |row| {
                let name: String = row.get(1)?;
                let corrupt = || StoreError::Corrupt { what: "secret", name: name.clone() };
                let server = row.get::<String>(0)?.parse().map_err(|_| corrupt())?;
                let key = SecretKey { owner: owner.clone(), server, name: name.parse().map_err(|_| corrupt())? };
                Ok(SecretHead { key, version: row.get(2)?, policy: row.get(3)?, created_at: row.get(4)? })
            })
        })
        .await
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
        self.read(move |connection| Ok((find(connection, &key)?, ledger::find(connection)?))).await
    }

    /// All secrets and the ledger, as they stood at one time.
    pub(crate) async fn secrets_and_ledger(&self) -> Result<(Vec<SecretRow>, Option<LedgerRow>), StoreError> {
        self.read(|connection| Ok((all(connection)?, ledger::find(connection)?))).await
    }

    /// Puts rewrapped secrets in the place of what they were made from, and returns how many. One that was set anew or
    /// deleted in between stays as it is.
    pub(crate) async fn rewrap_secrets(&self, rewrapped: Vec<Rewrapped>) -> Result<u64, StoreError> {
        self.change(move |connection| {
            let mut changed = 0;
            for Rewrapped { key, from, to } in rewrapped {
                changed += connection.execute(
                    Query::update()
                        .table(Secrets::Table)
                        .value(Secrets::Sealed, to)
                        .and_where(Expr::col(Secrets::Owner).eq(key.owner.as_str()))
                        .and_where(Expr::col(Secrets::Server).eq(key.server.as_str()))
                        .and_where(Expr::col(Secrets::Name).eq(key.name.as_str()))
                        .and_where(Expr::col(Secrets::Sealed).eq(from)),
                )?;
            }
            Ok(changed)
        })
        .await
    }

    /// Deletes all secrets and the ledger. Needs no key: for when it is lost. What holds one ends.
    pub(crate) async fn delete_all_secrets(&self, told: impl Into<Told>) -> Result<u64, StoreError> {
        self.change_told(told, |connection| {
            holdings::renew_all(connection)?;
            let deleted = connection.execute(Query::delete().from_table(Secrets::Table))?;
            ledger::delete(connection)?;
            Ok(deleted)
        })
        .await
    }

    /// Whether any secret was ever sealed and kept. Blocks; for the start of the program.
    pub(crate) fn holds_secrets(&self) -> Result<bool, StoreError> {
        self.read_blocking(|connection| {
            let one = Query::select().column(Secrets::Name).from(Secrets::Table).limit(1).take();
            Ok(connection.row(&one, |row| Ok(row.get::<String>(0)?))?.is_some())
        })
    }

    /// Deletes a secret, and puts the ledger in place that does not tell of it any more. What the owner runs and held it itself
    /// ends.
    pub(crate) async fn delete_secret(
        &self,
        key: SecretKey,
        ledger: LedgerChange,
        told: impl Into<Told>,
    ) -> Result<(), StoreError> {
        self.change_told(told, move |connection| {
            ledger::exchange(connection, &ledger)?;
            match connection.execute(
                Query::delete()
                    .from_table(Secrets::Table)
                    .and_where(Expr::col(Secrets::Owner).eq(key.owner.as_str()))
                    .and_where(Expr::col(Secrets::Server).eq(key.server.as_str()))
                    .and_where(Expr::col(Secrets::Name).eq(key.name.as_str())),
            )? {
                0 => Err(StoreError::Missing { what: "secret", name: key.name.to_string(), known: Vec::new() }),
                _ => holdings::renew(connection, &key),
            }
        })
        .await
    }
}

#[cfg(test)]
impl Store {
    /// What somebody does who may write to the database.
    pub(crate) async fn overwrite_for_test(
        &self,
        key: SecretKey,
        version: i64,
        created_at: i64,
        sealed: Vec<u8>,
        ledger: LedgerChange,
    ) -> Result<(), StoreError> {
        self.change(move |connection| {
            ledger::exchange(connection, &ledger)?;
            connection.execute(
                Query::update()
                    .table(Secrets::Table)
                    .values([
                        (Secrets::Version, version.into()),
                        (Secrets::CreatedAt, created_at.into()),
                        (Secrets::Sealed, sealed.into()),
                    ])
                    .and_where(Expr::col(Secrets::Name).eq(key.name.as_str())),
            )?;
            Ok(())
        })
        .await
    }
}

/// Deletes a server's secrets, and returns how many there were.
pub(super) fn delete_of_server(connection: &Connection, server: &ServerName) -> Result<u64, StoreError> {
    Ok(connection.execute(
        Query::delete().from_table(Secrets::Table).and_where(Expr::col(Secrets::Server).eq(server.as_str())),
    )?)
}

fn find(connection: &Connection, key: &SecretKey) -> Result<Option<SecretRow>, StoreError> {
    connection.row(
        Query::select()
            .columns(COLUMNS)
            .from(Secrets::Table)
            .and_where(Expr::col(Secrets::Owner).eq(key.owner.as_str()))
            .and_where(Expr::col(Secrets::Server).eq(key.server.as_str()))
            .and_where(Expr::col(Secrets::Name).eq(key.name.as_str())),
        parse,
    )
}

fn all(connection: &Connection) -> Result<Vec<SecretRow>, StoreError> {
    connection.rows(
        Query::select()
            .columns(COLUMNS)
            .from(Secrets::Table)
            .order_by(Secrets::Server, Order::Asc)
            .order_by(Secrets::Name, Order::Asc),
        parse,
    )
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

fn parse(row: &Row<'_>) -> Result<SecretRow, StoreError> {
    let name: String = row.get(2)?;
    let corrupt = || StoreError::Corrupt { what: "secret", name: name.clone() };
    let key = SecretKey {
        owner: row.get::<String>(0)?.parse().map_err(|_| corrupt())?,
        server: row.get::<String>(1)?.parse().map_err(|_| corrupt())?,
        name: name.parse().map_err(|_| corrupt())?,
    };
    Ok(SecretRow { key, version: row.get(3)?, policy: row.get(4)?, created_at: row.get(5)?, sealed: row.get(6)? })
}
