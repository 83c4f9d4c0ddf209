use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;

use crate::allow;
use crate::answer;
use crate::audit::{AuditKind, Entry};
use crate::authorize::{AuthorizedRequest, Injection, Reading, refused_placeholder};
use crate::body::{AnswerBody, Body, BoxError, Progress, full};
use crate::coding::{Decoder, Unreadable};
use crate::forward::{ForwardError, Upgraded};
use crate::grant::BoxFuture;
use crate::identity::{CredentialId, Identity};
use crate::inspect::inspect;
use crate::limits::Limits;
use crate::messages::{End, Messages};
use crate::policy::{Policy, within};
use crate::refusal::Refusal;
use crate::render::RenderedRequest;
use crate::request::{BodyEnd, Downstream, ValidRequest};
use crate::rule::{Allowance, Rule};
use crate::scrub::{Scrubber, StreamScrub};
use crate::secret::SecretString;
use crate::sink::Place;
use crate::takeover::Takeover;
use crate::websocket::{self, Handshake, Relay};

/// Sends one request to whatever upstream is below.
pub(crate) type SendUpstream =
    Box<dyn FnOnce(Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> + Send>;

/// Runs one request through: decide, inject, forward, scrub, record. Every way out leaves exactly one audit event.
pub(crate) async fn exchange(policy: Arc<Policy>, upstream: SendUpstream, request: Request<Body>) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let Some(downstream) = parts.extensions.remove::<Downstream>() else {
        let entry = policy.entry(AuditKind::Request, &Identity::new("unidentified"));
        return policy.refuse(entry, Refusal::Unidentified).await;
    };
    let destination = &downstream.destination;
    let mut entry = policy
        .entry(AuditKind::Request, &downstream.identity)
        .host(policy.shown(destination.host.as_str()), Some(destination.port))
        .method(policy.shown(parts.method.as_str()));
    let mut told = Told::default();
    let prepared = prepare(&policy, parts, downstream.clone(), body, &mut told).await;
    entry.set_path(told.path.as_deref());
    entry.set_policy_version(told.version);
    let Prepared { request, sent, scrub, answer, progress } = match prepared {
        Ok(prepared) => prepared,
        Err(refusal) => return policy.refuse(entry, refusal).await,
    };
    entry.set_credentials(sent.iter().map(|(id, _)| id.clone()).collect());
    let response = match within(policy.limits.response_deadline, upstream(request.into_http())).await {
        Some(Ok(response)) => response,
        Some(Err(error)) => {
            let refusal = progress.refused.get().copied().unwrap_or_else(|| ForwardError::refusal(&*error));
            tracing::info!(
                error = &*error as &dyn std::error::Error,
                code = refusal.code(),
                "request not answered by the upstream"
            );
            entry.set_bytes(progress.up.load(Ordering::Relaxed), 0);
            return policy.refuse(entry, refusal).await;
        }
        None => return policy.refuse(entry, Refusal::UpstreamTimeout).await,
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        sent.iter().for_each(|(id, value)| policy.credentials.rejected(&downstream.identity, id, value));
    }
    drop(sent);
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switch(policy, downstream, response, answer, scrub, entry).await;
    }
    match clean(response, scrub, answer, &policy.limits) {
        Ok((parts, body, reader)) => {
            entry.set_status(parts.status);
            let body = AnswerBody::new(body, reader, progress).recorded(entry).watched(revocation(policy, downstream));
            Response::from_parts(parts, body.boxed_unsync())
        }
        Err(refusal) => policy.refuse(entry, refusal).await,
    }
}

/// What the audit learns on the way, however far that goes.
#[derive(Default)]
struct Told {
    path: Option<String>,
    version: Option<u64>,
}

/// A request that may be sent now.
struct Prepared {
    request: RenderedRequest,
    /// What goes out with it.
    sent: Vec<(CredentialId, SecretString)>,
    scrub: Option<Scrubber>,
    answer: Expected,
    progress: Arc<Progress>,
}

/// What the answer has to be like.
pub(crate) struct Expected {
    pub(crate) reading: Reading,
    pub(crate) head: bool,
    pub(crate) cookies: bool,
    pub(crate) websocket: Option<Handshake>,
}

/// The answer to a request for WebSocket that the upstream agreed to: the frames that follow are relayed one by one.
async fn switch(
    policy: Arc<Policy>,
    downstream: Downstream,
    response: Response<Body>,
    expected: Expected,
    scrubber: Option<Scrubber>,
    mut entry: Entry,
) -> Response<Body> {
    let (parts, _) = response.into_parts();
    let upstream = parts.extensions.get::<Upgraded>().and_then(Upgraded::take);
    let accepted = expected.websocket.as_ref().map(|handshake| handshake.accepted(&parts.headers));
    let (Some(Ok(accepted)), Some(upstream)) = (accepted, upstream) else {
        return policy.refuse(entry, Refusal::UpstreamProtocol).await;
    };
    let mut headers = answer::for_sandbox(parts.headers, &expected, scrubber.as_ref());
    websocket::forget_headers(&mut headers);
    headers.extend(accepted);
    entry.set_status(parts.status);
    let (identity, scheme) = (downstream.identity.clone(), downstream.destination.scheme);
    let relay = Relay {
        live: Arc::clone(&policy.live),
        judge: Box::new(move |owner| refused_placeholder(owner, &identity, scheme)),
        scrubber,
        idle_deadline: policy.limits.idle_deadline,
        recheck: policy.limits.revocation_interval,
        still_allowed: Box::new(move || {
            let (policy, downstream) = (Arc::clone(&policy), downstream.clone());
            Box::pin(async move { still_allowed(&policy, &downstream).await })
        }),
        entry,
    };
    let mut answer = Response::new(full(""));
    (*answer.status_mut(), *answer.headers_mut()) = (parts.status, headers);
    answer.extensions_mut().insert(Takeover::new(move |sandbox| Box::pin(relay.run(sandbox, upstream))));
    answer
}

