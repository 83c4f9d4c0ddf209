//! What somebody changes of how they prove who they are.

use zeroize::Zeroizing;

use super::{
    Access, Actor, Deed, Password, People, PeopleError, Role, Rule, SecondFactor, SessionToken, SignInError, UserId,
    Via, account_secret,
    password::Line,
    record::{self, Kind},
    throttle::Wait,
    totp::{TotpSecret, mint_recovery_codes, recovery_hash},
};
use crate::{
    secrets::Secrets,
    store::{SignIn, now_seconds},
};

pub(crate) const OWN: Rule = Rule::new(Access::Own, Deed::Prove);
/// Whoever lost the device and the codes asks an administrator; the password is needed all the same.
pub(crate) const LOST: Rule = Rule::new(Access::AtLeast(Role::Admin), Deed::Prove);

/// What somebody says once more who is signed in.
pub(crate) struct Confirmation {
    pub(crate) password: Password,
    pub(crate) code: Option<SecondFactor>,
}

/// What becomes of keys of the control plane and tokens of profiles with a new password.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Programs {
    /// A new password is no reason to set up all programs anew.
    #[default]
    GoOn,
    /// Somebody else may have had the account, and made some for themselves.
    End,
}

impl People {
    /// Changes one's own password. All other sessions end, and no browser is known any more.
    pub(crate) async fn change_password(
        &self,
        actor: &Actor,
        session: &SessionToken,
        old: Confirmation,
        (new, programs): (Password, Programs),
        secrets: &Secrets,
    ) -> Result<(), PeopleError> {
        let found = self.confirmed_twice(actor, old, secrets).await?;
        let email = found.user.email.as_ref().ok_or(PeopleError::EmailNeeded)?;
        new.check(email)?;
        let hash = self.hasher.hash(new, &Line::of(&actor.user)).await?;
        let what = match programs {
            Programs::GoOn => "password",
            Programs::End => "password, and ended all keys and tokens",
        };
        let row = record::done(Kind::Account, &actor.user, what, actor);
        let kept = Some(session.hash());
        Ok(self.store.set_password((actor.user.clone(), hash), kept, programs, actor.does(row)).await?)
    }

    /// Begins a second factor: what the device is to be told, once. It is asked for after [`confirm_totp`](Self::confirm_totp).
    pub(crate) async fn begin_totp(
        &self,
        actor: &Actor,
        password: Password,
        secrets: &Secrets,
    ) -> Result<Zeroizing<String>, PeopleError> {
        let found = self.confirmed(actor, password).await?;
        if found.user.totp_since.is_some() {
            return Err(PeopleError::FactorThere);
        }
        let secret = TotpSecret::mint()?;
        account_secret::keep(secrets, actor, &secret).await?;
        let email = found.user.email.as_ref().ok_or(PeopleError::EmailNeeded)?;
        Ok(secret.uri(email))
    }

    /// From now on the second factor is asked for, as the device shows what it should. Gives the codes for when it is lost.
    pub(crate) async fn confirm_totp(
        &self,
        actor: &Actor,
        session: &SessionToken,
        code: SecondFactor,
        secrets: &Secrets,
    ) -> Result<Vec<Zeroizing<String>>, PeopleError> {
        actor.may(&OWN, Some(&actor.user))?;
        let found = self.store.user(actor.user.clone()).await?;
        if found.user.totp_since.is_some() {
            return Err(PeopleError::FactorThere);
        }
        let SecondFactor::Totp(code) = code else { return Err(PeopleError::Wrong) };
        let counted = (&actor.user, None::<&str>);
        self.factors.begin(&counted).map_err(|Wait { for_, .. }| PeopleError::Wait(for_))?;
        let secret = account_secret::open(secrets, &actor.user).await?.ok_or(PeopleError::NoFactor)?;
        let step = secret.check(&code, now_seconds(), found.totp_step).ok_or(PeopleError::Wrong)?;
        self.factors.succeeded(&counted);
        let codes = mint_recovery_codes()?;
        let row = record::done(Kind::Account, &actor.user, "second factor begun", actor);
        self.store.begin_totp(actor.user.clone(), step, hashes(&codes), Some(session.hash()), actor.does(row)).await?;
        Ok(codes)
    }

