use std::fmt::Write as _;
use std::io;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method, StatusCode, Version, response};
use http_body::Body as _;

use super::output::Output;
use crate::body::Body;

/// How the end of an answer's body is told. Ours to choose: nothing an upstream said about it is passed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// There is no body, whatever the headers say (RFC 9112, section 6.3).
    None,
    /// So many bytes are still to come.
    Length(u64),
    Chunked,
    /// The end of the connection is the end of the body. For HTTP/1.0 alone.
    Close,
}

/// Whether the connection lives on behind an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    Request,
    Close,
    /// Another protocol begins where the head ends.
    Takeover,
}

impl Framing {
    /// For the answer to a request with this method and version; `None` as method if the request could not be read.
    pub(super) fn of(head: &response::Parts, body: &Body, method: Option<&Method>, version: Version) -> Self {
        let bodiless = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if method == Some(&Method::HEAD) || bodiless || head.status.is_informational() {
            return Self::None;
        }
        match body.size_hint().exact().or_else(|| declared(&head.headers)) {
            Some(length) => Self::Length(length),
            None if version == Version::HTTP_11 => Self::Chunked,
            None => Self::Close,
        }
    }

    /// Writes a piece of the body. An error if it is more than the head promised.
    pub(super) fn data(&mut self, output: &mut Output, data: Bytes) -> io::Result<()> {
        match self {
            // An empty chunk would be the last.
            _ if data.is_empty() => {}
            Self::None => {}
            Self::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
                output.push(data);
            }
            Self::Chunked => {
                write_infallibly(output.tail(), format_args!("{:x}\r\n", data.len()));
                output.push(data);
                output.tail().put_slice(LINE_END);
            }
            Self::Close => output.push(data),
        }
        Ok(())
    }

    /// Writes the end of the body. An error if it is less than the head promised.
    pub(super) fn end(&mut self, output: &mut Output, trailers: Option<&HeaderMap>) -> io::Result<()> {
        match self {
            Self::Length(1..) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Self::Chunked => {
                output.tail().put_slice(b"0\r\n");
                fields(output.tail(), trailers.into_iter().flatten().filter(|(name, _)| !is_framing(name)));
                output.tail().put_slice(LINE_END);
            }
            Self::None | Self::Length(0) | Self::Close => {}
        }
        Ok(())
    }
}

/// Writes the head of an answer: our version and reason, the headers, our framing.
pub(super) fn head(output: &mut BytesMut, head: &response::Parts, framing: Framing, next: Next) {
    let reason = head.status.canonical_reason().unwrap_or_default();
    write_infallibly(output, format_args!("HTTP/1.1 {} {reason}\r\n", head.status.as_u16()));
    if next == Next::Takeover {
        fields(output, head.headers.iter().filter(|(name, _)| !is_framing(name)));
        return output.put_slice(LINE_END);
    }
    fields(output, head.headers.iter().filter(|(name, _)| !is_framing(name) && *name != CONNECTION));
    match (framing, declared(&head.headers)) {
        (Framing::Length(length), _) => write_infallibly(output, format_args!("content-length: {length}\r\n")),
        (Framing::Chunked, _) => output.put_slice(b"transfer-encoding: chunked\r\n"),
        // What a GET would have brought (RFC 9110, section 8.6).
        (Framing::None, Some(length)) if head.status != StatusCode::NO_CONTENT => {
            write_infallibly(output, format_args!("content-length: {length}\r\n"));
        }
        (Framing::None | Framing::Close, _) => {}
    }
    if next == Next::Close {
        output.put_slice(b"connection: close\r\n");
    }
    output.put_slice(LINE_END);
}

/// The length that the headers tell, if it is one.
fn declared(headers: &HeaderMap) -> Option<u64> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(length), None) = (lengths.next(), lengths.next()) else { return None };
    let digits = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// A `HeaderValue` holds no line break, and a `HeaderName` is a token; there is nothing left to check.
fn fields<'a>(output: &mut BytesMut, fields: impl IntoIterator<Item = (&'a HeaderName, &'a http::HeaderValue)>) {
    for (name, value) in fields {
        output.reserve(name.as_str().len() + value.len() + 4);
        output.put_slice(name.as_str().as_bytes());
        output.put_slice(b": ");
        output.put_slice(value.as_bytes());
        output.put_slice(LINE_END);
    }
}

fn is_framing(name: &HeaderName) -> bool {
    name == CONTENT_LENGTH || name == TRANSFER_ENCODING
}

fn write_infallibly(output: &mut BytesMut, text: std::fmt::Arguments<'_>) {
    output.write_fmt(text).expect("a buffer grows");
}

pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const LINE_END: &[u8] = b"\r\n";
