//! HTTP/2 as bytes, so that a test can send what no library would (RFC 9113, RFC 7541).

use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::row::Ask;
use crate::stage::{Sandbox, Tls};
use crate::wire::{self, Cut, PATIENCE};

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
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// What a connection begins with, and settings that keep answers simple: no push, no dynamic table.
pub(crate) fn preface() -> Vec<u8> {
    let settings = [[0, 2, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]].concat();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &settings)].concat()
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals that touch no table.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields = fields.iter().map(|(name, value)| field(name.as_bytes(), value.as_bytes()));
    fields.collect::<Vec<_>>().concat()
}

pub(crate) fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0][..], &string(name), &string(value)].concat()
}

fn string(text: &[u8]) -> Vec<u8> {
    [number(text.len(), 7, 0), text.to_vec()].concat()
}

/// A number with so many bits in its first byte.
pub(crate) fn number(mut value: usize, bits: u8, first: u8) -> Vec<u8> {
    let most = (1 << bits) - 1;
    if value < most {
        return vec![first | u8::try_from(value).unwrap()];
    }
    let mut bytes = vec![first | u8::try_from(most).unwrap()];
    value -= most;
    while value >= 128 {
        bytes.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// A request without a body.
pub(crate) fn headers(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(fields))
}

/// A request whose body follows.
pub(crate) fn open_headers(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(fields))
}

impl Ask {
    /// As HTTP/2 has it, its body in frames of this many bytes.
    pub(crate) fn frames(&self, stream: u32, host: &str, placeholder: &str, piece: usize) -> Vec<u8> {
        let filled = |text: &str| {
            let filled = crate::row::fill(text.replace("{L}", "{l}").as_bytes(), host, placeholder);
            String::from_utf8(filled).unwrap().replace("{l}", "{L}")
        };
        let body = crate::row::fill(&self.body, host, placeholder);
        let (method, target, authority) = (filled(&self.method), filled(&self.target), filled(&self.authority));
        let length = body.len().to_string();
        let mut fields = vec![
            (":method".to_owned(), method),
            (":scheme".to_owned(), "https".to_owned()),
            (":authority".to_owned(), authority),
            (":path".to_owned(), target),
        ];
        let spelled = self.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), filled(value)));
        fields.extend(spelled.map(|(name, value)| (name, value.replace("{L}", &length))));
        if !body.is_empty() {
            fields.push(("content-length".to_owned(), length));
        }
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if body.is_empty() {
            return headers(stream, &fields);
        }
        let mut bytes = open_headers(stream, &fields);
        let pieces = body.chunks(piece).count();
        for (index, piece) in body.chunks(piece).enumerate() {
            let flags = if index + 1 == pieces { END_STREAM } else { 0 };
            bytes.extend(frame(DATA, flags, stream, piece));
        }
        bytes
    }
}

/// What came of a stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Heard {
    Status(u16, Vec<u8>),
    Reset(u32),
    GoAway(u32),
    Closed,
}

/// A connection of HTTP/2.
pub(crate) struct H2 {
    pub(crate) stream: Tls,
    ahead: Vec<u8>,
    next: u32,
    /// Everything that was read, for searching.
    pub(crate) raw: Vec<u8>,
}

