//! HTTP/2, towards the sandbox ([`serve`]) and the parts that both directions share.
//!
//! Framing and HPACK are the `h2` crate's. What is malformed by RFC 9113, section 8.1.1, is reset with `PROTOCOL_ERROR`; what is
//! well-formed but not ours to pass on gets an answer with the code of its refusal, as over HTTP/1.1. The crate resets most
//! malformed streams before we hear of them, so [`Watched`] follows the frames it writes: each such reset is a refusal too.
//! One thing stays hidden: the fragment of a `:path`, which the crate drops. It does not travel on.

use std::collections::HashSet;
use std::sync::Arc;

use h2::Reason;
use h2::server::{Builder, Connection, SendResponse};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::audit::AuditKind;
use crate::intake::Site;
use crate::limits::Limits;
use crate::policy::within;
use crate::refusal::Refusal;
use crate::request::Destination;
use front::Front;
use stream::Outcome;
use watch::{Note, Own, Watched};

mod front;
mod head;
pub(crate) mod receive;
pub(crate) mod send;
pub(crate) mod stall;
mod stream;
mod watch;

/// Serves a connection on which HTTP/2 was agreed, until it ends or rests for too long.
pub(crate) async fn serve<T>(io: T, site: Arc<Site>, destination: Destination)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let front = Arc::new(Front { site, destination });
    let limits = front.limits().clone();
    let (io, notes, own) = Watched::new(io, limits.head_deadline);
    let connection = match within(limits.head_deadline, builder(&limits).handshake(io)).await {
        Some(Ok(connection)) => connection,
        // Whatever was spoken, it was not what both sides had agreed on.
        Some(Err(error)) if is_fault(&error) => return front.record(AuditKind::Connect, Refusal::Malformed).await,
        Some(Err(_)) | None => return,
    };
    Server { front, connection, own, refused: HashSet::new(), streams: JoinSet::new(), resets: 0 }.run(notes).await;
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_frame_size(FRAME_BYTES)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(STREAM_WINDOW_BYTES as usize)
        .max_concurrent_reset_streams(limits.reset_streams)
        .max_pending_accept_reset_streams(limits.reset_streams)
        .max_local_error_reset_streams(Some(limits.reset_streams));
    builder
}

struct Server<T> {
    front: Arc<Front>,
    connection: Connection<Watched<T>, bytes::Bytes>,
    own: Own,
    /// Streams the library has reset, as many as it does reset before it ends the connection.
    refused: HashSet<u32>,
    /// Dropped with the connection, which ends them.
    streams: JoinSet<(u32, Outcome)>,
    /// Streams the client gave up, less those it let end.
    resets: usize,
}

impl<T> Server<T>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    async fn run(mut self, mut notes: mpsc::UnboundedReceiver<Note>) {
        let head_deadline = self.front.limits().head_deadline;
        let mut rest_ends = Instant::now() + head_deadline;
        let mut head_may_end = true;
        loop {
            tokio::select! {
                // What the library refused comes first, so that a flood of it cannot outrun its record.
                biased;
                Some(note) = notes.recv() => self.noted(note).await,
                Some(ended) = self.streams.join_next(), if !self.streams.is_empty() => {
                    (rest_ends, head_may_end) = (Instant::now() + head_deadline, true);
                    if let Ok((id, outcome)) = ended {
                        self.ended(id, outcome).await;
                    }
                }
                accepted = self.connection.accept() => match accepted {
                    Some(Ok((request, respond))) => self.begin(request, respond).await,
                    Some(Err(error)) => {
                        self.drain(&mut notes).await;
                        if is_fault(&error) {
                            self.front.record(AuditKind::Connect, Refusal::Malformed).await;
                        }
                        return;
                    }
                    None => return self.drain(&mut notes).await,
                },
                () = tokio::time::sleep_until(rest_ends), if self.streams.is_empty() => {
                    if head_may_end && self.own.is_inside_head() {
                        // What was begun has its own deadline. Once only, or pings would prolong a rest for ever.
                        (rest_ends, head_may_end) = (rest_ends + head_deadline, false);
                        continue;
                    }
                    self.connection.abrupt_shutdown(Reason::NO_ERROR);
                    // Only flushing is left; a client that does not read is cut off by the idle deadline.
                    rest_ends = Instant::now() + self.front.limits().idle_deadline + head_deadline;
                }
            }
        }
    }

    async fn begin(&mut self, request: Request<h2::RecvStream>, mut respond: SendResponse<bytes::Bytes>) {
        let id = respond.stream_id().as_u32();
        if self.refused.remove(&id) {
            return; // The library had reset it before it gave it to us; that is recorded.
        }
        self.own.open(id);
        let Front { site, .. } = &*self.front;
        site.shared.policy().rates.settle(&site.identity).await;
        match Arc::clone(&self.front.site.streams).try_acquire_owned() {
            Ok(permit) => {
                let serving = stream::serve(Arc::clone(&self.front), request, respond);
                // Tracked, because the identity is forgotten only when nothing of it runs any more.
                let serving = self.front.site.tasks.track_future(serving);
                self.streams.spawn(async move {
                    let outcome = serving.await;
                    drop(permit);
                    (id, outcome)
                });
            }
            Err(_) => {
                respond.send_reset(Reason::REFUSED_STREAM);
                self.front.record(AuditKind::Request, Refusal::StreamLimit).await;
            }
        }
    }

    async fn ended(&mut self, id: u32, outcome: Outcome) {
        match outcome {
            Outcome::Answered => self.resets = self.resets.saturating_sub(1),
            Outcome::GivenUp => {
                // Or reset by the library, for what came after the head; the exchange has recorded it.
                self.own.give_up(id);
                self.resets += 1;
            }
        }
        if self.resets > self.front.limits().reset_streams {
            self.resets = 0;
            self.calm().await;
        }
    }

    async fn noted(&mut self, note: Note) {
        let refusal = match note {
            // Its exchange, which began meanwhile, records it.
            _ if self.own.knows(note.stream()) => return,
            Note::Reset { reason: Reason::REFUSED_STREAM, .. } => Refusal::StreamLimit,
            Note::Reset { stream, .. } => {
                self.refused.insert(stream);
                Refusal::Malformed
            }
            Note::Answered { .. } => Refusal::HeadTooLarge,
            Note::SlowHead => return self.calm().await,
        };
        self.front.record(AuditKind::Request, refusal).await;
    }

    async fn calm(&mut self) {
        self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        self.front.record(AuditKind::Connect, Refusal::Malformed).await;
    }

    /// Records what was refused in the last moments.
    async fn drain(&mut self, notes: &mut mpsc::UnboundedReceiver<Note>) {
        while let Ok(note) = notes.try_recv() {
            if note != Note::SlowHead {
                self.noted(note).await;
            }
        }
    }
}

/// Whether the peer broke the protocol, as opposed to going away or saying that we did.
fn is_fault(error: &h2::Error) -> bool {
    !error.is_io() && !error.is_remote() && error.reason().is_some_and(|reason| reason != Reason::NO_ERROR)
}

/// The least that may be set.
const FRAME_BYTES: u32 = 16 << 10;
/// The sandbox is on this machine: a small window costs no round trips, and bounds what we hold for it.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
