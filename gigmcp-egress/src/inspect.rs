use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::Version;
use http_body::Frame;
use http_body_util::BodyExt as _;

use crate::authorize::{AuthorizedRequest, Reading};
use crate::body::{Body, BoxError, Progress, SearchedBody};
use crate::coding::Decoder;
use crate::limits::Limits;
use crate::live::{LivePlaceholders, Owner, StreamScan};
use crate::refusal::{Refusal, RefusedBody};
use crate::request::BodyLength;
use crate::rule::Allowance;

/// The body of a request as far as it was read before anything is sent.
pub(crate) enum InspectedBody {
    /// Read and searched whole.
    Whole(Bytes),
    /// Searched while it is sent.
    Stream(Body),
}

/// Reads and searches a short body whole, so that nothing is sent if it is refused; a long one is searched while it is sent.
/// A body that a credential may stand in is read whole, or refused.
pub(crate) async fn inspect(
    limits: &Limits,
    live: &Arc<LivePlaceholders>,
    authorized: &mut AuthorizedRequest,
    body: Body,
    progress: &Arc<Progress>,
) -> Result<InspectedBody, Refusal> {
    let rewritten = authorized.in_body().next().is_some();
    let decoder = Decoder::for_codings(&authorized.request.headers, limits);
    if rewritten && !matches!(decoder, Ok(None)) {
        return Err(Refusal::UnscannableRequest);
    }
    // Where credentials go, what cannot be decoded was refused or allowed by name; elsewhere no key can be in it.
    let decoder = decoder.unwrap_or_default();
    let length = authorized.request.length;
    let max = match authorized.rule.max_body_bytes {
        Some(max) if rewritten || authorized.signs_body() => max.min(limits.rewritten_body_bytes),
        None if rewritten || authorized.signs_body() => limits.rewritten_body_bytes,
        _ => match length {
            BodyLength::Known(0) => return Ok(InspectedBody::Whole(Bytes::new())),
            BodyLength::Known(length) if length <= limits.inspected_body_bytes => length,
            BodyLength::Chunked if is_read_ahead(authorized) => {
                match read_ahead(body, limits).await? {
                    Begun { read, rest: None } => return whole(live, authorized, read, decoder, progress),
                    begun => return Ok(InspectedBody::Stream(streamed(live, authorized, begun, decoder, progress))),
                };
            }
            BodyLength::Known(_) | BodyLength::Chunked => {
                let begun = Begun { read: Bytes::new(), rest: Some(body) };
                return Ok(InspectedBody::Stream(streamed(live, authorized, begun, decoder, progress)));
            }
        },
    };
    let bytes = read_whole(body, length, max).await?;
    if !rewritten {
        return whole(live, authorized, bytes, decoder, progress);
    }
    authorized.decide_body(&bytes, live)?;
    progress.up.store(bytes.len() as u64, Ordering::Relaxed);
    Ok(InspectedBody::Whole(bytes))
}

fn whole(
    live: &LivePlaceholders,
    authorized: &AuthorizedRequest,
    bytes: Bytes,
    decoder: Option<Decoder>,
    progress: &Progress,
) -> Result<InspectedBody, Refusal> {
    if authorized.rule.max_body_bytes.is_some_and(|max| bytes.len() as u64 > max) {
        return Err(Refusal::BodyTooLarge);
    }
    search(live, authorized, &bytes, decoder)?;
    progress.up.store(bytes.len() as u64, Ordering::Relaxed);
    Ok(InspectedBody::Whole(bytes))
}

/// Whether the beginning of a body is read before anything is sent, so that a fault in it is found while nothing has left. Not
/// on HTTP/2, where both sides of a stream may talk at once, and not where trailers count.
fn is_read_ahead(authorized: &AuthorizedRequest) -> bool {
    authorized.request.version != Version::HTTP_2 && !authorized.rule.allows(Allowance::Trailers)
}

/// A body of which the beginning was read.
struct Begun {
    read: Bytes,
    /// `None` if that was all.
    rest: Option<Body>,
}

/// Reads as much of a body as is searched whole, or as comes at once.
async fn read_ahead(mut body: Body, limits: &Limits) -> Result<Begun, Refusal> {
    let mut read = BytesMut::new();
    let deadline = tokio::time::Instant::now() + READ_AHEAD_DEADLINE;
    while (read.len() as u64) < limits.inspected_body_bytes {
        let Ok(frame) = tokio::time::timeout_at(deadline, body.frame()).await else { break };
        let Some(frame) = frame else { return Ok(Begun { read: read.freeze(), rest: None }) };
        if let Ok(chunk) = frame.map_err(|error| refused_body(&error))?.into_data() {
            read.put(chunk);
        }
    }
    Ok(Begun { read: read.freeze(), rest: Some(body) })
}

