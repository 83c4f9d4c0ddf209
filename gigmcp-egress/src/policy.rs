use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::Response;

use crate::answer;
use crate::audit::{AuditKind, AuditSink, Deliveries, Entry, EventId, Verdict};
use crate::authorize::AuthorizedRequest;
use crate::body::Body;
use crate::grant::{BoxFuture, CredentialUnavailable, Credentials, Grant, Grants};
use crate::identity::{CredentialId, Identity};
use crate::limits::Limits;
use crate::live::LivePlaceholders;
use crate::placeholder::Placeholder;
use crate::places::BodyPlaces;
use crate::rates::Rates;
use crate::refusal::Refusal;
use crate::request::Downstream;
use crate::secret::SecretString;

/// What every exchange needs.
pub(crate) struct Policy {
    pub(crate) grants: Arc<dyn Grants>,
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) audit: Arc<dyn AuditSink>,
    pub(crate) limits: Limits,
    pub(crate) live: Arc<LivePlaceholders>,
    pub(crate) rates: Arc<Rates>,
    pub(crate) bodies: BodyPlaces,
    pub(crate) deliveries: Deliveries,
}

impl Policy {
    /// The rules of an identity, now. Its placeholders are known from here on.
    pub(crate) async fn grant(&self, identity: &Identity) -> Result<Arc<Grant>, Refusal> {
        let grant =
            within(self.limits.lookup_deadline, self.grants.grant(identity)).await.ok_or(Refusal::GrantUnavailable)?;
        let grant = grant.map_err(|error| {
            tracing::error!(%identity, error = &error as &dyn std::error::Error, "grant not read");
            Refusal::GrantUnavailable
        })?;
        self.live.note(identity, grant.credentials());
        Ok(grant)
    }

    pub(crate) fn entry(&self, kind: AuditKind, identity: &Identity) -> Entry {
        let charged = (Arc::clone(&self.rates), self.limits.refusals_per_second);
        Entry::new(Arc::clone(&self.audit), kind, identity.clone()).counted(&self.deliveries).charged(charged)
    }

    /// Forgets what is kept of an identity whose sandbox is gone.
    pub(crate) fn forget(&self, identity: &Identity) {
        self.live.forget(identity);
        self.rates.forget(identity);
        self.bodies.forget(identity);
    }

    /// What the audit may show of a text: nothing, if a placeholder is in it.
    pub(crate) fn shown<'a>(&self, text: &'a str) -> &'a str {
        if self.live.find(text.as_bytes()).is_none() { text } else { "" }
    }

    /// Records a refusal, and only then gives the answer that tells the sandbox.
    ///
    /// A sandbox that is refused again and again is made to wait, so that it fills no log.
    pub(crate) async fn refuse(&self, mut entry: Entry, refusal: Refusal) -> Response<Body> {
        // Who gives up meanwhile was refused all the same.
        entry.set_verdict(Verdict::Refused(refusal));
        self.rates.slow_down(entry.identity(), &self.limits).await;
        self.refuse_now(entry, refusal).await
    }

    /// The same, of somebody who has waited.
    pub(crate) async fn refuse_now(&self, mut entry: Entry, refusal: Refusal) -> Response<Body> {
        entry.set_verdict(Verdict::Refused(refusal));
        entry.set_status(refusal.status());
        entry.record().await;
        answer::refusal(refusal)
    }

    /// The values to inject, in the order of the injections.
    pub(crate) async fn secrets(
        &self,
        authorized: &AuthorizedRequest,
        request: EventId,
    ) -> Result<Vec<SecretString>, Refusal> {
        let identity = &authorized.request.downstream.identity;
        let mut secrets = Vec::with_capacity(authorized.injections.len());
        for injection in &authorized.injections {
            let id = &injection.credential.id;
            secrets.push(self.secret(identity, id, self.credentials.credential_for(identity, id, request)).await?);
        }
        Ok(secrets)
    }

    /// The values that an answer may hold although the request did not carry them. One that is not set, or no longer, is
    /// not known to anybody here, and one that cannot be injected never left.
    pub(crate) async fn other_secrets(
        &self,
        authorized: &AuthorizedRequest,
    ) -> Result<Vec<(SecretString, Placeholder)>, Refusal> {
        let Downstream { identity, destination } = &authorized.request.downstream;
        let mut secrets = Vec::with_capacity(authorized.others.len());
        for credential in &authorized.others {
            let id = &credential.id;
            // Its own host may get it from another request while this one is under way.
            let asked = if credential.is_bound_to(&destination.host) {
                self.credentials.credential(identity, id)
            } else {
                self.credentials.known(identity, id)
            };
            match self.secret(identity, id, asked).await {
                Ok(secret) => secrets.push((secret, credential.placeholder.clone())),
                Err(Refusal::CredentialDenied | Refusal::CredentialUnusable | Refusal::TokenRefresh) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(secrets)
    }

    async fn secret(
        &self,
        identity: &Identity,
        id: &CredentialId,
        asked: BoxFuture<'_, Result<SecretString, CredentialUnavailable>>,
    ) -> Result<SecretString, Refusal> {
        let secret = within(self.limits.lookup_deadline, asked).await;
        let secret = secret.ok_or(Refusal::CredentialUnavailable)?.map_err(|error| {
            let cause = &error as &dyn std::error::Error;
            match error {
                // One that is not set is ordinary, and asked for with every request.
                CredentialUnavailable::Denied => tracing::debug!(%identity, credential = %id, "credential not set"),
                _ => tracing::warn!(%identity, credential = %id, error = cause, "credential not read"),
            }
            match error {
                CredentialUnavailable::Denied => Refusal::CredentialDenied,
                CredentialUnavailable::Refresh { .. } => Refusal::TokenRefresh,
                CredentialUnavailable::Unreachable { .. } => Refusal::CredentialUnavailable,
            }
        })?;
        secret.check().map_err(|error| {
            tracing::warn!(%identity, credential = %id, error = &error as &dyn std::error::Error, "credential not usable");
            Refusal::CredentialUnusable
        })?;
        Ok(secret)
    }
}

/// The outcome of a future, if it comes in time.
pub(crate) async fn within<F: Future>(deadline: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(deadline, future).await.ok()
}
