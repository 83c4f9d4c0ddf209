use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{HOST, TE, UPGRADE};
use http::{Request, Response, StatusCode, Version};
use tokio::net::TcpStream;
use tower::Service;

use crate::address::AddressDenied;
use crate::body::{Body, BoxError};
use crate::dial;
use crate::dialer::Dialer;
use crate::grant::BoxFuture;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::name::HostName;
use crate::pin;
use crate::places::Places;
use crate::pool::{Offer, Pool, PoolKey};
use crate::refusal::Refusal;
use crate::request::Downstream;
use crate::verify::UpstreamTls;
use dialling::{Dialled, Protocol};
use shared::SharedPool;

mod dialling;
pub(crate) mod http1;
mod http2;
mod shared;
#[cfg(test)]
mod tests;
mod upgraded;

pub(crate) use upgraded::Upgraded;

/// Why a request did not come back with an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// The resolver gave no answer. Nothing was sent.
    #[error("resolving {host}")]
    Resolve {
        /// The name asked for.
        host: HostName,
        /// What the resolver said.
        source: io::Error,
    },
    /// The resolver gave an address that is not public. Nothing was sent.
    #[error("the addresses of {host} are not allowed")]
    Address {
        /// The name asked for.
        host: HostName,
        /// Which address.
        source: AddressDenied,
    },
    /// No address took a connection. Nothing was sent; retrying may help.
    #[error("connecting to {host}")]
    Connect {
        /// The host.
        host: HostName,
        /// The failure at the last address.
        source: io::Error,
    },
    /// The upstream did not prove that it is the host. Nothing was sent.
    #[error("verifying {host}")]
    Tls {
        /// The host.
        host: HostName,
        /// The failure at the last address.
        source: io::Error,
    },
    /// The upstream broke the protocol or the connection.
    #[error("exchanging HTTP with {host}")]
    Http {
        /// The host.
        host: HostName,
        /// What happened.
        source: BoxError,
    },
    /// The request does not say where to go: it did not come through the layer.
    #[error("the request has no destination")]
    NoDestination,
}

impl ForwardError {
    /// The refusal that the sandbox sees, for this error or any other of an upstream service.
    pub(crate) fn refusal(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Refusal {
        match error.downcast_ref::<Self>() {
            Some(Self::Resolve { .. } | Self::Address { source: AddressDenied::NoAddress, .. }) => Refusal::Dns,
            Some(Self::Address { source: AddressDenied::Metadata(_), .. }) => Refusal::MetadataAddress,
            Some(Self::Address { source: AddressDenied::SpecialPurpose(_), .. }) => Refusal::AddressClass,
            Some(Self::Connect { source, .. }) if dial::is_loop(source) => Refusal::Loop,
            Some(Self::Connect { .. }) => Refusal::UpstreamConnect,
            Some(Self::Tls { source, .. }) if pin::is_mismatch(source) => Refusal::UpstreamPin,
            Some(Self::Tls { .. }) => Refusal::UpstreamTls,
            Some(Self::Http { .. } | Self::NoDestination) | None => Refusal::UpstreamProtocol,
        }
    }

    pub(crate) fn timed_out(host: &HostName) -> Self {
        Self::Connect { host: host.clone(), source: io::ErrorKind::TimedOut.into() }
    }
}

/// The upstream side of the proxy: resolves, checks, dials, verifies, and keeps connections for the next request. Follows no
/// redirects and retries only what was not sent.
///
/// A request that came over HTTP/1.1 is offered to the upstream over HTTP/1.1, one that came over HTTP/2 over either; the other
/// is the upstream's choice. An answer `101` to a request for a WebSocket carries [`Upgraded`] in its extensions.
#[derive(Clone)]
pub(crate) struct Forward(Arc<Inner>);

struct Inner {
    dialer: Dialer,
    tls: UpstreamTls,
    limits: Limits,
    pool: Arc<Pool>,
    shared: SharedPool,
    dials: Places,
}

impl Forward {
    pub(crate) fn new(dialer: Dialer, tls: UpstreamTls, limits: Limits) -> Self {
        let (pool, shared) = (Arc::new(Pool::new(&limits)), SharedPool::new(&limits));
        let dials = Places::new(limits.dials);
        Self(Arc::new(Inner { dialer, tls, limits, pool, shared, dials }))
    }

