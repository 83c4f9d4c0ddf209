use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};

use super::fields;
use super::scan::{Block, CRLF, Scan};
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::request::BodyLength;

/// Cuts a body out of the bytes of a connection, and says exactly where it ends.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    max_trailer_bytes: usize,
    max_trailers: usize,
}

#[derive(Debug)]
enum State {
    /// So many bytes, and the body is over.
    Length(u64),
    /// At the line with the size of a chunk.
    Size,
    /// Within a chunk, so many bytes before its end.
    Chunk(u64),
    /// Behind the bytes of a chunk.
    ChunkEnd,
    /// Behind the last chunk.
    Trailers(Scan),
    Over,
}

/// What was cut.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    /// The body ended before, and nothing of what follows was touched.
    End,
}

impl Decoder {
    pub(super) fn new(length: BodyLength, limits: &Limits) -> Self {
        let state = match length {
            BodyLength::Known(0) => State::Over,
            BodyLength::Known(length) => State::Length(length),
            BodyLength::Chunked => State::Size,
        };
        Self { state, max_trailer_bytes: limits.head_bytes, max_trailers: limits.header_fields }
    }

    /// Whether the last byte of the body was cut.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Cuts the next piece; `None` if more bytes are needed. After a refusal nothing is known of the bytes that follow.
    pub(super) fn cut(&mut self, buffer: &mut BytesMut) -> Result<Option<Piece>, Refusal> {
        loop {
            match &mut self.state {
                State::Over => return Ok(Some(Piece::End)),
                State::Length(left) => {
                    let Some(data) = take(buffer, left) else { return Ok(None) };
                    if *left == 0 {
                        self.state = State::Over;
                    }
                    return Ok(Some(Piece::Data(data)));
                }
                State::Size => {
                    let Some((size, line)) = chunk_size(buffer)? else { return Ok(None) };
                    buffer.advance(line);
                    self.state = match size {
                        0 => State::Trailers(Scan::new(Block::Trailers, self.max_trailer_bytes)),
                        size => State::Chunk(size),
                    };
                }
                State::Chunk(left) => {
                    let Some(data) = take(buffer, left) else { return Ok(None) };
                    if *left == 0 {
                        self.state = State::ChunkEnd;
                    }
                    return Ok(Some(Piece::Data(data)));
                }
                State::ChunkEnd => {
                    if !LINE_END.starts_with(&buffer[..buffer.len().min(CRLF)]) {
                        return Err(Refusal::Framing);
                    }
                    if buffer.len() < CRLF {
                        return Ok(None);
                    }
                    buffer.advance(CRLF);
                    self.state = State::Size;
                }
                State::Trailers(scan) => {
                    let Some(end) = scan.end(buffer).map_err(in_trailers)? else { return Ok(None) };
                    let block = buffer.split_to(end).freeze();
                    let trailers = fields::read(&block, 0, self.max_trailers)?;
                    self.state = State::Over;
                    if [HOST, CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| trailers.contains_key(name)) {
                        return Err(Refusal::Framing);
                    }
                    return Ok(Some(if trailers.is_empty() { Piece::End } else { Piece::Trailers(trailers) }));
                }
            }
        }
    }
}

/// What is there of so many bytes, at least one.
fn take(buffer: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    let length = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= length as u64;
    (length > 0).then(|| buffer.split_to(length).freeze())
}

/// The size of a chunk and the length of its line: hexadecimal digits and CRLF. No extension: nobody needs one, and
/// programs disagree about where it ends.
fn chunk_size(bytes: &[u8]) -> Result<Option<(u64, usize)>, Refusal> {
    let mut size: u64 = 0;
    for (at, byte) in bytes.iter().enumerate() {
        match (char::from(*byte).to_digit(16), byte) {
            (Some(digit), _) if at < MAX_SIZE_DIGITS => size = size << 4 | u64::from(digit),
            (None, b'\r') if at > 0 => {
                return match bytes.get(at + 1) {
                    // Some programs count in signed numbers, or in few bits.
                    Some(b'\n') if size > MAX_CHUNK_BYTES => Err(Refusal::Framing),
                    Some(b'\n') => Ok(Some((size, at + CRLF))),
                    Some(_) => Err(Refusal::Framing),
                    None => Ok(None),
                };
            }
            _ => return Err(Refusal::Framing),
        }
    }
    Ok(None)
}

/// A broken line among the trailers leaves the end of the request in doubt.
fn in_trailers(refusal: Refusal) -> Refusal {
    if refusal == Refusal::Malformed { Refusal::Framing } else { refusal }
}

