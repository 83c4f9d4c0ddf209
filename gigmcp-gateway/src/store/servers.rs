//! Installed servers.

use sea_query::{Expr, ExprTrait, Order, Query};

use super::{
    Joins, LedgerChange, Store, StoreError, Told, audit,
    connection::{Connection, Row},
    ledger, now_millis, now_seconds, policies,
    schema::Servers,
};
use crate::{
    spec::{Owner, ServerName, ServerSpec, Source},
    trail::AuditRow,
};

/// One installed server.
#[derive(Clone, Debug)]
pub(crate) struct ServerRow {
    pub(crate) name: ServerName,
    pub(crate) spec: ServerSpec,
    /// Another one after every change, and never one that there was; an instance started under another is stale.
    pub(crate) revision: i64,
    pub(crate) created_at: i64,
}

impl Store {
    /// Adds a server and puts it into these profiles, or does neither; gives its revision.
    pub(crate) async fn add_server_told(
        &self,
        name: ServerName,
        spec: ServerSpec,
        profiles: Vec<Joins>,
        told: impl Into<Told>,
    ) -> Result<i64, StoreError> {
        self.change_told(told, move |connection| {
            let revision = add(connection, &name, &spec)?;
            profiles.iter().try_for_each(|joins| super::profiles::join(connection, joins, &name))?;
            Ok(revision)
        })
        .await
    }

    /// Removes a server with its place in profiles and its secrets. If it has any, the ledger that does not tell of them any
    /// more is given.
    pub(crate) async fn remove_server(
        &self,
        name: ServerName,
        ledger: Option<LedgerChange>,
        told: impl Into<Told>,
    ) -> Result<(), StoreError> {
        self.change_told(told, move |connection| {
            let server = require(connection, &name)?;
            if let Some(ledger) = &ledger {
                ledger::exchange(connection, ledger)?;
            }
            let secrets = super::secrets::delete_of_server(connection, &name)?;
            if secrets > 0 && ledger.is_none() {
                return Err(StoreError::Changed);
            }
            connection.execute(
                Query::delete().from_table(Servers::Table).and_where(Expr::col(Servers::Name).eq(name.as_str())),
            )?;
            audit::append(connection, &removed(&server))
        })
        .await
    }

    /// The server of that name.
    pub(crate) async fn server(&self, name: ServerName) -> Result<ServerRow, StoreError> {
        self.read(move |connection| require(connection, &name)).await
    }

    /// The next servers after a name.
    pub(crate) async fn servers_after(
        &self,
        after: Option<ServerName>,
        limit: u64,
    ) -> Result<Vec<ServerRow>, StoreError> {
        self.read(move |connection| {
            let mut some = Query::select().columns(COLUMNS).from(Servers::Table).take();
            if let Some(after) = &after {
                some.and_where(Expr::col(Servers::Name).gt(after.as_str()));
            }
            connection.rows(some.order_by(Servers::Name, Order::Asc).limit(limit), parse)
        })
        .await
    }

    /// All servers by name.
    pub(crate) async fn servers(&self) -> Result<Vec<ServerRow>, StoreError> {
        self.read(all).await
    }
}

fn add(connection: &Connection, name: &ServerName, spec: &ServerSpec) -> Result<i64, StoreError> {
    if find(connection, name)?.is_some() {
        return Err(StoreError::Exists { what: "server", name: name.to_string() });
    }
    let revision = policies::declare(connection, name, spec)?;
    insert(connection, name, &spec.to_json(), revision)?;
    Ok(revision)
}

/// That a server is there no more, and which it was.
fn removed(server: &ServerRow) -> AuditRow {
    AuditRow {
        at_ms: now_millis(),
        kind: "removal".to_owned(),
        owner: Owner::local().to_string(),
        server: server.name.to_string(),
        subject: match &server.spec.source {
            Source::Image(image) => format!("{} {}", image.version, image.manifest),
            Source::Binary { .. } | Source::HostTools => String::new(),
        },
        verdict: "allowed".to_owned(),
        policy_version: Some(server.revision),
        ..AuditRow::default()
    }
}

pub(super) fn insert(connection: &Connection, name: &ServerName, spec: &str, revision: i64) -> Result<(), StoreError> {
    connection.execute(
        Query::insert()
            .into_table(Servers::Table)
            .columns([Servers::Name, Servers::Spec, Servers::Revision, Servers::CreatedAt])
            .values_panic([name.as_str().into(), spec.into(), revision.into(), now_seconds().into()]),
    )?;
    Ok(())
}

pub(super) fn update(connection: &Connection, name: &ServerName, spec: &str, revision: i64) -> Result<(), StoreError> {
    connection.execute(
        Query::update()
            .table(Servers::Table)
            .value(Servers::Spec, spec)
            .value(Servers::Revision, revision)
            .and_where(Expr::col(Servers::Name).eq(name.as_str())),
    )?;
    Ok(())
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
    connection.row(
        Query::select().columns(COLUMNS).from(Servers::Table).and_where(Expr::col(Servers::Name).eq(name.as_str())),
        parse,
    )
}

fn all(connection: &Connection) -> Result<Vec<ServerRow>, StoreError> {
    connection.rows(Query::select().columns(COLUMNS).from(Servers::Table).order_by(Servers::Name, Order::Asc), parse)
}

const COLUMNS: [Servers; 4] = [Servers::Name, Servers::Spec, Servers::Revision, Servers::CreatedAt];

fn parse(row: &Row<'_>) -> Result<ServerRow, StoreError> {
    let (name, spec): (String, String) = (row.get(0)?, row.get(1)?);
    let corrupt = || StoreError::Corrupt { what: "server", name: name.clone() };
    Ok(ServerRow {
        spec: ServerSpec::from_json(&spec).map_err(|_| corrupt())?,
        name: name.parse().map_err(|_| corrupt())?,
        revision: row.get(2)?,
        created_at: row.get(3)?,
    })
}
