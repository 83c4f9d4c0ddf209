//! Accounts: who there is, and who is let in.

use super::{
    Access, Actor, ApiScope, Area, Deed, Email, People, PeopleError, Role, Rule, UserId, Via,
    record::{self, Kind},
};
use crate::{
    secrets::Secrets,
    store::{StoreError, UserRow},
};

pub(crate) const READ: Rule =
    Rule::new(Access::AtLeast(Role::Auditor), Deed::Read).with_scope(ApiScope::read(Area::Users));
pub(crate) const READ_OWN: Rule =
    Rule::new(Access::OwnOr(Role::Auditor), Deed::Read).with_scope(ApiScope::read(Area::Users));
pub(crate) const CHANGE: Rule =
    Rule::new(Access::AtLeast(Role::Admin), Deed::Change).with_scope(ApiScope::write(Area::Users));

impl People {
    /// Everybody.
    pub(crate) async fn accounts(&self, actor: &Actor) -> Result<Vec<UserRow>, PeopleError> {
        actor.may(&READ, None)?;
        Ok(self.store.users().await?)
    }

    /// Some of them, after the one that was created then and has this id, the oldest first.
    pub(crate) async fn accounts_after(
        &self,
        actor: &Actor,
        after: Option<(i64, String)>,
        limit: u64,
    ) -> Result<Vec<UserRow>, PeopleError> {
        actor.may(&READ, None)?;
        Ok(self.store.users_after(after, limit).await?)
    }

    /// One account.
    pub(crate) async fn account(&self, actor: &Actor, id: &UserId) -> Result<UserRow, PeopleError> {
        actor.may(&READ_OWN, Some(id))?;
        Ok(self.store.user(id.clone()).await?.user)
    }

    /// The account of an address, or of an id.
    pub(crate) async fn find_account(&self, actor: &Actor, who: &str) -> Result<UserRow, PeopleError> {
        actor.may(&READ, None)?;
        let missing = || StoreError::Missing { what: "account", name: who.to_owned(), known: Vec::new() };
        let found = match (who.parse::<Email>(), who.parse::<UserId>()) {
            (Ok(email), _) => self.store.user_of(email).await?.ok_or_else(missing)?,
            (Err(_), Ok(id)) => self.store.user(id).await?,
            (Err(_), Err(_)) => return Err(missing().into()),
        };
        Ok(found.user)
    }

    /// Gives somebody a role.
    pub(crate) async fn set_role(&self, actor: &Actor, id: &UserId, role: Role) -> Result<(), PeopleError> {
        actor.may(&CHANGE, Some(id))?;
        may_grant(actor, role)?;
        let row = record::done(Kind::Account, id, format!("role {role}"), actor);
        Ok(self.store.set_role(id.clone(), role, actor.does(row)).await?)
    }

    /// Lets somebody in no more, and ends all that goes on for them.
    pub(crate) async fn disable(&self, actor: &Actor, id: &UserId) -> Result<(), PeopleError> {
        actor.may(&CHANGE, Some(id))?;
        let row = record::done(Kind::Account, id, "disabled", actor);
        Ok(self.store.disable_user(id.clone(), actor.does(row)).await?)
    }

    /// Lets somebody in again. Not by a key if they are more than a user: it would be how somebody becomes that again.
    pub(crate) async fn enable(&self, actor: &Actor, id: &UserId) -> Result<(), PeopleError> {
        actor.may(&CHANGE, Some(id))?;
        let row = record::done(Kind::Account, id, "enabled", actor);
        match self.store.enable_user(id.clone(), most(actor), actor.does(row)).await {
            Err(StoreError::TooMuch { .. }) => Err(PeopleError::KeyGrants),
            enabled => Ok(enabled?),
        }
    }

    /// Deletes an account with its profiles and secrets. What it did stays in the audit trail.
    pub(crate) async fn delete(&self, actor: &Actor, id: &UserId, secrets: &Secrets) -> Result<(), PeopleError> {
        actor.may(&CHANGE, Some(id))?;
        let row = record::done(Kind::Account, id, "deleted", actor);
        Ok(secrets.remove_user(id, actor.does(row)).await?)
    }
}

/// A key that got into other hands must not be how somebody becomes an administrator.
pub(super) fn may_grant(actor: &Actor, role: Role) -> Result<(), PeopleError> {
    if role <= most(actor) { Ok(()) } else { Err(PeopleError::KeyGrants) }
}

/// The most that anybody becomes, or is let in as, by them.
fn most(actor: &Actor) -> Role {
    match &actor.via {
        Via::ApiKey { .. } => Role::User,
        Via::Session | Via::Local => Role::Admin,
    }
}
