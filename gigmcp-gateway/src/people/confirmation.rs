//! Whether a provider still stands by a session that it vouched for.

use std::{sync::Arc, time::Duration};

use super::{
    People, PeopleError, SessionToken,
    identities::told,
    record::{self, Kind},
};
use crate::{
    oidc::{Grant, Oidc, Refreshed},
    output::whole,
    store::{AuditRow, Claim, Happened, LiveSession, ProviderSession, Store, StoreError, now_seconds},
};

/// What is known of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    Holds,
    /// The provider does not stand by it, or is none of ours any more.
    Over,
    /// The provider could not be asked for long. It may hold again.
    Unconfirmed,
}

impl People {
    /// Asks the provider when it is time to: with the refresh token, which only the browser's own token opens.
    ///
    /// One request asks, and others go on meanwhile. A provider that cannot be reached is tried again each minute; a session goes on
    /// for an hour without it.
    pub(crate) async fn standing(
        &self,
        oidc: Option<&Arc<Oidc>>,
        token: &SessionToken,
        session: &LiveSession,
    ) -> Result<Standing, PeopleError> {
        let Some(provider) = &session.provider else { return Ok(Standing::Holds) };
        let Some(oidc) = oidc.filter(|oidc| oidc.config().issuer.as_str() == provider.identity.issuer) else {
            return Ok(Standing::Over);
        };
        let Some(confirmed_at) = provider.confirmed_at else { return Ok(Standing::Holds) };
        let now = now_seconds();
        let due = oidc.config().recheck.end(confirmed_at);
        if now < due {
            return Ok(Standing::Holds);
        }
        let unsure = if now < due.saturating_add(GRACE) { Standing::Holds } else { Standing::Unconfirmed };
        if provider.tried_at > confirmed_at && now < provider.tried_at.saturating_add(RETRY) {
            return match unsure {
                Standing::Unconfirmed => self.await_other(token, provider).await,
                standing => Ok(standing),
            };
        }
        let Some(claim) = self.store.claim_confirmation(token.hash(), provider.tried_at).await? else {
            return match unsure {
                Standing::Unconfirmed => self.await_other(token, provider).await,
                standing => Ok(standing),
            };
        };
        let confirmation = Confirmation {
            store: self.store.clone(),
            oidc: Arc::clone(oidc),
            token: token.copy(),
            session: session.clone(),
            provider: provider.clone(),
            claim,
        };
        // Whoever asked may go away; what the provider gives must be kept all the same.
        let confirmed = tokio::spawn(confirmation.run()).await;
        match confirmed {
            Ok(confirmed) => Ok(confirmed?.unwrap_or(unsure)),
            Err(_) => Ok(unsure),
        }
    }

    /// Waits for what another request finds out.
    async fn await_other(&self, token: &SessionToken, before: &ProviderSession) -> Result<Standing, PeopleError> {
        for _ in 0..OTHERS_TRIES {
            let found = self.store.session(token.hash(), self.terms.idle.seconds()).await?;
            match found.and_then(|found| found.provider) {
                None => return Ok(Standing::Over),
                Some(provider) if provider.confirmed_at != before.confirmed_at => return Ok(Standing::Holds),
                Some(_) => tokio::time::sleep(OTHERS_PAUSE).await,
            }
        }
        Ok(Standing::Unconfirmed)
    }
}

struct Confirmation {
    store: Store,
    oidc: Arc<Oidc>,
    token: SessionToken,
    session: LiveSession,
    provider: ProviderSession,
    claim: Claim,
}

