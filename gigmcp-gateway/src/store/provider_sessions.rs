//! What of a session is the provider's that vouched for somebody.

use sea_query::{Expr, ExprTrait, Query, SimpleExpr};

use super::{
    SessionRow, Store, StoreError, audit,
    connection::{Connection, Row},
    identities, now_seconds,
    schema::{ProviderSessions, Sessions, Users},
    sessions, users,
};
use crate::{oidc::Identity, people::UserId, trail::AuditRow};

/// Of a session, who vouched for it and when it is to be confirmed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ProviderSession {
    pub(crate) identity: Identity,
    /// When the provider stood by it last; none if it cannot be asked.
    pub(crate) confirmed_at: Option<i64>,
    pub(crate) tried_at: i64,
}

/// That it is oneself who asks the provider about a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Claim {
    /// Since when whoever is in it is refused. What comes later than this is no answer to what is asked now.
    suspended_at: Option<i64>,
}

/// What a provider gave with a session, sealed for its browser.
#[derive(Clone, Debug)]
pub(crate) struct SealedGrant {
    pub(crate) sealed: Vec<u8>,
    pub(crate) sid: Option<String>,
    /// Whether there is a refresh token in it.
    pub(crate) refreshes: bool,
}

/// Which sessions a provider says are over.
#[derive(Clone, Debug)]
pub(crate) struct EndedBy {
    pub(crate) issuer: String,
    pub(crate) subject: Option<String>,
    pub(crate) sid: Option<String>,
}

