//! Accounts, and what somebody signs in with.

use sea_query::{Expr, ExprTrait, Order, Query, SelectStatement, SimpleExpr};

use super::{
    LedgerChange, Store, StoreError, Told,
    connection::{Connection, Row},
    devices, holdings, invitations, ledger, now_seconds,
    schema::{ApiKeys, Identities, RecoveryCodes, Secrets, Users},
    sessions, tokens,
};
use crate::people::{Email, Programs, Role, UserId};

/// An account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct UserRow {
    pub(crate) id: UserId,
    pub(crate) email: Option<Email>,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) created_at: i64,
    pub(crate) last_login_at: Option<i64>,
    pub(crate) disabled_at: Option<i64>,
    /// Since when the provider that vouched for them refuses them: what does not sign in waits until they do.
    pub(crate) suspended_at: Option<i64>,
    /// Whether there is a password to sign in with.
    pub(crate) has_password: bool,
    /// Whether a provider vouches for whoever it belongs to.
    pub(crate) has_identity: bool,
    /// Since when a second factor is asked for.
    pub(crate) totp_since: Option<i64>,
}

/// An account with what is needed to let somebody in.
#[derive(Clone, Debug)]
pub(crate) struct SignIn {
    pub(crate) user: UserRow,
    pub(crate) password: Option<String>,
    pub(crate) totp_step: Option<i64>,
}

/// An account that is to be.
#[derive(Clone, Debug)]
pub(crate) struct NewUser {
    pub(crate) id: UserId,
    pub(crate) email: Email,
    pub(crate) role: Role,
    pub(crate) password: String,
}

impl UserRow {
    /// Whether what comes in by itself, as keys and tokens do, comes in.
    pub(super) fn lets_programs_in(&self) -> bool {
        self.disabled_at.is_none() && self.suspended_at.is_none()
    }
}

impl Store {
    /// All accounts, the oldest first.
    pub(crate) async fn users(&self) -> Result<Vec<UserRow>, StoreError> {
        self.read(|connection| {
            let select = select().order_by(Users::CreatedAt, Order::Asc).order_by(Users::Id, Order::Asc).take();
            Ok(connection.rows(&select, parse)?.into_iter().map(|found| found.user).collect())
        })
        .await
    }

    /// The next accounts after the one that was created then and has this id, the oldest first.
    pub(crate) async fn users_after(
        &self,
        after: Option<(i64, String)>,
        limit: u64,
    ) -> Result<Vec<UserRow>, StoreError> {
        self.read(move |connection| {
            let mut some = select();
            if let Some((created, id)) = after {
                let same = Expr::col(Users::CreatedAt).eq(created).and(Expr::col(Users::Id).gt(id));
                some.and_where(Expr::col(Users::CreatedAt).gt(created).or(same));
            }
            let some = some.order_by(Users::CreatedAt, Order::Asc).order_by(Users::Id, Order::Asc).limit(limit).take();
            Ok(connection.rows(&some, parse)?.into_iter().map(|found| found.user).collect())
        })
        .await
    }

    /// One account, with what is needed to let somebody in.
    pub(crate) async fn user(&self, id: UserId) -> Result<SignIn, StoreError> {
        self.read(move |connection| require(connection, &id)).await
    }

    /// The account of an address.
    pub(crate) async fn user_of(&self, email: Email) -> Result<Option<SignIn>, StoreError> {
        self.read(move |connection| find_email(connection, &email)).await
    }

    /// The account of an address, if there is one, and whether the browser of that hash is known to it. Takes the same steps if
    /// there is none.
    pub(crate) async fn signs_in(&self, email: Email, device: String) -> Result<(Option<SignIn>, bool), StoreError> {
        self.read(move |connection| {
            let found = find_email(connection, &email)?;
            Ok((found, devices::is_known(connection, &email, &device)?))
        })
        .await
    }

