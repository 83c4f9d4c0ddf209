use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::BodyExt as _;
use tower::{Layer, Service};

use crate::answer;
use crate::authorize::AuthorizedRequest;
use crate::body::{Body, BoxError};
use crate::credential::CredentialRule;
use crate::forward::ForwardError;
use crate::grant::{BoxFuture, Grant, InvalidGrant};
use crate::identity::Identity;
use crate::inspect::{Inspected, Inspection, inspect};
use crate::layer::erased;
use crate::limits::Limits;
use crate::live::LivePlaceholders;
use crate::name::{Authority, HostName};
use crate::refusal::Refusal;
use crate::render::RenderedRequest;
use crate::request::{BodyEnd, Destination, Downstream, ValidRequest, refused_authority};
use crate::rule::{Rule, Scheme};
use crate::secret::SecretString;

/// Puts credentials in where their placeholders stand, and refuses a request that has one anywhere else. Part of
/// [`EgressLayer`](crate::EgressLayer); by itself for those who decide about hosts by other means: every host is let through.
///
/// Requests have an absolute target (`https://host/path`); the destination is read from it, and a `Host` header has to agree.
/// Answers are not scrubbed; put a [`ScrubLayer`](crate::ScrubLayer) outside of this one. A request for WebSocket is refused: what
/// follows its answer is no business of a layer that sees requests only.
#[derive(Clone)]
pub struct InjectLayer {
    inner: Arc<Inner>,
}

struct Inner {
    credentials: Vec<CredentialRule>,
    /// In the same order.
    secrets: Vec<SecretString>,
    limits: Limits,
    live: Arc<LivePlaceholders>,
    identity: Identity,
}

impl InjectLayer {
    /// A layer that puts these in.
    ///
    /// # Errors
    /// [`InvalidGrant`] if one could be taken for another, or cannot stand in its place.
    pub fn new(
        credentials: impl IntoIterator<Item = (CredentialRule, SecretString)>,
        limits: Limits,
    ) -> Result<Self, InvalidGrant> {
        let (credentials, secrets): (Vec<_>, Vec<_>) = credentials.into_iter().unzip();
        let (live, identity) = (Arc::new(LivePlaceholders::default()), Identity::new("the caller"));
        live.note(&identity, Grant::new(0, Vec::new(), credentials.clone())?.credentials());
        Ok(Self { inner: Arc::new(Inner { credentials, secrets, limits, live, identity }) })
    }
}

impl<S> Layer<S> for InjectLayer {
    type Service = InjectService<S>;

    fn layer(&self, upstream: S) -> Self::Service {
        InjectService { layer: self.clone(), upstream }
    }
}

impl fmt::Debug for InjectLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InjectLayer").field("credentials", &self.inner.credentials.len()).finish_non_exhaustive()
    }
}

/// A service that is sent real credentials. Made by [`InjectLayer`].
#[derive(Clone, Debug)]
pub struct InjectService<S> {
    layer: InjectLayer,
    upstream: S,
}

impl<S, B, R> Service<Request<B>> for InjectService<S>
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

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (inner, upstream) = (Arc::clone(&self.layer.inner), erased(self.upstream.clone()));
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        Box::pin(async move {
            let rendered = match inner.render(request).await {
                Ok(rendered) => rendered,
                Err(refusal) => return Ok(answer::refusal(refusal)),
            };
            Ok(match upstream(rendered.into_http()).await {
                Ok(response) => response,
                Err(error) => {
                    let refusal = ForwardError::refusal(&*error);
                    let cause = &*error as &dyn std::error::Error;
                    tracing::warn!(error = cause, code = refusal.code(), "request not answered by the upstream");
                    answer::refusal(refusal)
                }
            })
        })
    }
}

impl Inner {
    async fn render(&self, request: Request<Body>) -> Result<RenderedRequest, Refusal> {
        let (mut parts, body) = request.into_parts();
        let (destination, target) = destination(&parts.uri)?;
        parts.uri = target;
        if !parts.headers.contains_key(HOST) {
            let host = destination.authority();
            parts.headers.insert(HOST, HeaderValue::try_from(host).map_err(|_| Refusal::HostNotCanonical)?);
        }
        let rule = rule_for(&destination);
        let grant = Grant::new(0, vec![rule], self.credentials.clone()).map_err(|_| Refusal::GrantUnavailable)?;
        let end = if http_body::Body::is_end_stream(&body) { BodyEnd::Reached } else { BodyEnd::Open };
        let downstream = Downstream { identity: self.identity.clone(), destination };
        let request = ValidRequest::check(parts, end, downstream, &self.limits)?;
        if request.websocket.is_some() {
            return Err(Refusal::Upgrade);
        }
        let mut authorized = AuthorizedRequest::decide(request, &grant, &self.live)?;
        let inspection = Inspection { limits: &self.limits, live: &self.live, places: None, ongoing: None };
        let Inspected { body, .. } = inspect(inspection, &mut authorized, body, &Arc::default()).await?;
        let mut secrets = Vec::with_capacity(authorized.injections.len());
        for injection in &authorized.injections {
            let index = self.credentials.iter().position(|rule| rule.id == injection.credential.id);
            secrets.push(self.secrets[index.ok_or(Refusal::CredentialDenied)?].clone());
        }
        RenderedRequest::write(authorized, &secrets, body)
    }
}

/// Every request to where this one goes.
fn rule_for(destination: &Destination) -> Rule {
    let mut rule = Rule::https(destination.host.clone().into());
    (rule.scheme, rule.ports) = (destination.scheme, vec![destination.port]);
    rule
}

/// Where an absolute target leads, and what of it is sent.
fn destination(uri: &Uri) -> Result<(Destination, Uri), Refusal> {
    let scheme = match uri.scheme_str() {
        Some("https") => Scheme::Https,
        Some("http") => Scheme::Http,
        Some(_) | None => return Err(Refusal::TargetNotCanonical),
    };
    let authority = uri.authority().ok_or(Refusal::TargetNotCanonical)?;
    let Authority { host, port }: Authority = authority.as_str().parse().map_err(refused_authority)?;
    let host: HostName = host;
    let port = port.or(scheme.default_port()).ok_or(Refusal::TargetNotCanonical)?;
    let target = uri.path_and_query().cloned().ok_or(Refusal::TargetNotCanonical)?;
    Ok((Destination { scheme, host, port }, Uri::from(target)))
}
