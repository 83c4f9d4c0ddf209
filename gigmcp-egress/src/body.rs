use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use tokio::sync::OwnedSemaphorePermit;

use crate::audit::{Entry, Verdict};
use crate::grant::BoxFuture;
use crate::inspect::DecodedScan;
use crate::live::{LivePlaceholders, Owner, StreamScan};
use crate::reader::Reader;
use crate::refusal::{Refusal, RefusedBody};

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
    /// The exchange was recorded; nothing more of the request may leave.
    pub(crate) over: AtomicBool,
    /// What the exchange occupies until both bodies are gone.
    pub(crate) places: Mutex<Vec<OwnedSemaphorePermit>>,
}

impl Progress {
    pub(crate) fn hold(&self, place: OwnedSemaphorePermit) {
        self.places.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(place);
    }
}

/// The body of a request on its way: counted, searched for placeholders, decoded for that where it is coded. Ends in an error
/// before the last byte of a placeholder has left.
pub(crate) struct SearchedBody {
    pub(crate) inner: Body,
    pub(crate) live: Arc<LivePlaceholders>,
    pub(crate) scan: StreamScan,
    /// For a coded body, what it decodes to is searched beside it.
    pub(crate) decoded: Option<DecodedScan>,
    pub(crate) judge: Box<dyn Fn(&Owner) -> Refusal + Send>,
    /// Bytes that the rule still takes.
    pub(crate) left: u64,
    /// Whether the rule takes trailers.
    pub(crate) trailers: bool,
    /// Ready when the rules no longer allow it: also while nobody reads the answer.
    pub(crate) revoked: Option<BoxFuture<'static, Refusal>>,
    /// A chunk that may leave when the rest of it was decoded.
    pub(crate) undecoded: Option<(Bytes, Bytes)>,
    pub(crate) progress: Arc<Progress>,
}

impl SearchedBody {
    fn check(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        self.left = self.left.checked_sub(chunk.len() as u64).ok_or(Refusal::BodyTooLarge)?;
        let found = self.scan.feed(&self.live, chunk);
        found.map_or(Ok(()), |owner| Err((self.judge)(&owner)))
    }

    /// Decodes a little of the chunk that waits for that. Gives it when all was decoded.
    fn decode(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some((_, left)) = &mut self.undecoded else { return Ok(None) };
        if let Some(decoded) = &mut self.decoded
            && let Some(owner) = decoded.feed(&self.live, left)?
        {
            return Err((self.judge)(&owner));
        }
        Ok(if left.is_empty() { self.undecoded.take().map(|(chunk, _)| chunk) } else { None })
    }

    fn check_trailers(&self, trailers: &HeaderMap) -> Result<(), Refusal> {
        let found = trailers.iter().find_map(|(name, value)| {
            self.live.find(value.as_bytes()).or_else(|| self.live.find(name.as_str().as_bytes()))
        });
        found.map_or(Ok(()), |owner| Err((self.judge)(&owner)))
    }

    fn give(&self, chunk: Bytes) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.progress.up.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn refuse(&self, refusal: Refusal) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let _ = self.progress.refused.set(refusal);
        Poll::Ready(Some(Err(Box::new(RefusedInBody))))
    }
}

