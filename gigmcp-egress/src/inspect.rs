use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::Version;
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::sync::OwnedSemaphorePermit;

use crate::authorize::{AuthorizedRequest, Reading};
use crate::body::{Body, BoxError, Progress, SearchedBody};
use crate::coding::{self, Decoder};
use crate::grant::BoxFuture;
use crate::limits::Limits;
use crate::live::{LivePlaceholders, Owner, StreamScan};
use crate::places::BodyPlaces;
use crate::policy::within;
use crate::refusal::{Refusal, RefusedBody};
use crate::request::BodyLength;
use crate::revocation::Ongoing;
use crate::rule::Allowance;

/// By what a body is inspected.
pub(crate) struct Inspection<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) live: &'a Arc<LivePlaceholders>,
    pub(crate) places: Option<&'a BodyPlaces>,
    /// Ends a body that is searched while it is sent.
    pub(crate) ongoing: Option<&'a Ongoing>,
}

/// What came of a body before anything is sent.
pub(crate) struct Inspected {
    pub(crate) body: InspectedBody,
    /// What it occupies as long as it is kept.
    pub(crate) place: Option<OwnedSemaphorePermit>,
}

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
    Inspection { limits, live, places, ongoing }: Inspection<'_>,
    authorized: &mut AuthorizedRequest,
    body: Body,
    progress: &Arc<Progress>,
) -> Result<Inspected, Refusal> {
    let length = authorized.request.length;
    if length == BodyLength::Known(0) && authorized.in_body().next().is_none() {
        return Ok(InspectedBody::Whole(Bytes::new()).into());
    }
    let identity = authorized.request.downstream.identity.clone();
    let windows = coding::windows(&authorized.request.headers);
    let decoding = match places {
        Some(places) if windows > 0 => {
            let decoding = within(limits.lookup_deadline, places.decoders.take(&identity, windows)).await;
            Some(decoding.ok_or(Refusal::RateLimited)?)
        }
        _ => None,
    };
    let rewritten = authorized.in_body().next().is_some();
    let decoder = Decoder::for_codings(&authorized.request.headers, limits);
    if rewritten && !matches!(decoder, Ok(None)) {
        return Err(Refusal::UnscannableRequest);
    }
    // Where credentials go, what cannot be decoded was refused or allowed by name; elsewhere no key can be in it.
    let decoder = decoder.unwrap_or_default();
    if rewritten || authorized.signs_body() {
        let max = authorized.rule.max_body_bytes.unwrap_or(u64::MAX).min(limits.rewritten_body_bytes);
        let place = match places {
            Some(places) => Some(places.whole.take(&identity, 1).await),
            None => None,
        };
        let bytes = read_whole(body, length, max).await?;
        let body = if rewritten {
            authorized.decide_body(&bytes, live)?;
            progress.up.store(bytes.len() as u64, Ordering::Relaxed);
            InspectedBody::Whole(bytes)
        } else {
            whole(live, authorized, bytes, decoder, progress).await?
        };
        return Ok(Inspected { body, place });
    }
    let begun = match length {
        BodyLength::Known(length) if length <= limits.inspected_body_bytes => {
            let read = read_whole(body, BodyLength::Known(length), length).await?;
            Begun { read, rest: None }
        }
        BodyLength::Chunked if is_read_ahead(authorized) => read_ahead(body, limits).await?,
        BodyLength::Known(_) | BodyLength::Chunked => Begun { read: Bytes::new(), rest: Some(body) },
    };
    if begun.rest.is_none() {
        return Ok(whole(live, authorized, begun.read, decoder, progress).await?.into());
    }
    decoding.into_iter().for_each(|places| progress.hold(places));
    Ok(InspectedBody::Stream(streamed(live, authorized, begun, decoder, ongoing, progress)).into())
}

impl From<InspectedBody> for Inspected {
    fn from(body: InspectedBody) -> Self {
        Self { body, place: None }
    }
}

async fn whole(
    live: &LivePlaceholders,
    authorized: &AuthorizedRequest,
    bytes: Bytes,
    decoder: Option<Decoder>,
    progress: &Progress,
) -> Result<InspectedBody, Refusal> {
    if authorized.rule.max_body_bytes.is_some_and(|max| bytes.len() as u64 > max) {
        return Err(Refusal::BodyTooLarge);
    }
    search(live, authorized, &bytes, decoder).await?;
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

async fn search(
    live: &LivePlaceholders,
    authorized: &AuthorizedRequest,
    bytes: &Bytes,
    decoder: Option<Decoder>,
) -> Result<(), Refusal> {
    let mut found = live.find(bytes);
    if let Some(mut decoded) = decoder.map(|decoder| DecodedScan::new(decoder, live, authorized)) {
        let mut left = bytes.clone();
        while found.is_none() && !left.is_empty() {
            found = decoded.feed(live, &mut left)?;
            // Much may come of a little; others get their turn.
            tokio::task::yield_now().await;
        }
        if found.is_none() {
            decoded.finish()?;
        }
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

    /// Looks at a little of what comes next, and takes it.
    ///
    /// # Errors
    /// If it cannot be decoded and has to be.
    pub(crate) fn feed(&mut self, live: &LivePlaceholders, left: &mut Bytes) -> Result<Option<Owner>, Refusal> {
        let mut part = left.split_to(left.len().min(PART_BYTES));
        let mut found = None;
        while !self.broken {
            match self.decoder.next(&mut part) {
                Ok(Some(piece)) => found = found.or(self.scan.feed(live, &piece)),
                Ok(None) => break,
                Err(_) => self.broken = true,
            }
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
    ongoing: Option<&Ongoing>,
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
        revoked: ongoing.map(|ongoing| Box::pin(ongoing.clone().revoked()) as BoxFuture<'static, Refusal>),
        undecoded: None,
        progress: Arc::clone(progress),
    }
    .boxed_unsync()
}

/// What is decoded before others get their turn.
pub(crate) const PART_BYTES: usize = 4 << 10;

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
