use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::fields::{self, line_length};
use super::scan::{Block, CRLF, Scan};
use crate::limits::Limits;
use crate::path::is_visible;
use crate::refusal::Refusal;
use crate::request::{BodyEnd, BodyLength, check_framing};

/// The head of a request, of which nothing was lost in reading: written out again, it is read the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Head {
    pub(crate) method: Method,
    /// In origin form, or absolute form; in authority form, or whatever else was sent, for `CONNECT` alone.
    pub(crate) target: Uri,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) length: BodyLength,
}

impl Head {
    /// Reads the head at the beginning of `bytes` and tells how long it is; `None` if more bytes are needed.
    ///
    /// The result depends on the bytes alone, not on how many came at once.
    #[cfg(test)]
    pub(crate) fn parse(bytes: &[u8], limits: &Limits) -> Result<Option<(Self, usize)>, Refusal> {
        let Some(end) = Self::scan(limits).end(bytes)? else { return Ok(None) };
        let head = Self::read(Bytes::copy_from_slice(&bytes[..end]), limits)?;
        Ok(Some((head, end)))
    }

    /// What finds the end of a head.
    pub(super) fn scan(limits: &Limits) -> Scan {
        Scan::new(Block::Head, limits.head_bytes)
    }

    /// Reads a head that was found to be whole.
    pub(super) fn read(block: Bytes, limits: &Limits) -> Result<Self, Refusal> {
        let start = if block.starts_with(b"\r\n") { CRLF } else { 0 };
        let line = line_length(&block[start..]).ok_or(Refusal::Malformed)?;
        let RequestLine { method, target, version } = RequestLine::split(&block[start..start + line])?;
        if target.len() > limits.target_bytes {
            return Err(Refusal::TargetTooLong);
        }
        let target = read_target(&method, block.slice_ref(target))?;
        let headers = fields::read(&block, start + line + CRLF, limits.header_fields)?;
        check_coding(&headers, version)?;
        let length = check_framing(&headers, version, BodyEnd::Open)?;
        if method != Method::CONNECT {
            check_host(&headers)?;
        }
        Ok(Self { method, target, version, headers, length })
    }

    /// Whether the client wants nothing more on this connection. HTTP/1.0 is not kept alive.
    pub(super) fn is_last(&self) -> bool {
        let close = |value: &HeaderValue| {
            value.as_bytes().split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
        };
        self.version != Version::HTTP_11 || self.headers.get_all(CONNECTION).iter().any(close)
    }

    /// Whether the client waits for a word of ours before it sends the body.
    pub(super) fn awaits_continue(&self) -> bool {
        let expected = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        self.version == Version::HTTP_11 && self.headers.get(EXPECT).is_some_and(expected)
    }

    /// Whether what follows may be meant for another protocol, so that it must not be read as HTTP (RFC 9931).
    pub(super) fn asks_for_takeover(&self) -> bool {
        self.method == Method::CONNECT || self.headers.contains_key(UPGRADE)
    }
}

/// `METHOD target HTTP/1.1`, with one blank each.
struct RequestLine<'a> {
    method: Method,
    target: &'a [u8],
    version: Version,
}

impl<'a> RequestLine<'a> {
    fn split(line: &'a [u8]) -> Result<Self, Refusal> {
        let blank = |byte: &u8| *byte == b' ';
        let (first, last) = match (line.iter().position(blank), line.iter().rposition(blank)) {
            (Some(first), Some(last)) if first < last => (first, last),
            _ => return Err(Refusal::Malformed),
        };
        let version = match &line[last + 1..] {
            b"HTTP/1.1" => Version::HTTP_11,
            b"HTTP/1.0" => Version::HTTP_10,
            _ => return Err(Refusal::Malformed),
        };
        let method = Method::from_bytes(&line[..first]).map_err(|_| Refusal::Malformed)?;
        // A blank within the target is refused with it.
        Ok(Self { method, target: &line[first + 1..last], version })
    }
}

/// The target, if it stands as it would be written by everybody: `http::Uri` drops a fragment and takes bytes that others
/// escape, so the bytes are looked at before.
fn read_target(method: &Method, target: Bytes) -> Result<Uri, Refusal> {
    let connect = *method == Method::CONNECT;
    let refusal = if connect { Refusal::HostNotCanonical } else { Refusal::TargetNotCanonical };
    if target.is_empty() || !std::str::from_utf8(&target).is_ok_and(is_visible) {
        return Err(refusal);
    }
    if connect {
        return Uri::from_maybe_shared(target).map_err(|_| Refusal::ConnectTarget);
    }
    if target.starts_with(b"/") {
        return PathAndQuery::from_maybe_shared(target).map(Uri::from).map_err(|_| refusal);
    }
    let uri = Uri::from_maybe_shared(target).map_err(|_| refusal)?;
    // `http::Uri` also takes `://host/`.
    let scheme = uri.scheme_str().unwrap_or_default();
    if !scheme.is_empty() && uri.authority().is_some() { Ok(uri) } else { Err(refusal) }
}

/// The one coding is `chunked`. Others that exist are told apart, so that a program learns what it asked for.
fn check_coding(headers: &HeaderMap, version: Version) -> Result<(), Refusal> {
    let Some(coding) = headers.get(TRANSFER_ENCODING).filter(|_| !headers.contains_key(CONTENT_LENGTH)) else {
        return Ok(());
    };
    let known = |token: &[u8]| CODINGS.iter().any(|known| known.eq_ignore_ascii_case(token.trim_ascii()));
    if version == Version::HTTP_11 && coding.as_bytes().split(|byte| *byte == b',').any(known) {
        return Err(Refusal::TransferCoding);
    }
    Ok(())
}

/// Exactly one `Host` (RFC 9112, section 3.2). What it names is judged by whoever knows the destination.
fn check_host(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if !host.is_empty() => Ok(()),
        _ => Err(Refusal::HostNotCanonical),
    }
}

/// Transfer codings that are registered, or were, or are used.
const CODINGS: &[&[u8]] = &[b"br", b"compress", b"deflate", b"gzip", b"identity", b"x-compress", b"x-gzip", b"zstd"];

#[cfg(test)]
mod tests;
