//! Keys of the control plane, as hashes.

use sea_query::{Expr, ExprTrait, Order, Query, SelectStatement};

use super::{
    Store, StoreError, Told,
    connection::{Connection, Row},
    now_seconds,
    schema::ApiKeys,
    tokens, users,
};
use crate::people::{Label, Role, Scopes, UserId};

/// A key that is to be kept.
#[derive(Clone, Debug)]
pub(crate) struct NewApiKey {
    pub(crate) user: UserId,
    pub(crate) name: Label,
    pub(crate) hash: String,
    pub(crate) scopes: Scopes,
    pub(crate) expires_at: Option<i64>,
}

/// What is known of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ApiKeyRow {
    pub(crate) hash: String,
    pub(crate) user: UserId,
    pub(crate) name: Label,
    pub(crate) scopes: Scopes,
    /// What its owner was when it was made: it is never good for more.
    pub(crate) role: Role,
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
    /// Within a minute.
    pub(crate) last_used_at: Option<i64>,
}

impl Store {
    /// Keeps one more key of somebody.
    pub(crate) async fn add_api_key(&self, new: NewApiKey, told: impl Into<Told>) -> Result<(), StoreError> {
        self.write_told(told, move |connection| {
            let role = users::require_active(connection, &new.user)?.user.role;
            let known = of(connection, &new.user)?;
            if known.iter().any(|key| key.name == new.name) {
                return Err(StoreError::Exists { what: "key", name: new.name.to_string() });
            }
            if known.len() as u64 >= MAX_KEYS {
                return Err(StoreError::TooMany { what: "keys", max: MAX_KEYS });
            }
            connection.execute(
                Query::insert()
                    .into_table(ApiKeys::Table)
                    .columns([
                        ApiKeys::Hash,
                        ApiKeys::UserId,
                        ApiKeys::Name,
                        ApiKeys::Scopes,
                        ApiKeys::CreatedAt,
                        ApiKeys::ExpiresAt,
                        ApiKeys::Role,
                    ])
                    .values_panic([
                        new.hash.as_str().into(),
                        new.user.as_str().into(),
                        new.name.as_str().into(),
                        new.scopes.to_string().into(),
                        now_seconds().into(),
                        new.expires_at.into(),
                        role.as_str().into(),
                    ]),
            )?;
            Ok(())
        })
        .await
    }

    /// Ends a key at once.
    pub(crate) async fn revoke_api_key(
        &self,
        user: UserId,
        name: Label,
        told: impl Into<Told>,
    ) -> Result<(), StoreError> {
        self.write_told(told, move |connection| {
            let deleted = connection.execute(
                Query::delete()
                    .from_table(ApiKeys::Table)
                    .and_where(Expr::col(ApiKeys::UserId).eq(user.as_str()))
                    .and_where(Expr::col(ApiKeys::Name).eq(name.as_str())),
            )?;
            if deleted == 0 {
                let known = of(connection, &user)?.iter().map(|key| key.name.to_string()).collect();
                return Err(StoreError::Missing { what: "key", name: name.to_string(), known });
            }
            Ok(())
        })
        .await
    }

    /// The keys of somebody by name.
    pub(crate) async fn api_keys(&self, user: UserId) -> Result<Vec<ApiKeyRow>, StoreError> {
        self.read(move |connection| of(connection, &user)).await
    }

    /// The key of that hash, if it works now, and as what: never as more than its owner is, nor as more than they were when it
    /// was made, or a key of somebody's past would become an administrator's.
    pub(crate) async fn api_key(&self, hash: String) -> Result<Option<(ApiKeyRow, Role)>, StoreError> {
        self.read(move |connection| {
            let found = connection.row(select().and_where(Expr::col(ApiKeys::Hash).eq(hash)), parse)?;
            let live = found.filter(|key| key.expires_at.is_none_or(|end| now_seconds() < end));
            let Some(key) = live else { return Ok(None) };
            let user = users::find(connection, &key.user)?.map(|found| found.user);
            Ok(user.filter(users::UserRow::lets_programs_in).map(|user| {
                let role = key.role.min(user.role);
                (key, role)
            }))
        })
        .await
    }

    /// Keeps that a key was used, if that is a minute newer than what is kept. Nobody waits for it.
    pub(crate) fn api_key_used(&self, key: &ApiKeyRow) {
        let now = now_seconds();
        let Some(stale) = tokens::stale(now, key.last_used_at) else { return };
        let hash = key.hash.clone();
        self.write_if_room(move |connection| {
            let known = Expr::col(ApiKeys::LastUsedAt);
            connection.execute(
                Query::update()
                    .table(ApiKeys::Table)
                    .value(ApiKeys::LastUsedAt, now)
                    .and_where(Expr::col(ApiKeys::Hash).eq(hash))
                    .and_where(known.clone().is_null().or(known.lte(stale))),
            )?;
            Ok(())
        });
    }
}

fn of(connection: &Connection, user: &UserId) -> Result<Vec<ApiKeyRow>, StoreError> {
    connection.rows(
        select().and_where(Expr::col(ApiKeys::UserId).eq(user.as_str())).order_by(ApiKeys::Name, Order::Asc),
        parse,
    )
}

fn select() -> SelectStatement {
    Query::select()
        .columns([
            ApiKeys::Hash,
            ApiKeys::UserId,
            ApiKeys::Name,
            ApiKeys::Scopes,
            ApiKeys::CreatedAt,
            ApiKeys::ExpiresAt,
            ApiKeys::LastUsedAt,
            ApiKeys::Role,
        ])
        .from(ApiKeys::Table)
        .take()
}

fn parse(row: &Row<'_>) -> Result<ApiKeyRow, StoreError> {
    let name: String = row.get(2)?;
    let corrupt = || StoreError::Corrupt { what: "key", name: name.clone() };
    Ok(ApiKeyRow {
        hash: row.get(0)?,
        user: row.get::<String>(1)?.parse().map_err(|_| corrupt())?,
        name: name.parse().map_err(|_| corrupt())?,
        scopes: row.get::<String>(3)?.parse().map_err(|_| corrupt())?,
        role: row.get::<String>(7)?.parse().map_err(|_| corrupt())?,
        created_at: row.get(4)?,
        expires_at: row.get(5)?,
        last_used_at: row.get(6)?,
    })
}

/// Of one account.
const MAX_KEYS: u64 = 64;
