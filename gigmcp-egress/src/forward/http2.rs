//! HTTP/2 towards an upstream.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Reason, SendStream};
use http::header::{HOST, TE};
use http::{HeaderValue, Request, Response, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::body::{Body, BoxError, full};
use crate::forward::http2::answer::{Ending, StreamedAnswer, Unsent};
use crate::http2::receive::ReceivedBody;
use crate::http2::send::{SendBodyError, end_to_end, send_body};
use crate::http2::stall::{Clock, Stall};
use crate::limits::Limits;
use crate::takeover::Stream;

mod answer;

/// A connection on which HTTP/2 was agreed.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    state: Arc<State>,
}

struct State {
    /// Something was out of order, or the connection has ended: it takes no more requests.
    spoilt: AtomicBool,
    open: AtomicUsize,
    rested: Mutex<Instant>,
}

impl Connection {
    pub(crate) async fn open(stream: Box<dyn Stream>, limits: &Limits) -> Result<Self, BoxError> {
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .initial_max_send_streams(limits.streams as usize)
            .max_send_buffer_size(SEND_BUFFER_BYTES);
        let (sender, connection) = builder.handshake(stream).await?;
        let (spoilt, open) = (AtomicBool::new(false), AtomicUsize::new(0));
        let state = Arc::new(State { spoilt, open, rested: Mutex::new(Instant::now()) });
        // Ends with the connection, which ends when nothing holds its sender and no stream is open.
        tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                if let Err(error) = connection.await {
                    tracing::debug!(error = &error as &dyn std::error::Error, "upstream connection ended");
                }
                state.spoil();
            }
        });
        Ok(Self { sender, state })
    }

    /// Whether it may take another request, now or when one of its own has ended.
    pub(crate) fn is_usable(&self, limits: &Limits) -> bool {
        let resting = self.state.open.load(Ordering::Acquire) == 0;
        let rested = resting && self.rested().elapsed() >= limits.pooled_deadline;
        !rested && !self.state.spoilt.load(Ordering::Acquire)
    }

    /// A place for one request, if one is left. Called under the lock of the pool.
    pub(crate) fn lease(&self, limits: &Limits) -> Option<Lease> {
        let places = self.sender.current_max_send_streams().min(limits.streams as usize);
        (self.state.open.load(Ordering::Acquire) < places).then(|| self.first_lease())
    }

    pub(crate) fn first_lease(&self) -> Lease {
        self.state.open.fetch_add(1, Ordering::AcqRel);
        Lease { connection: self.clone() }
    }

    /// Since when nothing was under way, if nothing is.
    pub(crate) fn rested(&self) -> Instant {
        *self.state.rested.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn spoil(&self) {
        self.spoilt.store(true, Ordering::Release);
    }
}

/// A place for one request on a connection, until it is dropped.
pub(crate) struct Lease {
    connection: Connection,
}

impl Lease {
    /// Waits until a request can be written; nothing if the connection is at its end.
    pub(crate) async fn ready(self) -> Option<ReadyLease> {
        match self.connection.sender.clone().ready().await {
            Ok(sender) => Some(ReadyLease { lease: self, sender }),
            Err(_) => {
                self.spoil();
                None
            }
        }
    }

    fn spoil(&self) {
        self.connection.state.spoil();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let State { open, rested, .. } = &*self.connection.state;
        *rested.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Instant::now();
        open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A place on a connection that takes a request now.
pub(crate) struct ReadyLease {
    lease: Lease,
    sender: SendRequest<Bytes>,
}

impl ReadyLease {
    /// Sends a request and waits for the head of its answer. The body is sent meanwhile, and on after it.
    pub(crate) async fn send(self, request: Request<Body>, limits: &Limits) -> Result<Response<Body>, BoxError> {
        let Self { lease, sender } = self;
        match exchange(sender, request, limits).await {
            Ok((head, body)) => {
                let mut body = body.holding(lease);
                let ended = body.is_end_stream();
                if ended {
                    body.end(Ending::Regular);
                }
                Ok(head.map(|()| if ended { full(Bytes::new()) } else { body.boxed_unsync() }))
            }
            Err(error) => {
                lease.spoil();
                Err(error)
            }
        }
    }
}

async fn exchange(
    mut sender: SendRequest<Bytes>,
    request: Request<Body>,
    limits: &Limits,
) -> Result<(Response<()>, StreamedAnswer), BoxError> {
    let (head, body) = convert(request);
    let bodiless = body.is_end_stream();
    let (mut answer, stream) = sender.send_request(head, bodiless)?;
    drop(sender);
    let clock = Clock::start();
    let mut unsent = None;
    let answer = if bodiless {
        answer.await?
    } else {
        let mut sending = Box::pin(send_request_body(body, stream, clock.clone()));
        tokio::select! {
            biased;
            sent = &mut sending => {
                sent?;
                answer.await?
            }
            head = &mut answer => {
                // Both directions may go on together, as they do in gRPC.
                unsent = Some(Unsent::new(sending));
                head?
            }
        }
    };
    clock.touch();
    let (head, body) = answer.into_parts();
    if head.headers.len() > limits.header_fields {
        return Err("the answer has too many headers".into());
    }
    let stall = Stall::new(clock.clone(), limits.idle_deadline);
    Ok((Response::from_parts(head, ()), StreamedAnswer::new(ReceivedBody::new(body, clock), stall, unsent)))
}

/// Sends the body, or as much of it as the upstream takes: it may answer without reading on.
async fn send_request_body(body: Body, mut stream: SendStream<Bytes>, clock: Clock) -> Result<(), BoxError> {
    match send_body(body, &mut stream, &clock).await {
        Ok(()) | Err(SendBodyError::Closed(_) | SendBodyError::Stream(_)) => Ok(()),
        Err(SendBodyError::Body(error)) => {
            // What was sent so far must not look like the whole.
            stream.send_reset(Reason::CANCEL);
            Err(error)
        }
    }
}

/// The request as HTTP/2 has it: the host is `:authority`, which the library takes from the target, and nothing speaks of a
/// connection. Injected values are marked as sensitive, so they are written as never-indexed literals (RFC 7541, section
/// 7.1.3); a target, with what was injected there, is not indexed either.
fn convert(request: Request<Body>) -> (Request<()>, Body) {
    let (mut parts, body) = request.into_parts();
    parts.version = Version::HTTP_2;
    // The one thing about a connection that both have: gRPC servers want to be told.
    let trailers = parts.headers.get(TE).is_some_and(|value| value == "trailers");
    parts.headers = end_to_end(parts.headers);
    parts.headers.remove(HOST);
    if trailers {
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    parts.extensions.clear();
    (Request::from_parts(parts, ()), body)
}

/// Enough for the distance to most upstreams, and a bound on what a slow reader makes us hold.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;
const SEND_BUFFER_BYTES: usize = 64 << 10;
