//! Codes that work once: for a new account, for a new password, for the first administrator.

use sea_query::{Expr, ExprTrait, Order, Query, SelectStatement};

use super::{
    NewUser, Store, StoreError, Told, audit,
    connection::{Connection, Row},
    devices, identities, now_seconds,
    schema::{Invitations, Users},
    sessions, users,
};
use crate::{
    people::{Email, Role, UserId},
    trail::AuditRow,
};

/// What a code is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum InvitationKind {
    /// Makes the account `local` that of the first administrator.
    Setup,
    /// Makes an account.
    Invitation,
    /// Gives an account another password.
    Reset,
    /// The same, and takes away what its tools run with.
    Replacement,
}

impl InvitationKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Invitation => "invitation",
            Self::Reset => "reset",
            Self::Replacement => "replacement",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Setup, Self::Invitation, Self::Reset, Self::Replacement].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A code, as its hash, and what it is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct InvitationRow {
    pub(crate) hash: String,
    pub(crate) kind: InvitationKind,
    /// Whose password it sets; of an invitation, nobody's.
    pub(crate) user: Option<UserId>,
    /// The address of the account; of the first administrator's, none yet.
    pub(crate) email: Option<Email>,
    pub(crate) role: Role,
    pub(crate) created_by: String,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
}

impl Store {
    /// Keeps a code. Those of before for the same do not work any more.
    pub(crate) async fn add_invitation(&self, row: InvitationRow, told: impl Into<Told>) -> Result<(), StoreError> {
        self.write_told(told, move |connection| {
            if row.kind == InvitationKind::Setup && !users::administrators(connection)?.is_empty() {
                return Err(StoreError::Exists { what: "account", name: "the first administrator".to_owned() });
            }
            if let (InvitationKind::Invitation, Some(email)) = (row.kind, &row.email) {
                users::check_free(connection, email, None)?;
            }
            let same = match (&row.user, &row.email) {
                (Some(user), _) => Expr::col(Invitations::UserId).eq(user.as_str()),
                (None, email) => Expr::col(Invitations::Email).eq(email.as_ref().map(Email::as_str)),
            };
            let over = Expr::col(Invitations::ExpiresAt).lte(now_seconds());
            connection.execute(Query::delete().from_table(Invitations::Table).and_where(same.or(over)))?;
            insert(connection, &row)?;
            Ok(())
        })
        .await
    }

    /// The code of that hash, if it still works.
    pub(crate) async fn invitation(&self, hash: String) -> Result<Option<InvitationRow>, StoreError> {
        self.read(move |connection| live(connection, &hash)).await
    }

    /// All codes that still work, the oldest first.
    pub(crate) async fn invitations(&self) -> Result<Vec<InvitationRow>, StoreError> {
        self.read(|connection| {
            let live = Expr::col(Invitations::ExpiresAt).gt(now_seconds());
            connection.rows(select().and_where(live).order_by(Invitations::CreatedAt, Order::Asc), parse)
        })
        .await
    }

    /// Ends the invitation of an address.
    pub(crate) async fn revoke_invitation(&self, email: Email, told: impl Into<Told>) -> Result<(), StoreError> {
        self.write_told(told, move |connection| {
            let deleted = connection.execute(
                Query::delete()
                    .from_table(Invitations::Table)
                    .and_where(Expr::col(Invitations::Email).eq(email.as_str()))
                    .and_where(Expr::col(Invitations::Kind).eq(InvitationKind::Invitation.as_str())),
            )?;
            if deleted == 0 {
                return Err(StoreError::Missing { what: "invitation", name: email.to_string(), known: Vec::new() });
            }
            Ok(())
        })
        .await
    }

    /// Uses a code up, and does what it is for; false if it does not work any more.
    pub(crate) async fn accept_invitation(
        &self,
        hash: String,
        new: NewUser,
        audit: AuditRow,
    ) -> Result<bool, StoreError> {
        self.change(move |connection| {
            let Some(row) = live(connection, &hash)? else { return Ok(false) };
            connection.execute(
                Query::delete().from_table(Invitations::Table).and_where(Expr::col(Invitations::Hash).eq(hash)),
            )?;
            match row.kind {
                InvitationKind::Setup if !users::administrators(connection)?.is_empty() => return Ok(false),
                InvitationKind::Setup => {
                    users::adopt(connection, &new)?;
                    users::update(connection, &new.id, Users::DisabledAt, None::<i64>.into())?;
                    users::update(connection, &new.id, Users::SuspendedAt, None::<i64>.into())?;
                }
                InvitationKind::Invitation => users::insert(connection, &new)?,
                InvitationKind::Reset => set_password(connection, &new)?,
                InvitationKind::Replacement => {
                    // What whoever had the account before could still come in with, until this very moment.
                    users::delete_proofs(connection, &new.id)?;
                    identities::delete_of(connection, &new.id)?;
                    set_password(connection, &new)?;
                }
            }
            if !identities::has(connection, &new.id)? {
                // No provider has a say any more.
                users::update(connection, &new.id, Users::SuspendedAt, None::<i64>.into())?;
            }
            devices::delete_of(connection, &new.id)?;
            // Others for the same account would set another password.
            delete_for(connection, &new.id)?;
            sessions::delete_of(connection, &new.id, None)?;
            audit::append(connection, &audit)?;
            Ok(true)
        })
        .await
    }
}