    /// A connection of plain TCP.
    pub(crate) async fn open(
        &self,
        identity: &Identity,
        host: &HostName,
        port: u16,
    ) -> Result<TcpStream, ForwardError> {
        let _place = self.0.dials.take(identity, 1).await;
        self.0.dialer.open(identity, host, port).await
    }

    /// Closes what rests for an identity whose sandbox is gone.
    pub(crate) fn forget(&self, identity: &Identity) {
        self.0.pool.forget(identity);
        self.0.shared.forget(identity);
        self.0.dials.forget(identity);
    }
}

impl Service<Request<Body>> for Forward {
    type Response = Response<Body>;
    type Error = ForwardError;
    type Future = BoxFuture<'static, Result<Response<Body>, ForwardError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ForwardError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.forward(request).await })
    }
}

impl Inner {
    async fn forward(self: Arc<Self>, mut request: Request<Body>) -> Result<Response<Body>, ForwardError> {
        let downstream = request.extensions_mut().remove::<Downstream>().ok_or(ForwardError::NoDestination)?;
        let Downstream { identity, destination } = downstream;
        debug_assert!(request.headers().contains_key(HOST));
        let key = PoolKey { identity, destination, offer: offer(&request) };
        let host = key.destination.host.clone();
        let asks_upgrade = key.offer == Offer::Upgrade;
        let answer = self.exchange(key, request).await?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS && !asks_upgrade {
            return Err(ForwardError::Http { host, source: "a change of protocol nobody asked for".into() });
        }
        Ok(answer)
    }

    async fn exchange(
        self: &Arc<Self>,
        key: PoolKey,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, ForwardError> {
        let host = key.destination.host.clone();
        let failed = |source| ForwardError::Http { host: host.clone(), source };
        let idle = self.limits.idle_deadline;
        while let Some(lease) = self.shared.take(&key) {
            match lease.ready().await {
                Some(ready) => return ready.send(request, &self.limits).await.map_err(failed),
                // The connection had ended before a byte of the request was written.
                None => continue,
            }
        }
        let (target, trailers) = (request.uri().clone(), request.headers().get(TE).cloned());
        let sent = http1::Outgoing::default();
        while let Some(mut connection) = self.pool.take(&key) {
            match connection.send(sent.watch(http1::origin_form(request))).await {
                Ok(response) => return Ok(http1::pooled(&self.pool, key, connection, response, &sent)),
                Err(mut error) => match error.take_message() {
                    // The same.
                    Some(unsent) => {
                        request = unsent;
                        *request.uri_mut() = target.clone();
                        if let Some(trailers) = &trailers {
                            request.headers_mut().insert(TE, trailers.clone());
                        }
                    }
                    None => return Err(failed(error.into_error().into())),
                },
            }
        }
        let Dialled { stream, protocol } = self.dial(&key).await?;
        match protocol {
            Protocol::Http2 => {
                let connection = http2::Connection::open(stream, &self.limits).await.map_err(failed)?;
                let lease = self.shared.put(key, connection);
                let ready = lease.ready().await.ok_or_else(|| failed("the connection ended at once".into()))?;
                ready.send(request, &self.limits).await.map_err(failed)
            }
            Protocol::Http1 => {
                let mut connection = http1::Connection::open(stream, &self.limits).await.map_err(failed)?;
                let request = sent.watch(http1::origin_form(request));
                let response = connection.send(request).await.map_err(|error| failed(error.into_error().into()))?;
                match key.offer {
                    Offer::Upgrade => http1::upgraded(connection, response, idle).await.map_err(failed),
                    Offer::Http1 | Offer::Either => Ok(http1::pooled(&self.pool, key, connection, response, &sent)),
                }
            }
        }
    }
}

/// What the upstream may choose from.
fn offer(request: &Request<Body>) -> Offer {
    let upgrade = request.headers().get(UPGRADE);
    if upgrade.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        Offer::Upgrade
    } else if request.version() == Version::HTTP_2 && request.uri().scheme() == Some(&http::uri::Scheme::HTTPS) {
        Offer::Either
    } else {
        Offer::Http1
    }
}
