use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;

use crate::authorize::AuthorizedRequest;
use crate::body::{Body, BoxError, Progress, SearchedBody};
use crate::coding::Decoder;
use crate::limits::Limits;
use crate::live::LivePlaceholders;
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
            BodyLength::Known(_) | BodyLength::Chunked => {
                return Ok(InspectedBody::Stream(streamed(live, authorized, body, decoder, progress)));
            }
        },
    };
    let bytes = read_whole(body, length, max).await?;
    if rewritten {
        authorized.decide_body(&bytes, live)?;
    } else {
        search(live, authorized, &bytes, decoder)?;
    }
    progress.up.store(bytes.len() as u64, Ordering::Relaxed);
    Ok(InspectedBody::Whole(bytes))
}

fn search(
    live: &LivePlaceholders,
    authorized: &AuthorizedRequest,
    bytes: &[u8],
    decoder: Option<Decoder>,
) -> Result<(), Refusal> {
    if let Some(owner) = live.find(bytes) {
        return Err(authorized.judge(&owner));
    }
    let Some(mut decoder) = decoder else { return Ok(()) };
    let mut scan = live.scan();
    let mut found = None;
    let decoded = decoder.feed(bytes, &mut |decoded| found = found.take().or_else(|| scan.feed(live, decoded)));
    decoded.and_then(|()| decoder.finish()).map_err(|_| Refusal::UnscannableRequest)?;
    found.map_or(Ok(()), |owner| Err(authorized.judge(&owner)))
}

fn streamed(
    live: &Arc<LivePlaceholders>,
    authorized: &AuthorizedRequest,
    inner: Body,
    decoder: Option<Decoder>,
    progress: &Arc<Progress>,
) -> Body {
    let downstream = &authorized.request.downstream;
    let (identity, scheme) = (downstream.identity.clone(), downstream.destination.scheme);
    SearchedBody {
        inner,
        live: Arc::clone(live),
        scan: live.scan(),
        decoder: decoder.map(|decoder| (decoder, live.scan())),
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
