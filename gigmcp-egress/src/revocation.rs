use std::sync::Arc;

use http::Method;

use crate::allow;
use crate::credential::CredentialRule;
use crate::identity::CredentialId;
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::request::Downstream;

/// Something that is under way: what it was let through for has to be allowed as long as it lasts.
#[derive(Clone)]
pub(crate) struct Ongoing {
    pub(crate) policy: Arc<Policy>,
    pub(crate) downstream: Downstream,
    /// The method and path of a request; plain TCP has none.
    pub(crate) request: Option<(Method, String)>,
    /// What went out with it.
    pub(crate) credentials: Vec<CredentialId>,
}

impl Ongoing {
    /// Waits until the rules no longer allow it.
    pub(crate) async fn revoked(self) -> Refusal {
        loop {
            tokio::time::sleep(self.policy.limits.revocation_interval).await;
            if let Err(refusal) = self.goes_on().await {
                return refusal;
            }
        }
    }

    /// Whether the rules still allow it. If that cannot be told, it ends.
    pub(crate) async fn goes_on(&self) -> Result<(), Refusal> {
        let Downstream { identity, destination } = &self.downstream;
        let grant = self.policy.grant(identity).await?;
        let allowed = match &self.request {
            Some((method, path)) => allow::goes_on(&grant, destination, method, path),
            None => allow::destination(&grant, destination).is_ok(),
        };
        let may_go = |id: &CredentialId| {
            let mut credentials = grant.credentials().iter();
            credentials.any(|credential| credential.id == *id && self.takes(credential))
        };
        if allowed && self.credentials.iter().all(may_go) { Ok(()) } else { Err(Refusal::Revoked) }
    }

    /// Whether a credential may go out with it.
    pub(crate) fn takes(&self, credential: &CredentialRule) -> bool {
        let of_request = |(method, path): &(Method, String)| {
            credential.methods.as_ref().is_none_or(|methods| methods.contains(method))
                && credential.paths.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(path)))
        };
        credential.is_bound_to(&self.downstream.destination.host) && self.request.as_ref().is_none_or(of_request)
    }
}
