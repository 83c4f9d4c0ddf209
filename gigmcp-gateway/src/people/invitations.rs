//! Codes that work once.

use super::{
    Access, Actor, Deed, Email, Lifetime, Origin, Password, People, PeopleError, Role, Rule, UserId, Via,
    accounts::{CHANGE, may_grant},
    factors::not_own,
    password::Line,
    record::{self, Kind},
    throttle::Wait,
};
use crate::{
    secrets::Secrets,
    store::{InvitationKind, InvitationRow, NewUser, StoreError, now_seconds},
    token::{self, Token},
};

/// What somebody does with a code.
pub(crate) struct Acceptance {
    pub(crate) code: String,
    /// Of the first administrator, who has none yet. Everybody else has that of the code.
    pub(crate) email: Option<Email>,
    pub(crate) password: Password,
    /// From where, unless it is the command line.
    pub(crate) origin: Option<Origin>,
}

pub(crate) const RESET: Rule = Rule::new(Access::AtLeast(Role::Admin), Deed::Prove);

impl People {
    /// A code for the first administrator, if there is none who can sign in. Those of before do not work any more.
    pub(crate) async fn setup_code(&self) -> Result<Option<Token>, PeopleError> {
        if self.store.has_administrator().await? {
            return Ok(None);
        }
        let user = Some(UserId::local());
        match self.code(&Actor::local(), InvitationKind::Setup, user, None, Role::Admin, SETUP).await {
            // Just now, by another gateway.
            Err(PeopleError::Store(StoreError::Exists { .. })) => Ok(None),
            code => code.map(Some),
        }
    }

    /// A code that makes an account of that address and role.
    pub(crate) async fn invite(
        &self,
        actor: &Actor,
        email: Email,
        role: Role,
        holds: Option<Lifetime>,
    ) -> Result<Token, PeopleError> {
        actor.may(&CHANGE, None)?;
        may_grant(actor, role)?;
        let holds = holds.unwrap_or(INVITATION);
        self.code(actor, InvitationKind::Invitation, None, Some(email), role, holds).await
    }

    /// The codes that still work.
    pub(crate) async fn invitations(&self, actor: &Actor) -> Result<Vec<InvitationRow>, PeopleError> {
        actor.may(&CHANGE, None)?;
        Ok(self.store.invitations().await?)
    }

    /// Ends the invitation of an address.
    pub(crate) async fn revoke_invitation(&self, actor: &Actor, email: Email) -> Result<(), PeopleError> {
        actor.may(&CHANGE, None)?;
        let row = record::of(Kind::Invitation, "", format!("revoked {email}, by {}", actor.told()), "allowed");
        Ok(self.store.revoke_invitation(email, actor.does(row)).await?)
    }

    /// A code that gives somebody another password.
    ///
    /// Whoever has it can be that account. So one that an administrator asks for over the network takes away the secrets, tokens
    /// and keys of the account, or an administrator could run tools with what is another's. On the command line it does not: who is
    /// there has the master key in their hands. Nobody asks for one of their own over the network: who has their session and no
    /// password of theirs would have the account.
    pub(crate) async fn reset_password(&self, actor: &Actor, id: &UserId) -> Result<Token, PeopleError> {
        actor.may(&RESET, Some(id))?;
        not_own(actor, id)?;
        let found = self.store.user(id.clone()).await?.user;
        let email = Some(found.email.ok_or(PeopleError::EmailNeeded)?);
        let kind = match actor.via {
            Via::Local => InvitationKind::Reset,
            Via::Session | Via::ApiKey { .. } => InvitationKind::Replacement,
        };
        self.code(actor, kind, Some(id.clone()), email, found.role, RESETS).await
    }

    /// Whom a code is for, so that it can be shown before a password is asked for: kind, address and role.
    pub(crate) async fn look_at_code(&self, code: &str, origin: &Origin) -> Result<InvitationRow, PeopleError> {
        self.try_code(Some(origin))?;
        self.given_code(code, Some(origin)).await
    }