impl Store {
    /// What the provider gave with a session.
    pub(crate) async fn grant(&self, hash: String) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(move |connection| sealed(connection, &hash)).await
    }

    /// Takes it upon oneself to have a session confirmed; none if somebody else has in the meantime. A refresh token that is used
    /// twice is taken for stolen by many providers.
    pub(crate) async fn claim_confirmation(&self, hash: String, tried_at: i64) -> Result<Option<Claim>, StoreError> {
        self.write(move |connection| {
            let claimed = connection.execute(
                Query::update()
                    .table(ProviderSessions::Table)
                    .value(ProviderSessions::TriedAt, now_seconds())
                    .and_where(Expr::col(ProviderSessions::TokenHash).eq(hash.as_str()))
                    .and_where(Expr::col(ProviderSessions::TriedAt).eq(tried_at)),
            )?;
            match sessions::user_of(connection, &hash)? {
                Some(user) if claimed == 1 => Ok(Some(Claim { suspended_at: suspended_at(connection, &user)? })),
                _ => Ok(None),
            }
        })
        .await
    }

    /// Keeps what the provider gave; and that it stands by the session, if it does, and so by whoever is in it, unless it has refused
    /// them since it was asked: then it is to be asked once more. False if there is no such session any more.
    pub(crate) async fn keep_grant(
        &self,
        hash: String,
        sealed: Vec<u8>,
        confirmed: Option<Claim>,
    ) -> Result<bool, StoreError> {
        self.write(move |connection| {
            let Some(user) = sessions::user_of(connection, &hash)? else { return Ok(false) };
            put_sealed(connection, &hash, &sealed)?;
            let Some(claim) = confirmed else { return Ok(true) };
            if suspended_at(connection, &user)? != claim.suspended_at {
                return Ok(true);
            }
            let now = now_seconds();
            connection.execute(
                Query::update()
                    .table(ProviderSessions::Table)
                    .value(ProviderSessions::ConfirmedAt, now)
                    .value(ProviderSessions::TriedAt, now)
                    .and_where(Expr::col(ProviderSessions::TokenHash).eq(hash.as_str())),
            )?;
            users::update(connection, &user, Users::SuspendedAt, None::<i64>.into())?;
            if let Some(session) = find(connection, &hash)? {
                identities::seen(connection, &session.identity)?;
            }
            Ok(true)
        })
        .await
    }

    /// Ends a session that was given another name while the provider was asked about it: what it gave instead of the refresh token
    /// cannot be sealed for that name, and the one of before would be taken for stolen.
    pub(crate) async fn end_renamed(
        &self,
        session: SessionRow,
        identity: Identity,
        told: AuditRow,
    ) -> Result<(), StoreError> {
        self.write(move |connection| {
            let began = Query::select()
                .column(Sessions::TokenHash)
                .from(Sessions::Table)
                .and_where(Expr::col(Sessions::UserId).eq(session.user.as_str()))
                .and_where(Expr::col(Sessions::CreatedAt).eq(session.created_at))
                .take();
            let renamed = Expr::col(ProviderSessions::TokenHash).in_subquery(began);
            if delete(connection, of(&identity).and(renamed))? > 0 {
                audit::append(connection, &told)?;
            }
            Ok(())
        })
        .await
    }

    /// Ends sessions that a provider says are over, told of by this for the first time, and says how many; none if it was told of
    /// before. If they cannot be ended, it was not told of.
    pub(crate) async fn end_provider_sessions_once(
        &self,
        ended: EndedBy,
        once: String,
        expires_at: i64,
        told: Box<dyn Fn(u64) -> AuditRow + Send>,
    ) -> Result<Option<u64>, StoreError> {
        self.write(move |connection| {
            if !identities::take(connection, &once, expires_at)? {
                return Ok(None);
            }
            end_all(connection, &ended, &told).map(Some)
        })
        .await
    }

    /// The provider does not let somebody in any more: the sessions that it vouched for end, and whatever else comes in for them
    /// waits, if there is an account. Says how many sessions.
    pub(crate) async fn refuse_identity(
        &self,
        identity: Identity,
        told: Box<dyn Fn(u64) -> AuditRow + Send>,
    ) -> Result<u64, StoreError> {
        self.change(move |connection| {
            if let Some(row) = identities::find(connection, &identity)? {
                users::suspend(connection, &row.user)?;
            }
            let Identity { issuer, subject } = identity;
            end_all(connection, &EndedBy { issuer, subject: Some(subject), sid: None }, &told)
        })
        .await
    }

    /// The provider does not stand by a session any more: it ends, and whatever else comes in for whoever is in it waits until the
    /// provider stands by them again. Their other sessions are to be confirmed as of then, which is now; those that cannot be end.
    pub(crate) async fn refuse_session(
        &self,
        session: SessionRow,
        identity: Identity,
        due: i64,
        told: AuditRow,
    ) -> Result<(), StoreError> {
        self.change(move |connection| {
            if sessions::delete(connection, &session.hash)? == 0 {
                return Ok(());
            }
            users::suspend(connection, &session.user)?;
            delete(connection, of(&identity).and(Expr::col(ProviderSessions::ConfirmedAt).is_null()))?;
            connection.execute(
                Query::update()
                    .table(ProviderSessions::Table)
                    .value(ProviderSessions::ConfirmedAt, due)
                    .value(ProviderSessions::TriedAt, due)
                    .and_where(of(&identity))
                    .and_where(Expr::col(ProviderSessions::ConfirmedAt).gt(due)),
            )?;
            audit::append(connection, &told)
        })
        .await
    }
}

fn end_all(
    connection: &Connection,
    ended: &EndedBy,
    told: &(dyn Fn(u64) -> AuditRow + Send),
) -> Result<u64, StoreError> {
    let count = delete(connection, which(ended))?;
    audit::append(connection, &told(count))?;
    Ok(count)
}

/// A session of which the provider gave no `sid` may be any of the person's, so it is over with each of them.
fn which(ended: &EndedBy) -> SimpleExpr {
    let issuer = Expr::col(ProviderSessions::Issuer).eq(ended.issuer.as_str());
    let subject = ended.subject.as_ref().map(|subject| Expr::col(ProviderSessions::Subject).eq(subject.as_str()));
    let sid = ended.sid.as_ref().map(|sid| Expr::col(ProviderSessions::Sid).eq(sid.as_str()));
    match (subject, sid) {
        (Some(subject), Some(sid)) => issuer.and(subject).and(sid.or(Expr::col(ProviderSessions::Sid).is_null())),
        (Some(one), None) | (None, Some(one)) => issuer.and(one),
        (None, None) => issuer,
    }
}

