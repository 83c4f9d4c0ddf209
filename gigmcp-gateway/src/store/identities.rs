//! Who somebody is to a provider, and what comes of their signing in by it.

use sea_query::{Expr, ExprTrait, OnConflict, Order, Query};

use super::{
    By, NewSession, SealedGrant, Store, StoreError, Told, audit,
    connection::{Connection, Row},
    invitations, now_seconds, provider_sessions,
    schema::{Identities, IdentityLinks, Sessions, TakenOnce, Users},
    sessions, users,
};
use crate::{
    oidc::{Identity, NewAccounts},
    people::{Email, Role, UserId},
    trail::AuditRow,
};

/// An identity of an account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct IdentityRow {
    pub(crate) identity: Identity,
    pub(crate) user: UserId,
    pub(crate) created_at: i64,
    pub(crate) last_login_at: i64,
}

/// Somebody whom a provider vouches for, and what they come with.
pub(crate) struct IdentitySignIn {
    pub(crate) identity: Identity,
    /// Verified.
    pub(crate) email: Option<Email>,
    pub(crate) name: String,
    /// What they are here, if the provider decides that.
    pub(crate) role: Option<Role>,
    pub(crate) new_accounts: NewAccounts,
    /// Of the account, if one is made.
    pub(crate) new_id: UserId,
    /// Makes what begins a session of somebody, and what the provider gave with it.
    pub(crate) session: SessionFor,
    /// Writes down what happened.
    pub(crate) told: Box<dyn Fn(&Happened) -> AuditRow + Send>,
}

/// Makes the session of somebody, and what the provider gave with it, sealed; none if that cannot be done.
pub(crate) type SessionFor = Box<dyn FnOnce(&UserId) -> Option<(NewSession, SealedGrant)> + Send>;

/// What happened to an account because of what a provider said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Happened {
    SignedIn {
        user: UserId,
    },
    Made {
        user: UserId,
        role: Role,
    },
    Role {
        user: UserId,
        from: Role,
        to: Role,
    },
    /// The provider says that they are less, and they are the last who can administer.
    KeptAdministrator {
        user: UserId,
        said: Role,
    },
}

/// What came of a sign-in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    In(UserId),
    Disabled(UserId),
    /// Nobody knows them, and nobody invited them.
    NoAccount,
    /// There is an account with their address, which is for whoever signs in to it to link.
    AddressTaken(UserId),
    /// What was given cannot be kept.
    NotSealed,
}

/// What came of a link, or of a proof that it is they.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Linking {
    Done(UserId),
    /// The session that began it does not hold any more, or it is too old, or was done already.
    Over,
    Anothers,
}

/// A sign-in at the provider by which somebody has just proven once more who is in their session, by the hash of its state. It is
/// good for one change.
#[derive(Clone, Debug)]
pub(crate) struct Fresh {
    pub(crate) state: String,
    pub(crate) session: String,
}

/// What becomes of the last way to sign in to an account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LastOne {
    Stays,
    /// Whoever takes it away is an administrator. One who can sign in is left.
    Goes,
}

impl Store {
    /// Takes something for the first time; false if it was taken before.
    pub(crate) async fn take_once(&self, hash: String, expires_at: i64) -> Result<bool, StoreError> {
        self.write(move |connection| take(connection, &hash, expires_at)).await
    }

    /// Lets somebody in whom a provider vouches for: finds or makes their account, gives it the role that the provider says, and
    /// begins a session.
    pub(crate) async fn sign_in_identity(&self, given: IdentitySignIn) -> Result<Outcome, StoreError> {
        self.change(move |connection| {
            let mut happened = Vec::new();
            let user = match find(connection, &given.identity)? {
                Some(row) => {
                    if users::require(connection, &row.user)?.user.disabled_at.is_some() {
                        return Ok(Outcome::Disabled(row.user));
                    }
                    happened.extend(take_role(connection, &row.user, given.role)?);
                    row.user
                }
                None => match make(connection, &given)? {
                    Ok((user, role)) => {
                        happened.push(Happened::Made { user: user.clone(), role });
                        user
                    }
                    Err(outcome) => return Ok(outcome),
                },
            };
            seen(connection, &given.identity)?;
            let Some((session, grant)) = (given.session)(&user) else { return Ok(Outcome::NotSealed) };
            let hash = session.row.hash.clone();
            if !sessions::begin(connection, session)? {
                return Ok(Outcome::Disabled(user));
            }
            provider_sessions::insert(connection, &hash, &given.identity, &grant)?;
            // Whoever vouches for them does so again. A password says nothing of that.
            users::update(connection, &user, Users::SuspendedAt, None::<i64>.into())?;
            happened.push(Happened::SignedIn { user: user.clone() });
            for happened in &happened {
                audit::append(connection, &(given.told)(happened))?;
            }
            Ok(Outcome::In(user))
        })
        .await
    }

