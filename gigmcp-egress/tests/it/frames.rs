//! HTTP/2 as frames, so that a test can send what no client library would.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// What a stream or a connection came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// An answer with this status.
    Answer(u16),
    /// `RST_STREAM` with this code.
    Reset(u32),
    /// `GOAWAY` with this code.
    GoAway(u32),
    /// The connection closed.
    Closed,
}

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A connection that speaks frames.
pub(crate) struct Frames<T>(pub(crate) T);

impl<T: AsyncRead + AsyncWrite + Unpin> Frames<T> {
    /// A client's beginning.
    pub(crate) async fn client(io: T) -> Self {
        Self::client_with(io, &[]).await
    }

    /// The same, with settings.
    pub(crate) async fn client_with(io: T, settings: &[u8]) -> Self {
        let mut frames = Self(io);
        let _ = frames.0.write_all(PREFACE).await;
        frames.send(SETTINGS, 0, 0, settings).await;
        frames
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let frame = [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
        // The other side may have closed already; reading tells.
        let _ = self.0.write_all(&frame).await;
        let _ = self.0.flush().await;
    }

    /// A request without a body.
    pub(crate) async fn request(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields)).await;
    }

    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, _, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind, stream: u32::from_be_bytes(stream), payload })
    }

    /// The next frame of a kind.
    pub(crate) async fn find(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection ended before the frame came");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// What becomes of a stream, or of the connection before.
    pub(crate) async fn end(&mut self, stream: u32) -> End {
        while let Some(frame) = self.next().await {
            let number = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
            match frame.kind {
                HEADERS if frame.stream == stream => return End::Answer(status(&frame.payload)),
                RST_STREAM if frame.stream == stream => return End::Reset(number(0)),
                GOAWAY => return End::GoAway(number(4)),
                _ => {}
            }
        }
        End::Closed
    }
}

/// Fields as plain literals.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0], &*string(name), &*string(value)].concat()
}

/// A string without compression (RFC 7541, section 5.2).
pub(crate) fn string(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    match text.len() {
        short @ ..127 => bytes.push(u8::try_from(short).unwrap()),
        long => {
            bytes.push(127);
            let mut left = long - 127;
            while left >= 128 {
                bytes.push(u8::try_from(left % 128).unwrap() | 128);
                left /= 128;
            }
            bytes.push(u8::try_from(left).unwrap());
        }
    }
    [&*bytes, text.as_bytes()].concat()
}

/// The status that begins an answer's block: from the static table, or three digits as our server compresses them.
fn status(block: &[u8]) -> u16 {
    match block {
        [0x48, 0x82, 0x08, 0x01, ..] => 100,
        [0x88, ..] => 200,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        [0x48, 0x83, 0x68, 0x0c, 0xff, ..] => 403,
        [0x48, 0x82, 0x68, 0x41, ..] => 421,
        [0x48, 0x83, 0x69, 0x90, 0xff, ..] => 431,
        [0x48, 0x82, 0x6c, 0x01, ..] => 501,
        [0x48, 0x82, 0x6c, 0x02, ..] => 502,
        other => panic!("a status this test does not know: {:x?}", &other[..5.min(other.len())]),
    }
}
