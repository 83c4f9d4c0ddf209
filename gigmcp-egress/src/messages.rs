use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::coding::Unreadable;

/// Where the messages of a body end that says so beforehand, as gRPC's do. They carry any bytes, and no blank or line end tells
/// that one is complete; the reader of a stream waits for each.
pub(crate) struct Messages {
    framing: Framing,
    prefix: Vec<u8>,
    /// What is missing of the message whose prefix was read.
    left: u64,
}

/// What stands before a message.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Framing {
    /// A byte of flags, and the length. The highest bit marks the trailers of gRPC-Web.
    Grpc,
    /// The same; the second bit marks the last message. <https://connectrpc.com/docs/protocol#streaming-response>
    Connect,
    /// The length of the message with its prefix. <https://smithy.io/2.0/aws/amazon-eventstream.html>
    AmazonEvents,
}

impl Messages {
    /// For a body with these headers; `None` if nothing in it tells where a message ends.
    pub(crate) fn for_content(headers: &HeaderMap) -> Option<Self> {
        let kind = headers.get(CONTENT_TYPE)?.as_bytes().to_ascii_lowercase();
        // Base64 of all this, in which nothing ends before the next message begins.
        if kind.starts_with(b"application/grpc-web-text") {
            return None;
        }
        let (_, framing) = KINDS.iter().find(|(known, _)| kind.starts_with(known))?;
        Some(Self { framing: *framing, prefix: Vec::with_capacity(MAX_PREFIX), left: 0 })
    }

    /// Takes the next bytes off `chunk`: to the end of a message, or all there are. Says whether a message ended.
    ///
    /// # Errors
    /// [`Unreadable::Unknown`] if a message is compressed, by whatever was agreed on beside HTTP.
    pub(crate) fn next(&mut self, chunk: &mut Bytes) -> Result<(Bytes, End), Unreadable> {
        let whole = chunk.clone();
        let prefix = self.framing.prefix();
        while chunk.has_remaining() && self.prefix.len() < prefix {
            self.prefix.push(chunk.get_u8());
            if self.prefix.len() == prefix {
                self.left = self.framing.length(&self.prefix)?;
            }
        }
        let taken = self.left.min(chunk.len() as u64);
        chunk.advance(taken as usize);
        self.left -= taken;
        let ended = self.prefix.len() == prefix && self.left == 0;
        if ended {
            self.prefix.clear();
        }
        let read = whole.len() - chunk.len();
        Ok((whole.slice(..read), if ended { End::OfMessage } else { End::Open }))
    }
}

impl Framing {
    fn prefix(self) -> usize {
        match self {
            Self::Grpc | Self::Connect => MAX_PREFIX,
            Self::AmazonEvents => 4,
        }
    }

    /// How much follows this prefix.
    fn length(self, prefix: &[u8]) -> Result<u64, Unreadable> {
        let (flags, meant, length, counted) = match (self, prefix) {
            (Self::Grpc, [flags, length @ ..]) => (*flags, 0x80, length, 0),
            (Self::Connect, [flags, length @ ..]) => (*flags, 0x02, length, 0),
            (Self::AmazonEvents, length) => (0, 0, length, length.len() as u64),
            (Self::Grpc | Self::Connect, []) => return Err(Unreadable::Unknown),
        };
        // Any other flag, the lowest above all, says that the message is not what it looks like.
        if flags & !meant != 0 {
            return Err(Unreadable::Unknown);
        }
        let length = length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        // Four bytes of anything are a length; those of a message of Amazon's have bounds.
        if self == Self::AmazonEvents && !AMAZON_BYTES.contains(&length) {
            return Err(Unreadable::Unknown);
        }
        length.checked_sub(counted).ok_or(Unreadable::Unknown)
    }
}

/// Whether the messages of a request with these headers are as they are, and not compressed one by one.
pub(crate) fn are_readable(headers: &HeaderMap) -> bool {
    let codings = ["grpc-encoding", "connect-content-encoding"].into_iter().flat_map(|name| headers.get_all(name));
    codings.into_iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Whether a message is complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    OfMessage,
    Open,
}

