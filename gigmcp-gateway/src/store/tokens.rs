//! Tokens of profiles, as hashes.

use sea_query::{Expr, ExprTrait, Order, Query};

use super::{
    Profile, ProfileId, Store, StoreError, Told, audit,
    connection::{Connection, Row},
    now_seconds,
    profiles::{parse_slug, require, require_active},
    schema::{Profiles, Tokens},
};
use crate::{
    people::{Label, TokenScope},
    spec::{Owner, ProfileSlug},
};

/// A token that is to be kept.
#[derive(Clone, Debug)]
pub(crate) struct NewToken {
    pub(crate) name: Label,
    pub(crate) hash: String,
    pub(crate) scope: TokenScope,
    pub(crate) expires_at: Option<i64>,
}

impl NewToken {
    /// The one that a profile begins with: for all that is in it, and without an end.
    pub(crate) fn first(hash: String) -> Self {
        Self { name: Label::first(), hash, scope: TokenScope::default(), expires_at: None }
    }
}

/// What becomes of a token that is to be replaced and is not there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Absent {
    /// One is made all the same, for all that the profile has.
    Made,
    /// A name that was mistyped must not leave the old one alive.
    Refused,
}

/// What is known of a token. Nobody can make it again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TokenRow {
    pub(crate) name: Label,
    pub(crate) scope: TokenScope,
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
    /// Within a minute.
    pub(crate) last_used_at: Option<i64>,
}

/// What a token opens.
#[derive(Clone, Debug)]
pub(crate) struct TokenOwner {
    pub(crate) profile: Profile,
    /// The stored hash, for a comparison in constant time.
    pub(crate) hash: String,
    pub(crate) token: TokenRow,
}

impl Store {
    /// Keeps one more token of a profile.
    pub(crate) async fn add_token(
        &self,
        slug: ProfileSlug,
        new: NewToken,
        told: impl Into<Told>,
    ) -> Result<(), StoreError> {
        self.change_told(told, move |connection| {
            let profile = require_active(connection, &slug)?;
            if find(connection, profile.id, &new.name)?.is_some() {
                return Err(StoreError::Exists { what: "token", name: new.name.to_string() });
            }
            add(connection, profile.id, &new)
        })
        .await
    }

    /// Puts a token, of which the hash is given, in the place of the one of that name, which stops working at once: it is good
    /// for the same, and for as long as that was from its beginning. `tell` says what the audit is told of it.
    pub(crate) async fn replace_token(
        &self,
        slug: ProfileSlug,
        (name, hash): (Label, String),
        absent: Absent,
        tell: impl FnOnce(&NewToken) -> Told + Send + 'static,
    ) -> Result<NewToken, StoreError> {
        self.change(move |connection| {
            let profile = require_active(connection, &slug)?;
            let new = match (find(connection, profile.id, &name)?, absent) {
                (Some(before), _) => {
                    let holds = before.expires_at.map(|end| end - before.created_at);
                    let expires_at = holds.map(|holds| now_seconds().saturating_add(holds));
                    NewToken { name, hash, scope: before.scope, expires_at }
                }
                (None, Absent::Made) => NewToken { name, hash, scope: TokenScope::default(), expires_at: None },
                (None, Absent::Refused) => return Err(missing(connection, profile.id, &name)?),
            };
            let told = tell(&new);
            told.check(connection)?;
            delete(connection, profile.id, &new.name)?;
            add(connection, profile.id, &new)?;
            audit::append(connection, &told.row)?;
            Ok(new)
        })
        .await
    }

    /// Ends a token at once.
    pub(crate) async fn revoke_token(
        &self,
        slug: ProfileSlug,
        name: Label,
        told: impl Into<Told>,
    ) -> Result<(), StoreError> {
        self.change_told(told, move |connection| {
            let profile = require(connection, &slug)?;
            match delete(connection, profile.id, &name)? {
                0 => Err(missing(connection, profile.id, &name)?),
                _ => Ok(()),
            }
        })
        .await
    }

    /// The tokens of a profile by name.
    pub(crate) async fn tokens(&self, slug: ProfileSlug) -> Result<Vec<TokenRow>, StoreError> {
        self.read(move |connection| all(connection, require(connection, &slug)?.id)).await
    }

    /// Which profile a token opens now, by the token's hash.
    pub(crate) async fn token_owner(&self, token_hash: String) -> Result<Option<TokenOwner>, StoreError> {
        self.read(move |connection| {
            let select = Query::select()
                .columns(COLUMNS.map(|column| (Tokens::Table, column)))
                .column((Tokens::Table, Tokens::Hash))
                .column((Profiles::Table, Profiles::Slug))
                .from(Tokens::Table)
                .inner_join(
                    Profiles::Table,
                    Expr::col((Tokens::Table, Tokens::ProfileId)).equals((Profiles::Table, Profiles::Id)),
                )
                .and_where(Expr::col((Tokens::Table, Tokens::Hash)).eq(token_hash))
                .take();
            let found = connection.row(&select, |row| Ok((parse(row)?, row.get(5)?, parse_slug(row, 6)?)))?;
            let live = found.filter(|(token, ..)| token.is_live());
            let Some((token, hash, slug)) = live else { return Ok(None) };
            let profile = require(connection, &slug)?;
            Ok(profile.active.then_some(TokenOwner { profile, hash, token }))
        })
        .await
    }