/// A frame as it came.
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl H2 {
    /// `None` if HTTP/2 is not spoken.
    pub(crate) async fn open(sandbox: &Sandbox, host: &str) -> Option<Self> {
        let mut stream = sandbox.h2(host).await.ok()?;
        (stream.get_ref().1.alpn_protocol() == Some(b"h2")).then_some(())?;
        wire::send(&mut stream, &preface(), Cut::Whole).await;
        Some(Self { stream, ahead: Vec::new(), next: 1, raw: Vec::new() })
    }

    /// The number of the next stream.
    pub(crate) fn next(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    pub(crate) async fn send(&mut self, bytes: &[u8], cut: Cut) {
        wire::send(&mut self.stream, bytes, cut).await;
    }

    /// What comes of a stream. An end of the connection is one of all its streams.
    pub(crate) async fn hear(&mut self, stream: u32) -> Heard {
        let mut status = 0;
        let mut body = Vec::new();
        loop {
            let Some(frame) = self.frame().await else {
                return Heard::Closed;
            };
            match frame.kind {
                HEADERS if frame.stream == stream => {
                    if status == 0 {
                        status = status_of(&frame.payload);
                    }
                    if (100..200).contains(&status) {
                        status = 0;
                    }
                }
                DATA if frame.stream == stream => body.extend_from_slice(&frame.payload),
                RST_STREAM if frame.stream == stream => {
                    // An answer may be followed by the advice not to send the rest of the request.
                    return if status == 0 { Heard::Reset(code(&frame.payload)) } else { Heard::Status(status, body) };
                }
                GOAWAY => match code(&frame.payload[4..]) {
                    0 => {}
                    code => return Heard::GoAway(code),
                },
                _ => {}
            }
            if frame.stream == stream && frame.kind <= HEADERS && frame.flags & END_STREAM != 0 && status != 0 {
                return Heard::Status(status, body);
            }
        }
    }

    /// The next frame; settings and pings are acknowledged.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            if self.ahead.len() >= 9 {
                let length =
                    usize::from(self.ahead[0]) << 16 | usize::from(self.ahead[1]) << 8 | usize::from(self.ahead[2]);
                if self.ahead.len() >= 9 + length {
                    let bytes: Vec<u8> = self.ahead.drain(..9 + length).collect();
                    let stream = code(&bytes[5..]) & 0x7fff_ffff;
                    let frame = Frame { kind: bytes[3], flags: bytes[4], stream, payload: bytes[9..].to_vec() };
                    if matches!(frame.kind, SETTINGS | PING) && frame.flags & ACK == 0 {
                        let payload = if frame.kind == PING { &frame.payload[..] } else { &[] };
                        let ack = self::frame(frame.kind, ACK, 0, payload);
                        self.send(&ack, Cut::Whole).await;
                    }
                    return Some(frame);
                }
            }
            let mut buffer = [0; 16 << 10];
            match timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("no frame came") {
                Ok(length @ 1..) => {
                    self.ahead.extend_from_slice(&buffer[..length]);
                    self.raw.extend_from_slice(&buffer[..length]);
                }
                Ok(0) | Err(_) => return None,
            }
        }
    }
}

fn code(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

/// The status of a field block, which a server writes first: from the static table, or as a literal with or without the
/// code of Huffman, of which only the digits are needed.
fn status_of(block: &[u8]) -> u16 {
    let mut block = block;
    while block[0] & 0xe0 == 0x20 {
        block = &block[1..]; // the size of the dynamic table
    }
    if block[0] & 0x80 != 0 {
        return [200, 204, 206, 304, 400, 404, 500][usize::from(block[0] & 0x7f) - 8];
    }
    assert!([0x48, 0x08, 0x18].contains(&block[0]), "a status comes first");
    let length = usize::from(block[1] & 0x7f);
    let value = &block[2..2 + length];
    if block[1] & 0x80 == 0 {
        return String::from_utf8_lossy(value).parse().unwrap();
    }
    let bits: Vec<u8> = value.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let mut at = 0;
    let mut take = |count: usize| {
        let taken = bits[at..at + count].iter().fold(0, |value, bit| value << 1 | u16::from(*bit));
        at += count;
        taken
    };
    (0..3).fold(0, |status, _| {
        let five = take(5);
        let digit = if five < 3 { five } else { (five << 1 | take(1)) - 0x19 + 3 };
        status * 10 + digit
    })
}

#[test]
fn a_status_is_read_in_every_spelling() {
    for (block, expected) in [
        (&[0x88][..], 200),
        (&[0x20, 0x8c], 400),
        (&[0x48, 0x82, 0x64, 0x02], 302), // RFC 7541, appendix C.6.1
        (&[0x08, 0x03, b'4', b'2', b'1'], 421),
    ] {
        assert_eq!(status_of(block), expected, "{block:?}");
    }
}