    /// Whether there is an administrator who can sign in.
    pub(crate) async fn has_administrator(&self) -> Result<bool, StoreError> {
        self.read(|connection| Ok(!administrators(connection)?.is_empty())).await
    }

    /// Gives somebody a role. Their sessions end, so that none goes on with rights of before.
    pub(crate) async fn set_role(&self, id: UserId, role: Role, told: impl Into<Told>) -> Result<(), StoreError> {
        self.change_told(told, move |connection| {
            require(connection, &id)?;
            put_role(connection, &id, role)
        })
        .await
    }

    /// Lets somebody in no more: sessions, keys of the control plane and tokens of profiles end for good, and their servers
    /// within two seconds.
    pub(crate) async fn disable_user(&self, id: UserId, told: impl Into<Told>) -> Result<(), StoreError> {
        self.change_told(told, move |connection| {
            require(connection, &id)?;
            keep_an_administrator(connection, &id)?;
            invitations::delete_by(connection, &id)?;
            update(connection, &id, Users::DisabledAt, now_seconds().into())?;
            delete_proofs(connection, &id)?;
            Ok(())
        })
        .await
    }

    /// Takes away what somebody's tools run with: secrets, and with them the second factor, sessions, keys and tokens. What runs
    /// for them ends, and what servers kept for them before the epoch that is given is theirs no more.
    pub(crate) async fn forget_user(&self, id: UserId, ledger: Option<LedgerChange>) -> Result<i64, StoreError> {
        self.change(move |connection| {
            delete_secrets(connection, &id, ledger.as_ref())?;
            update(connection, &id, Users::TotpSince, None::<i64>.into())?;
            put_recovery_codes(connection, &id, &[])?;
            delete_proofs(connection, &id)?;
            holdings::forget(connection, &id)
        })
        .await
    }

    /// Lets somebody in again who is at most of this role, with the password of before and new tokens.
    pub(crate) async fn enable_user(&self, id: UserId, at_most: Role, told: impl Into<Told>) -> Result<(), StoreError> {
        self.change_told(told, move |connection| {
            let role = require(connection, &id)?.user.role;
            if role > at_most {
                return Err(StoreError::TooMuch { role });
            }
            update(connection, &id, Users::DisabledAt, None::<i64>.into())?;
            update(connection, &id, Users::SuspendedAt, None::<i64>.into())?;
            Ok(())
        })
        .await
    }

    /// Deletes an account with all that belongs to it, its secrets too. If it has any, the ledger that does not tell of them any
    /// more is given. What servers kept for it before the epoch that is given is nobody's.
    pub(crate) async fn delete_user(
        &self,
        id: UserId,
        ledger: Option<LedgerChange>,
        told: impl Into<Told>,
    ) -> Result<i64, StoreError> {
        self.change_told(told, move |connection| {
            require(connection, &id)?;
            if id == UserId::local() {
                return Err(StoreError::LocalAccount);
            }
            keep_an_administrator(connection, &id)?;
            invitations::delete_by(connection, &id)?;
            delete_secrets(connection, &id, ledger.as_ref())?;
            let epoch = holdings::forget(connection, &id)?;
            connection
                .execute(Query::delete().from_table(Users::Table).and_where(Expr::col(Users::Id).eq(id.as_str())))?;
            Ok(epoch)
        })
        .await
    }

    /// Gives somebody a password. Their sessions end, but for the one of that hash, codes that would give another one, and what
    /// browsers are known by.
    pub(crate) async fn set_password(
        &self,
        (id, hash): (UserId, String),
        keep: Option<String>,
        programs: Programs,
        told: impl Into<Told>,
    ) -> Result<(), StoreError> {
        self.change_told(told, move |connection| {
            require(connection, &id)?;
            update(connection, &id, Users::Password, hash.into())?;
            if programs == Programs::End {
                delete_programs(connection, &id)?;
            }
            invitations::delete_for(connection, &id)?;
            devices::delete_of(connection, &id)?;
            sessions::delete_of(connection, &id, keep.as_deref())?;
            Ok(())
        })
        .await
    }

