//! Sessions of people who have signed in, as hashes.

use sea_query::{Expr, ExprTrait, Order, Query, SelectStatement};

use super::{
    NewDevice, ProviderSession, Store, StoreError, Told, audit,
    connection::{Connection, Row},
    devices, now_seconds, provider_sessions,
    schema::{Sessions, Users},
    tokens, users,
};
use crate::{
    people::{Role, UserId},
    trail::AuditRow,
};

/// A session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SessionRow {
    pub(crate) hash: String,
    pub(crate) user: UserId,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
    /// Within a minute.
    pub(crate) last_seen_at: i64,
    pub(crate) user_agent: String,
    pub(crate) address: String,
    /// Whose pages are looked at, and until when.
    pub(crate) viewed: Option<(UserId, i64)>,
}

/// A session that holds now, and what those in it are.
#[derive(Clone, Debug)]
pub(crate) struct LiveSession {
    pub(crate) row: SessionRow,
    pub(crate) role: Role,
    pub(crate) viewed: Option<(UserId, Role)>,
    /// Who vouched for them, if not the gateway itself.
    pub(crate) provider: Option<ProviderSession>,
}

/// A session that is to be, and what else becomes of it.
#[derive(Debug)]
pub(crate) struct NewSession {
    pub(crate) row: SessionRow,
    /// The session in whose place it comes.
    pub(crate) replaces: Option<String>,
    /// The password as it was compared with, which must be kept still, and as it is to be kept.
    pub(crate) renewed: Option<(String, String)>,
    /// The browser, if it is to be known from now on.
    pub(crate) device: Option<NewDevice>,
    /// A session without use for longer is over.
    pub(crate) idle_seconds: i64,
}

impl Store {
    /// Begins a session; false if the account is not there any more, or disabled, or its password is another. What is over goes, and of very many sessions of
    /// one account those unused for longest.
    pub(crate) async fn begin_session(&self, new: NewSession, audit: AuditRow) -> Result<bool, StoreError> {
        self.write(move |connection| {
            let begun = begin(connection, new)?;
            if begun {
                audit::append(connection, &audit)?;
            }
            Ok(begun)
        })
        .await
    }

    /// The session of that hash, if it holds now.
    pub(crate) async fn session(&self, hash: String, idle_seconds: i64) -> Result<Option<LiveSession>, StoreError> {
        self.read(move |connection| {
            let now = now_seconds();
            let found = connection.row(select().and_where(Expr::col(Sessions::TokenHash).eq(hash)), parse)?;
            let holds = |row: &SessionRow| now < row.expires_at && now < row.last_seen_at.saturating_add(idle_seconds);
            let Some(row) = found.filter(holds) else { return Ok(None) };
            let active = |id: &UserId| {
                let found = users::find(connection, id)?.map(|found| found.user);
                Ok::<_, StoreError>(found.filter(|user| user.disabled_at.is_none()).map(|user| user.role))
            };
            let Some(role) = active(&row.user)? else { return Ok(None) };
            // Only an administrator looks at what is another's, also when that was begun as one.
            let viewed = match &row.viewed {
                Some((viewed, until)) if now < *until && role == Role::Admin => {
                    let found = users::find(connection, viewed)?;
                    found.map(|found| (viewed.clone(), found.user.role))
                }
                _ => None,
            };
            let provider = provider_sessions::find(connection, &row.hash)?;
            Ok(Some(LiveSession { row, role, viewed, provider }))
        })
        .await
    }

    /// Keeps that a session was used, if that is a minute newer than what is kept. Nobody waits for it.
    pub(crate) fn session_seen(&self, row: &SessionRow) {
        let now = now_seconds();
        let Some(stale) = tokens::stale(now, Some(row.last_seen_at)) else { return };
        let hash = row.hash.clone();
        self.write_if_room(move |connection| {
            connection.execute(
                Query::update()
                    .table(Sessions::Table)
                    .value(Sessions::LastSeenAt, now)
                    .and_where(Expr::col(Sessions::TokenHash).eq(hash))
                    .and_where(Expr::col(Sessions::LastSeenAt).lte(stale)),
            )?;
            Ok(())
        });
    }