impl http_body::Body for SearchedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            if this.progress.over.load(Ordering::Relaxed) {
                return Poll::Ready(Some(Err(Box::new(RefusedInBody))));
            }
            if let Some(revoked) = &mut this.revoked
                && let Poll::Ready(refusal) = revoked.as_mut().poll(cx)
            {
                this.revoked = None;
                return this.refuse(refusal);
            }
            if this.undecoded.is_some() {
                match this.decode() {
                    Ok(Some(chunk)) => {
                        // Whoever goes by the length does not ask for the end.
                        let last = this.inner.is_end_stream().then(|| this.decoded.take()).flatten();
                        return match last.map_or(Ok(()), DecodedScan::finish) {
                            Ok(()) => this.give(chunk),
                            Err(refusal) => this.refuse(refusal),
                        };
                    }
                    Ok(None) => {
                        // Much may come of a little; others get their turn.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Err(refusal) => return this.refuse(refusal),
                }
            }
            let frame = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    if let Some(RefusedBody(refusal)) = error.downcast_ref() {
                        let _ = this.progress.refused.set(*refusal);
                    }
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    let whole = this.decoded.take().map_or(Ok(()), DecodedScan::finish);
                    return if whole.is_ok() { Poll::Ready(None) } else { this.refuse(Refusal::UnscannableRequest) };
                }
            };
            match frame.into_data() {
                Ok(chunk) => {
                    if let Err(refusal) = this.check(&chunk) {
                        return this.refuse(refusal);
                    }
                    if this.decoded.is_some() && !chunk.is_empty() {
                        this.undecoded = Some((chunk.clone(), chunk));
                        continue;
                    }
                    return this.give(chunk);
                }
                // Trailers are nothing most upstreams wait for, and one more place to hide something.
                Err(frame) => {
                    let Some(trailers) = frame.into_trailers().ok().filter(|_| this.trailers) else { continue };
                    let trailers = crate::request::end_to_end_trailers(trailers);
                    if let Err(refusal) = this.check_trailers(&trailers) {
                        return this.refuse(refusal);
                    }
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && self.decoded.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the request body was refused")]
struct RefusedInBody;

#[derive(Debug, thiserror::Error)]
#[error("the rules no longer allow this")]
struct Ended;

/// The body of an answer on its way: decoded and scrubbed if a credential may be in it, counted, and recorded when it ends.
pub(crate) struct AnswerBody {
    inner: Body,
    /// What the upstream sent and the reader has not taken.
    unread: Bytes,
    /// Whether the reader may give more, out of that or out of what it has taken already.
    reading: bool,
    reader: Reader,
    /// Trailers that wait behind the bytes which were held back.
    trailers: Option<HeaderMap>,
    ended: bool,
    entry: Option<Entry>,
    watch: Watch,
    progress: Arc<Progress>,
    down: u64,
}

/// What ends an answer before its time. Begun only when the answer keeps one waiting.
enum Watch {
    Nothing,
    Asleep(Box<dyn FnOnce() -> BoxFuture<'static, Refusal> + Send>),
    Awake(BoxFuture<'static, Refusal>),
}

impl AnswerBody {
    pub(crate) fn new(inner: Body, reader: Reader, progress: Arc<Progress>) -> Self {
        let ended = http_body::Body::is_end_stream(&inner);
        Self {
            ended,
            inner,
            unread: Bytes::new(),
            reading: false,
            reader,
            trailers: None,
            entry: None,
            watch: Watch::Nothing,
            progress,
            down: 0,
        }
    }

    /// With an event that tells how it ended.
    pub(crate) fn recorded(mut self, entry: Entry) -> Self {
        self.entry = Some(entry);
        if self.ended {
            self.record(Verdict::Allowed);
        }
        self
    }

    /// Ended early when the future is ready, which runs only while the answer keeps one waiting.
    pub(crate) fn watched(mut self, revoked: impl Future<Output = Refusal> + Send + 'static) -> Self {
        self.watch = Watch::Asleep(Box::new(move || Box::pin(revoked)));
        self
    }

    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<Refusal> {
        if let Watch::Asleep(_) = &self.watch
            && let Watch::Asleep(wake) = std::mem::replace(&mut self.watch, Watch::Nothing)
        {
            self.watch = Watch::Awake(wake());
        }
        match &mut self.watch {
            Watch::Awake(revoked) => revoked.as_mut().poll(cx),
            Watch::Nothing | Watch::Asleep(_) => Poll::Pending,
        }
    }

    fn record(&mut self, verdict: Verdict) {
        self.progress.over.store(true, Ordering::Relaxed);
        if let Some(mut entry) = self.entry.take() {
            let refused = self.progress.refused.get().filter(|_| verdict == Verdict::Aborted);
            entry.set_down(self.down);
            entry.set_verdict(refused.map_or(verdict, |refusal| Verdict::Refused(*refusal)));
            drop(entry); // records
        }
    }

    fn data(&mut self, chunk: Bytes) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.down += chunk.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    /// Clean trailers, by the rules for headers.
    fn scrub_trailers(&self, trailers: HeaderMap) -> HeaderMap {
        crate::answer::for_sandbox(trailers, self.reader.cookies, self.reader.scrubber())
    }

    fn abort(&mut self, error: BoxError, verdict: Verdict) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        (self.ended, self.unread, self.reading, self.reader) = (true, Bytes::new(), false, Reader::default());
        self.record(verdict);
        Poll::Ready(Some(Err(error)))
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        // Also of an answer that never keeps one waiting.
        if this.down > 0
            && let Poll::Ready(refusal) = this.poll_watch(cx)
        {
            return this.abort(Box::new(Ended), Verdict::Refused(refusal));
        }
        while !this.ended || this.reading {
            if this.reading {
                let clean = match this.reader.read(&mut this.unread) {
                    Ok(clean) => clean,
                    Err(error) => return this.abort(Box::new(error), Verdict::Refused(Refusal::Unscannable)),
                };
                // A decoder has taken a chunk before it has given all of it.
                this.reading = !this.unread.is_empty() || this.reader.is_decoding() && !clean.is_empty();
                if clean.is_empty() {
                    if this.reading {
                        // Much may come of a little; others get their turn.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    continue;
                }
                let frame = this.data(clean);
                if this.ended && !this.reader.holds_back() {
                    this.record(Verdict::Allowed);
                }
                return frame;
            }
            let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
                let refusal = ready!(this.poll_watch(cx));
                return this.abort(Box::new(Ended), Verdict::Refused(refusal));
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => this.ended = true,
                Some(Err(error)) => return this.abort(error, Verdict::Aborted),
                Some(Ok(Ok(chunk))) => {
                    (this.unread, this.reading) = (chunk, true);
                    // A server of ours stops asking once it has as many bytes as the head promised.
                    this.ended = this.inner.is_end_stream();
                }
                Some(Ok(Err(frame))) => {
                    this.ended = true;
                    this.trailers = frame.into_trailers().ok().map(|trailers| this.scrub_trailers(trailers));
                }
            }
        }
        let held = match std::mem::take(&mut this.reader).finish() {
            Ok(held) => held,
            Err(error) => return this.abort(Box::new(error), Verdict::Refused(Refusal::Unscannable)),
        };
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
                // A server of ours asks for nothing behind the last byte it expects.
                this.record(Verdict::Allowed);
                last
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && !self.reading && !self.reader.holds_back() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.reader.holds_back() { SizeHint::default() } else { self.inner.size_hint() }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.record(Verdict::Aborted);
    }
}