const KINDS: &[(&[u8], Framing)] = &[
    (b"application/grpc", Framing::Grpc),
    (b"application/connect+", Framing::Connect),
    (b"application/vnd.amazon.eventstream", Framing::AmazonEvents),
];
const MAX_PREFIX: usize = 5;
/// A prelude and two checksums at least, and what their services take at most.
const AMAZON_BYTES: std::ops::RangeInclusive<u64> = 16..=24 << 20;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    fn messages(kind: &str) -> Option<Messages> {
        Messages::for_content(&HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]))
    }

    #[test]
    fn a_message_ends_where_its_length_says_however_it_is_cut() {
        let body = Bytes::from_static(b"\0\0\0\0\x03one\0\0\0\0\0\0\0\0\0\x05three\0\0");
        for size in 1..=body.len() {
            let (mut messages, mut at, mut ends) = (messages("application/grpc+proto").unwrap(), 0, Vec::new());
            for chunk in body.chunks(size) {
                let mut chunk = Bytes::copy_from_slice(chunk);
                while !chunk.is_empty() {
                    let (read, end) = messages.next(&mut chunk).unwrap();
                    assert_eq!(read, body[at..at + read.len()], "size {size}");
                    at += read.len();
                    if end == End::OfMessage {
                        ends.push(at);
                    }
                }
            }
            assert_eq!((at, ends), (body.len(), vec![8, 13, 23]), "size {size}");
        }
    }

    #[test]
    fn a_compressed_message_is_not_read() {
        let next = |bytes: &'static [u8]| messages("application/grpc").unwrap().next(&mut Bytes::from_static(bytes));
        assert_eq!(next(b"\x01\0\0\0\x01x"), Err(Unreadable::Unknown));
        assert!(next(b"\0\0\0\0\x01x").is_ok()); // twin
    }

    #[test]
    fn messages_of_other_protocols_end_too() {
        let events = b"\0\0\0\x10eventstream!\0\0\0\x10event-second";
        for (kind, body, ends) in [
            ("application/connect+json", &b"\0\0\0\0\x02{}\x02\0\0\0\x02{}"[..], vec![7, 14]),
            ("application/connect+proto", b"\0\0\0\0\x01x\x02\0\0\0\0", vec![6, 11]),
            ("application/vnd.amazon.eventstream", events, vec![16, 32]),
        ] {
            for size in 1..=body.len() {
                let (mut messages, mut at, mut found) = (messages(kind).unwrap(), 0, Vec::new());
                for chunk in body.chunks(size) {
                    let mut chunk = Bytes::copy_from_slice(chunk);
                    while !chunk.is_empty() {
                        let (read, end) = messages.next(&mut chunk).unwrap();
                        at += read.len();
                        found.extend((end == End::OfMessage).then_some(at));
                    }
                }
                assert_eq!(found, ends, "{kind}, size {size}");
            }
        }
        for (kind, body) in [
            ("application/connect+json", &b"\x01\0\0\0\x01x"[..]),
            ("application/connect+json", b"\x03\0\0\0\x01x"),
            ("application/connect+json", b"\x80\0\0\0\x01x"),
            ("application/grpc", b"\x02\0\0\0\x01x"),
            ("application/vnd.amazon.eventstream", b"\0\0\0\x03x"),
            ("application/vnd.amazon.eventstream", b"\0\0\0\x0fx"),
            ("application/vnd.amazon.eventstream", b"text"),
        ] {
            assert_eq!(messages(kind).unwrap().next(&mut Bytes::from_static(body)), Err(Unreadable::Unknown), "{kind}");
        }
    }

    #[test]
    fn a_request_says_whether_its_messages_are_compressed() {
        for (name, value, expected) in [
            ("grpc-encoding", "gzip", false),
            ("grpc-encoding", "identity", true),
            ("connect-content-encoding", "gzip", false),
            ("connect-content-encoding", "identity", true),
        ] {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            assert_eq!(are_readable(&headers), expected, "{name}: {value}");
        }
    }

    #[test]
    fn only_grpc_and_its_like_have_messages() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("Application/GRPC+json; charset=utf-8", true),
            ("application/grpc-web", true),
            ("application/grpc-web-text", false),
            ("application/connect+json", true),
            ("Application/Connect+Proto", true),
            ("application/connectivity", false),
            ("application/vnd.amazon.eventstream", true),
            ("application/json", false),
            ("text/event-stream", false),
        ] {
            assert_eq!(messages(kind).is_some(), expected, "{kind}");
        }
    }
}