    /// From now on a second factor is asked for; these are the hashes of the codes for when it is lost. Other sessions end.
    pub(crate) async fn begin_totp(
        &self,
        id: UserId,
        step: i64,
        codes: Vec<String>,
        keep: Option<String>,
        told: impl Into<Told>,
    ) -> Result<(), StoreError> {
        self.change_told(told, move |connection| {
            require(connection, &id)?;
            update(connection, &id, Users::TotpSince, now_seconds().into())?;
            update(connection, &id, Users::TotpStep, step.into())?;
            put_recovery_codes(connection, &id, &codes)?;
            sessions::delete_of(connection, &id, keep.as_deref())?;
            Ok(())
        })
        .await
    }

    /// Puts new codes in the place of all of before.
    pub(crate) async fn set_recovery_codes(
        &self,
        id: UserId,
        codes: Vec<String>,
        told: impl Into<Told>,
    ) -> Result<(), StoreError> {
        self.change_told(told, move |connection| {
            require(connection, &id)?;
            put_recovery_codes(connection, &id, &codes)?;
            Ok(())
        })
        .await
    }

    /// No second factor is asked for any more.
    pub(crate) async fn end_totp(&self, id: UserId, told: impl Into<Told>) -> Result<(), StoreError> {
        self.change_told(told, move |connection| {
            require(connection, &id)?;
            update(connection, &id, Users::TotpSince, None::<i64>.into())?;
            put_recovery_codes(connection, &id, &[])?;
            Ok(())
        })
        .await
    }

    /// Takes the code of a step of time, unless it or a later one was taken; whether it was.
    pub(crate) async fn take_totp_step(&self, id: UserId, step: i64) -> Result<bool, StoreError> {
        self.write(move |connection| {
            let taken = Expr::col(Users::TotpStep);
            let updated = connection.execute(
                Query::update()
                    .table(Users::Table)
                    .value(Users::TotpStep, step)
                    .and_where(Expr::col(Users::Id).eq(id.as_str()))
                    .and_where(taken.clone().is_null().or(taken.lt(step))),
            )?;
            Ok(updated == 1)
        })
        .await
    }

    /// Takes a recovery code, if it is there; whether it was.
    pub(crate) async fn take_recovery_code(&self, id: UserId, hash: String) -> Result<bool, StoreError> {
        self.write(move |connection| {
            let deleted = connection.execute(
                Query::delete()
                    .from_table(RecoveryCodes::Table)
                    .and_where(Expr::col(RecoveryCodes::UserId).eq(id.as_str()))
                    .and_where(Expr::col(RecoveryCodes::Hash).eq(hash)),
            )?;
            Ok(deleted == 1)
        })
        .await
    }
}

/// Gives somebody a role. Their sessions end.
pub(super) fn put_role(connection: &Connection, id: &UserId, role: Role) -> Result<(), StoreError> {
    if role != Role::Admin {
        keep_an_administrator(connection, id)?;
        invitations::delete_by(connection, id)?;
    }
    update(connection, id, Users::Role, role.as_str().into())?;
    sessions::delete_of(connection, id, None)?;
    Ok(())
}

pub(super) fn insert(connection: &Connection, new: &NewUser) -> Result<(), StoreError> {
    insert_known(connection, &new.id, Some(&new.email), new.email.as_str(), new.role)?;
    update(connection, &new.id, Users::Password, new.password.as_str().into())
}

/// Refuses an address that another account has.
pub(super) fn check_free(connection: &Connection, email: &Email, but: Option<&UserId>) -> Result<(), StoreError> {
    match find_email(connection, email)? {
        Some(found) if Some(&found.user.id) != but => {
            Err(StoreError::Exists { what: "account", name: email.to_string() })
        }
        _ => Ok(()),
    }
}