    /// The sessions of somebody, the one used last first.
    pub(crate) async fn sessions_of(&self, user: UserId) -> Result<Vec<SessionRow>, StoreError> {
        self.read(move |connection| {
            let mut sessions = of(connection, &user)?;
            sessions.sort_by_key(|session| std::cmp::Reverse(session.last_seen_at));
            Ok(sessions)
        })
        .await
    }

    /// Ends a session; whether there was one.
    pub(crate) async fn end_session(&self, hash: String, told: impl Into<Told>) -> Result<bool, StoreError> {
        let told = told.into();
        self.write(move |connection| {
            told.check(connection)?;
            let ended = delete(connection, &hash)? > 0;
            if ended {
                audit::append(connection, &told.row)?;
            }
            Ok(ended)
        })
        .await
    }

    /// Ends all sessions of somebody but one, and says how many.
    pub(crate) async fn end_sessions(
        &self,
        user: UserId,
        keep: Option<String>,
        told: impl Into<Told>,
    ) -> Result<u64, StoreError> {
        self.write_told(told, move |connection| {
            let ended = delete_of(connection, &user, keep.as_deref())?;
            Ok(ended)
        })
        .await
    }

    /// Notes that a view in a session is over by its time, once.
    pub(crate) async fn end_view_over(&self, hash: String, told: AuditRow) -> Result<(), StoreError> {
        self.write(move |connection| {
            let ended = connection.execute(
                Query::update()
                    .table(Sessions::Table)
                    .value(Sessions::ViewedId, None::<&str>)
                    .value(Sessions::ViewedUntil, None::<i64>)
                    .and_where(Expr::col(Sessions::TokenHash).eq(hash))
                    .and_where(Expr::col(Sessions::ViewedUntil).lte(now_seconds())),
            )?;
            if ended > 0 {
                audit::append(connection, &told)?;
            }
            Ok(())
        })
        .await
    }

    /// Begins or ends a view in a session, which gets another name with it; what a provider gave is sealed for that, if it is still
    /// what it was before.
    pub(crate) async fn set_view(
        &self,
        hash: String,
        renamed: String,
        viewed: Option<(UserId, i64)>,
        sealed: Option<(Vec<u8>, Vec<u8>)>,
        told: impl Into<Told>,
    ) -> Result<bool, StoreError> {
        let told = told.into();
        self.write(move |connection| {
            told.check(connection)?;
            if let Some((before, after)) = &sealed {
                if provider_sessions::sealed(connection, &hash)?.as_ref() != Some(before) {
                    return Err(StoreError::Confirmed);
                }
                provider_sessions::put_sealed(connection, &hash, after)?;
            }
            let (viewed, until) = viewed.unzip();
            let updated = connection.execute(
                Query::update()
                    .table(Sessions::Table)
                    .value(Sessions::TokenHash, renamed)
                    .value(Sessions::ViewedId, viewed.as_ref().map(UserId::as_str))
                    .value(Sessions::ViewedUntil, until)
                    .and_where(Expr::col(Sessions::TokenHash).eq(hash)),
            )?;
            if updated > 0 {
                audit::append(connection, &told.row)?;
            }
            Ok(updated > 0)
        })
        .await
    }
}

/// Begins a session; false if the account is not there any more, or disabled.
pub(super) fn begin(connection: &Connection, new: NewSession) -> Result<bool, StoreError> {
    let now = now_seconds();
    let user = &new.row.user;
    let Some(found) = users::find(connection, user)?.filter(|found| found.user.disabled_at.is_none()) else {
        return Ok(false);
    };
    if new.renewed.as_ref().is_some_and(|(compared, _)| found.password.as_ref() != Some(compared)) {
        return Ok(false);
    }
    let over = Expr::col(Sessions::ExpiresAt).lte(now);
    let idle = Expr::col(Sessions::LastSeenAt).lte(now - new.idle_seconds);
    connection.execute(Query::delete().from_table(Sessions::Table).and_where(over.or(idle)))?;
    if let Some(replaced) = &new.replaces {
        delete(connection, replaced)?;
    }
    let mut known = of(connection, user)?;
    known.sort_by_key(|session| std::cmp::Reverse(session.last_seen_at));
    for session in known.iter().skip(MAX_SESSIONS - 1) {
        delete(connection, &session.hash)?;
    }
    insert(connection, &new.row)?;
    users::update(connection, user, Users::LastLoginAt, now.into())?;
    if let Some(device) = &new.device {
        devices::keep(connection, user, device)?;
    }
    if let Some((from, to)) = new.renewed.filter(|(from, to)| from != to) {
        connection.execute(
            Query::update()
                .table(Users::Table)
                .value(Users::Password, to)
                .and_where(Expr::col(Users::Id).eq(user.as_str()))
                .and_where(Expr::col(Users::Password).eq(from)),
        )?;
    }
    Ok(true)
}

