use std::sync::Arc;

use http::Method;

use crate::allow;
use crate::authorize::AuthorizedRequest;
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
    /// Plain TCP asks for nothing but its destination.
    asked: Option<Asked>,
    /// What went out with it, and in which version.
    credentials: Vec<(CredentialId, u64)>,
}

/// What was judged of a request.
#[derive(Clone)]
struct Asked {
    method: Method,
    path: String,
    /// Whether the path has only one reading.
    is_canonical: bool,
}

impl Ongoing {
    pub(crate) fn request(policy: &Arc<Policy>, authorized: &AuthorizedRequest) -> Self {
        let AuthorizedRequest { request, rule, injections, .. } = authorized;
        let asked = Asked {
            method: request.method.clone(),
            path: request.path().to_owned(),
            is_canonical: allow::path(request, rule).is_some(),
        };
        Self {
            policy: Arc::clone(policy),
            downstream: request.downstream.clone(),
            asked: Some(asked),
            credentials: injections.iter().map(|injection| of(&injection.credential)).collect(),
        }
    }

    /// A request whose body is being read: with what may stand in that.
    pub(crate) fn begun(policy: &Arc<Policy>, authorized: &AuthorizedRequest) -> Self {
        let mut this = Self::request(policy, authorized);
        let path = allow::path(&authorized.request, &authorized.rule);
        let request = &authorized.request;
        let host = &request.downstream.destination.host;
        let in_body = authorized.in_body().filter(|credential| credential.goes_with(host, &request.method, path));
        this.credentials.extend(in_body.map(of));
        this
    }

    pub(crate) fn connection(policy: &Arc<Policy>, downstream: Downstream) -> Self {
        Self { policy: Arc::clone(policy), downstream, asked: None, credentials: Vec::new() }
    }

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
        let Some(Asked { method, path, is_canonical }) = &self.asked else {
            return allow::destination(&grant, destination).map(drop).map_err(|_| Refusal::Revoked);
        };
        let judged = is_canonical.then_some(path.as_str());
        let bound = |sent: &(CredentialId, u64)| {
            let mut credentials = grant.credentials().iter().filter(|credential| of(credential) == *sent);
            credentials.any(|one| one.goes_with(&destination.host, method, judged))
        };
        let allowed = allow::goes_on(&grant, destination, method, path) && self.credentials.iter().all(bound);
        if allowed { Ok(()) } else { Err(Refusal::Revoked) }
    }
}

fn of(credential: &CredentialRule) -> (CredentialId, u64) {
    (credential.id.clone(), credential.version)
}