/// Waits until the rules no longer allow where a request went.
pub(crate) async fn revocation(policy: Arc<Policy>, downstream: Downstream) -> Refusal {
    loop {
        tokio::time::sleep(policy.limits.revocation_interval).await;
        if let Err(refusal) = still_allowed(&policy, &downstream).await {
            return refusal;
        }
    }
}

/// Whether a rule still allows where something is under way to. If that cannot be told, it ends.
pub(crate) async fn still_allowed(policy: &Policy, downstream: &Downstream) -> Result<(), Refusal> {
    let grant = policy.grant(&downstream.identity).await?;
    allow::destination(&grant, &downstream.destination).map(drop).map_err(|_| Refusal::Revoked)
}

/// All that happens before the first byte leaves.
async fn prepare(
    policy: &Policy,
    parts: http::request::Parts,
    downstream: Downstream,
    body: Body,
    told: &mut Told,
) -> Result<Prepared, Refusal> {
    let raw_path = parts.uri.path().to_owned();
    let grant = policy.grant(&downstream.identity).await;
    // What is not valid was not searched, but the audit may still show it if nothing known is in it.
    told.path = policy.live.find(raw_path.as_bytes()).is_none().then_some(raw_path);
    told.version = grant.as_ref().ok().map(|grant| grant.version());
    let identity = downstream.identity.clone();
    let end = if http_body::Body::is_end_stream(&body) { BodyEnd::Reached } else { BodyEnd::Open };
    let request = ValidRequest::check(parts, end, downstream, &policy.limits)?;
    let mut authorized = AuthorizedRequest::decide(request, &*grant?, &policy.live)?;
    told.path = Some(shown_path(&authorized));
    policy.rates.admit(&identity, &authorized.rule, &policy.limits)?;
    let progress = Arc::new(Progress::default());
    let body = inspect(&policy.limits, &policy.live, &mut authorized, body, &progress).await?;
    let ready = within(policy.limits.lookup_deadline, policy.audit.ready()).await;
    if !matches!(ready, Some(Ok(()))) {
        return Err(Refusal::AuditUnavailable);
    }
    let secrets = policy.secrets(&authorized).await?;
    let others = policy.other_secrets(&authorized).await?;
    let carried = secrets.iter().zip(authorized.injections.iter().map(|injection| &injection.credential.placeholder));
    let pairs: Vec<_> = carried.chain(others.iter().map(|(secret, placeholder)| (secret, placeholder))).collect();
    let scrub = if pairs.is_empty() { None } else { Some(Scrubber::new(pairs)) };
    let ids = authorized.injections.iter().map(|injection| injection.credential.id.clone());
    let sent = ids.zip(secrets.iter().cloned()).collect();
    let answer = Expected {
        reading: authorized.reading,
        head: authorized.request.method == Method::HEAD,
        cookies: takes_cookies(&authorized.rule, authorized.reading),
        websocket: authorized.request.websocket.take(),
    };
    let request = RenderedRequest::write(authorized, &secrets, body)?;
    Ok(Prepared { request, sent, scrub, answer, progress })
}

/// On hosts that credentials go to, a session is a credential as well.
fn takes_cookies(rule: &Rule, reading: Reading) -> bool {
    reading != Reading::Required || rule.allows(Allowance::Cookies)
}

/// The path with the name of a credential where its placeholder stands.
fn shown_path(authorized: &AuthorizedRequest) -> String {
    let mut path = authorized.request.path().to_owned();
    for Injection { credential, place } in &authorized.injections {
        if let Place::Target { range, .. } = place
            && range.end <= path.len()
        {
            path.replace_range(range.clone(), &format!("{{{}}}", credential.id));
        }
    }
    path
}

/// How the body of an answer is read on its way.
#[derive(Default)]
pub(crate) struct Reader {
    /// Undoes the content coding.
    pub(crate) decoder: Option<Decoder>,
    pub(crate) scrub: Option<StreamScrub>,
    /// Each is given as soon as it is complete.
    pub(crate) messages: Option<Messages>,
}

impl Reader {
    /// What may be given of the answer by now, possibly nothing. Takes from `chunk` what it read; what is left comes next time,
    /// so that a little that decodes to a lot is given piece by piece.
    pub(crate) fn read(&mut self, chunk: &mut Bytes) -> Result<Bytes, Unreadable> {
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
        let Some(mut scrub) = self.scrub else { return Ok(Bytes::new()) };
        self.decoder.map_or(Ok(()), |decoder| decoder.finish())?;
        Ok(scrub.finish())
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
    let mut headers = answer::for_sandbox(parts.headers, &expected, scrub.as_ref());
    let has_body = !expected.head && !http_body::Body::is_end_stream(&body);
    let mut reader = Reader::default();
    if let Some(scrubber) = scrub {
        let decoder = if has_body { Decoder::for_codings(&headers, limits) } else { Ok(None) };
        match decoder {
            Ok(decoder) if has_body => {
                answer::forget_length(&mut headers);
                if decoder.is_some() {
                    answer::forget_coding(&mut headers);
                }
                let messages = Messages::for_content(&headers);
                reader = Reader { decoder, scrub: Some(StreamScrub::new(scrubber)), messages };
            }
            Err(_) if expected.reading == Reading::Required => return Err(Refusal::Unscannable),
            Ok(_) | Err(_) => {}
        }
    }
    // Made anew, so that the upstream's reason phrase stays behind with all other extensions.
    let (mut clean, ()) = Response::new(()).into_parts();
    (clean.status, clean.headers) = (parts.status, headers);
    Ok((clean, body, reader))
}
