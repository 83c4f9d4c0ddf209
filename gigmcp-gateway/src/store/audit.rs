//! The audit trail: one row per request that left or tried to leave, per tool call, and per call that no server makes.

use std::sync::atomic::Ordering;

use rusqlite::Row;
use sea_query::{Order, Query, SqliteQueryBuilder};
use sea_query_rusqlite::RusqliteBinder;
use serde::Serialize;

use super::{Store, StoreError, schema::Audit};

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
}

impl Store {
    /// Whether the next row can be expected to be kept: the database takes writes, and it took the last row.
    ///
    /// After a row was lost, the rows of refusals are what tries again.
    pub(crate) async fn takes_audit(&self) -> Result<(), StoreError> {
        match self.audit_lost.load(Ordering::Relaxed) {
            true => Err(StoreError::AuditLost),
            false => self.write(|_| Ok(())).await,
        }
    }

    /// Adds a row; it is in the database when this returns `Ok`.
    pub(crate) async fn add_audit(&self, row: AuditRow) -> Result<(), StoreError> {
        let added = self.insert_audit(row).await;
        self.audit_lost.store(added.is_err(), Ordering::Relaxed);
        added
    }

    async fn insert_audit(&self, row: AuditRow) -> Result<(), StoreError> {
        self.write(move |connection| {
            let (sql, values) = Query::insert()
                .into_table(Audit::Table)
                .columns(COLUMNS)
                .values_panic([
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
                ])
                .build_rusqlite(SqliteQueryBuilder);
            connection.prepare_cached(&sql)?.execute(&*values.as_params())?;
            Ok(())
        })
        .await
    }

    /// The newest rows, oldest of them first.
    pub(crate) async fn audit_tail(&self, limit: u64) -> Result<Vec<AuditRow>, StoreError> {
        self.read(move |connection| {
            let (sql, values) = Query::select()
                .columns(COLUMNS)
                .from(Audit::Table)
                .order_by(Audit::Id, Order::Desc)
                .limit(limit)
                .build_rusqlite(SqliteQueryBuilder);
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(&*values.as_params(), parse)?;
            let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
            rows.reverse();
            Ok(rows)
        })
        .await
    }
}

const COLUMNS: [Audit; 14] = [
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
];

fn parse(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
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
        alarm: row.get::<_, i64>(13)? != 0,
    })
}
