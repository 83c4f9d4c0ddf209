//! HTTP/1.1 towards an upstream.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, TE, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;

use crate::body::{Body, BoxError};
use crate::forward::Upgraded;
use crate::limits::Limits;
use crate::policy::within;
use crate::pool::{Pool, PoolKey, Sent};
use crate::takeover::Stream;

/// Begins to speak on a new connection.
pub(crate) async fn open(stream: Box<dyn Stream>, limits: &Limits) -> Result<SendRequest<Body>, BoxError> {
    let mut builder = Builder::new();
    builder
        .max_headers(limits.header_fields)
        .max_header_size(limits.head_bytes)
        .max_buf_size(limits.head_bytes.max(MIN_BUFFER));
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    // Ends with the connection, which ends when neither the pool nor an answer holds its sender.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(error = &error as &dyn std::error::Error, "upstream connection ended");
        }
    });
    Ok(sender)
}

/// The request as it stands on the wire: the target is the path, the host stands in `Host`.
pub(crate) fn origin_form(mut request: Request<Body>) -> Request<Body> {
    let target = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(target);
    *request.version_mut() = Version::HTTP_11;
    request.headers_mut().remove(TE);
    if request.headers().contains_key(UPGRADE) {
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    request
}

/// Returns the connection to the pool once the answer has been read whole.
pub(crate) fn pooled(
    pool: &Arc<Pool>,
    key: PoolKey,
    sender: SendRequest<Body>,
    response: Response<Incoming>,
    sent: &Outgoing,
) -> Response<Body> {
    let (pool, sent) = (Arc::clone(pool), sent.progress());
    response.map(|body| pool.returning(key, sender, body, sent).map_err(BoxError::from).boxed_unsync())
}

/// Tells whether the body of a request has left whole.
#[derive(Clone, Default)]
pub(crate) struct Outgoing(Arc<AtomicBool>);

impl Outgoing {
    /// The request, with its body watched.
    pub(crate) fn watch(&self, request: Request<Body>) -> Request<Body> {
        let ended = self.0.clone();
        ended.store(http_body::Body::is_end_stream(request.body()), Ordering::Relaxed);
        request.map(|inner| Watched { inner, ended }.boxed_unsync())
    }

    fn progress(&self) -> Sent {
        if self.0.load(Ordering::Relaxed) { Sent::Whole } else { Sent::InPart }
    }
}

struct Watched {
    inner: Body,
    ended: Arc<AtomicBool>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        let failed = matches!(frame, Some(Err(_)));
        let ended = frame.is_none() || this.inner.is_end_stream();
        this.ended.store(ended && !failed, Ordering::Relaxed);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The answer to a request for another protocol, with the connection in it if the upstream agreed.
pub(crate) async fn upgraded(
    mut response: Response<Incoming>,
    deadline: std::time::Duration,
) -> Result<Response<Body>, BoxError> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let stream =
            within(deadline, hyper::upgrade::on(&mut response)).await.ok_or("the connection was not given up")??;
        response.extensions_mut().insert(Upgraded::new(Box::new(TokioIo::new(stream))));
    }
    Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
}

/// The least hyper takes.
const MIN_BUFFER: usize = 8 << 10;