/// Gives an account address, role and password, as the first administrator's.
pub(super) fn adopt(connection: &Connection, new: &NewUser) -> Result<(), StoreError> {
    check_free(connection, &new.email, Some(&new.id))?;
    for (column, value) in [
        (Users::Email, new.email.as_str()),
        (Users::DisplayName, new.email.as_str()),
        (Users::Role, new.role.as_str()),
        (Users::Password, &new.password),
    ] {
        update(connection, &new.id, column, value.into())?;
    }
    Ok(())
}

/// Whatever comes in by itself for somebody waits, from now on or as long as it has.
pub(super) fn suspend(connection: &Connection, id: &UserId) -> Result<(), StoreError> {
    let update = Query::update()
        .table(Users::Table)
        .value(Users::SuspendedAt, now_seconds())
        .and_where(Expr::col(Users::Id).eq(id.as_str()))
        .and_where(Expr::col(Users::SuspendedAt).is_null())
        .take();
    Ok(connection.execute(&update).map(drop)?)
}

pub(super) fn update(connection: &Connection, id: &UserId, column: Users, value: SimpleExpr) -> Result<(), StoreError> {
    let update =
        Query::update().table(Users::Table).value(column, value).and_where(Expr::col(Users::Id).eq(id.as_str())).take();
    Ok(connection.execute(&update).map(drop)?)
}

/// Ends all with which somebody, or a program of theirs, comes in.
pub(super) fn delete_proofs(connection: &Connection, id: &UserId) -> Result<(), StoreError> {
    sessions::delete_of(connection, id, None)?;
    devices::delete_of(connection, id)?;
    delete_programs(connection, id)
}

/// Ends all with which a program of somebody's comes in.
fn delete_programs(connection: &Connection, id: &UserId) -> Result<(), StoreError> {
    connection
        .execute(Query::delete().from_table(ApiKeys::Table).and_where(Expr::col(ApiKeys::UserId).eq(id.as_str())))?;
    tokens::delete_of(connection, id)?;
    Ok(())
}

/// Needs the ledger that does not tell of them any more, if there are any.
fn delete_secrets(connection: &Connection, id: &UserId, ledger: Option<&LedgerChange>) -> Result<(), StoreError> {
    if let Some(ledger) = ledger {
        ledger::exchange(connection, ledger)?;
    }
    let secrets = connection
        .execute(Query::delete().from_table(Secrets::Table).and_where(Expr::col(Secrets::Owner).eq(id.as_str())))?;
    match (secrets, ledger) {
        (1.., None) => Err(StoreError::Changed),
        _ => Ok(()),
    }
}

fn put_recovery_codes(connection: &Connection, id: &UserId, codes: &[String]) -> Result<(), StoreError> {
    connection.execute(
        Query::delete().from_table(RecoveryCodes::Table).and_where(Expr::col(RecoveryCodes::UserId).eq(id.as_str())),
    )?;
    for code in codes {
        connection.execute(
            Query::insert()
                .into_table(RecoveryCodes::Table)
                .columns([RecoveryCodes::UserId, RecoveryCodes::Hash])
                .values_panic([id.as_str().into(), code.as_str().into()]),
        )?;
    }
    Ok(())
}

/// The administrators who can sign in.
pub(super) fn administrators(connection: &Connection) -> Result<Vec<UserId>, StoreError> {
    let select = select()
        .and_where(Expr::col(Users::Role).eq(Role::Admin.as_str()))
        .and_where(Expr::col(Users::DisabledAt).is_null())
        .and_where(Expr::col(Users::Password).is_not_null().or(Expr::col(Users::Id).in_subquery(known_to_providers())))
        .take();
    Ok(connection.rows(&select, parse)?.into_iter().map(|found| found.user.id).collect())
}

/// The accounts that somebody can sign in to by a provider.
fn known_to_providers() -> SelectStatement {
    Query::select().column(Identities::UserId).from(Identities::Table).take()
}