pub(super) fn insert(
    connection: &Connection,
    hash: &str,
    identity: &Identity,
    grant: &SealedGrant,
) -> Result<(), StoreError> {
    let now = now_seconds();
    connection.execute(
        Query::insert()
            .into_table(ProviderSessions::Table)
            .columns([
                ProviderSessions::TokenHash,
                ProviderSessions::Issuer,
                ProviderSessions::Subject,
                ProviderSessions::Sid,
                ProviderSessions::Sealed,
                ProviderSessions::ConfirmedAt,
                ProviderSessions::TriedAt,
            ])
            .values_panic([
                hash.into(),
                identity.issuer.as_str().into(),
                identity.subject.as_str().into(),
                grant.sid.as_deref().into(),
                grant.sealed.clone().into(),
                grant.refreshes.then_some(now).into(),
                now.into(),
            ]),
    )?;
    Ok(())
}

pub(super) fn sealed(connection: &Connection, hash: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let select = Query::select()
        .column(ProviderSessions::Sealed)
        .from(ProviderSessions::Table)
        .and_where(Expr::col(ProviderSessions::TokenHash).eq(hash))
        .take();
    connection.row(&select, |row| Ok(row.get(0)?))
}

pub(super) fn put_sealed(connection: &Connection, hash: &str, sealed: &[u8]) -> Result<(), StoreError> {
    connection.execute(
        Query::update()
            .table(ProviderSessions::Table)
            .value(ProviderSessions::Sealed, sealed.to_vec())
            .and_where(Expr::col(ProviderSessions::TokenHash).eq(hash)),
    )?;
    Ok(())
}

pub(super) fn find(connection: &Connection, hash: &str) -> Result<Option<ProviderSession>, StoreError> {
    let select = Query::select()
        .columns([
            ProviderSessions::Issuer,
            ProviderSessions::Subject,
            ProviderSessions::ConfirmedAt,
            ProviderSessions::TriedAt,
        ])
        .from(ProviderSessions::Table)
        .and_where(Expr::col(ProviderSessions::TokenHash).eq(hash))
        .take();
    connection.row(&select, |row: &Row<'_>| {
        let identity = Identity { issuer: row.get(0)?, subject: row.get(1)? };
        Ok(ProviderSession { identity, confirmed_at: row.get(2)?, tried_at: row.get(3)? })
    })
}

/// Ends the sessions that an identity vouched for.
pub(super) fn end(connection: &Connection, identity: &Identity) -> Result<u64, StoreError> {
    delete(connection, of(identity))
}

/// Ends all that providers vouched for.
pub(super) fn end_each(connection: &Connection) -> Result<u64, StoreError> {
    delete(connection, Expr::col(ProviderSessions::Issuer).is_not_null())
}

fn of(identity: &Identity) -> SimpleExpr {
    Expr::col(ProviderSessions::Issuer)
        .eq(identity.issuer.as_str())
        .and(Expr::col(ProviderSessions::Subject).eq(identity.subject.as_str()))
}

fn suspended_at(connection: &Connection, user: &UserId) -> Result<Option<i64>, StoreError> {
    Ok(users::find(connection, user)?.and_then(|found| found.user.suspended_at))
}

fn delete(connection: &Connection, which: SimpleExpr) -> Result<u64, StoreError> {
    let hashes =
        Query::select().column(ProviderSessions::TokenHash).from(ProviderSessions::Table).and_where(which).take();
    let delete = Query::delete()
        .from_table(Sessions::Table)
        .and_where(Expr::col(Sessions::TokenHash).in_subquery(hashes))
        .take();
    Ok(connection.execute(&delete)?)
}