    /// Keeps that whoever is in a session is about to add an identity, or to prove once more who they are; if that is to be proven
    /// first, it is used up. Nothing is told: it is when it is done.
    pub(crate) async fn begin_link(
        &self,
        (state, expires_at): (String, i64),
        session: String,
        fresh: Option<Fresh>,
        by: By,
    ) -> Result<(), StoreError> {
        self.write(move |connection| {
            by.check(connection)?;
            take_fresh(connection, fresh.as_ref())?;
            let over = Expr::col(IdentityLinks::ExpiresAt).lte(now_seconds());
            // Only the last that was begun in a session counts.
            let before = Expr::col(IdentityLinks::SessionHash).eq(session.as_str());
            connection.execute(Query::delete().from_table(IdentityLinks::Table).and_where(over.or(before)))?;
            connection.execute(
                Query::insert()
                    .into_table(IdentityLinks::Table)
                    .columns([IdentityLinks::StateHash, IdentityLinks::SessionHash, IdentityLinks::ExpiresAt])
                    .values_panic([state.into(), session.into(), expires_at.into()]),
            )?;
            Ok(())
        })
        .await
    }

    /// Adds an identity to the account whose session began that.
    pub(crate) async fn link_identity(
        &self,
        state: String,
        identity: Identity,
        told: Box<dyn Fn(&UserId) -> AuditRow + Send>,
    ) -> Result<Linking, StoreError> {
        self.change(move |connection| {
            let Some(user) = who_began(connection, &state)? else { return Ok(Linking::Over) };
            let taken = Expr::col(IdentityLinks::StateHash).eq(state);
            connection.execute(Query::delete().from_table(IdentityLinks::Table).and_where(taken))?;
            match find(connection, &identity)? {
                Some(row) if row.user != user => return Ok(Linking::Anothers),
                Some(_) => return Ok(Linking::Done(user)),
                None => insert(connection, &identity, &user)?,
            }
            audit::append(connection, &told(&user))?;
            Ok(Linking::Done(user))
        })
        .await
    }

    /// Keeps that whoever is in the session which began that has just signed in at the provider, as somebody who the account is of.
    pub(crate) async fn prove_session(
        &self,
        state: String,
        identity: Identity,
        told: Box<dyn Fn(&UserId) -> AuditRow + Send>,
    ) -> Result<Linking, StoreError> {
        self.write(move |connection| {
            let Some(user) = who_began(connection, &state)? else { return Ok(Linking::Over) };
            if find(connection, &identity)?.is_none_or(|row| row.user != user) {
                return Ok(Linking::Anothers);
            }
            connection.execute(
                Query::update()
                    .table(IdentityLinks::Table)
                    .value(IdentityLinks::ProvenAt, now_seconds())
                    .and_where(Expr::col(IdentityLinks::StateHash).eq(state)),
            )?;
            seen(connection, &identity)?;
            audit::append(connection, &told(&user))?;
            Ok(Linking::Done(user))
        })
        .await
    }

    /// Whose it is.
    pub(crate) async fn identity(&self, identity: Identity) -> Result<Option<IdentityRow>, StoreError> {
        self.read(move |connection| find(connection, &identity)).await
    }

    /// Who somebody is to providers, the oldest first.
    pub(crate) async fn identities_of(&self, user: UserId) -> Result<Vec<IdentityRow>, StoreError> {
        self.read(move |connection| of(connection, &user)).await
    }

