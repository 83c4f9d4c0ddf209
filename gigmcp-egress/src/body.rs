use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};

use crate::audit::{Entry, Verdict};
use crate::live::{LivePlaceholders, Owner, StreamScan};
use crate::refusal::Refusal;
use crate::scrub::StreamScrub;

/// A message body as it travels through the layer: a stream with back-pressure.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Why a body ended early.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that is there already.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// What both directions of one exchange have to tell each other.
#[derive(Default)]
pub(crate) struct Progress {
    /// Body bytes sent to the upstream.
    pub(crate) up: AtomicU64,
    /// What was found in the request body after its head had been sent.
    pub(crate) refused: OnceLock<Refusal>,
}

/// The body of a request on its way: counted, searched for placeholders, without trailers. Ends in an error before the
/// last byte of a placeholder has left.
pub(crate) struct SearchedBody {
    pub(crate) inner: Body,
    pub(crate) live: Arc<LivePlaceholders>,
    pub(crate) scan: StreamScan,
    pub(crate) judge: Box<dyn Fn(&Owner) -> Refusal + Send>,
    pub(crate) progress: Arc<Progress>,
}

impl http_body::Body for SearchedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            let frame = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(frame) => frame?,
                None => return Poll::Ready(None),
            };
            // Trailers are nothing an upstream waits for, and one more place to hide something.
            let Ok(chunk) = frame.into_data() else { continue };
            if let Some(owner) = this.scan.feed(&this.live, &chunk) {
                let refusal = (this.judge)(&owner);
                let _ = this.progress.refused.set(refusal);
                return Poll::Ready(Some(Err(Box::new(PlaceholderInBody))));
            }
            this.progress.up.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a placeholder stands in the request body")]
struct PlaceholderInBody;

/// The body of an answer on its way: scrubbed if a credential went out, counted, and recorded when it ends.
pub(crate) struct AnswerBody {
    inner: Body,
    scrub: Option<StreamScrub>,
    /// Trailers that wait behind the bytes which were held back.
    trailers: Option<HeaderMap>,
    ended: bool,
    entry: Option<Entry>,
    progress: Arc<Progress>,
    down: u64,
}

impl AnswerBody {
    pub(crate) fn new(inner: Body, scrub: Option<StreamScrub>, entry: Entry, progress: Arc<Progress>) -> Self {
        let mut this = Self {
            ended: http_body::Body::is_end_stream(&inner),
            inner,
            scrub,
            trailers: None,
            entry: Some(entry),
            progress,
            down: 0,
        };
        if this.ended {
            this.record(Verdict::Allowed);
        }
        this
    }

    fn record(&mut self, verdict: Verdict) {
        if let Some(mut entry) = self.entry.take() {
            entry.set_bytes(self.progress.up.load(Ordering::Relaxed), self.down);
            entry.set_verdict(self.progress.refused.get().map_or(verdict, |refusal| Verdict::Refused(*refusal)));
            drop(entry); // records
        }
    }

    fn data(&mut self, chunk: Bytes) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.down += chunk.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    /// Clean trailers, by the rules for headers.
    fn scrub_trailers(&self, trailers: HeaderMap) -> HeaderMap {
        match &self.scrub {
            Some(scrub) => crate::answer::scrub_headers(trailers, scrub.scrubber()),
            None => trailers,
        }
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        while !this.ended {
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                None => this.ended = true,
                Some(Err(error)) => {
                    this.ended = true;
                    this.scrub = None;
                    this.record(Verdict::Aborted);
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => {
                        // A server of ours stops asking once it has as many bytes as the head promised.
                        this.ended = this.inner.is_end_stream();
                        let clean = match &mut this.scrub {
                            Some(scrub) => scrub.feed(chunk),
                            None => chunk,
                        };
                        if clean.is_empty() {
                            continue;
                        }
                        let frame = this.data(clean);
                        if this.ended && this.scrub.is_none() {
                            this.record(Verdict::Allowed);
                        }
                        return frame;
                    }
                    Err(frame) => {
                        this.ended = true;
                        this.trailers = frame.into_trailers().ok().map(|trailers| this.scrub_trailers(trailers));
                    }
                },
            }
        }
        let held = this.scrub.take().map(|mut scrub| scrub.finish()).unwrap_or_default();
        let last = if held.is_empty() { Poll::Ready(None) } else { this.data(held) };
        match (last, this.trailers.take()) {
            (Poll::Ready(None), Some(trailers)) => {
                this.record(Verdict::Allowed);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            (data, Some(trailers)) => {
                this.trailers = Some(trailers);
                data
            }
            (last, None) => {
                this.record(Verdict::Allowed);
                last
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.scrub.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.scrub.is_some() { SizeHint::default() } else { self.inner.size_hint() }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.record(Verdict::Aborted);
    }
}