    /// Keeps that a token was used, if that is a minute newer than what is kept. Nobody waits for it.
    /// Whether it will be.
    pub(crate) fn token_used(&self, hash: &str, token: &TokenRow) -> bool {
        let now = now_seconds();
        let Some(stale) = stale(now, token.last_used_at) else { return false };
        let hash = hash.to_owned();
        self.write_if_room(move |connection| {
            let known = Expr::col(Tokens::LastUsedAt);
            connection.execute(
                Query::update()
                    .table(Tokens::Table)
                    .value(Tokens::LastUsedAt, now)
                    .and_where(Expr::col(Tokens::Hash).eq(hash))
                    .and_where(known.clone().is_null().or(known.lte(stale))),
            )?;
            Ok(())
        });
        true
    }
}

impl TokenRow {
    /// Whether its time has not come yet.
    pub(super) fn is_live(&self) -> bool {
        self.expires_at.is_none_or(|end| now_seconds() < end)
    }
}

/// Up to which time what is kept of a use is old, if it is.
pub(super) fn stale(now: i64, kept: Option<i64>) -> Option<i64> {
    let stale = now - USE_SECONDS;
    kept.is_none_or(|kept| kept <= stale).then_some(stale)
}

fn missing(connection: &Connection, profile: ProfileId, name: &Label) -> Result<StoreError, StoreError> {
    let known = all(connection, profile)?.iter().map(|token| token.name.to_string()).collect();
    Ok(StoreError::Missing { what: "token", name: name.to_string(), known })
}

fn find(connection: &Connection, profile: ProfileId, name: &Label) -> Result<Option<TokenRow>, StoreError> {
    Ok(all(connection, profile)?.into_iter().find(|token| token.name == *name))
}

fn add(connection: &Connection, profile: ProfileId, new: &NewToken) -> Result<(), StoreError> {
    if all(connection, profile)?.len() as u64 >= MAX_TOKENS {
        return Err(StoreError::TooMany { what: "tokens", max: MAX_TOKENS });
    }
    insert(connection, profile, new)
}

pub(super) fn insert(connection: &Connection, profile: ProfileId, new: &NewToken) -> Result<(), StoreError> {
    connection.execute(
        Query::insert()
            .into_table(Tokens::Table)
            .columns([
                Tokens::Hash,
                Tokens::ProfileId,
                Tokens::CreatedAt,
                Tokens::Name,
                Tokens::Scope,
                Tokens::ExpiresAt,
            ])
            .values_panic([
                new.hash.as_str().into(),
                profile.0.into(),
                now_seconds().into(),
                new.name.as_str().into(),
                new.scope.to_string().into(),
                new.expires_at.into(),
            ]),
    )?;
    Ok(())
}

fn delete(connection: &Connection, profile: ProfileId, name: &Label) -> Result<u64, StoreError> {
    Ok(connection.execute(
        Query::delete()
            .from_table(Tokens::Table)
            .and_where(Expr::col(Tokens::ProfileId).eq(profile.0))
            .and_where(Expr::col(Tokens::Name).eq(name.as_str())),
    )?)
}

/// Ends all tokens of all profiles of somebody.
pub(super) fn delete_of(connection: &Connection, owner: &Owner) -> Result<u64, StoreError> {
    let profiles = Query::select()
        .column(Profiles::Id)
        .from(Profiles::Table)
        .and_where(Expr::col(Profiles::Owner).eq(owner.as_str()))
        .take();
    Ok(connection.execute(
        Query::delete().from_table(Tokens::Table).and_where(Expr::col(Tokens::ProfileId).in_subquery(profiles)),
    )?)
}

fn all(connection: &Connection, profile: ProfileId) -> Result<Vec<TokenRow>, StoreError> {
    let select = Query::select()
        .columns(COLUMNS)
        .from(Tokens::Table)
        .and_where(Expr::col(Tokens::ProfileId).eq(profile.0))
        .order_by(Tokens::Name, Order::Asc)
        .take();
    connection.rows(&select, parse)
}

const COLUMNS: [Tokens; 5] = [Tokens::Name, Tokens::Scope, Tokens::CreatedAt, Tokens::ExpiresAt, Tokens::LastUsedAt];

fn parse(row: &Row<'_>) -> Result<TokenRow, StoreError> {
    let name: String = row.get(0)?;
    let corrupt = || StoreError::Corrupt { what: "token", name: name.clone() };
    Ok(TokenRow {
        name: name.parse().map_err(|_| corrupt())?,
        scope: row.get::<String>(1)?.parse().map_err(|_| corrupt())?,
        created_at: row.get(2)?,
        expires_at: row.get(3)?,
        last_used_at: row.get(4)?,
    })
}

/// More than any profile has clients; bounds what revoked scopes leave behind.
const MAX_TOKENS: u64 = 64;
/// How exactly the last use is known.
const USE_SECONDS: i64 = 60;