    /// Takes an identity from an account, and ends the sessions that it vouched for. If it is to be proven first who asks for that,
    /// that is used up.
    pub(crate) async fn unlink_identity(
        &self,
        (user, identity): (UserId, Identity),
        last: LastOne,
        fresh: Option<Fresh>,
        told: impl Into<Told>,
    ) -> Result<(), StoreError> {
        self.change_told(told, move |connection| {
            take_fresh(connection, fresh.as_ref())?;
            let all = of(connection, &user)?;
            if !all.iter().any(|row| row.identity == identity) {
                return Err(StoreError::Missing { what: "identity", name: identity.subject, known: Vec::new() });
            }
            if all.len() == 1 && users::require(connection, &user)?.password.is_none() {
                match last {
                    LastOne::Stays => return Err(StoreError::LastIdentity),
                    LastOne::Goes => {
                        users::keep_an_administrator(connection, &user)?;
                        // Nobody vouches for their programs any more either.
                        users::suspend(connection, &user)?;
                    }
                }
            }
            let of = Expr::col(Identities::Issuer)
                .eq(identity.issuer.as_str())
                .and(Expr::col(Identities::Subject).eq(identity.subject.as_str()));
            connection.execute(Query::delete().from_table(Identities::Table).and_where(of))?;
            provider_sessions::end(connection, &identity)?;
            Ok(())
        })
        .await
    }

    /// Gives somebody the role that their provider says. Their sessions end, if it is another.
    pub(crate) async fn take_role(
        &self,
        user: UserId,
        role: Option<Role>,
        told: Box<dyn Fn(&Happened) -> AuditRow + Send>,
    ) -> Result<Option<Happened>, StoreError> {
        self.change(move |connection| {
            let happened = take_role(connection, &user, role)?;
            if let Some(happened) = &happened {
                audit::append(connection, &told(happened))?;
            }
            Ok(happened)
        })
        .await
    }
}

/// Takes something for the first time; false if it was taken before.
pub(super) fn take(connection: &Connection, hash: &str, expires_at: i64) -> Result<bool, StoreError> {
    let over = Expr::col(TakenOnce::ExpiresAt).lte(now_seconds());
    connection.execute(Query::delete().from_table(TakenOnce::Table).and_where(over))?;
    let inserted = connection.execute(
        Query::insert()
            .into_table(TakenOnce::Table)
            .columns([TakenOnce::Hash, TakenOnce::ExpiresAt])
            .values_panic([hash.into(), expires_at.into()])
            .on_conflict(OnConflict::column(TakenOnce::Hash).do_nothing().to_owned()),
    )?;
    Ok(inserted == 1)
}

/// The account of somebody who is new here.
fn make(connection: &Connection, given: &IdentitySignIn) -> Result<Result<(UserId, Role), Outcome>, StoreError> {
    if let Some(email) = &given.email
        && let Some(found) = users::find_email(connection, email)?
    {
        return Ok(Err(Outcome::AddressTaken(found.user.id)));
    }
    let invited = match &given.email {
        Some(email) => invitations::take_invited(connection, email)?,
        None => None,
    };
    let role = match (invited, given.new_accounts) {
        (Some(invited), _) => given.role.unwrap_or(invited),
        (None, NewAccounts::Anyone) => given.role.unwrap_or(Role::User),
        (None, NewAccounts::Invited) => return Ok(Err(Outcome::NoAccount)),
    };
    users::insert_known(connection, &given.new_id, given.email.as_ref(), &given.name, role)?;
    insert(connection, &given.identity, &given.new_id)?;
    Ok(Ok((given.new_id.clone(), role)))
}

/// Nobody is without an administrator because of what a provider says.
fn take_role(connection: &Connection, user: &UserId, said: Option<Role>) -> Result<Option<Happened>, StoreError> {
    let from = users::require(connection, user)?.user.role;
    let Some(to) = said.filter(|said| *said != from) else { return Ok(None) };
    let user = user.clone();
    match users::put_role(connection, &user, to) {
        Ok(()) => Ok(Some(Happened::Role { user, from, to })),
        Err(StoreError::LastAdministrator) => Ok(Some(Happened::KeptAdministrator { user, said: to })),
        Err(error) => Err(error),
    }
}

fn insert(connection: &Connection, identity: &Identity, user: &UserId) -> Result<(), StoreError> {
    let now = now_seconds();
    connection.execute(Query::insert().into_table(Identities::Table).columns(COLUMNS).values_panic([
        identity.issuer.as_str().into(),
        identity.subject.as_str().into(),
        user.as_str().into(),
        now.into(),
        now.into(),
    ]))?;
    Ok(())
}

