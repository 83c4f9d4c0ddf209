//! Who does what is written, looked at once more in the transaction that writes it.
//!
//! Between the moment in which somebody was let in and the one in which a change is made they may have been disabled, given
//! another role, or signed out. Whatever lets people in, or changes them, is written with a [`Told`], which refuses that.

use std::cmp::min;

use sea_query::{Expr, ExprTrait, Query};

use super::{
    Store, StoreError, audit,
    connection::Connection,
    now_seconds,
    schema::{ApiKeys, Sessions},
    users,
};
use crate::{
    people::{Proof, Role, UserId},
    trail::AuditRow,
};

/// A row of the audit trail, and who does what it tells of.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) row: AuditRow,
    by: Option<Standing>,
}

/// Who does something of which the row is made where it is written.
#[derive(Clone, Debug)]
pub(crate) struct By {
    /// As the row tells it.
    pub(crate) told: String,
    /// None is whoever has the database in their hands.
    pub(crate) standing: Option<Standing>,
}

/// As what somebody was let in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Standing {
    pub(crate) user: UserId,
    pub(crate) role: Role,
    pub(crate) proof: Option<Proof>,
}

/// What whoever has the database in their hands does.
impl From<AuditRow> for Told {
    fn from(row: AuditRow) -> Self {
        Self { row, by: None }
    }
}

impl Told {
    pub(crate) fn by(standing: Standing, row: AuditRow) -> Self {
        Self { row, by: Some(standing) }
    }

    /// Writes the row. Tests that are not about the audit have none.
    pub(super) fn append(&self, connection: &Connection) -> Result<(), StoreError> {
        match cfg!(test) && self.row.kind.is_empty() {
            true => Ok(()),
            false => audit::append(connection, &self.row),
        }
    }

    /// Refuses what was asked by somebody who is not any more what they were let in as.
    pub(super) fn check(&self, connection: &Connection) -> Result<(), StoreError> {
        check(connection, self.by.as_ref())
    }
}

impl By {
    /// Refuses what was asked by somebody who is not any more what they were let in as.
    pub(super) fn check(&self, connection: &Connection) -> Result<(), StoreError> {
        check(connection, self.standing.as_ref())
    }
}

fn check(connection: &Connection, by: Option<&Standing>) -> Result<(), StoreError> {
    let Some(Standing { user, role, proof }) = by else { return Ok(()) };
    let found = users::find(connection, user)?.map(|found| found.user);
    let found = found.filter(|found| found.disabled_at.is_none()).ok_or(StoreError::Revoked)?;
    let now = found.role;
    let now = match proof {
        None => now,
        Some(Proof::Session(hash)) => session(connection, hash, user)?.then_some(now).ok_or(StoreError::Revoked)?,
        Some(Proof::ApiKey(_)) if !found.lets_programs_in() => return Err(StoreError::Revoked),
        Some(Proof::ApiKey(hash)) => min(now, key(connection, hash, user)?.ok_or(StoreError::Revoked)?),
    };
    if now == *role { Ok(()) } else { Err(StoreError::Revoked) }
}

impl Store {
    /// Makes a change that others follow, of which the audit trail tells, if whoever does it may still.
    pub(super) async fn change_told<T, F>(&self, told: impl Into<Told>, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let change = told_of(told.into(), change);
        self.change(change).await
    }

    /// The same for what nobody follows.
    pub(super) async fn write_told<T, F>(&self, told: impl Into<Told>, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let change = told_of(told.into(), change);
        self.write(change).await
    }
}

fn told_of<T>(
    told: Told,
    change: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> impl FnOnce(&Connection) -> Result<T, StoreError> {
    move |connection| {
        // First: it may change whoever does it.
        told.check(connection)?;
        let changed = change(connection)?;
        told.append(connection)?;
        Ok(changed)
    }
}

fn session(connection: &Connection, hash: &str, user: &UserId) -> Result<bool, StoreError> {
    let select = Query::select()
        .column(Sessions::ExpiresAt)
        .from(Sessions::Table)
        .and_where(Expr::col(Sessions::TokenHash).eq(hash))
        .and_where(Expr::col(Sessions::UserId).eq(user.as_str()))
        .and_where(Expr::col(Sessions::ExpiresAt).gt(now_seconds()))
        .take();
    Ok(connection.row(&select, |row| Ok(row.get::<i64>(0)?))?.is_some())
}

/// What the owner of a key was when it was made, if it works.
fn key(connection: &Connection, hash: &str, user: &UserId) -> Result<Option<Role>, StoreError> {
    let ends = Expr::col(ApiKeys::ExpiresAt);
    let select = Query::select()
        .column(ApiKeys::Role)
        .from(ApiKeys::Table)
        .and_where(Expr::col(ApiKeys::Hash).eq(hash))
        .and_where(Expr::col(ApiKeys::UserId).eq(user.as_str()))
        .and_where(ends.clone().is_null().or(ends.gt(now_seconds())))
        .take();
    let corrupt = || StoreError::Corrupt { what: "key of", name: user.to_string() };
    connection.row(&select, |row| row.get::<String>(0)?.parse().map_err(|_| corrupt()))
}