impl Confirmation {
    /// None if the provider could not be asked.
    async fn run(self) -> Result<Option<Standing>, StoreError> {
        let (hash, user) = (self.token.hash(), &self.session.row.user);
        let sealed = self.store.grant(hash.clone()).await?;
        let Some(grant) = sealed.and_then(|sealed| Grant::open(&sealed, &self.token, user)) else {
            return self.end("what the provider gave is not there").await;
        };
        let proven = match self.oidc.refresh(&self.provider.identity, &grant).await {
            Ok(Refreshed::Proven(proven)) => proven,
            Ok(Refreshed::Unsure(given, error)) => {
                tracing::warn!("a session could not be confirmed: {}", whole(&error));
                let renewed = given.refresh_token != grant.refresh_token;
                let Some(sealed) = given.seal(&self.token, user) else { return Ok(None) };
                return match self.store.keep_grant(hash, sealed, None).await? {
                    true => Ok(None),
                    false => self.lost(renewed).await,
                };
            }
            Ok(Refreshed::Refused(error)) => return self.refused(error.cause()).await,
            Ok(Refreshed::Ended(error)) => return self.end(error.cause()).await,
            Err(error) => {
                tracing::warn!("a session could not be confirmed: {}", whole(&error));
                return Ok(None);
            }
        };
        let role = match proven.admitted {
            Ok(role) => role,
            Err(why) => return self.not_admitted(why.cause()).await,
        };
        let about = format!("{} when a session was confirmed", self.provider.identity);
        let changed =
            self.store.take_role(user.clone(), role, Box::new(move |happened| told(happened, &about))).await?;
        if let Some(Happened::Role { .. }) = changed {
            return Ok(Some(Standing::Over));
        }
        let Some(sealed) = proven.grant.seal(&self.token, user) else {
            return self.end("what the provider gave cannot be sealed").await;
        };
        match self.store.keep_grant(hash, sealed, Some(self.claim)).await? {
            true => Ok(Some(Standing::Holds)),
            false => self.lost(proven.grant.refresh_token != grant.refresh_token).await,
        }
    }

    /// The session has another name by now, if it is there at all, for which what the provider gave cannot be sealed. If that is a
    /// renewed refresh token, the one that is kept is worth nothing, and would be taken for stolen.
    async fn lost(&self, renewed: bool) -> Result<Option<Standing>, StoreError> {
        if !renewed {
            return Ok(Some(Standing::Over));
        }
        let what = format!("ended {}, it got another name while the provider was asked", self.session.row.id());
        let row = record::of(Kind::Session, self.session.row.user.as_str(), what, "renamed");
        self.store.end_renamed(self.session.row.clone(), self.provider.identity.clone(), row).await?;
        Ok(Some(Standing::Over))
    }

    /// The provider refuses what it gave with the session, and with it whoever is in it, until it says otherwise.
    async fn refused(&self, cause: &str) -> Result<Option<Standing>, StoreError> {
        let row = self.told(cause);
        let due = now_seconds().saturating_sub(self.oidc.config().recheck.seconds());
        let (session, identity) = (self.session.row.clone(), self.provider.identity.clone());
        self.store.refuse_session(session, identity, due, row).await?;
        Ok(Some(Standing::Over))
    }

    /// The provider knows them, and does not let them in here.
    async fn not_admitted(&self, cause: &'static str) -> Result<Option<Standing>, StoreError> {
        let (user, what) = (self.session.row.user.clone(), format!("ended those of {}", self.provider.identity));
        let told = move |count: u64| {
            record::of(Kind::Session, user.as_str(), format!("{what}, {count} sessions; {SUSPENDED}"), cause)
        };
        self.store.refuse_identity(self.provider.identity.clone(), Box::new(told)).await?;
        Ok(Some(Standing::Over))
    }

    fn told(&self, cause: &str) -> AuditRow {
        let what = format!("ended {}, the provider refuses it; {SUSPENDED}", self.session.row.id());
        record::of(Kind::Session, self.session.row.user.as_str(), what, cause)
    }

    async fn end(&self, cause: &str) -> Result<Option<Standing>, StoreError> {
        let what = format!("ended {}, the provider does not stand by it", self.session.row.id());
        let row = record::of(Kind::Session, self.session.row.user.as_str(), what, cause);
        self.store.end_session(self.token.hash(), row).await?;
        Ok(Some(Standing::Over))
    }
}

/// Seconds until a provider that was not reached is tried again.
const RETRY: i64 = 60;
/// Seconds that a session goes on without it.
const GRACE: i64 = 3600;
/// For the audit trail.
pub(super) const SUSPENDED: &str = "keys, tokens and servers wait until the provider stands by them";
const OTHERS_TRIES: u32 = 60;
const OTHERS_PAUSE: Duration = Duration::from_millis(200);