/// Nobody vouches for the account any more.
pub(super) fn delete_of(connection: &Connection, user: &UserId) -> Result<(), StoreError> {
    let whose = Expr::col(Identities::UserId).eq(user.as_str());
    connection.execute(Query::delete().from_table(Identities::Table).and_where(whose))?;
    Ok(())
}

/// Whose session it was that began this, if it holds and this is not over.
fn who_began(connection: &Connection, state: &str) -> Result<Option<UserId>, StoreError> {
    let now = now_seconds();
    let began = Query::select()
        .column((Sessions::Table, Sessions::UserId))
        .from(IdentityLinks::Table)
        .inner_join(
            Sessions::Table,
            Expr::col((IdentityLinks::Table, IdentityLinks::SessionHash))
                .equals((Sessions::Table, Sessions::TokenHash)),
        )
        .and_where(Expr::col((IdentityLinks::Table, IdentityLinks::StateHash)).eq(state))
        .and_where(Expr::col((IdentityLinks::Table, IdentityLinks::ExpiresAt)).gt(now))
        .and_where(Expr::col((Sessions::Table, Sessions::ExpiresAt)).gt(now))
        .take();
    let Some(user) = connection.row(&began, |row| Ok(row.get::<String>(0)?))? else { return Ok(None) };
    let user: UserId = user.parse().map_err(|_| StoreError::Corrupt { what: "session of", name: user.clone() })?;
    let found = users::require(connection, &user)?.user;
    Ok(found.disabled_at.is_none().then_some(user))
}

/// Uses a proof up: it must be of that session, and not be over.
fn take_fresh(connection: &Connection, fresh: Option<&Fresh>) -> Result<(), StoreError> {
    let Some(Fresh { state, session }) = fresh else { return Ok(()) };
    let taken = connection.execute(
        Query::delete()
            .from_table(IdentityLinks::Table)
            .and_where(Expr::col(IdentityLinks::StateHash).eq(state.as_str()))
            .and_where(Expr::col(IdentityLinks::SessionHash).eq(session.as_str()))
            .and_where(Expr::col(IdentityLinks::ExpiresAt).gt(now_seconds()))
            .and_where(Expr::col(IdentityLinks::ProvenAt).is_not_null()),
    )?;
    if taken == 1 { Ok(()) } else { Err(StoreError::NotFresh) }
}

pub(super) fn seen(connection: &Connection, identity: &Identity) -> Result<(), StoreError> {
    connection.execute(
        Query::update()
            .table(Identities::Table)
            .value(Identities::LastLoginAt, now_seconds())
            .and_where(Expr::col(Identities::Issuer).eq(identity.issuer.as_str()))
            .and_where(Expr::col(Identities::Subject).eq(identity.subject.as_str())),
    )?;
    Ok(())
}

pub(super) fn find(connection: &Connection, identity: &Identity) -> Result<Option<IdentityRow>, StoreError> {
    let select = Query::select()
        .columns(COLUMNS)
        .from(Identities::Table)
        .and_where(Expr::col(Identities::Issuer).eq(identity.issuer.as_str()))
        .and_where(Expr::col(Identities::Subject).eq(identity.subject.as_str()))
        .take();
    connection.row(&select, parse)
}

/// Whether a provider has a say about somebody.
pub(super) fn has(connection: &Connection, user: &UserId) -> Result<bool, StoreError> {
    Ok(!of(connection, user)?.is_empty())
}

fn of(connection: &Connection, user: &UserId) -> Result<Vec<IdentityRow>, StoreError> {
    let select = Query::select()
        .columns(COLUMNS)
        .from(Identities::Table)
        .and_where(Expr::col(Identities::UserId).eq(user.as_str()))
        .order_by(Identities::CreatedAt, Order::Asc)
        .order_by(Identities::Subject, Order::Asc)
        .take();
    connection.rows(&select, parse)
}

fn parse(row: &Row<'_>) -> Result<IdentityRow, StoreError> {
    let identity = Identity { issuer: row.get(0)?, subject: row.get(1)? };
    let user: String = row.get(2)?;
    let user = user.parse().map_err(|_| StoreError::Corrupt { what: "identity", name: identity.subject.clone() })?;
    Ok(IdentityRow { identity, user, created_at: row.get(3)?, last_login_at: row.get(4)? })
}

const COLUMNS: [Identities; 5] =
    [Identities::Issuer, Identities::Subject, Identities::UserId, Identities::CreatedAt, Identities::LastLoginAt];
