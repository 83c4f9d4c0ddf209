//! One connection, from its first byte to its last.

use std::{convert::Infallible, future::Future, io, pin::Pin, sync::Arc, time::Duration};

use bytes::BytesMut;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::{Instant, interval_at, timeout},
};

use super::{
    Answers, Front, Peer,
    gate::{Before, Gate, Spoken, hear},
    intake::Arrived,
    stats::Ended,
    vitals::Vitals,
};

impl<A: Answers> Front<A> {
    /// Serves a connection until it ends, or until `stopping` changes and what is under way on it has been answered.
    pub(crate) async fn serve(self: Arc<Self>, arrived: Arrived, mut stopping: watch::Receiver<()>) {
        let _open = self.stats.opened();
        let Arrived { stream, address, mut full, _place } = arrived;
        // Small answers must not wait for the client's acknowledgement of earlier ones.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("TCP_NODELAY: {error}");
        }
        let peer = Peer { address, is_tls: self.tls.is_some() };
        let Some(tls) = &self.tls else {
            return self.hear_and_speak(stream, peer, &mut stopping, &mut full).await;
        };
        let arrived = Instant::now();
        let accepted = tokio::select! {
            accepted = timeout(self.limits.handshake, Box::pin(tls.acceptor().accept(stream))) => accepted,
            // Nothing was asked yet.
            _ = stopping.changed() => return,
            () = pressed(&mut full, || arrived.elapsed() >= SPARED) => {
                return self.stats.connection_ended(Ended::Pressed);
            }
        };
        match accepted {
            Ok(Ok(stream)) => {
                let spoken = match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => Spoken::Http2,
                    _ => Spoken::Http1,
                };
                Box::pin(self.speak(spoken, BytesMut::new(), stream, peer, &mut stopping, &mut full)).await;
            }
            Ok(Err(error)) => {
                self.stats.handshake_failed();
                tracing::debug!("TLS: {error}");
            }
            Err(_) => {
                self.stats.handshake_failed();
                tracing::debug!("TLS: the handshake took too long");
            }
        }
    }

    async fn hear_and_speak<S>(self: &Arc<Self>, mut stream: S, peer: Peer, stopping: &mut Stopping, full: &mut Full)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let arrived = Instant::now();
        // Whoever sends nothing at all has as long as between two requests.
        let heard = tokio::select! {
            heard = timeout(self.limits.idle, hear(&mut stream)) => heard,
            _ = stopping.changed() => return,
            () = pressed(full, || arrived.elapsed() >= SPARED) => return self.stats.connection_ended(Ended::Pressed),
        };
        match heard {
            Ok(Ok((spoken, read))) => Box::pin(self.speak(spoken, read, stream, peer, stopping, full)).await,
            Ok(Err(error)) => tracing::debug!("connection: {error}"),
            Err(_) => self.stats.connection_ended(Ended::Idle),
        }
    }

    async fn speak<S>(
        self: &Arc<Self>,
        spoken: Spoken,
        read: BytesMut,
        stream: S,
        peer: Peer,
        stopping: &mut Stopping,
        full: &mut Full,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let vitals = Vitals::new(self.limits.max_abandoned, Arc::clone(&self.stats));
        let service = service_fn(|request: http::Request<Incoming>| {
            let (front, under_way, refused) = (Arc::clone(self), vitals.begin(), vitals.take_refused());
            async move { Ok::<_, Infallible>(front.respond(request, refused, under_way, peer).await) }
        });
        match spoken {
            Spoken::Http1 => {
                let gate = Gate::new(stream, read, self.limits, Arc::clone(&vitals));
                let mut builder = http1::Builder::new();
                // The gate sees to the deadlines, and to what a head may be.
                builder.timer(TokioTimer::new()).header_read_timeout(None).max_headers(self.limits.max_fields + 1);
                builder.max_buf_size((2 * self.limits.max_head_bytes).max(MIN_BUFFER));
                let connection = Box::pin(builder.serve_connection(TokioIo::new(gate), service));
                self.drive(connection, &vitals, stopping, full).await;
            }
            Spoken::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(self.limits.max_streams)
                    .max_header_list_size(u32::try_from(self.limits.max_head_bytes).unwrap_or(u32::MAX))
                    .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
                    .max_local_error_reset_streams(MAX_LOCAL_RESETS)
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .max_send_buf_size(MAX_UNSENT)
                    .keep_alive_interval(PING)
                    .keep_alive_timeout(PONG);
                let connection = Box::pin(builder.serve_connection(TokioIo::new(Before::new(read, stream)), service));
                self.drive(connection, &vitals, stopping, full).await;
            }
        }
    }

    async fn drive<C: Graceful>(
        &self,
        mut connection: Pin<Box<C>>,
        vitals: &Vitals,
        stopping: &mut Stopping,
        full: &mut Full,
    ) {
        let mut watch = interval_at(Instant::now() + WATCH, WATCH);
        let mut leaving = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!("connection: {error}");
                    }
                    return;
                }
                changed = stopping.changed(), if !leaving => {
                    // The sender is dropped to say so.
                    drop(changed);
                    leaving = true;
                    connection.as_mut().leave();
                }
                () = vitals.abused() => return self.stats.connection_ended(Ended::Abused),
                () = pressed(full, || self.is_spare(vitals)) => return self.stats.connection_ended(Ended::Pressed),
                _ = watch.tick() => match self.outstayed(vitals) {
                    None => {}
                    Some(ended) => return self.stats.connection_ended(ended),
                },
            }
        }
    }

    /// Whether others need its place more: nothing happens on it, or nothing but waiting for its client.
    fn is_spare(&self, vitals: &Vitals) -> bool {
        let quiet = vitals.quiet_for().is_some_and(|quiet| quiet >= SPARED);
        let starved = vitals.starved_for().is_some_and(|starved| starved >= BODY_SPARED);
        quiet || starved || vitals.unread_for().is_some_and(|unread| unread >= self.limits.unread / UNREAD_SPARED)
    }

    /// Whether a connection is to end that does nothing, or whose client does nothing.
    fn outstayed(&self, vitals: &Vitals) -> Option<Ended> {
        let unread = vitals.unread_for().is_some_and(|unread| unread > self.limits.unread);
        // The gate of HTTP/1 is there first, and ends it in order.
        let idle = vitals.quiet_for().is_some_and(|quiet| quiet > self.limits.idle + WATCH);
        unread.then_some(Ended::Unread).or(idle.then_some(Ended::Idle))
    }
}

