use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use tower::{Layer, Service, ServiceExt as _};

use crate::answer;
use crate::authorize::Reading;
use crate::body::{AnswerBody, Body, BoxError, Progress};
use crate::grant::BoxFuture;
use crate::limits::Limits;
use crate::placeholder::Placeholder;
use crate::reader::{Expected, clean};
use crate::refusal::Refusal;
use crate::scrub::Scrubber;
use crate::secret::{SecretString, UnusableSecret};

/// Scrubs the answers of any service of these secrets, and decides nothing else. Part of [`EgressLayer`](crate::EgressLayer);
/// by itself for those who put credentials in by other means.
///
/// An answer whose coding cannot be read, or that never comes, is replaced by a refusal.
#[derive(Clone)]
pub struct ScrubLayer {
    secrets: Arc<[(SecretString, Placeholder)]>,
    limits: Arc<Limits>,
}

impl ScrubLayer {
    /// A layer that looks for these secrets, and puts into the place of each what belongs to it.
    ///
    /// # Errors
    /// [`UnusableSecret`] if one is too short to be told from other text, or not visible ASCII.
    pub fn new(
        secrets: impl IntoIterator<Item = (SecretString, Placeholder)>,
        limits: Limits,
    ) -> Result<Self, UnusableSecret> {
        let secrets: Arc<[_]> = secrets.into_iter().collect();
        secrets.iter().try_for_each(|(secret, _)| secret.check())?;
        Ok(Self { secrets, limits: Arc::new(limits) })
    }
}

impl<S> Layer<S> for ScrubLayer {
    type Service = ScrubService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ScrubService { layer: self.clone(), inner }
    }
}

impl fmt::Debug for ScrubLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScrubLayer").field("secrets", &self.secrets.len()).finish_non_exhaustive()
    }
}

/// A service whose answers are scrubbed. Made by [`ScrubLayer`].
#[derive(Clone, Debug)]
pub struct ScrubService<S> {
    layer: ScrubLayer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for ScrubService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Send + 'static,
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
        let (ScrubLayer { secrets, limits }, inner) = (self.layer.clone(), self.inner.clone());
        let head = request.method() == Method::HEAD;
        Box::pin(async move {
            let Ok(response) = inner.oneshot(request).await else {
                return Ok(answer::refusal(Refusal::UpstreamProtocol));
            };
            let response = response.map(|body| body.map_err(Into::into).boxed_unsync());
            let scrubber = Scrubber::new(secrets.iter().map(|(secret, placeholder)| (secret, placeholder)));
            let expected = Expected { reading: Reading::Required, head, cookies: true, websocket: None };
            Ok(match clean(response, Some(scrubber), expected, &limits) {
                Ok((parts, body, reader)) => {
                    let body = AnswerBody::new(body, reader, Arc::new(Progress::default()));
                    Response::from_parts(parts, body.boxed_unsync())
                }
                Err(refusal) => answer::refusal(refusal),
            })
        })
    }
}
