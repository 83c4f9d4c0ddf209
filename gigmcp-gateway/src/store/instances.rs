//! Every sandbox that was started: for whom, from what, and when it ended.

use gigmcp_egress::Identity;
use sea_query::{Expr, ExprTrait, Order, Query};

use super::{Store, StoreError, connection::Row, now_seconds, schema::Instances};
use crate::spec::{Owner, ServerName};

/// One sandbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct InstanceRow {
    pub(crate) id: Identity,
    pub(crate) owner: Owner,
    /// Empty for `exec`.
    pub(crate) profile: String,
    pub(crate) server: ServerName,
    /// Which of the server's policies it began with; 0 for `exec`.
    pub(crate) revision: i64,
    pub(crate) started_at: i64,
    /// None while it runs, and for ever if the gateway was killed.
    pub(crate) ended_at: Option<i64>,
}

impl Store {
    /// Keeps that a sandbox was started.
    pub(crate) async fn begin_instance(&self, row: InstanceRow) -> Result<(), StoreError> {
        self.write(move |connection| {
            let insert = Query::insert()
                .into_table(Instances::Table)
                .columns(COLUMNS)
                .values_panic([
                    row.id.as_str().into(),
                    row.owner.as_str().into(),
                    row.profile.into(),
                    row.server.as_str().into(),
                    row.revision.into(),
                    row.started_at.into(),
                    row.ended_at.into(),
                ])
                .take();
            Ok(connection.execute(&insert).map(drop)?)
        })
        .await
    }

    /// Keeps that it has ended.
    pub(crate) async fn end_instance(&self, id: Identity) -> Result<(), StoreError> {
        self.write_promised(move |connection| {
            let update = Query::update()
                .table(Instances::Table)
                .value(Instances::EndedAt, now_seconds())
                .and_where(Expr::col(Instances::Id).eq(id.as_str()))
                .take();
            Ok(connection.execute(&update).map(drop)?)
        })
        .await
    }

    /// The newest of them, newest first.
    pub(crate) async fn instances(&self, limit: u64) -> Result<Vec<InstanceRow>, StoreError> {
        self.read(move |connection| {
            let newest = Query::select()
                .columns(COLUMNS)
                .from(Instances::Table)
                .order_by(Instances::StartedAt, Order::Desc)
                .order_by(Instances::Id, Order::Asc)
                .limit(limit)
                .take();
            connection.rows(&newest, parse)
        })
        .await
    }
}

const COLUMNS: [Instances; 7] = [
    Instances::Id,
    Instances::Owner,
    Instances::Profile,
    Instances::Server,
    Instances::Revision,
    Instances::StartedAt,
    Instances::EndedAt,
];

fn parse(row: &Row<'_>) -> Result<InstanceRow, StoreError> {
    let id: String = row.get(0)?;
    let corrupt = || StoreError::Corrupt { what: "instance", name: id.clone() };
    Ok(InstanceRow {
        owner: row.get::<String>(1)?.parse().map_err(|_| corrupt())?,
        profile: row.get(2)?,
        server: row.get::<String>(3)?.parse().map_err(|_| corrupt())?,
        revision: row.get(4)?,
        started_at: row.get(5)?,
        ended_at: row.get(6)?,
        id: Identity::new(id),
    })
}
