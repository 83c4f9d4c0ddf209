use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::coding::Unreadable;

/// Where the messages of a gRPC body end. They carry any bytes, and no blank or line end tells that one is complete; the
/// reader of a stream waits for each.
pub(crate) struct Messages {
    prefix: Vec<u8>,
    /// What is missing of the message whose prefix was read.
    left: u64,
}

impl Messages {
    /// For a body with these headers; `None` if it is not gRPC's.
    pub(crate) fn for_content(headers: &HeaderMap) -> Option<Self> {
        let kind = headers.get(CONTENT_TYPE)?.as_bytes();
        let is_grpc = kind.get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC));
        // `grpc-web-text` is base64 of all this.
        let framed = is_grpc && !kind.to_ascii_lowercase().starts_with(b"application/grpc-web-text");
        framed.then(|| Self { prefix: Vec::with_capacity(PREFIX), left: 0 })
    }

    /// Takes the next bytes off `chunk`: to the end of a message, or all there are. Says whether a message ended.
    ///
    /// # Errors
    /// [`Unreadable::Unknown`] if a message is compressed, by whatever was agreed on beside HTTP.
    pub(crate) fn next(&mut self, chunk: &mut Bytes) -> Result<(Bytes, End), Unreadable> {
        let whole = chunk.clone();
        while chunk.has_remaining() && self.prefix.len() < PREFIX {
            self.prefix.push(chunk.get_u8());
            if let [compressed, a, b, c, d] = self.prefix[..] {
                // The highest bit marks the trailers of gRPC-Web.
                if compressed & 0x7f != 0 {
                    return Err(Unreadable::Unknown);
                }
                self.left = u32::from_be_bytes([a, b, c, d]).into();
            }
        }
        let taken = self.left.min(chunk.len() as u64);
        chunk.advance(taken as usize);
        self.left -= taken;
        let ended = self.prefix.len() == PREFIX && self.left == 0;
        if ended {
            self.prefix.clear();
        }
        let read = whole.len() - chunk.len();
        Ok((whole.slice(..read), if ended { End::OfMessage } else { End::Open }))
    }
}

/// Whether the messages of a request with these headers are as they are, and not compressed one by one.
pub(crate) fn are_readable(headers: &HeaderMap) -> bool {
    headers.get_all("grpc-encoding").iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Whether a message is complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    OfMessage,
    Open,
}

const GRPC: &[u8] = b"application/grpc";
/// Whether it is compressed, and its length.
const PREFIX: usize = 5;

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
    fn only_grpc_has_messages() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("Application/GRPC+json; charset=utf-8", true),
            ("application/grpc-web", true),
            ("application/grpc-web-text", false),
            ("application/json", false),
            ("text/event-stream", false),
        ] {
            assert_eq!(messages(kind).is_some(), expected, "{kind}");
        }
    }
}
