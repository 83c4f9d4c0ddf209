//! Installed servers.

use rusqlite::{Connection, OptionalExtension, Row};
use sea_query::{Expr, ExprTrait, Order, Query, SqliteQueryBuilder};
use sea_query_rusqlite::RusqliteBinder;

use super::{LedgerChange, Store, StoreError, now_seconds, schema::Servers};
use crate::spec::{ProfileSlug, ServerName, ServerSpec};

/// One installed server.
#[derive(Clone, Debug)]
pub(crate) struct ServerRow {
    pub(crate) name: ServerName,
    pub(crate) spec: ServerSpec,
    /// Grows by one at every change; an instance started under another revision is stale.
    pub(crate) revision: i64,
    pub(crate) created_at: i64,
}

impl Store {
    /// Adds a server and puts it into these profiles, or does neither.
    pub(crate) async fn add_server(
        &self,
        name: ServerName,
        spec: ServerSpec,
        profiles: Vec<ProfileSlug>,
    ) -> Result<(), StoreError> {
        self.write(move |connection| {
            if find(connection, &name)?.is_some() {
                return Err(StoreError::Exists { what: "server", name: name.to_string() });
            }
            // A server that was removed and added again must not look like the old one.
            let revision = now_seconds();
            let (sql, values) = Query::insert()
                .into_table(Servers::Table)
                .columns([Servers::Name, Servers::Spec, Servers::Revision, Servers::CreatedAt])
                .values_panic([name.as_str().into(), spec.to_json().into(), revision.into(), revision.into()])
                .build_rusqlite(SqliteQueryBuilder);
            connection.execute(&sql, &*values.as_params())?;
            for profile in &profiles {
                super::profiles::add_member(connection, profile, &name)?;
            }
            Ok(())
        })
        .await
    }

    /// Replaces a server's specification, if it differs.
    pub(crate) async fn replace_server(&self, name: ServerName, spec: ServerSpec) -> Result<(), StoreError> {
        self.write(move |connection| {
            let (sql, values) = Query::update()
                .table(Servers::Table)
                .value(Servers::Spec, spec.to_json())
                .value(Servers::Revision, Expr::col(Servers::Revision).add(1))
                .and_where(Expr::col(Servers::Name).eq(name.as_str()))
                .and_where(Expr::col(Servers::Spec).ne(spec.to_json()))
                .build_rusqlite(SqliteQueryBuilder);
            connection.execute(&sql, &*values.as_params())?;
            Ok(())
        })
        .await
    }

    /// Removes a server with its place in profiles and its secrets. If it has any, the ledger that does not tell of them any
    /// more is given.
    pub(crate) async fn remove_server(&self, name: ServerName, ledger: Option<LedgerChange>) -> Result<(), StoreError> {
        self.write(move |connection| {
            require(connection, &name)?;
            if let Some(ledger) = &ledger {
                super::ledger::exchange(connection, ledger)?;
            }
            let secrets = super::secrets::delete_of_server(connection, &name)?;
            if secrets > 0 && ledger.is_none() {
                return Err(StoreError::Changed);
            }
            let (sql, values) = Query::delete()
                .from_table(Servers::Table)
                .and_where(Expr::col(Servers::Name).eq(name.as_str()))
                .build_rusqlite(SqliteQueryBuilder);
            connection.execute(&sql, &*values.as_params())?;
            Ok(())
        })
        .await
    }

    /// The server of that name.
    pub(crate) async fn server(&self, name: ServerName) -> Result<ServerRow, StoreError> {
        self.read(move |connection| require(connection, &name)).await
    }

    /// All servers by name.
    pub(crate) async fn servers(&self) -> Result<Vec<ServerRow>, StoreError> {
        self.read(all).await
    }
}

/// The server of that name, or an error that lists the names there are.
pub(super) fn require(connection: &Connection, name: &ServerName) -> Result<ServerRow, StoreError> {
    match find(connection, name)? {
        Some(server) => Ok(server),
        None => {
            let known = all(connection)?.into_iter().map(|server| server.name.to_string()).collect();
            Err(StoreError::Missing { what: "server", name: name.to_string(), known })
        }
    }
}

pub(super) fn find(connection: &Connection, name: &ServerName) -> Result<Option<ServerRow>, StoreError> {
    let (sql, values) = Query::select()
        .columns(COLUMNS)
        .from(Servers::Table)
        .and_where(Expr::col(Servers::Name).eq(name.as_str()))
        .build_rusqlite(SqliteQueryBuilder);
    let row = connection.prepare_cached(&sql)?.query_row(&*values.as_params(), raw).optional()?;
    row.map(parse).transpose()
}

fn all(connection: &Connection) -> Result<Vec<ServerRow>, StoreError> {
    let (sql, values) = Query::select()
        .columns(COLUMNS)
        .from(Servers::Table)
        .order_by(Servers::Name, Order::Asc)
        .build_rusqlite(SqliteQueryBuilder);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(&*values.as_params(), raw)?;
    rows.map(|row| parse(row?)).collect()
}

const COLUMNS: [Servers; 4] = [Servers::Name, Servers::Spec, Servers::Revision, Servers::CreatedAt];

type Raw = (String, String, i64, i64);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn parse((name, spec, revision, created_at): Raw) -> Result<ServerRow, StoreError> {
    let corrupt = |name: &str| StoreError::Corrupt { what: "server", name: name.to_owned() };
    Ok(ServerRow {
        spec: ServerSpec::from_json(&spec).map_err(|_| corrupt(&name))?,
        name: name.parse().map_err(|_| corrupt(&name))?,
        revision,
        created_at,
    })
}
