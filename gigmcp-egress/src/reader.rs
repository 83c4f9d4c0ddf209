use bytes::{Bytes, BytesMut};
use http::Response;

use crate::answer;
use crate::authorize::Reading;
use crate::beside::Beside;
use crate::body::Body;
use crate::charset;
use crate::coding::{Decoder, Unreadable};
use crate::limits::Limits;
use crate::messages::{End, Messages};
use crate::refusal::Refusal;
use crate::scrub::{Scrubber, StreamScrub};
use crate::websocket::Handshake;

/// What the answer has to be like.
pub(crate) struct Expected {
    pub(crate) reading: Reading,
    pub(crate) head: bool,
    pub(crate) cookies: bool,
    pub(crate) websocket: Option<Handshake>,
}

/// How the body of an answer is read on its way.
#[derive(Default)]
pub(crate) struct Reader {
    /// Undoes the content coding.
    pub(crate) decoder: Option<Decoder>,
    pub(crate) scrub: Option<StreamScrub>,
    /// Each is given as soon as it is complete.
    pub(crate) messages: Option<Messages>,
    /// Where no credential goes, a coded body is passed on as it is once what it decodes to was searched.
    beside: Option<Beside>,
    /// For what is not the body.
    scrubber: Option<Scrubber>,
    /// Whether the answer may set some.
    pub(crate) cookies: bool,
}

impl Reader {
    /// What may be given of the answer by now, possibly nothing. Takes from `chunk` what it read; what is left comes next time,
    /// so that a little that decodes to a lot is given piece by piece.
    pub(crate) fn read(&mut self, chunk: &mut Bytes) -> Result<Bytes, Unreadable> {
        if let Some(beside) = &mut self.beside {
            return beside.read(chunk);
        }
        let Some(scrub) = &mut self.scrub else { return Ok(std::mem::take(chunk)) };
        match (&mut self.decoder, &mut self.messages) {
            (Some(decoder), _) => {
                while let Some(piece) = decoder.next(chunk)? {
                    let clean = scrub.feed(piece);
                    if !clean.is_empty() {
                        return Ok(clean);
                    }
                }
                Ok(Bytes::new())
            }
            (None, Some(messages)) => read_messages(scrub, messages, chunk),
            (None, None) => Ok(scrub.feed(std::mem::take(chunk))),
        }
    }

    /// What was held back, when nothing more comes.
    pub(crate) fn finish(self) -> Result<Bytes, Unreadable> {
        if let Some(beside) = self.beside {
            return beside.finish();
        }
        let Some(mut scrub) = self.scrub else { return Ok(Bytes::new()) };
        self.decoder.map_or(Ok(()), |decoder| decoder.finish())?;
        Ok(scrub.finish())
    }
}

impl Reader {
    /// Whether the end of the body may give something yet, or an error.
    pub(crate) fn holds_back(&self) -> bool {
        self.scrub.is_some() || self.beside.is_some()
    }

    /// Whether more may come of what was taken.
    pub(crate) fn is_decoding(&self) -> bool {
        self.decoder.is_some()
    }

    /// For the headers and trailers of the same answer.
    pub(crate) fn scrubber(&self) -> Option<&Scrubber> {
        let of_body = self.scrub.as_ref().map(StreamScrub::scrubber);
        of_body.or(self.beside.as_ref().map(Beside::scrubber)).or(self.scrubber.as_ref())
    }
}

/// Nothing of a message that is complete is held back.
fn read_messages(scrub: &mut StreamScrub, messages: &mut Messages, chunk: &mut Bytes) -> Result<Bytes, Unreadable> {
    let mut clean = BytesMut::new();
    while !chunk.is_empty() {
        let (piece, end) = messages.next(chunk)?;
        clean.extend_from_slice(&scrub.feed(piece));
        if end == End::OfMessage {
            clean.extend_from_slice(&scrub.finish());
        }
    }
    Ok(clean.freeze())
}

/// The answer as the sandbox may see it.
pub(crate) fn clean(
    answer: Response<Body>,
    scrub: Option<Scrubber>,
    expected: Expected,
    limits: &Limits,
) -> Result<(http::response::Parts, Body, Reader), Refusal> {
    let (parts, body) = answer.into_parts();
    if parts.status.is_informational() || !answer::is_plainly_framed(&parts.headers) {
        return Err(Refusal::UpstreamProtocol);
    }
    let mut headers = answer::for_sandbox(parts.headers, expected.cookies, scrub.as_ref());
    let has_body = !expected.head && !http_body::Body::is_end_stream(&body);
    let mut reader = Reader { cookies: expected.cookies, ..Reader::default() };
    if let Some(scrubber) = scrub {
        let decoder = if has_body { Decoder::for_codings(&headers, limits) } else { Ok(None) };
        match decoder {
            Ok(_) if has_body && expected.reading == Reading::Required && !charset::writes_ascii(&headers) => {
                return Err(Refusal::Unscannable);
            }
            Ok(Some(decoder)) if expected.reading != Reading::Required => {
                reader.beside = Some(Beside::new(Some(decoder), scrubber));
            }
            Ok(decoder) if has_body => {
                answer::forget_length(&mut headers);
                if decoder.is_some() {
                    answer::forget_coding(&mut headers);
                }
                reader.messages = Messages::for_content(&headers);
                (reader.decoder, reader.scrub) = (decoder, Some(StreamScrub::new(scrubber)));
            }
            Err(_) if expected.reading == Reading::Required => return Err(Refusal::Unscannable),
            Err(Unreadable::Unusual) => return Err(Refusal::Unscannable),
            Err(_) => reader.beside = Some(Beside::new(None, scrubber)),
            Ok(_) => reader.scrubber = Some(scrubber),
        }
    }
    // Made anew, so that the upstream's reason phrase stays behind with all other extensions.
    let (mut clean, ()) = Response::new(()).into_parts();
    (clean.status, clean.headers) = (parts.status, headers);
    Ok((clean, body, reader))
}