/// A program that waits for an answer in the middle of its request waits no longer than this.
const READ_AHEAD_DEADLINE: Duration = Duration::from_secs(3);

impl http_body::Body for Begun {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if !this.read.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.read)))));
        }
        match &mut this.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.as_ref().is_none_or(http_body::Body::is_end_stream)
    }
}

fn search(
    live: &LivePlaceholders,
    authorized: &AuthorizedRequest,
    bytes: &[u8],
    decoder: Option<Decoder>,
) -> Result<(), Refusal> {
    let mut found = live.find(bytes);
    if let Some(mut decoded) = decoder.map(|decoder| DecodedScan::new(decoder, live, authorized)) {
        found = found.or(decoded.feed(live, bytes)?);
        decoded.finish()?;
    }
    found.map_or(Ok(()), |owner| Err(authorized.judge(&owner)))
}

/// Searches what a coded body decodes to, beside the body itself.
pub(crate) struct DecodedScan {
    decoder: Decoder,
    scan: StreamScan,
    /// Whether a body that cannot be decoded is refused. Where no credential goes, it is passed on as it is.
    must_decode: bool,
    broken: bool,
}

impl DecodedScan {
    fn new(decoder: Decoder, live: &LivePlaceholders, authorized: &AuthorizedRequest) -> Self {
        let must_decode = authorized.reading == Reading::Required && !authorized.rule.allows(Allowance::UnreadableBody);
        Self { decoder, scan: live.scan(), must_decode, broken: false }
    }

    /// Looks at the next chunk.
    ///
    /// # Errors
    /// If it cannot be decoded and has to be.
    pub(crate) fn feed(&mut self, live: &LivePlaceholders, chunk: &[u8]) -> Result<Option<Owner>, Refusal> {
        let (mut found, scan) = (None, &mut self.scan);
        if !self.broken {
            let decoded =
                self.decoder.feed(chunk, &mut |piece| found = found.take().or_else(|| scan.feed(live, piece)));
            self.broken = decoded.is_err();
        }
        if self.broken && self.must_decode { Err(Refusal::UnscannableRequest) } else { Ok(found) }
    }

    /// Whether the body may end here.
    ///
    /// # Errors
    /// If it is not whole and has to be.
    pub(crate) fn finish(self) -> Result<(), Refusal> {
        let whole = !self.broken && self.decoder.finish().is_ok();
        if whole || !self.must_decode { Ok(()) } else { Err(Refusal::UnscannableRequest) }
    }
}

fn streamed(
    live: &Arc<LivePlaceholders>,
    authorized: &AuthorizedRequest,
    begun: Begun,
    decoder: Option<Decoder>,
    progress: &Arc<Progress>,
) -> Body {
    let downstream = &authorized.request.downstream;
    let (identity, scheme) = (downstream.identity.clone(), downstream.destination.scheme);
    SearchedBody {
        inner: begun.boxed_unsync(),
        live: Arc::clone(live),
        scan: live.scan(),
        decoded: decoder.map(|decoder| DecodedScan::new(decoder, live, authorized)),
        judge: Box::new(move |owner| crate::authorize::refused_placeholder(owner, &identity, scheme)),
        left: authorized.rule.max_body_bytes.unwrap_or(u64::MAX),
        trailers: authorized.rule.allows(Allowance::Trailers),
        progress: Arc::clone(progress),
    }
    .boxed_unsync()
}

/// Reads a body to its end, which has to be where its head said.
async fn read_whole(mut body: Body, length: BodyLength, max: u64) -> Result<Bytes, Refusal> {
    if matches!(length, BodyLength::Known(length) if length > max) {
        return Err(Refusal::BodyTooLarge);
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|error| refused_body(&error))?.into_data() else { continue };
        bytes.put(chunk);
        if bytes.len() as u64 > max {
            return Err(if length == BodyLength::Chunked { Refusal::BodyTooLarge } else { Refusal::Framing });
        }
    }
    match length {
        BodyLength::Known(length) if bytes.len() as u64 != length => Err(Refusal::Framing),
        BodyLength::Known(_) | BodyLength::Chunked => Ok(bytes.freeze()),
    }
}

/// Why a body could not be read to its end.
fn refused_body(error: &BoxError) -> Refusal {
    error.downcast_ref().map_or(Refusal::Malformed, |RefusedBody(refusal)| *refusal)
}
