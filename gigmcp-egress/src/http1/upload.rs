use std::mem;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http::{Method, Request, Version};
use http_body::Frame;
use http_body_util::BodyExt as _;

use super::body::{Decoder, Piece};
use super::head::Head;
use super::pipe::{Demand, Feed, pipe};
use crate::body::{Body, full};
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::request::BodyLength;

/// What an answer must know of its request.
pub(super) struct Asked {
    /// `None` if the request was not understood.
    pub(super) method: Option<Method>,
    pub(super) version: Version,
    /// Whether no request may follow on this connection.
    pub(super) last: bool,
    /// Whether another protocol may follow.
    pub(super) takeover: bool,
}

impl Asked {
    pub(super) fn of(request: &Result<Head, Refusal>) -> Self {
        match request {
            Ok(head) => {
                // Bytes behind a CONNECT or an upgrade that was not granted were not meant for HTTP.
                let takeover = head.asks_for_takeover();
                let last = head.is_last() || takeover;
                Self { method: Some(head.method.clone()), version: head.version, last, takeover }
            }
            Err(_) => Self { method: None, version: Version::HTTP_11, last: true, takeover: false },
        }
    }
}

/// The client's side of an exchange while it is answered.
pub(super) enum Upload {
    /// The body has not ended.
    Reading(Reading),
    /// The request ended exactly where the next may begin.
    Whole,
    /// Where the request ends is not known or will not be read, so whatever comes is thrown away.
    Discarded,
}

pub(super) struct Reading {
    decoder: Decoder,
    feed: Feed,
    awaits_continue: bool,
}

/// What the upload needs from the connection to go on.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Want {
    /// Bytes of the body.
    Body,
    /// Any bytes: they are early, or there are none and the client is gone.
    Sign,
    /// That the client is told to send the body: it was asked for, so the request was let through.
    Continue,
}

impl Upload {
    /// The request as the layer takes it, and where its body will come from.
    pub(super) fn begin(request: Result<Head, Refusal>, limits: &Limits) -> (Result<Request<Body>, Refusal>, Self) {
        let head = match request {
            Ok(head) => head,
            Err(refusal) => return (Err(refusal), Self::Discarded),
        };
        let awaits_continue = head.awaits_continue();
        let (body, upload) = match head.length {
            BodyLength::Known(0) => (full(""), Self::Whole),
            length => {
                let (feed, body) = pipe(length);
                let reading = Reading { decoder: Decoder::new(length, limits), feed, awaits_continue };
                (body.boxed_unsync(), Self::Reading(reading))
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.uri_mut() = head.target;
        *request.version_mut() = head.version;
        *request.headers_mut() = head.headers;
        (Ok(request), upload)
    }

    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }

    /// The answer begins: from here on, `100 Continue` would stand within it.
    pub(super) fn answered(&mut self) {
        if let Self::Reading(reading) = self {
            reading.awaits_continue = false;
        }
    }

    /// Takes from the buffer what may be taken, until something is needed. Is pending while nobody wants more.
    pub(super) fn poll_want(&mut self, buffer: &mut BytesMut, cx: &mut Context<'_>) -> Poll<Want> {
        loop {
            match self {
                // The next request waits, and what comes behind it waits in the kernel.
                Self::Whole if !buffer.is_empty() => return Poll::Pending,
                Self::Whole => return Poll::Ready(Want::Sign),
                Self::Discarded => {
                    buffer.clear();
                    return Poll::Ready(Want::Sign);
                }
                Self::Reading(reading) => match ready!(reading.feed.poll_demand(cx)) {
                    Demand::Nothing => *self = Self::Discarded,
                    Demand::Frame if mem::take(&mut reading.awaits_continue) => return Poll::Ready(Want::Continue),
                    Demand::Frame => match reading.decoder.cut(buffer) {
                        Ok(None) => return Poll::Ready(Want::Body),
                        Ok(Some(Piece::Data(data))) if !reading.decoder.is_over() => {
                            reading.feed.give(Frame::data(data));
                        }
                        Ok(Some(Piece::Data(data))) => self.finish(Some(Frame::data(data))),
                        Ok(Some(Piece::Trailers(trailers))) => self.finish(Some(Frame::trailers(trailers))),
                        Ok(Some(Piece::End)) => self.finish(None),
                        Err(refusal) => {
                            if let Self::Reading(reading) = mem::replace(self, Self::Discarded) {
                                reading.feed.refuse(refusal);
                            }
                        }
                    },
                },
            }
        }
    }

    fn finish(&mut self, frame: Option<Frame<bytes::Bytes>>) {
        if let Self::Reading(reading) = mem::replace(self, Self::Whole) {
            reading.feed.finish(frame);
        }
    }
}
