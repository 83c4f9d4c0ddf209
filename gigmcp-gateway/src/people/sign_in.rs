//! Signing in with a password.

use std::time::Duration;

use super::{
    Actor, DeviceToken, Email, HashError, Origin, Password, People, PeopleError, Proof, SecondFactor, SessionToken,
    Via, account_secret,
    password::Line,
    record::{self, Kind},
    throttle::{Throttle, Wait},
};
use crate::{
    output::whole,
    secrets::{SecretError, Secrets},
    store::{NewDevice, NewSession, SessionRow, SignIn, StoreError, now_seconds},
    token::{self, Token},
};

/// What somebody comes with.
pub(crate) struct Attempt {
    pub(crate) email: Email,
    pub(crate) password: Password,
    pub(crate) second: Option<SecondFactor>,
    pub(crate) origin: Origin,
    /// What the browser is known by, if somebody has signed in there.
    pub(crate) device: Option<DeviceToken>,
    /// The session that the browser had until now; it ends.
    pub(crate) replaces: Option<SessionToken>,
}

/// Somebody is in.
#[derive(Debug)]
pub(crate) struct SignedIn {
    /// For the browser; what is kept is its hash.
    pub(crate) token: SessionToken,
    /// What the browser is known by from now on.
    pub(crate) device: DeviceToken,
    #[cfg_attr(not(test), expect(dead_code, reason = "the session says it"))]
    pub(crate) actor: Actor,
    #[cfg_attr(not(test), expect(dead_code, reason = "the session says it"))]
    pub(crate) expires_at: i64,
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SignInError {
    /// The account is not there, disabled or has no password, or the password or code is wrong: on purpose not told apart.
    #[error("the address, the password or the code is wrong")]
    Refused,
    /// The password is right.
    #[error("a code of the second factor is needed too")]
    SecondFactor,
    #[error("too many tries; wait {} s", .0.as_secs() + 1)]
    Wait(Duration),
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl People {
    /// Lets somebody in, or not. An account that is not there takes the same steps and gets the same answers as a wrong password.
    ///
    /// Whoever insists waits: one address longer each time, one account at most a minute, so that nobody is locked out for good.
    /// In a browser in which somebody has signed in to the account before, tries are counted apart: they wait for nobody else.
    pub(crate) async fn sign_in(&self, attempt: Attempt, secrets: &Secrets) -> Result<SignedIn, SignInError> {
        let Attempt { email, password, second, origin, device, replaces } = attempt;
        let device = device.map(|device| device.hash());
        let (found, is_known) = self.store.signs_in(email.clone(), device.clone().unwrap_or_default()).await?;
        let tries = Tries { known: device.clone().filter(|_| is_known), email: &email, origin: &origin };
        self.begin_try(&tries)?;
        let found = found.filter(|found| found.user.disabled_at.is_none());
        let kept = found.as_ref().and_then(|found| found.password.clone());
        let about = found.as_ref().map(|found| found.user.id.to_string()).unwrap_or_default();
        let tried = format!("{email} from {}", origin.address);
        let not_let_in = async |verdict: &str| {
            if let Err(error) = self.store.add_audit(record::of(Kind::Login, &about, tried.clone(), verdict)).await {
                tracing::error!("a failed sign-in could not be audited: {}", whole(&error));
            }
        };
        let compared = self.hasher.compare(password, kept.clone(), &tries.queue()).await?;
        let found = match found.filter(|_| compared.right) {
            Some(found) => found,
            None => {
                not_let_in("refused").await;
                return Err(SignInError::Refused);
            }
        };
        if let Err(error) = self.second_factor(&found, second, tries.known.as_deref(), secrets).await {
            let verdict = match &error {
                SignInError::SecondFactor => "second-factor",
                SignInError::Wait(_) => "wait",
                _ => "wrong-code",
            };
            if let SignInError::SecondFactor = error {
                self.take_back(&tries);
            }
            not_let_in(verdict).await;
            return Err(error);
        }
        self.succeeded(&tries);
        let kept = kept.map(|kept| (kept.clone(), compared.renewed.unwrap_or(kept)));
        self.let_in(found, origin, (replaces, device), kept).await
    }

    /// Counts a try before it is made, where it counts, or says how long to wait.
    fn begin_try(&self, tries: &Tries<'_>) -> Result<(), SignInError> {
        let Tries { known, email, origin } = tries;
        if let Some(device) = known {
            return self.hold_back(&self.devices, device, email, origin);
        }
        let source = origin.source();
        self.hold_back(&self.sources, &source, email, origin)?;
        self.hold_back(&self.accounts, email, email, origin)
            // Nothing was tried, so those who share the address do not wait for it.
            .inspect_err(|_| self.sources.take_back(&source))
    }

    fn take_back(&self, Tries { known, email, origin }: &Tries<'_>) {
        match known {
            Some(device) => self.devices.take_back(device),
            None => {
                self.sources.take_back(&origin.source());
                self.accounts.take_back(email);
            }
        }
    }

    fn succeeded(&self, Tries { known, email, origin }: &Tries<'_>) {
        match known {
            Some(device) => self.devices.succeeded(device),
            None => {
                self.sources.take_back(&origin.source());
                self.accounts.succeeded(email);
            }
        }
    }

    async fn let_in(
        &self,
        found: SignIn,
        origin: Origin,
        (replaces, known): (Option<SessionToken>, Option<String>),
        renewed: Option<(String, String)>,
    ) -> Result<SignedIn, SignInError> {
        let token = SessionToken::of(&Token::mint_for(token::Kind::Session));
        let device = DeviceToken::mint();
        let now = now_seconds();
        let user = found.user.id;
        let row = SessionRow {
            hash: token.hash(),
            user: user.clone(),
            created_at: now,
            expires_at: self.terms.longest.end(now),
            last_seen_at: now,
            user_agent: origin.user_agent,
            address: origin.address.to_string(),
            viewed: None,
        };
        let subject = format!("session {} from {}", row.id(), row.address);
        let audit = record::of(Kind::Login, user.as_str(), subject, "allowed");
        let expires_at = row.expires_at;
        let replaces = replaces.map(|token| token.hash());
        let kept = Some(NewDevice { hash: device.hash(), replaces: known });
        let new = NewSession { row, replaces, renewed, device: kept, idle_seconds: self.terms.idle.seconds() };
        match self.store.begin_session(new, audit).await? {
            true => {
                let proof = Some(Proof::Session(token.hash()));
                let actor = Actor { user, role: found.user.role, via: Via::Session, viewing: None, proof };
                Ok(SignedIn { token, device, actor, expires_at })
            }
            // Disabled or deleted just now, or the password was changed.
            false => Err(SignInError::Refused),
        }
    }

    /// Checks the second factor of somebody whose password was right, if one is asked for. No code is good twice. What is tried in a
    /// browser that is known is counted apart, as passwords are.
    pub(super) async fn second_factor(
        &self,
        found: &SignIn,
        given: Option<SecondFactor>,
        known: Option<&str>,
        secrets: &Secrets,
    ) -> Result<(), SignInError> {
        if found.user.totp_since.is_none() {
            return Ok(());
        }
        let user = &found.user.id;
        let given = given.ok_or(SignInError::SecondFactor)?;
        let counted = (user, known);
        self.factors.begin(&counted).map_err(|wait| SignInError::Wait(wait.for_))?;
        let right = match given {
            SecondFactor::Recovery(hash) => self.store.take_recovery_code(user.clone(), hash).await?,
            SecondFactor::Totp(code) => {
                let secret = account_secret::open(secrets, user).await.map_err(only_secret)?;
                match secret.and_then(|secret| secret.check(&code, now_seconds(), found.totp_step)) {
                    Some(step) => self.store.take_totp_step(user.clone(), step).await?,
                    None => false,
                }
            }
        };
        match right {
            true => {
                self.factors.succeeded(&counted);
                Ok(())
            }
            false => Err(SignInError::Refused),
        }
    }

    /// Counts a try, or says how long to wait.
    fn hold_back(
        &self,
        throttle: &Throttle,
        who: &impl std::hash::Hash,
        email: &Email,
        origin: &Origin,
    ) -> Result<(), SignInError> {
        throttle.begin(who).map_err(|Wait { for_, first }| {
            if first {
                // Once a wait, or a flood would fill the trail.
                let subject = format!("{email} from {}", origin.address);
                self.store.add_audit_later(record::of(Kind::Login, "", subject, "wait"));
            }
            SignInError::Wait(for_)
        })
    }
}

/// Where a try counts.
struct Tries<'a> {
    /// The browser, if somebody has signed in to this account there.
    known: Option<String>,
    email: &'a Email,
    origin: &'a Origin,
}

impl Tries<'_> {
    /// Whose place it takes in the line of passwords that are to be compared.
    fn queue(&self) -> Line {
        match &self.known {
            Some(device) => Line::of_known(device),
            None => Line::of(&self.origin.source()),
        }
    }
}

fn only_secret(error: PeopleError) -> SignInError {
    match error {
        PeopleError::Secret(error) => SignInError::Secret(error),
        PeopleError::Store(error) => SignInError::Store(error),
        _ => SignInError::Refused,
    }
}
