//! HTTP/1.1 towards an upstream.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, TE, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Builder, Parts, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

use crate::body::{Body, BoxError};
use crate::forward::Upgraded;
use crate::http1::EarlyBytes;
use crate::limits::Limits;
use crate::policy::within;
use crate::pool::{Pool, PoolKey};
use crate::takeover::Stream;

/// A connection that is worked by whoever waits for something on it. It has no task of its own, so an answer is read where it
/// is asked for, and what nobody waits for any more is closed.
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    worker: Worker,
}

/// hyper's half. Dropped when it has ended: what it did not take by then is given back by that.
enum Worker {
    Going(Box<http1::Connection<TokioIo<Box<dyn Stream>>, Body>>),
    /// With the stream, and what was read of another protocol.
    Ended(Option<Parts<TokioIo<Box<dyn Stream>>>>),
}

impl Connection {
    pub(crate) async fn open(stream: Box<dyn Stream>, limits: &Limits) -> Result<Self, BoxError> {
        let mut builder = Builder::new();
        builder
            .max_headers(limits.header_fields)
            .max_header_size(limits.head_bytes)
            .max_buf_size(limits.head_bytes.max(MIN_BUFFER));
        let (sender, worker) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, worker: Worker::Going(Box::new(worker)) })
    }

    /// Whether it takes a request now. Notices what came, or that it was closed, while it rested.
    pub(crate) fn is_ready(&mut self) -> bool {
        self.work(&mut Context::from_waker(Waker::noop()));
        matches!(self.worker, Worker::Going(_)) && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer. Gives the request back if no byte of it was written.
    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            self.work(cx);
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// Reads and writes what can be.
    fn work(&mut self, cx: &mut Context<'_>) {
        let Worker::Going(worker) = &mut self.worker else { return };
        let Poll::Ready(ended) = Pin::new(&mut **worker).poll(cx) else { return };
        if let Err(error) = &ended {
            tracing::debug!(error = error as &dyn std::error::Error, "upstream connection ended");
        }
        if let Worker::Going(worker) = std::mem::replace(&mut self.worker, Worker::Ended(None)) {
            self.worker = Worker::Ended(ended.is_ok().then(|| worker.into_parts()));
        }
    }

    /// Waits until there is no more HTTP on it. Gives the stream, and what was read of it beyond that.
    async fn end(mut self) -> Option<Parts<TokioIo<Box<dyn Stream>>>> {
        poll_fn(|cx| {
            self.work(cx);
            match &mut self.worker {
                Worker::Going(_) => Poll::Pending,
                Worker::Ended(parts) => Poll::Ready(parts.take()),
            }
        })
        .await
    }

    /// Works on by itself until the exchange under way has ended, or its answer is no longer wanted.
    fn detach(self) -> Detached {
        let Self { sender, worker } = self;
        drop(sender); // no more requests
        let Worker::Going(worker) = worker else { return Detached(None) };
        let task = tokio::spawn(async move {
            if let Err(error) = worker.await {
                tracing::debug!(error = &error as &dyn std::error::Error, "upstream connection ended");
            }
        });
        Detached(Some(task.abort_handle()))
    }
}

/// Ends a connection that works by itself, when the answer on it has been read or dropped.
struct Detached(Option<AbortHandle>);

impl Drop for Detached {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
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

/// The answer with its connection, which goes back to the pool once the answer has been read to its regular end.
pub(crate) fn pooled(
    pool: &Arc<Pool>,
    key: PoolKey,
    connection: Connection,
    response: Response<Incoming>,
    sent: &Outgoing,
) -> Response<Body> {
    if sent.is_whole() {
        return response.map(|body| AnswerOn::new(connection, body, Some((Arc::clone(pool), key))).boxed());
    }
    // An answer that came before the whole request was sent leaves the connection in doubt. The rest of the request goes out
    // also while nobody reads the answer, and not any longer than that.
    let detached = connection.detach();
    response.map(|body| {
        let kept = move |frame| {
            let _ = &detached;
            frame
        };
        body.map_frame(kept).map_err(BoxError::from).boxed_unsync()
    })
}

/// The body of an answer, read from the connection it comes over.
struct AnswerOn {
    connection: Option<Connection>,
    body: Incoming,
    /// Where the connection goes at the end.
    home: Option<(Arc<Pool>, PoolKey)>,
}

impl AnswerOn {
    fn new(connection: Connection, body: Incoming, home: Option<(Arc<Pool>, PoolKey)>) -> Self {
        let mut answer = Self { connection: Some(connection), body, home };
        if answer.body.is_end_stream() {
            answer.give_back();
        }
        answer
    }

    fn boxed(self) -> Body {
        self.map_err(BoxError::from).boxed_unsync()
    }

    fn give_back(&mut self) {
        if let Some(mut connection) = self.connection.take()
            && let Some((pool, key)) = self.home.take()
            && connection.is_ready()
        {
            pool.put(key, connection);
        }
    }
}

impl http_body::Body for AnswerOn {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let mut frame = Pin::new(&mut this.body).poll_frame(cx);
        if frame.is_pending()
            && let Some(connection) = &mut this.connection
        {
            connection.work(cx);
            frame = Pin::new(&mut this.body).poll_frame(cx);
        }
        let frame = ready!(frame);
        match &frame {
            Some(Err(_)) => this.connection = None,
            Some(Ok(frame)) if !frame.is_trailers() && !this.body.is_end_stream() => {}
            Some(Ok(_)) | None => this.give_back(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
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

    fn is_whole(&self) -> bool {
        self.0.load(Ordering::Relaxed)
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
    connection: Connection,
    mut response: Response<Incoming>,
    deadline: Duration,
) -> Result<Response<Body>, BoxError> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response.map(|body| AnswerOn::new(connection, body, None).boxed()));
    }
    let ended = within(deadline, connection.end()).await.flatten();
    let Parts { io, read_buf, .. } = ended.ok_or("the connection was not given up")?;
    response.extensions_mut().insert(Upgraded::new(Box::new(EarlyBytes::new(read_buf, io.into_inner()))));
    Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
}

/// The least hyper takes.
const MIN_BUFFER: usize = 8 << 10;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::body::full;

    fn request() -> Request<Body> {
        Request::get("/x").header("host", "api.example.com").body(full("")).unwrap()
    }

    #[tokio::test]
    async fn a_request_that_meets_the_end_of_a_resting_connection_comes_back() {
        for (case, ends) in [("ended", true), ("twin", false)] {
            let (near, mut far) = duplex(4096);
            let mut connection = Connection::open(Box::new(near), &Limits::default()).await.unwrap();
            let answering = async {
                while !matches!(far.read_u8().await, Ok(b'\n')) {}
                far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                let mut rest = [0; 256];
                let _ = tokio::time::timeout(Duration::from_millis(20), far.read(&mut rest)).await;
                far
            };
            let (answer, far) = tokio::join!(connection.send(request()), answering);
            assert_eq!(answer.map_err(|error| error.into_error()).unwrap().status(), 204, "{case}");
            assert!(connection.is_ready(), "{case}");
            let mut far = Some(far);
            if ends {
                far = None;
            }
            let patience = Duration::from_secs(if ends { 60 } else { 1 });
            let sent = tokio::time::timeout(patience, connection.send(request())).await;
            match (ends, sent) {
                (true, Ok(Err(mut error))) => assert!(error.take_message().is_some(), "{case}: to be sent again"),
                (false, Err(_)) => assert!(far.is_some(), "{case}: waits for its answer"),
                (_, sent) => panic!("{case}: {:?}", sent.is_ok()),
            }
        }
    }
}
