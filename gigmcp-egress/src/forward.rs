use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tower::Service;

use crate::address::{AddressDenied, CheckedAddr};
use crate::body::{Body, BoxError};
use crate::dial;
use crate::dialer::{Dialer, MAX_DIALLED};
use crate::grant::BoxFuture;
use crate::idle::IdleStream;
use crate::limits::Limits;
use crate::name::HostName;
use crate::pin;
use crate::policy::within;
use crate::pool::{Pool, PoolKey};
use crate::refusal::Refusal;
use crate::request::{Destination, Downstream};
use crate::rule::Scheme;
use crate::verify::UpstreamTls;

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
        source: hyper::Error,
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
#[derive(Clone)]
pub(crate) struct Forward(Arc<Inner>);

struct Inner {
    dialer: Dialer,
    tls: UpstreamTls,
    limits: Limits,
    pool: Arc<Pool>,
}

impl Forward {
    pub(crate) fn new(dialer: Dialer, tls: UpstreamTls, limits: Limits) -> Self {
        let pool = Arc::new(Pool::new(&limits));
        Self(Arc::new(Inner { dialer, tls, limits, pool }))
    }

    pub(crate) fn dialer(&self) -> &Dialer {
        &self.0.dialer
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.0.pool
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
    async fn forward(&self, mut request: Request<Body>) -> Result<Response<Body>, ForwardError> {
        let downstream = request.extensions_mut().remove::<Downstream>().ok_or(ForwardError::NoDestination)?;
        let Downstream { identity, destination } = downstream;
        debug_assert!(request.headers().contains_key(HOST));
        // On the wire the target is the path; the host stands in `Host`.
        let target = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(target);
        let key = PoolKey { identity, destination };
        let failed = |source| ForwardError::Http { host: key.destination.host.clone(), source };
        while let Some(mut sender) = self.pool.take(&key) {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(self.pooled(key, sender, response)),
                Err(mut error) => match error.take_message() {
                    // The connection had ended before a byte of the request was written.
                    Some(unsent) => request = unsent,
                    None => return Err(failed(error.into_error())),
                },
            }
        }
        let mut sender = self.open(&key).await?;
        let response = sender.send_request(request).await.map_err(failed)?;
        Ok(self.pooled(key, sender, response))
    }

    /// Returns the connection to the pool once the answer has been read whole.
    fn pooled(
        &self,
        key: PoolKey,
        sender: http1::SendRequest<Body>,
        response: Response<hyper::body::Incoming>,
    ) -> Response<Body> {
        let pool = Arc::clone(&self.pool);
        response.map(|body| pool.returning(key, sender, body).map_err(BoxError::from).boxed_unsync())
    }

    async fn open(
        &self,
        PoolKey { identity, destination }: &PoolKey,
    ) -> Result<http1::SendRequest<Body>, ForwardError> {
        let host = &destination.host;
        let mut failure = None;
        for address in self.dialer.addresses(identity, host, destination.port).await?.into_iter().take(MAX_DIALLED) {
            match within(self.limits.connect_deadline, self.handshake(destination, address)).await {
                Some(Ok(sender)) => return Ok(sender),
                Some(Err(error)) => failure = Some(error),
                None => failure = Some(ForwardError::timed_out(host)),
            }
        }
        Err(failure.expect("the guard lets no empty answer through"))
    }

    async fn handshake(
        &self,
        destination: &Destination,
        address: CheckedAddr,
    ) -> Result<http1::SendRequest<Body>, ForwardError> {
        let host = &destination.host;
        let stream = self.dialer.connect(host, address).await?;
        let stream = IdleStream::new(stream, self.limits.idle_deadline);
        match destination.scheme {
            // A request is never sent unread.
            Scheme::Tcp => Err(ForwardError::NoDestination),
            Scheme::Http => self.speak(host, stream).await,
            Scheme::Https => {
                let failed = |source| ForwardError::Tls { host: host.clone(), source };
                let name = ServerName::try_from(host.as_str().to_owned()).expect("a host name is a DNS name");
                let config = self.tls.of(host).map_err(|error| failed(io::Error::other(error)))?;
                let stream = TlsConnector::from(config).connect(name, stream).await.map_err(failed)?;
                self.speak(host, stream).await
            }
        }
    }

    async fn speak<T>(&self, host: &HostName, stream: T) -> Result<http1::SendRequest<Body>, ForwardError>
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder
            .max_headers(self.limits.header_fields)
            .max_header_size(self.limits.head_bytes)
            .max_buf_size(self.limits.head_bytes.max(MIN_BUFFER));
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ForwardError::Http { host: host.clone(), source })?;
        // Ends with the connection, which ends when neither the pool nor an answer holds its sender.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = &error as &dyn std::error::Error, "upstream connection ended");
            }
        });
        Ok(sender)
    }
}

/// The least hyper takes.
const MIN_BUFFER: usize = 8 << 10;
