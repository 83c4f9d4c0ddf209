//! A connection of HTTP/1 on which only whole heads that were judged go through.
//!
//! The gate counts the bytes of a body by the one length that its head may have, so it knows where the next head begins. What is
//! refused is replaced by a request of our own, so that its answer comes in its turn; nothing of the client's is read after it.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    head::{self, Framing},
    limits::Limits,
    refused::Refused,
    vitals::Vitals,
};

/// The connection, and where in its requests it is.
pub(super) struct Gate<S> {
    inner: S,
    /// Read and not yet let through.
    buffer: BytesMut,
    /// How far `buffer` was searched for the end of a head.
    searched: usize,
    state: State,
    deadline: Pin<Box<Sleep>>,
    limits: Limits,
    vitals: Arc<Vitals>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Nothing of a request has come.
    Idle,
    /// A head has begun.
    Head,
    /// So many bytes are let through.
    Passing(u64),
    /// All bytes are: it is the last request.
    Open,
    /// Our own request in the place of what was refused.
    Refused,
    /// It was let through, and its answer is on its way.
    Silent,
    Ended,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Spoken {
    Http1,
    Http2,
}

/// Finds out what a client speaks that did not say it in the handshake; gives back what was read for that.
pub(super) async fn hear<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<(Spoken, BytesMut)> {
    let mut read = BytesMut::with_capacity(PREFACE.len());
    loop {
        let length = read.len().min(PREFACE.len());
        match read[..length] == PREFACE[..length] {
            false => return Ok((Spoken::Http1, read)),
            true if length == PREFACE.len() => return Ok((Spoken::Http2, read)),
            true => {}
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Ok((Spoken::Http1, read));
        }
    }
}

impl<S> Gate<S> {
    /// A gate before this connection, of which something was read already.
    pub(super) fn new(inner: S, read: BytesMut, limits: Limits, vitals: Arc<Vitals>) -> Self {
        let deadline = Box::pin(sleep_until(Instant::now() + limits.idle));
        Self { inner, buffer: read, searched: 0, state: State::Idle, deadline, limits, vitals }
    }

    /// Lets a head through as soon as it is whole.
    fn judge(&mut self) {
        if self.state == State::Idle {
            // What some old clients send after a body.
            while self.buffer.starts_with(b"\r\n") {
                self.buffer.advance(2);
            }
            if self.buffer.is_empty() || *self.buffer == *b"\r" {
                return;
            }
            self.enter(State::Head);
        }
        let from = self.searched.saturating_sub(3);
        self.searched = self.buffer.len();
        match end_of_head(&self.buffer, from) {
            Some(end) if end <= self.limits.max_head_bytes => {
                match head::judge(&self.buffer[..end], self.limits.max_fields) {
                    Ok(Framing::Chunked) => self.enter(State::Open),
                    Ok(Framing::Length(length)) => self.enter(State::Passing(end as u64 + length)),
                    Err(refused) => self.refuse(refused),
                }
            }
            None if self.buffer.len() <= self.limits.max_head_bytes => {}
            _ => self.refuse(Refused::HeadTooLarge),
        }
    }

    fn refuse(&mut self, refused: Refused) {
        self.vitals.refuse(refused);
        // Whoever asks by HEAD reads no body of an answer (RFC 9110, section 9.3.2).
        let stands_for_it = if self.buffer.starts_with(b"HEAD ") { REFUSED_HEAD } else { REFUSED };
        self.buffer = BytesMut::from(stands_for_it);
        self.enter(State::Refused);
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.searched = 0;
        match state {
            State::Idle => self.deadline.as_mut().reset(Instant::now() + self.limits.idle),
            State::Head => self.deadline.as_mut().reset(Instant::now() + self.limits.head),
            _ => {}
        }
    }

    /// What is due when the deadline has come.
    fn late(&mut self) {
        match self.state {
            State::Head => self.refuse(Refused::Slow),
            // A call may take as long as it takes.
            State::Idle if self.vitals.quiet_for().is_none_or(|quiet| quiet < self.limits.idle) => {
                self.enter(State::Idle);
            }
            _ => self.enter(State::Ended),
        }
    }