    /// Uses a code up, and gives the account that can sign in now.
    pub(crate) async fn accept(&self, acceptance: Acceptance, secrets: &Secrets) -> Result<UserId, PeopleError> {
        let Acceptance { code, email, password, origin } = acceptance;
        self.try_code(origin.as_ref())?;
        let row = self.given_code(&code, origin.as_ref()).await?;
        let email = match row.kind {
            InvitationKind::Setup => email.ok_or(PeopleError::EmailNeeded)?,
            InvitationKind::Invitation | InvitationKind::Reset | InvitationKind::Replacement => {
                row.email.ok_or(PeopleError::Code)?
            }
        };
        password.check(&email)?;
        let line = origin.as_ref().map_or_else(|| Line::of(&()), |origin| Line::of(&origin.source()));
        let password = self.hasher.hash(password, &line).await?;
        let id = match row.user {
            Some(user) => user,
            None => new_id()?,
        };
        if row.kind == InvitationKind::Replacement {
            // First, and also if the code is used up by somebody else at this moment.
            secrets.forget_owner(&id).await?;
        }
        let from = origin.map_or_else(|| "the command line".to_owned(), |origin| origin.address.to_string());
        let what = format!("{} of {email} accepted, from {from}", row.kind.as_str());
        let audit = record::of(Kind::Account, id.as_str(), what, "allowed");
        let new = NewUser { id: id.clone(), email, role: row.role, password };
        match self.store.accept_invitation(row.hash, new, audit).await? {
            true => Ok(id),
            false => Err(PeopleError::Code),
        }
    }

    async fn find_code(&self, code: &str) -> Result<InvitationRow, PeopleError> {
        let hash = token::hash(code);
        let found = self.store.invitation(hash.clone()).await?;
        found.filter(|row| token::same(&row.hash, &hash)).ok_or(PeopleError::Code)
    }

    /// The code, or a trace of whoever has none.
    async fn given_code(&self, code: &str, origin: Option<&Origin>) -> Result<InvitationRow, PeopleError> {
        let found = self.find_code(code).await;
        if let (Err(PeopleError::Code), Some(origin)) = (&found, origin) {
            self.failed.note(super::Shown::Code, "", origin);
        }
        found
    }

    fn try_code(&self, origin: Option<&Origin>) -> Result<(), PeopleError> {
        let Some(origin) = origin else { return Ok(()) };
        self.codes.begin(&origin.source()).map_err(|Wait { for_, .. }| PeopleError::Wait(for_))
    }

    async fn code(
        &self,
        actor: &Actor,
        kind: InvitationKind,
        user: Option<UserId>,
        email: Option<Email>,
        role: Role,
        holds: Lifetime,
    ) -> Result<Token, PeopleError> {
        let token = Token::mint_for(token::Kind::Invitation);
        let created_at = now_seconds();
        let whom = email.as_ref().map_or("the first administrator", Email::as_str);
        let what = format!("{} of {whom} as {role}, by {}", kind.as_str(), actor.told());
        let about = user.as_ref().map(UserId::to_string).unwrap_or_default();
        let audit = record::of(Kind::Invitation, &about, what, "allowed");
        let row = InvitationRow {
            hash: token.hash(),
            kind,
            user,
            email,
            role,
            created_by: actor.told(),
            created_at,
            expires_at: holds.end(created_at),
        };
        self.store.add_invitation(row, actor.does(audit)).await?;
        Ok(token)
    }
}

/// An id that nobody had before: 96 random bits.
pub(super) fn new_id() -> Result<UserId, PeopleError> {
    let mut random = [0; 12];
    getrandom::fill(&mut random)?;
    Ok(format!("u-{}", hex::encode(random)).parse().expect("it is short and ASCII"))
}

const SETUP: Lifetime = Lifetime::hours(24);
const INVITATION: Lifetime = Lifetime::hours(7 * 24);
const RESETS: Lifetime = Lifetime::hours(24);
