//! Every sandbox that was started: for whom, from what, and when it ended.

use gigmcp_egress::Identity;
use sea_query::{Condition, Expr, ExprTrait, Order, Query};

use super::{Flush, Store, StoreError, connection::Row, now_seconds, schema::Instances};
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
        self.write_promised(Flush::WithCommit, move |connection| {
            let update = Query::update()
                .table(Instances::Table)
                .value(Instances::EndedAt, now_seconds())
                .and_where(Expr::col(Instances::Id).eq(id.as_str()))
                .take();
            Ok(connection.execute(&update).map(drop)?)
        })
        .await
    }

    /// One of them.
    pub(crate) async fn instance(&self, id: Identity) -> Result<Option<InstanceRow>, StoreError> {
        self.read(move |connection| {
            let select = Query::select()
                .columns(COLUMNS)
                .from(Instances::Table)
                .and_where(Expr::col(Instances::Id).eq(id.as_str()))
                .take();
            connection.row(&select, parse)
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

/// Which of them are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct InstancesOf {
    pub(crate) owner: Option<Owner>,
    pub(crate) server: Option<ServerName>,
    /// Those whose end was not written down.
    pub(crate) unended: bool,
    /// After the one that began then and has this id.
    pub(crate) after: Option<(i64, String)>,
}

impl Store {
    /// The next of those that are wanted, newest first.
    pub(crate) async fn instances_of(&self, of: InstancesOf, limit: u64) -> Result<Vec<InstanceRow>, StoreError> {
        self.read(move |connection| {
            let mut wanted = Condition::all();
            if let Some(owner) = &of.owner {
                wanted = wanted.add(Expr::col(Instances::Owner).eq(owner.as_str()));
            }
            if let Some(server) = &of.server {
                wanted = wanted.add(Expr::col(Instances::Server).eq(server.as_str()));
            }
            if of.unended {
                wanted = wanted.add(Expr::col(Instances::EndedAt).is_null());
            }
            if let Some((began, id)) = of.after {
                let same = Expr::col(Instances::StartedAt).eq(began).and(Expr::col(Instances::Id).gt(id));
                wanted = wanted.add(Expr::col(Instances::StartedAt).lt(began).or(same));
            }
            let select = Query::select()
                .columns(COLUMNS)
                .from(Instances::Table)
                .cond_where(wanted)
                .order_by(Instances::StartedAt, Order::Desc)
                .order_by(Instances::Id, Order::Asc)
                .limit(limit)
                .take();
            connection.rows(&select, parse)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::on_both;

    #[tokio::test]
    async fn those_that_are_wanted_come_newest_first_in_pages() {
        on_both(async |test| {
            let store = test.open();
            let other: Owner = "somebody".parse().expect("an owner");
            for (id, owner, server, started_at, ended_at) in [
                ("a", Owner::local(), "notes", 1, Some(2)),
                ("b", Owner::local(), "files", 3, None),
                ("c", other.clone(), "notes", 3, None),
                ("d", Owner::local(), "notes", 4, Some(5)),
            ] {
                let (id, server) = (Identity::new(id), server.parse().expect("a name"));
                let row = InstanceRow { id, owner, profile: "p".to_owned(), server, revision: 1, started_at, ended_at };
                store.begin_instance(row).await.expect("it is written");
            }
            let ids = async |of: InstancesOf, limit| {
                let found = store.instances_of(of, limit).await.expect("they can be read");
                found.iter().map(|row| row.id.as_str().to_owned()).collect::<Vec<_>>().concat()
            };
            let all = InstancesOf::default();
            assert_eq!(ids(all.clone(), 10).await, "dbca");
            assert_eq!(ids(all.clone(), 2).await, "db");
            assert_eq!(ids(InstancesOf { after: Some((3, "b".to_owned())), ..all.clone() }, 2).await, "ca");
            assert_eq!(ids(InstancesOf { owner: Some(other), ..all.clone() }, 10).await, "c");
            assert_eq!(ids(InstancesOf { server: "notes".parse().ok(), ..all.clone() }, 10).await, "dca");
            assert_eq!(ids(InstancesOf { unended: true, ..all }, 10).await, "bc");
        })
        .await;
    }
}