/// An account that a provider vouches for, without a password.
pub(super) fn insert_known(
    connection: &Connection,
    id: &UserId,
    email: Option<&Email>,
    name: &str,
    role: Role,
) -> Result<(), StoreError> {
    if let Some(email) = email {
        check_free(connection, email, None)?;
    }
    connection.execute(
        Query::insert()
            .into_table(Users::Table)
            .columns([
                Users::Id,
                Users::Issuer,
                Users::Subject,
                Users::Email,
                Users::DisplayName,
                Users::Role,
                Users::CreatedAt,
            ])
            .values_panic([
                id.as_str().into(),
                LOCAL_ISSUER.into(),
                id.as_str().into(),
                email.map(Email::as_str).into(),
                name.into(),
                role.as_str().into(),
                now_seconds().into(),
            ]),
    )?;
    Ok(())
}

pub(super) fn keep_an_administrator(connection: &Connection, but: &UserId) -> Result<(), StoreError> {
    match administrators(connection)?.as_slice() {
        [only] if only == but => Err(StoreError::LastAdministrator),
        _ => Ok(()),
    }
}

pub(super) fn require(connection: &Connection, id: &UserId) -> Result<SignIn, StoreError> {
    let missing = || StoreError::Missing { what: "account", name: id.to_string(), known: Vec::new() };
    find(connection, id)?.ok_or_else(missing)
}

/// The same, if it is not disabled: nothing is made that lets somebody in who is not let in.
pub(super) fn require_active(connection: &Connection, id: &UserId) -> Result<SignIn, StoreError> {
    let found = require(connection, id)?;
    if found.user.disabled_at.is_none() { Ok(found) } else { Err(StoreError::Disabled(id.clone())) }
}

pub(super) fn find(connection: &Connection, id: &UserId) -> Result<Option<SignIn>, StoreError> {
    connection.row(select().and_where(Expr::col(Users::Id).eq(id.as_str())), parse)
}

pub(super) fn find_email(connection: &Connection, email: &Email) -> Result<Option<SignIn>, StoreError> {
    connection.row(select().and_where(Expr::col(Users::Email).eq(email.as_str())), parse)
}

fn select() -> SelectStatement {
    Query::select()
        .columns([
            Users::Id,
            Users::Email,
            Users::DisplayName,
            Users::Role,
            Users::CreatedAt,
            Users::LastLoginAt,
            Users::DisabledAt,
            Users::Password,
            Users::TotpSince,
            Users::TotpStep,
            Users::SuspendedAt,
        ])
        .expr(Expr::SubQuery(None, Box::new(identities().into())))
        .from(Users::Table)
        .take()
}

/// How many of somebody there are, as a number in either database.
fn identities() -> SelectStatement {
    Query::select()
        .expr(Expr::col((Identities::Table, Identities::Subject)).count())
        .from(Identities::Table)
        .and_where(Expr::col((Identities::Table, Identities::UserId)).equals((Users::Table, Users::Id)))
        .take()
}

fn parse(row: &Row<'_>) -> Result<SignIn, StoreError> {
    let id: String = row.get(0)?;
    let corrupt = || StoreError::Corrupt { what: "account", name: id.clone() };
    let email: Option<String> = row.get(1)?;
    let password: Option<String> = row.get(7)?;
    let user = UserRow {
        id: id.parse().map_err(|_| corrupt())?,
        email: email.map(|email| email.parse()).transpose().map_err(|_| corrupt())?,
        name: row.get(2)?,
        role: row.get::<String>(3)?.parse().map_err(|_| corrupt())?,
        created_at: row.get(4)?,
        last_login_at: row.get(5)?,
        disabled_at: row.get(6)?,
        has_password: password.is_some(),
        suspended_at: row.get(10)?,
        has_identity: row.get::<i64>(11)? > 0,
        totp_since: row.get(8)?,
    };
    Ok(SignIn { user, password, totp_step: row.get(9)? })
}

/// Who vouches for accounts that no other program does.
const LOCAL_ISSUER: &str = "local";
