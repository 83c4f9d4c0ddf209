//! The endpoint as a service of tower.

use std::{
    convert::Infallible,
    error::Error,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{Principal, ResponseBody, StreamableHttp};
use crate::upstream::{BoxFuture, Upstream};

/// An endpoint, what it serves, and whom: a `tower::Service` that answers every request and never fails.
///
/// Made by [`StreamableHttp::service`]. It is cheap to clone and to make, so whoever authenticates can make one for each request.
#[derive(Debug)]
pub struct StreamableHttpService<U: ?Sized> {
    endpoint: Arc<StreamableHttp>,
    upstream: Arc<U>,
    principal: Principal,
}

impl StreamableHttp {
    /// This endpoint as a service that serves `upstream` to `principal`.
    pub fn service<U: Upstream + ?Sized + 'static>(
        self: &Arc<Self>,
        upstream: Arc<U>,
        principal: Principal,
    ) -> StreamableHttpService<U> {
        StreamableHttpService { endpoint: Arc::clone(self), upstream, principal }
    }
}

impl<U: ?Sized> Clone for StreamableHttpService<U> {
    fn clone(&self) -> Self {
        let (endpoint, upstream) = (Arc::clone(&self.endpoint), Arc::clone(&self.upstream));
        Self { endpoint, upstream, principal: self.principal.clone() }
    }
}

impl<U, B> Service<Request<B>> for StreamableHttpService<U>
where
    U: Upstream + ?Sized + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { endpoint, upstream, principal } = self.clone();
        Box::pin(async move { Ok(endpoint.handle(&principal, &upstream, request).await) })
    }
}