    /// Makes new recovery codes; those of before do not work any more.
    pub(crate) async fn renew_recovery_codes(
        &self,
        actor: &Actor,
        confirmation: Confirmation,
        secrets: &Secrets,
    ) -> Result<Vec<Zeroizing<String>>, PeopleError> {
        let found = self.confirmed_twice(actor, confirmation, secrets).await?;
        if found.user.totp_since.is_none() {
            return Err(PeopleError::NoFactor);
        }
        let codes = mint_recovery_codes()?;
        let row = record::done(Kind::Account, &actor.user, "recovery codes", actor);
        self.store.set_recovery_codes(actor.user.clone(), hashes(&codes), actor.does(row)).await?;
        Ok(codes)
    }

    /// Asks for one's own second factor no more. It is needed for that once more.
    pub(crate) async fn end_totp(
        &self,
        actor: &Actor,
        confirmation: Confirmation,
        secrets: &Secrets,
    ) -> Result<(), PeopleError> {
        self.confirmed_twice(actor, confirmation, secrets).await?;
        let row = record::done(Kind::Account, &actor.user, "second factor ended", actor);
        Ok(self.store.end_totp(actor.user.clone(), actor.does(row)).await?)
    }

    /// The same for somebody else, who has lost it.
    pub(crate) async fn end_lost_totp(&self, actor: &Actor, of: &UserId) -> Result<(), PeopleError> {
        actor.may(&LOST, Some(of))?;
        not_own(actor, of)?;
        let row = record::done(Kind::Account, of, "second factor ended", actor);
        Ok(self.store.end_totp(of.clone(), actor.does(row)).await?)
    }

    /// Somebody's own account, if the password is right, and the second factor where one is asked for: what changes one of them
    /// needs both, or who has one of them would get the other.
    pub(super) async fn confirmed_twice(
        &self,
        actor: &Actor,
        Confirmation { password, code }: Confirmation,
        secrets: &Secrets,
    ) -> Result<SignIn, PeopleError> {
        let found = self.confirmed(actor, password).await?;
        match self.second_factor(&found, code, None, secrets).await {
            Ok(()) => Ok(found),
            Err(SignInError::SecondFactor) => Err(PeopleError::FactorNeeded),
            Err(error) => Err(error.into()),
        }
    }

    /// Somebody's own account, if the password is right.
    async fn confirmed(&self, actor: &Actor, password: Password) -> Result<SignIn, PeopleError> {
        actor.may(&OWN, Some(&actor.user))?;
        self.accounts.begin(&actor.user).map_err(|Wait { for_, .. }| PeopleError::Wait(for_))?;
        let found = self.store.user(actor.user.clone()).await?;
        if !self.hasher.compare(password, found.password.clone(), &Line::of(&actor.user)).await?.right {
            return Err(PeopleError::Wrong);
        }
        self.accounts.succeeded(&actor.user);
        Ok(found)
    }
}

/// Refuses what an administrator does for others when it is for themselves: a session alone does not show that it is they. Whoever is
/// on the command line has the master key in their hands.
pub(super) fn not_own(actor: &Actor, of: &UserId) -> Result<(), PeopleError> {
    match *of == actor.user && actor.via != Via::Local {
        true => Err(PeopleError::OwnProof),
        false => Ok(()),
    }
}

fn hashes(codes: &[Zeroizing<String>]) -> Vec<String> {
    codes.iter().filter_map(|code| recovery_hash(code)).collect()
}

impl From<SignInError> for PeopleError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Refused | SignInError::SecondFactor => Self::Wrong,
            SignInError::Wait(for_) => Self::Wait(for_),
            SignInError::Hash(error) => Self::Hash(error),
            SignInError::Store(error) => Self::Store(error),
            SignInError::Secret(error) => Self::Secret(error),
        }
    }
}