fn insert(connection: &Connection, row: &SessionRow) -> Result<(), StoreError> {
    connection.execute(Query::insert().into_table(Sessions::Table).columns(COLUMNS).values_panic([
        row.hash.as_str().into(),
        row.user.as_str().into(),
        row.created_at.into(),
        row.expires_at.into(),
        row.last_seen_at.into(),
        row.user_agent.as_str().into(),
        row.address.as_str().into(),
        row.viewed.as_ref().map(|(user, _)| user.as_str()).into(),
        row.viewed.as_ref().map(|(_, until)| *until).into(),
    ]))?;
    Ok(())
}

/// Who is in the session of that hash, if there is one.
pub(super) fn user_of(connection: &Connection, hash: &str) -> Result<Option<UserId>, StoreError> {
    let found = connection.row(select().and_where(Expr::col(Sessions::TokenHash).eq(hash)), parse)?;
    Ok(found.map(|row| row.user))
}

pub(super) fn delete(connection: &Connection, hash: &str) -> Result<u64, StoreError> {
    Ok(connection
        .execute(Query::delete().from_table(Sessions::Table).and_where(Expr::col(Sessions::TokenHash).eq(hash)))?)
}

/// Ends all sessions of somebody but one.
pub(super) fn delete_of(connection: &Connection, user: &UserId, keep: Option<&str>) -> Result<u64, StoreError> {
    Ok(connection.execute(
        Query::delete()
            .from_table(Sessions::Table)
            .and_where(Expr::col(Sessions::UserId).eq(user.as_str()))
            .and_where(Expr::col(Sessions::TokenHash).ne(keep.unwrap_or_default())),
    )?)
}

fn of(connection: &Connection, user: &UserId) -> Result<Vec<SessionRow>, StoreError> {
    let live = Expr::col(Sessions::ExpiresAt).gt(now_seconds());
    connection.rows(
        select()
            .and_where(Expr::col(Sessions::UserId).eq(user.as_str()))
            .and_where(live)
            .order_by(Sessions::CreatedAt, Order::Desc),
        parse,
    )
}

fn select() -> SelectStatement {
    Query::select().columns(COLUMNS).from(Sessions::Table).take()
}

const COLUMNS: [Sessions; 9] = [
    Sessions::TokenHash,
    Sessions::UserId,
    Sessions::CreatedAt,
    Sessions::ExpiresAt,
    Sessions::LastSeenAt,
    Sessions::UserAgent,
    Sessions::Address,
    Sessions::ViewedId,
    Sessions::ViewedUntil,
];

fn parse(row: &Row<'_>) -> Result<SessionRow, StoreError> {
    let user: String = row.get(1)?;
    let corrupt = || StoreError::Corrupt { what: "session of", name: user.clone() };
    let (viewed, until): (Option<String>, Option<i64>) = (row.get(7)?, row.get(8)?);
    let viewed = viewed.map(|viewed| viewed.parse()).transpose().map_err(|_| corrupt())?;
    Ok(SessionRow {
        hash: row.get(0)?,
        user: user.parse().map_err(|_| corrupt())?,
        created_at: row.get(2)?,
        expires_at: row.get(3)?,
        last_seen_at: row.get(4)?,
        user_agent: row.get(5)?,
        address: row.get(6)?,
        viewed: viewed.zip(until),
    })
}

/// Of one account.
const MAX_SESSIONS: usize = 20;