const LINE_END: &[u8] = b"\r\n";
const MAX_CHUNK_BYTES: u64 = 1 << 40;
const MAX_SIZE_DIGITS: usize = 16;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    /// Feeds the bytes in the given pieces; gives the body, the trailers, and what was left.
    fn decode(length: BodyLength, pieces: &[&[u8]]) -> Result<Option<(String, Vec<String>, String)>, Refusal> {
        let mut decoder = Decoder::new(length, &Limits::default());
        let (mut buffer, mut body, mut trailers) = (BytesMut::new(), Vec::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while !decoder.is_over() {
                match decoder.cut(&mut buffer)? {
                    Some(Piece::Data(data)) => body.extend_from_slice(&data),
                    Some(Piece::Trailers(fields)) => trailers.extend(fields.keys().map(ToString::to_string)),
                    Some(Piece::End) => {}
                    None => break,
                }
            }
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok(decoder.is_over().then(|| (text(&body), trailers, text(&buffer))))
    }

    /// The outcome, which must be the same whole, byte by byte, and split anywhere.
    fn outcome(length: BodyLength, bytes: &str) -> Result<Option<(String, Vec<String>, String)>, Refusal> {
        let bytes = bytes.as_bytes();
        let whole = decode(length, &[bytes]);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(length, &single), whole, "byte by byte: {bytes:?}");
        for at in 0..bytes.len() {
            assert_eq!(decode(length, &[&bytes[..at], &bytes[at..]]), whole, "split at {at}: {bytes:?}");
        }
        whole
    }

    #[test]
    fn chunks_are_read_strictly() {
        let done = |body: &str, trailers: &[&str], left: &str| {
            let trailers = trailers.iter().map(ToString::to_string).collect();
            Ok(Some((body.to_owned(), trailers, left.to_owned())))
        };
        let framing = || Err(Refusal::Framing);
        for (case, bytes, expected) in [
            ("one chunk", "5\r\nhello\r\n0\r\n\r\nGET", done("hello", &[], "GET")),
            ("two chunks, sizes in hex", "a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", {
                done("01234567890123456789a", &[], "")
            }),
            ("nothing in it", "0\r\n\r\n", done("", &[], "")),
            ("16 digits", "0000000000000001\r\na\r\n0\r\n\r\n", done("a", &[], "")),
            ("line ends within the data", "4\r\n\r\n\r\n\r\n0\r\n\r\n", done("\r\n\r\n", &[], "")),
            ("trailers", "0\r\nA: b\r\nC: d\r\n\r\nx", done("", &["a", "c"], "x")),
            ("cut before the end", "5\r\nhello\r\n0\r\n", Ok(None)),
            ("EGR-120 hexadecimal prefix", "0x5\r\nhello\r\n0\r\n\r\n", framing()),
            ("EGR-120 plus", "+5\r\nhello\r\n0\r\n\r\n", framing()),
            ("EGR-120 blank before", " 5\r\nhello\r\n0\r\n\r\n", framing()),
            ("EGR-120 blank behind", "5 \r\nhello\r\n0\r\n\r\n", framing()),
            ("EGR-120 empty", "\r\nhello\r\n0\r\n\r\n", framing()),
            ("EGR-120 17 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n", framing()),
            ("more than anybody has", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n", framing()),
            ("EGR-120 underscore", "5_0\r\nhello\r\n0\r\n\r\n", framing()),
            ("EGR-121 extension", "5;a=b\r\nhello\r\n0\r\n\r\n", framing()),
            ("EGR-121 quoted extension with LF", "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", framing()),
            ("EGR-121 extension of the last chunk", "0;a\r\n\r\n", framing()),
            ("EGR-122 no CRLF behind the data", "5\r\nhello0\r\n\r\n", framing()),
            ("EGR-122 one byte more", "5\r\nhellox\r\n0\r\n\r\n", framing()),
            ("EGR-122 LF behind the data", "5\r\nhello\n0\r\n\r\n", framing()),
            ("EGR-122 CR behind the data", "5\r\nhello\r0\r\n\r\n", framing()),
            ("EGR-118 LF behind the size", "5\nhello\r\n0\r\n\r\n", framing()),
            ("EGR-118 CR behind the size", "5\rhello\r\n0\r\n\r\n", framing()),
            ("LF behind the last chunk", "0\n\n", framing()),
            ("LF behind a trailer", "0\r\nA: b\n\r\n", framing()),
            ("folded trailer", "0\r\nA: b\r\n c\r\n\r\n", Err(Refusal::Header)),
            ("blank before the colon of a trailer", "0\r\nA : b\r\n\r\n", Err(Refusal::Header)),
            ("length as a trailer", "0\r\nContent-Length: 5\r\n\r\n", framing()),
        ] {
            assert_eq!(outcome(BodyLength::Chunked, bytes), expected, "{case}");
        }
    }

    #[test]
    fn a_known_length_is_that_many_bytes() {
        let done = |body: &str, left: &str| Ok(Some((body.to_owned(), Vec::new(), left.to_owned())));
        assert_eq!(outcome(BodyLength::Known(5), "helloGET"), done("hello", "GET"));
        assert_eq!(outcome(BodyLength::Known(5), "hell"), Ok(None));
        assert_eq!(decode(BodyLength::Known(0), &[b"GET"]), done("", "GET"));
    }

    #[test]
    fn trailers_are_bounded() {
        let fields = Limits::default().header_fields;
        let with = |fields: usize| format!("0\r\n{}\r\n", "A: b\r\n".repeat(fields));
        assert!(decode(BodyLength::Chunked, &[with(fields).as_bytes()]).is_ok());
        let refused = decode(BodyLength::Chunked, &[with(fields + 1).as_bytes()]);
        assert_eq!(refused, Err(Refusal::HeadTooLarge));
        let endless = format!("0\r\nA: {}", "b".repeat(Limits::default().head_bytes));
        assert_eq!(decode(BodyLength::Chunked, &[endless.as_bytes()]), Err(Refusal::HeadTooLarge));
    }
}
