//! Bytes to the proxy in chosen pieces, and whatever comes back.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// How a message is cut into segments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cut {
    /// One segment.
    Whole,
    /// One byte a segment, as far as [`LONG`]; what follows in one.
    Bytes,
    /// Two segments.
    At(usize),
}

/// More than this of a message is not sent byte by byte.
pub(crate) const LONG: usize = 2048;

/// Nothing here takes so long, even on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A deadline that runs out: longer than what comes before it takes on such a machine.
pub(crate) const RUNS_OUT: Duration = Duration::from_secs(2);

impl Cut {
    pub(crate) fn pieces(self, bytes: &[u8]) -> Vec<&[u8]> {
        match self {
            Self::Whole => vec![bytes],
            Self::Bytes => {
                let (single, rest) = bytes.split_at(bytes.len().min(LONG));
                single.chunks(1).chain((!rest.is_empty()).then_some(rest)).collect()
            }
            Self::At(at) => vec![&bytes[..at], &bytes[at..]],
        }
    }
}

/// Sends a message in pieces that arrive one by one. The other side may close before the end; reading tells.
pub(crate) async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], cut: Cut) {
    for piece in cut.pieces(bytes) {
        if stream.write_all(piece).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        settle().await;
    }
}

/// Lets the other side, which runs on this thread, read what has arrived.
pub(crate) async fn settle() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}

/// Everything until the other side closes.
pub(crate) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the connection stays open");
    bytes
}

/// One answer of HTTP/1.1.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    /// 0 if the connection ended without an answer.
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether it ended as its framing promised.
    pub(crate) whole: bool,
    /// All bytes, as they came.
    pub(crate) raw: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
        Some(line[name.len() + 1..].trim())
    }

    /// The code of the refusal, if it is one.
    pub(crate) fn code(&self) -> Option<&str> {
        self.header("x-gigmcp-refusal")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection that speaks HTTP/1.1.
pub(crate) struct Wire<T> {
    pub(crate) stream: T,
    ahead: Vec<u8>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    pub(crate) fn new(stream: T) -> Self {
        Self { stream, ahead: Vec::new() }
    }

    /// What was read ahead, and the stream.
    pub(crate) fn into_parts(self) -> (Vec<u8>, T) {
        (self.ahead, self.stream)
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        send(&mut self.stream, bytes.as_ref(), Cut::Whole).await;
    }

    pub(crate) async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Reply {
        self.send(bytes).await;
        self.reply().await
    }

    /// One answer, after any interim ones.
    pub(crate) async fn reply(&mut self) -> Reply {
        loop {
            let reply = timeout(PATIENCE, self.one()).await.expect("no answer came");
            if !(100..200).contains(&reply.status) || reply.status == 101 {
                return reply;
            }
        }
    }

    /// One answer, interim or not.
    pub(crate) async fn one(&mut self) -> Reply {
        let mut reply = Reply::default();
        loop {
            let line = self.until(b"\r\n").await;
            reply.raw.extend_from_slice(&line);
            if line.is_empty() {
                return reply;
            }
            if line == b"\r\n" {
                break;
            }
        }
        reply.head = String::from_utf8_lossy(&reply.raw).into_owned();
        reply.status = reply.head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(999);
        let length = reply.header("content-length").and_then(|length| length.parse::<usize>().ok());
        let body = match length {
            _ if matches!(reply.status, 100..200 | 204 | 304) => Some(Vec::new()),
            Some(length) => self.exactly(length).await,
            None if reply.header("transfer-encoding").is_some() => self.chunked(&mut reply.raw).await,
            // The proxy never sends a body that only the end of the connection ends.
            None => Some(Vec::new()),
        };
        reply.whole = body.is_some();
        reply.body = body.unwrap_or_default();
        reply.raw.extend_from_slice(&reply.body);
        reply
    }

    /// Whether the other side closed the connection, with nothing more to read.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.ahead.is_empty()
            && matches!(timeout(PATIENCE, self.stream.read(&mut [0])).await.expect("it stays open"), Ok(0) | Err(_))
    }

    /// All there is until these bytes, with them; nothing if they do not come.
    pub(crate) async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|window| window == end) {
                return self.ahead.drain(..at + end.len()).collect();
            }
            if !self.more().await {
                return Vec::new();
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.ahead.len() < length {
            if !self.more().await {
                return None;
            }
        }
        Some(self.ahead.drain(..length).collect())
    }

    async fn chunked(&mut self, raw: &mut Vec<u8>) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n").await;
            let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).ok()?;
            if size == 0 {
                loop {
                    let trailer = self.until(b"\r\n").await;
                    raw.extend_from_slice(&trailer);
                    match trailer.as_slice() {
                        b"" => return None,
                        b"\r\n" => return Some(body),
                        _ => {}
                    }
                }
            }
            let chunk = self.exactly(size + 2).await?;
            body.extend_from_slice(&chunk[..size]);
        }
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("nothing comes") {
            Ok(length @ 1..) => {
                self.ahead.extend_from_slice(&buffer[..length]);
                true
            }
            Ok(0) | Err(_) => false,
        }
    }
}