/// Ready when there is no place for others and this connection can be spared.
async fn pressed(full: &mut Full, is_spare: impl Fn() -> bool) {
    loop {
        if full.changed().await.is_err() {
            // The listener is gone, and who needs a place with it.
            std::future::pending::<()>().await;
        }
        if is_spare() {
            return;
        }
    }
}

type Stopping = watch::Receiver<()>;
type Full = watch::Receiver<Option<Instant>>;

/// A connection that can be asked to take no more requests.
trait Graceful: Future<Output = hyper::Result<()>> {
    fn leave(self: Pin<&mut Self>);
}

impl<I, S> Graceful for http1::Connection<I, S>
where
    Self: Future<Output = hyper::Result<()>>,
    S: hyper::service::HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S::ResBody: http_body::Body<Error = io::Error> + 'static,
{
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Graceful for http2::Connection<I, S, TokioExecutor>
where
    Self: Future<Output = hyper::Result<()>>,
    S: hyper::service::HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S::ResBody: http_body::Body<Error = io::Error> + 'static,
    TokioExecutor: hyper::rt::bounds::Http2ServerConnExec<S::Future, S::ResBody>,
{
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// How often a connection is looked at.
const WATCH: Duration = Duration::from_secs(5);
/// Whoever just had an answer is not sent away for others.
const SPARED: Duration = Duration::from_secs(1);
/// Nor is whoever has just begun to send a body.
const BODY_SPARED: Duration = Duration::from_secs(2);
/// Nor is whoever reads on within this part of the time there is for it.
const UNREAD_SPARED: u32 = 6;
/// What the library demands.
const MIN_BUFFER: usize = 8192;
/// Requests given up before they were even looked at.
const MAX_PENDING_RESETS: usize = 20;
/// Streams that ended because of the client's own errors.
const MAX_LOCAL_RESETS: usize = 100;
/// What of a body may be on its way before it is read; a whole connection keeps no more than the next.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What of one answer is kept for a client that does not take it.
const MAX_UNSENT: usize = 64 << 10;
/// A client that is gone is found by this.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);
