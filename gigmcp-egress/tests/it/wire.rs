//! HTTP as bytes, so that a test can send what no client library would.

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};

/// An answer, or the lack of one.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// 0 if the connection ended without an answer.
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// Whether the body ended as its framing promised.
    pub(crate) whole: bool,
    /// The sizes of its chunks, if it came in chunks.
    pub(crate) frames: Vec<usize>,
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
}

/// A connection that speaks HTTP/1.1.
pub(crate) struct Wire<T>(BufReader<T>);

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    pub(crate) fn new(stream: T) -> Self {
        Self(BufReader::new(stream))
    }

    pub(crate) fn into_inner(self) -> T {
        assert!(self.0.buffer().is_empty(), "nothing that was read is lost");
        self.0.into_inner()
    }

    /// What was read ahead, and the stream.
    pub(crate) fn into_parts(self) -> (Vec<u8>, T) {
        (self.0.buffer().to_vec(), self.0.into_inner())
    }

    pub(crate) async fn send(&mut self, request: impl AsRef<[u8]>) {
        // The other side may have closed already; reading tells.
        let _ = self.0.write_all(request.as_ref()).await;
        let _ = self.0.flush().await;
    }

    pub(crate) async fn ask(&mut self, request: impl AsRef<[u8]>) -> Reply {
        self.send(request).await;
        self.reply().await
    }

    pub(crate) async fn reply(&mut self) -> Reply {
        let mut reply = self.head().await;
        if reply.status == 0 {
            return reply;
        }
        let length = reply.header("content-length").map(|length| length.parse::<usize>().unwrap());
        let body = match length {
            Some(length) => self.exactly(length).await,
            None if reply.header("transfer-encoding").is_some() => self.chunked(&mut reply.frames).await,
            None => Some(Vec::new()),
        };
        reply.whole = body.is_some();
        reply.body = String::from_utf8(body.unwrap_or_default()).unwrap();
        reply
    }

    /// The head of a request, seen from the other side; empty if the connection ended.
    pub(crate) async fn request(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !matches!(self.0.read_line(&mut head).await, Ok(1..)) {
                return String::new();
            }
        }
        head
    }

    /// Reads until these bytes have come.
    pub(crate) async fn until(&mut self, expected: &str) {
        let mut seen = Vec::new();
        while !seen.ends_with(expected.as_bytes()) {
            seen.push(self.0.read_u8().await.expect("the connection ended before the bytes came"));
        }
    }

    /// Whether the other side closed the connection.
    pub(crate) async fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]).await, Ok(0) | Err(_))
    }

    async fn head(&mut self) -> Reply {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !matches!(self.0.read_line(&mut head).await, Ok(1..)) {
                return Reply::default();
            }
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head, ..Reply::default() }
    }

    async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.ok().map(|_| body)
    }

    async fn chunked(&mut self, frames: &mut Vec<usize>) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await.ok()?;
            let size = usize::from_str_radix(line.trim(), 16).ok()?;
            let chunk = self.exactly(size + 2).await?;
            body.extend_from_slice(&chunk[..size]);
            frames.push(size);
            if size == 0 {
                return Some(body);
            }
        }
    }
}
