use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tower::{Layer, Service, ServiceExt as _};

use crate::audit::{AuditSink, Deliveries};
use crate::body::{Body, BoxError};
use crate::exchange::{SendUpstream, exchange};
use crate::grant::{BoxFuture, Credentials, Grants};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::live::LivePlaceholders;
use crate::places::BodyPlaces;
use crate::policy::Policy;

/// The policy around any upstream: decide, inject, forward, scrub, record.
///
/// The wrapped service receives requests that were written anew: absolute target, `Host`, the real credentials, and the
/// [`Downstream`](crate::Downstream) in the extensions. Requests to the layer carry a `Downstream` as well, put there by
/// the server that knows who is calling; without it they are refused. Every answer that is not an upstream's is a refusal: a status,
/// the header `x-gigmcp-refusal` with the code, and the JSON body `{"error":{"code":...,"message":...}}`.
///
/// Dropping the future of a call is safe: what was sent stays sent, and the audit event says `aborted`.
#[derive(Clone)]
pub struct EgressLayer {
    policy: Arc<Policy>,
}

impl EgressLayer {
    /// A layer that asks these for every request.
    pub fn new(
        grants: Arc<dyn Grants>,
        credentials: Arc<dyn Credentials>,
        audit: Arc<dyn AuditSink>,
        limits: Limits,
    ) -> Self {
        let bodies = BodyPlaces::new(&limits);
        Self {
            policy: Arc::new(Policy {
                grants,
                credentials,
                audit,
                limits,
                live: Arc::new(LivePlaceholders::default()),
                rates: Arc::default(),
                bodies,
                deliveries: Deliveries::default(),
            }),
        }
    }

    /// Forgets the placeholders of an identity whose sandbox is gone. Until then they are recognised in the requests of others.
    pub fn forget(&self, identity: &Identity) {
        self.policy.forget(identity);
    }

    pub(crate) fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }
}

impl<S> Layer<S> for EgressLayer {
    type Service = EgressService<S>;

    fn layer(&self, upstream: S) -> Self::Service {
        EgressService { policy: Arc::clone(&self.policy), upstream }
    }
}

impl fmt::Debug for EgressLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressLayer").finish_non_exhaustive()
    }
}

/// An upstream with the policy around it. Made by [`EgressLayer`].
#[derive(Clone)]
pub struct EgressService<S> {
    policy: Arc<Policy>,
    upstream: S,
}

impl<S> fmt::Debug for EgressService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressService").finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for EgressService<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    /// Always ready: whether the upstream is, matters only to requests that are let through.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (policy, upstream) = (Arc::clone(&self.policy), self.upstream.clone());
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        let upstream = erased(upstream);
        Box::pin(async move { Ok(exchange(policy, upstream, request).await) })
    }
}

/// One call of a service, without its types.
pub(crate) fn erased<S, R>(upstream: S) -> SendUpstream
where
    S: Service<Request<Body>, Response = Response<R>> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    Box::new(move |request| {
        let erased = |response: Response<R>| response.map(|body| body.map_err(Into::into).boxed_unsync());
        Box::pin(upstream.map_err(Into::into).map_response(erased).oneshot(request))
    })
}
