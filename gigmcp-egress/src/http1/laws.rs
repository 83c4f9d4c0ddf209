//! What the fuzzer holds the readers of HTTP/1.1 to.

use bytes::{Bytes, BytesMut};

use super::body::{Decoder, Piece};
use super::head::Head;
use crate::fuzzing::pieces::Pieces;
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::request::BodyLength;

/// A head is read the same however it was cut, whatever follows it, and when it is written out again.
pub fn request_head(input: &[u8]) {
    let Some(pieces) = Pieces::of(input) else { return };
    let (bytes, limits) = (pieces.template(), limits());
    let whole = read(&[bytes], &limits);
    assert_eq!(read(&pieces.cut(bytes), &limits), whole, "the same for every cut");
    let Ok(Some((head, end))) = whole else { return };
    assert!(end <= bytes.len().min(limits.head_bytes));
    assert_eq!(read(&[&bytes[..end]], &limits), Ok(Some((head.clone(), end))), "what follows does not matter");
    let written = write(&head);
    // Blanks behind colons make it longer, and so does the path of a URL that lacks it.
    let roomy =
        Limits { head_bytes: written.len().max(limits.head_bytes), target_bytes: limits.target_bytes + 1, ..limits };
    let Ok(Some((again, length))) = read(&[&written], &roomy) else { panic!("{}", written.escape_ascii()) };
    assert_eq!((&again, length), (&head, written.len()));
    // Nothing was repaired but blanks around values: the first line is what came. A whole URL may lack its path.
    let line = |bytes: &[u8]| bytes.split(|byte| *byte == b'\r').next().map(<[u8]>::to_vec);
    let came = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    if head.target.scheme().is_none() {
        assert_eq!(line(&written), line(came), "{}", came.escape_ascii());
    }
}

/// A chunked body ends where a plain reader has its end, holds the same, and nothing of what follows is touched, however it
/// was cut.
pub fn chunked(input: &[u8]) {
    let Some(pieces) = Pieces::of(input) else { return };
    let bytes = pieces.template();
    let whole = decode(&[bytes]);
    assert_eq!(decode(&pieces.cut(bytes)), whole, "the same for every cut of {}", bytes.escape_ascii());
    if let Outcome { end: End::At(end), data, .. } = &whole {
        assert_eq!(plain(&bytes[..*end]).as_ref(), Some(data), "{}", bytes[..*end].escape_ascii());
        assert_eq!(decode(&[&bytes[..*end]]), whole, "what follows does not matter");
    }
}

/// Reads one head, as a connection does; gives its length.
#[cfg(test)]
pub(crate) fn read_head(bytes: &[u8]) -> Option<usize> {
    read(&[bytes], &Limits::default()).ok().flatten().map(|(_, length)| length)
}

type Read = Result<Option<(Head, usize)>, Refusal>;

/// Reads a head of which piece after piece comes.
fn read(pieces: &[&[u8]], limits: &Limits) -> Read {
    let (mut scan, mut came) = (Head::scan(limits), Vec::new());
    for piece in pieces {
        came.extend_from_slice(piece);
        if let Some(end) = scan.end(&came)? {
            return Head::read(Bytes::copy_from_slice(&came[..end]), limits).map(|head| Some((head, end)));
        }
    }
    Ok(None)
}

fn write(head: &Head) -> Vec<u8> {
    let mut text = format!("{} {} {:?}\r\n", head.method, head.target, head.version).into_bytes();
    for (name, value) in &head.headers {
        text.extend_from_slice(name.as_ref());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text
}

#[derive(Debug, Eq, PartialEq)]
struct Outcome {
    data: Vec<u8>,
    trailers: usize,
    end: End,
}

#[derive(Debug, Eq, PartialEq)]
enum End {
    At(usize),
    Refused(Refusal),
    Missing,
}

fn decode(pieces: &[&[u8]]) -> Outcome {
    let (mut decoder, mut buffer, mut came) = (Decoder::new(BodyLength::Chunked, &limits()), BytesMut::new(), 0);
    let mut outcome = Outcome { data: Vec::new(), trailers: 0, end: End::Missing };
    for piece in pieces {
        buffer.extend_from_slice(piece);
        came += piece.len();
        loop {
            match decoder.cut(&mut buffer) {
                Ok(None) => break,
                Ok(Some(Piece::Data(data))) => {
                    assert!(!data.is_empty());
                    outcome.data.extend_from_slice(&data);
                }
                Ok(Some(Piece::Trailers(trailers))) => outcome.trailers += trailers.len(),
                Ok(Some(Piece::End)) => {
                    outcome.end = End::At(came - buffer.len());
                    return outcome;
                }
                Err(refusal) => {
                    outcome.end = End::Refused(refusal);
                    return outcome;
                }
            }
        }
    }
    outcome
}

/// The data of a whole chunked body, as RFC 9112, section 7.1 has it without extensions.
fn plain(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let line = text.windows(2).position(|pair| pair == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&text[..line]).ok()?, 16).ok()?;
        text = &text[line + 2..];
        if size == 0 {
            // Trailers, each a line, and an empty one.
            return (text == b"\r\n" || text.ends_with(b"\r\n\r\n")).then_some(data);
        }
        data.extend_from_slice(text.get(..size)?);
        text = text[size..].strip_prefix(b"\r\n")?;
    }
}

/// Small ones, so that inputs reach them.
fn limits() -> Limits {
    Limits { head_bytes: 512, header_fields: 8, target_bytes: 128, ..Limits::default() }
}
