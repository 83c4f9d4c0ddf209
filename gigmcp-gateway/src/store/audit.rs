//! The audit trail: one row per request that left or tried to leave, per tool call, and per call that no server makes.

use std::{sync::atomic::Ordering, time::Duration};

use sea_query::{Expr, ExprTrait, Order, Query};
use serde::Serialize;

use super::{Store, StoreError, connection::Row, schema::Audit, since_epoch};

/// One row of the audit trail.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AuditRow {
    /// Milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// `request`, `connect`, `dns`, `tool` or `tripwire`.
    pub(crate) kind: String,
    pub(crate) owner: String,
    pub(crate) profile: String,
    pub(crate) server: String,
    pub(crate) instance: String,
    /// What was asked for: `GET https://host/path`, a host name, a tool, or a system call.
    pub(crate) subject: String,
    /// `allowed`, or the stable code of the refusal.
    pub(crate) verdict: String,
    pub(crate) status: Option<i64>,
    /// Names of the credentials that were injected, comma separated; never a value.
    pub(crate) credentials: String,
    pub(crate) bytes_up: i64,
    pub(crate) bytes_down: i64,
    pub(crate) duration_us: i64,
    /// Something that an honest server never does, such as using another's placeholder.
    pub(crate) alarm: bool,
    /// The revision of the server's declaration that decided; 0 if it was the command line of `exec`, or nothing was declared
    /// any more. None if it was not read, for tool calls, and in rows of versions that did not keep it.
    pub(crate) policy_version: Option<i64>,
}

impl Store {
    /// Whether the next row can be expected to be kept: the database takes writes, and it took the last row.
    ///
    /// After a row was lost, the rows of refusals are what tries again. Stands in the same line as the rows of whoever
    /// asks, so that no requests leave faster than rows are written.
    pub(crate) async fn takes_audit(&self) -> Result<(), StoreError> {
        match self.threads.audit_lost.load(Ordering::Relaxed) {
            true => Err(StoreError::AuditLost),
            false => self.write(|_| Ok(())).await,
        }
    }

    /// Adds a row; it is in the database when this returns `Ok`.
    pub(crate) async fn add_audit(&self, row: AuditRow) -> Result<(), StoreError> {
        let added = self.insert_audit(row).await;
        self.threads.audit_lost.store(added.is_err(), Ordering::Relaxed);
        added
    }

    async fn insert_audit(&self, row: AuditRow) -> Result<(), StoreError> {
        self.write_promised(move |connection| {
            connection.execute(Query::insert().into_table(Audit::Table).columns(COLUMNS).values_panic([
                row.at_ms.into(),
                row.kind.into(),
                row.owner.into(),
                row.profile.into(),
                row.server.into(),
                row.instance.into(),
                row.subject.into(),
                row.verdict.into(),
                row.status.into(),
                row.credentials.into(),
                row.bytes_up.into(),
                row.bytes_down.into(),
                row.duration_us.into(),
                i64::from(row.alarm).into(),
                row.policy_version.into(),
            ]))?;
            Ok(())
        })
        .await
    }

    /// Deletes rows older than this, the oldest first and only some; gives how many.
    pub(crate) async fn prune_audit(&self, kept: Duration) -> Result<u64, StoreError> {
        let oldest_kept = i64::try_from(since_epoch().saturating_sub(kept).as_millis()).unwrap_or(i64::MAX);
        self.write(move |connection| {
            let some = Query::select()
                .column(Audit::Id)
                .from(Audit::Table)
                .and_where(Expr::col(Audit::AtMs).lt(oldest_kept))
                .order_by(Audit::AtMs, Order::Asc)
                .limit(PRUNED_AT_ONCE)
                .take();
            Ok(connection
                .execute(Query::delete().from_table(Audit::Table).and_where(Expr::col(Audit::Id).in_subquery(some)))?)
        })
        .await
    }

    /// The newest rows, oldest of them first.
    pub(crate) async fn audit_tail(&self, limit: u64) -> Result<Vec<AuditRow>, StoreError> {
        self.read(move |connection| {
            let newest = Query::select()
                .columns(COLUMNS)
                .from(Audit::Table)
                .order_by(Audit::Id, Order::Desc)
                .limit(limit)
                .take();
            let mut rows = connection.rows(&newest, parse)?;
            rows.reverse();
            Ok(rows)
        })
        .await
    }
}

const COLUMNS: [Audit; 15] = [
    Audit::AtMs,
    Audit::Kind,
    Audit::Owner,
    Audit::Profile,
    Audit::Server,
    Audit::Instance,
    Audit::Subject,
    Audit::Verdict,
    Audit::Status,
    Audit::Credentials,
    Audit::BytesUp,
    Audit::BytesDown,
    Audit::DurationUs,
    Audit::Alarm,
    Audit::PolicyVersion,
];

fn parse(row: &Row<'_>) -> Result<AuditRow, StoreError> {
    Ok(AuditRow {
        at_ms: row.get(0)?,
        kind: row.get(1)?,
        owner: row.get(2)?,
        profile: row.get(3)?,
        server: row.get(4)?,
        instance: row.get(5)?,
        subject: row.get(6)?,
        verdict: row.get(7)?,
        status: row.get(8)?,
        credentials: row.get(9)?,
        bytes_up: row.get(10)?,
        bytes_down: row.get(11)?,
        duration_us: row.get(12)?,
        alarm: row.get::<i64>(13)? != 0,
        policy_version: row.get(14)?,
    })
}

/// They are one change, and so what a request may have to wait for.
const PRUNED_AT_ONCE: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// A row that tells `subject` apart.
    fn row(subject: &str) -> AuditRow {
        AuditRow {
            at_ms: 1,
            kind: "request".to_owned(),
            owner: "local".to_owned(),
            profile: "work".to_owned(),
            server: "tickets".to_owned(),
            instance: "tickets-1".to_owned(),
            subject: subject.to_owned(),
            verdict: "allowed".to_owned(),
            status: Some(200),
            credentials: "API_KEY".to_owned(),
            bytes_up: 1,
            bytes_down: 2,
            duration_us: 3,
            alarm: false,
            policy_version: Some(7),
        }
    }

    #[tokio::test]
    async fn only_old_rows_go_and_a_few_at_a_time() {
        let (store, _directory) = Store::open_for_test();
        let day = Duration::from_secs(24 * 60 * 60);
        let now = i64::try_from(since_epoch().as_millis()).expect("a time of today");
        let ago = |days: i64| now - days * 24 * 60 * 60 * 1000;
        let mut add = Vec::new();
        for (subject, at_ms, count) in [("young", ago(89), 3), ("old", ago(91), PRUNED_AT_ONCE + 1), ("older", 1, 1)] {
            add.extend((0..count).map(|_| AuditRow { at_ms, ..row(subject) }));
        }
        for row in add {
            store.add_audit(row).await.expect("it takes rows");
        }
        let subjects = async || {
            let mut subjects = store.audit_tail(1000).await.expect("it can be read");
            subjects.dedup_by(|one, other| one.subject == other.subject);
            subjects.into_iter().map(|row| row.subject).collect::<Vec<_>>()
        };
        assert_eq!(store.prune_audit(day * 90).await.expect("it is written"), PRUNED_AT_ONCE);
        assert_eq!(subjects().await, ["young", "old"], "the oldest are the first to go, wherever they stand");
        assert_eq!(store.prune_audit(day * 90).await.expect("it is written"), 2);
        assert_eq!(store.prune_audit(day * 90).await.expect("it is written"), 0);
        assert_eq!(subjects().await, ["young"]);
    }
}