fn set_password(connection: &Connection, new: &NewUser) -> Result<(), StoreError> {
    users::update(connection, &new.id, Users::Password, new.password.as_str().into())
}

/// Ends the codes that would set the password of somebody.
pub(super) fn delete_for(connection: &Connection, user: &UserId) -> Result<(), StoreError> {
    let whose = Expr::col(Invitations::UserId).eq(user.as_str());
    connection.execute(Query::delete().from_table(Invitations::Table).and_where(whose))?;
    Ok(())
}

/// Uses up the invitation of an address, of somebody who has proven to have it otherwise than by the code. Gives the role.
pub(super) fn take_invited(connection: &Connection, email: &Email) -> Result<Option<Role>, StoreError> {
    let live = Expr::col(Invitations::ExpiresAt).gt(now_seconds());
    let of = Expr::col(Invitations::Email).eq(email.as_str());
    let kind = Expr::col(Invitations::Kind).eq(InvitationKind::Invitation.as_str());
    let found = select().and_where(live).and_where(of.clone()).and_where(kind.clone()).take();
    let Some(row) = connection.row(&found, parse)? else { return Ok(None) };
    connection.execute(Query::delete().from_table(Invitations::Table).and_where(of).and_where(kind))?;
    Ok(Some(row.role))
}

/// Ends the codes that somebody made, or a key of theirs, as they are not trusted with that any more.
pub(super) fn delete_by(connection: &Connection, maker: &UserId) -> Result<(), StoreError> {
    let made = Expr::col(Invitations::CreatedBy);
    let select = Query::select().column(Invitations::CreatedBy).from(Invitations::Table).distinct().take();
    let makers = connection.rows(&select, |row| Ok(row.get::<String>(0)?))?;
    // Compared here: in a pattern an id could hold what stands for anything.
    let by_key = format!("{maker} with the key ");
    for theirs in makers.into_iter().filter(|by| by == maker.as_str() || by.starts_with(&by_key)) {
        connection.execute(Query::delete().from_table(Invitations::Table).and_where(made.clone().eq(theirs)))?;
    }
    Ok(())
}

fn insert(connection: &Connection, row: &InvitationRow) -> Result<(), StoreError> {
    connection.execute(Query::insert().into_table(Invitations::Table).columns(COLUMNS).values_panic([
        row.hash.as_str().into(),
        row.kind.as_str().into(),
        row.user.as_ref().map(UserId::as_str).into(),
        row.email.as_ref().map(Email::as_str).into(),
        row.role.as_str().into(),
        row.created_by.as_str().into(),
        row.created_at.into(),
        row.expires_at.into(),
    ]))?;
    Ok(())
}

fn live(connection: &Connection, hash: &str) -> Result<Option<InvitationRow>, StoreError> {
    let live = Expr::col(Invitations::ExpiresAt).gt(now_seconds());
    connection.row(select().and_where(Expr::col(Invitations::Hash).eq(hash)).and_where(live), parse)
}

fn select() -> SelectStatement {
    Query::select().columns(COLUMNS).from(Invitations::Table).take()
}

const COLUMNS: [Invitations; 8] = [
    Invitations::Hash,
    Invitations::Kind,
    Invitations::UserId,
    Invitations::Email,
    Invitations::Role,
    Invitations::CreatedBy,
    Invitations::CreatedAt,
    Invitations::ExpiresAt,
];

fn parse(row: &Row<'_>) -> Result<InvitationRow, StoreError> {
    let corrupt = || StoreError::Corrupt { what: "invitation", name: "of somebody".to_owned() };
    let (user, email): (Option<String>, Option<String>) = (row.get(2)?, row.get(3)?);
    Ok(InvitationRow {
        hash: row.get(0)?,
        kind: InvitationKind::parse(&row.get::<String>(1)?).ok_or_else(corrupt)?,
        user: user.map(|user| user.parse()).transpose().map_err(|_| corrupt())?,
        email: email.map(|email| email.parse()).transpose().map_err(|_| corrupt())?,
        role: row.get::<String>(4)?.parse().map_err(|_| corrupt())?,
        created_by: row.get(5)?,
        created_at: row.get(6)?,
        expires_at: row.get(7)?,
    })
}