    /// Hands out up to `limit` of what was read.
    fn hand_out(&mut self, limit: u64, to: &mut ReadBuf<'_>) -> u64 {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let part = self.buffer.len().min(to.remaining()).min(limit);
        to.put_slice(&self.buffer[..part]);
        self.buffer.advance(part);
        part as u64
    }
}

impl<S: AsyncRead + Unpin> Gate<S> {
    /// Reads more of a head; `false` at the end of the connection.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut part = [0; 4096];
        let mut part = ReadBuf::new(&mut part);
        if let Poll::Ready(read) = Pin::new(&mut self.inner).poll_read(context, &mut part) {
            read?;
            self.buffer.extend_from_slice(part.filled());
            return Poll::Ready(Ok(!part.filled().is_empty()));
        }
        while self.deadline.as_mut().poll(context).is_ready() {
            self.late();
            if !matches!(self.state, State::Idle | State::Head) {
                return Poll::Ready(Ok(true));
            }
        }
        Poll::Pending
    }

    /// Reads up to `limit` bytes of a body past the buffer.
    fn poll_body(&mut self, context: &mut Context<'_>, limit: u64, to: &mut ReadBuf<'_>) -> Poll<io::Result<u64>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(to.remaining());
        let mut part = ReadBuf::new(to.initialize_unfilled_to(limit));
        let polled = Pin::new(&mut self.inner).poll_read(context, &mut part);
        let filled = part.filled().len();
        to.advance(filled);
        polled.map_ok(|()| filled as u64)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.state {
                State::Idle | State::Head => {
                    if !this.buffer.is_empty() {
                        this.judge();
                        if !matches!(this.state, State::Idle | State::Head) {
                            continue;
                        }
                    }
                    match this.poll_more(context) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Ready(Ok(true)) => {}
                        Poll::Ready(Ok(false)) => this.enter(State::Ended),
                    }
                }
                State::Passing(0) => this.enter(State::Idle),
                State::Passing(left) => {
                    let passed = match this.hand_out(left, to) {
                        0 => match this.poll_body(context, left, to) {
                            Poll::Ready(Ok(passed)) => passed,
                            other => return other.map_ok(drop),
                        },
                        passed => passed,
                    };
                    this.state = State::Passing(left - passed);
                    return Poll::Ready(Ok(()));
                }
                State::Open => {
                    if this.hand_out(u64::MAX, to) > 0 {
                        return Poll::Ready(Ok(()));
                    }
                    return Pin::new(&mut this.inner).poll_read(context, to);
                }
                State::Refused => {
                    if this.hand_out(u64::MAX, to) > 0 {
                        return Poll::Ready(Ok(()));
                    }
                    this.enter(State::Silent);
                }
                // The end would cut the answer off.
                State::Silent => return Poll::Pending,
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

/// Where the first head in these bytes ends, its empty line included, whatever ends its lines.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(feed) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        at += feed + 1;
        match bytes[at..] {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// Bytes that were read before, and then the rest.
pub(super) struct Before<S> {
    read: Bytes,
    inner: S,
}

impl<S> Before<S> {
    pub(super) fn new(read: BytesMut, inner: S) -> Self {
        Self { read: read.freeze(), inner }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Before<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read.is_empty() {
            return Pin::new(&mut this.inner).poll_read(context, to);
        }
        let part = this.read.len().min(to.remaining());
        to.put_slice(&this.read.split_to(part));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Before<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

/// How HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Stands for a request that is refused.
const REFUSED: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
const REFUSED_HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn let_through(parts: &[&str], limits: Limits) -> (String, Option<Refused>) {
        let (client, server) = tokio::io::duplex(1 << 20);
        let vitals = Vitals::new(100, Arc::default());
        let mut gate = Gate::new(server, BytesMut::new(), limits, Arc::clone(&vitals));
        let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
        let writer = tokio::spawn(async move {
            let mut client = client;
            for part in parts {
                if client.write_all(part.as_bytes()).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        let (mut read, mut refused) = (Vec::new(), None);
        // After what stands for a request that is refused, there is no end.
        while refused.is_none() || !read.ends_with(REFUSED) {
            match gate.read_buf(&mut read).await.expect("it is read") {
                0 => break,
                _ => refused = refused.or(vitals.take_refused()),
            }
        }
        drop(gate);
        writer.await.expect("it ended");
        (String::from_utf8(read).expect("text"), refused)
    }

    #[tokio::test(start_paused = true)]
    async fn whole_requests_go_through_as_they_came() {
        let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\nGET / HTTP/9\r\n\r\n\n\n\n\n";
        let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
        for parts in [vec![body, next], vec![body, "\r\n", next], vec![&body[..10], &body[10..60], &body[60..], next]] {
            assert_eq!(let_through(&parts, Limits::default()).await, (format!("{body}{next}"), None));
        }
        let each: Vec<String> = format!("{body}{next}").chars().map(String::from).collect();
        let each: Vec<&str> = each.iter().map(String::as_str).collect();
        assert_eq!(let_through(&each, Limits::default()).await, (format!("{body}{next}"), None), "byte by byte");
        let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
        assert_eq!(let_through(&[chunked], Limits::default()).await, (chunked.to_owned(), None));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_after_what_is_refused() {
        let good = "GET /good HTTP/1.1\r\nHost: a\r\n\r\n";
        let bad = "POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let expected = format!("{good}{}", String::from_utf8_lossy(REFUSED));
        let (read, refused) = let_through(&[good, bad, good], Limits::default()).await;
        assert_eq!(read, expected);
        assert!(matches!(refused, Some(Refused::Head(_))), "{refused:?}");
        let limits = Limits { max_head_bytes: 100, ..Limits::default() };
        let large = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100));
        assert_eq!(let_through(&[&large], limits).await.1, Some(Refused::HeadTooLarge));
        let endless = format!("GET /{}", "x".repeat(100));
        assert_eq!(let_through(&[&endless], limits).await.1, Some(Refused::HeadTooLarge), "without an end");
        assert_eq!(let_through(&[good], limits).await, (good.to_owned(), None), "twin");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_to_arrive_in_time() {
        let limits = Limits::default();
        let (mut client, server) = tokio::io::duplex(1024);
        let vitals = Vitals::new(100, Arc::default());
        let mut gate = Gate::new(server, BytesMut::new(), limits, Arc::clone(&vitals));
        let begun = Instant::now();
        let slow = tokio::spawn(async move {
            for byte in std::iter::repeat_n(b"x", 1000) {
                if client.write_all(byte).await.is_err() {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        });
        let mut read = Vec::new();
        while read.len() < REFUSED.len() {
            assert!(gate.read_buf(&mut read).await.expect("it is read") > 0);
        }
        assert_eq!((&*read, vitals.take_refused()), (REFUSED, Some(Refused::Slow)));
        assert_eq!(begun.elapsed().as_secs(), limits.head.as_secs());
        drop(gate);
        slow.await.expect("it ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_ends_and_one_with_a_long_call_does_not() {
        let limits = Limits::default();
        let (_client, server) = tokio::io::duplex(1024);
        let vitals = Vitals::new(100, Arc::default());
        let mut gate = Gate::new(server, BytesMut::new(), limits, Arc::clone(&vitals));
        let call = vitals.begin();
        let mut byte = [0];
        let long = limits.idle * 10;
        assert!(tokio::time::timeout(long, gate.read(&mut byte)).await.is_err(), "twin: a call is under way");
        drop(call);
        let begun = Instant::now();
        assert_eq!(gate.read(&mut byte).await.expect("it ends"), 0);
        assert!(begun.elapsed() <= limits.idle * 2);
        assert_eq!(vitals.take_refused(), None, "nobody is told");
    }
}
