use std::sync::Arc;

use http::{Method, Request, Response, Uri};
use tower::Service as _;

use crate::audit::AuditKind;
use crate::body::Body;
use crate::intake::Site;
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::request::{Destination, Downstream};

/// What the streams of a connection share: who asks, and where all of them go.
pub(crate) struct Front {
    pub(crate) site: Arc<Site>,
    pub(crate) destination: Destination,
}

impl Front {
    pub(crate) fn limits(&self) -> &Limits {
        self.site.limits()
    }

    /// Takes a request through the policy.
    pub(crate) async fn call(&self, mut request: Request<Body>) -> Response<Body> {
        let downstream = Downstream { identity: self.site.identity.clone(), destination: self.destination.clone() };
        request.extensions_mut().insert(downstream);
        self.site.shared.service.clone().call(request).await.unwrap_or_else(|never| match never {})
    }

    /// Refuses a request before it reaches the policy.
    pub(crate) async fn refuse(&self, method: &Method, uri: &Uri, refusal: Refusal) -> Response<Body> {
        let policy = self.site.shared.policy();
        let host = uri.authority().map_or(self.destination.host.as_str(), |authority| authority.as_str());
        let mut entry = policy
            .entry(AuditKind::Request, &self.site.identity)
            .host(policy.shown(host), Some(self.destination.port))
            .method(policy.shown(method.as_str()));
        let path = uri.path();
        entry.set_path(Some(policy.shown(path)).filter(|shown| *shown == path));
        policy.refuse(entry, refusal).await
    }

    /// Records a refusal of which nothing is known but where it was.
    pub(crate) async fn record(&self, kind: AuditKind, refusal: Refusal) {
        let policy = self.site.shared.policy();
        let Destination { host, port, .. } = &self.destination;
        let entry = policy.entry(kind, &self.site.identity).host(host.as_str(), Some(*port));
        // The answer is a frame, which the library has sent.
        drop(policy.refuse(entry, refusal).await);
    }
}
