use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;

use crate::answer;
use crate::audit::{AuditKind, AuditSink, Entry, Verdict};
use crate::authorize::{AuthorizedRequest, Reading, refused_placeholder};
use crate::body::{AnswerBody, Body, BoxError, Progress, SearchedBody, full};
use crate::forward::ForwardError;
use crate::grant::{BoxFuture, CredentialUnavailable, Credentials, Grant, Grants};
use crate::identity::{CredentialId, Identity};
use crate::limits::Limits;
use crate::live::{LivePlaceholders, Owner};
use crate::placeholder::Placeholder;
use crate::refusal::Refusal;
use crate::render::RenderedRequest;
use crate::request::{BodyLength, Downstream, ValidRequest};
use crate::scrub::{Scrubber, StreamScrub};
use crate::secret::SecretString;

/// What every exchange needs.
pub(crate) struct Policy {
    pub(crate) grants: Arc<dyn Grants>,
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) audit: Arc<dyn AuditSink>,
    pub(crate) limits: Limits,
    pub(crate) live: Arc<LivePlaceholders>,
}

impl Policy {
    /// The rules of an identity, now. Its placeholders are known from here on.
    pub(crate) async fn grant(&self, identity: &Identity) -> Result<Arc<Grant>, Refusal> {
        let grant =
            within(self.limits.lookup_deadline, self.grants.grant(identity)).await.ok_or(Refusal::GrantUnavailable)?;
        let grant = grant.map_err(|error| {
            tracing::error!(%identity, error = &error as &dyn std::error::Error, "grant not read");
            Refusal::GrantUnavailable
        })?;
        self.live.note(identity, &grant.credentials);
        Ok(grant)
    }

    pub(crate) fn entry(&self, kind: AuditKind, identity: &Identity) -> Entry {
        Entry::new(Arc::clone(&self.audit), kind, identity.clone())
    }

    /// What the audit may show of a text: nothing, if a placeholder is in it.
    pub(crate) fn shown<'a>(&self, text: &'a str) -> &'a str {
        if self.live.find(text.as_bytes()).is_none() { text } else { "" }
    }

    /// Records a refusal, and only then gives the answer that tells the sandbox.
    pub(crate) async fn refuse(&self, mut entry: Entry, refusal: Refusal) -> Response<Body> {
        entry.set_verdict(Verdict::Refused(refusal));
        entry.set_status(refusal.status());
        entry.record().await;
        answer::refusal(refusal)
    }

    /// The values to inject, in the order of the injections.
    async fn secrets(&self, authorized: &AuthorizedRequest) -> Result<Vec<SecretString>, Refusal> {
        let identity = &authorized.request.downstream.identity;
        let mut secrets = Vec::with_capacity(authorized.injections.len());
        for injection in &authorized.injections {
            secrets.push(self.secret(identity, &injection.credential.id).await?);
        }
        Ok(secrets)
    }

    /// The values that an answer may hold although the request did not carry them. One that is not set, or no longer, is
    /// not known to anybody here, and one that cannot be injected never left.
    async fn other_secrets(&self, authorized: &AuthorizedRequest) -> Result<Vec<(SecretString, Placeholder)>, Refusal> {
        let identity = &authorized.request.downstream.identity;
        let mut secrets = Vec::with_capacity(authorized.others.len());
        for credential in &authorized.others {
            match self.secret(identity, &credential.id).await {
                Ok(secret) => secrets.push((secret, credential.placeholder.clone())),
                Err(Refusal::CredentialDenied | Refusal::CredentialUnusable) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(secrets)
    }

    async fn secret(&self, identity: &Identity, id: &CredentialId) -> Result<SecretString, Refusal> {
        let secret = within(self.limits.lookup_deadline, self.credentials.credential(identity, id)).await;
        let secret = secret.ok_or(Refusal::CredentialUnavailable)?.map_err(|error| {
            tracing::warn!(%identity, credential = %id, error = &error as &dyn std::error::Error, "credential not read");
            match error {
                CredentialUnavailable::Denied => Refusal::CredentialDenied,
                CredentialUnavailable::Unreachable { .. } => Refusal::CredentialUnavailable,
            }
        })?;
        secret.check().map_err(|error| {
            tracing::warn!(%identity, credential = %id, error = &error as &dyn std::error::Error, "credential not usable");
            Refusal::CredentialUnusable
        })?;
        Ok(secret)
    }
}

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
    let (prepared, path) = prepare(&policy, parts, downstream, body).await;
    entry.set_path(path.as_deref());
    let Prepared { request, secrets, scrub, reading, progress, head } = match prepared {
        Ok(prepared) => prepared,
        Err(refusal) => return policy.refuse(entry, refusal).await,
    };
    entry.set_credentials(secrets);
    let answer = match within(policy.limits.response_deadline, upstream(request.into_http())).await {
        Some(Ok(answer)) => answer,
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
    match clean(answer, scrub, reading, head) {
        Ok((parts, body, scrub)) => {
            entry.set_status(parts.status);
            Response::from_parts(parts, AnswerBody::new(body, scrub, entry, progress).boxed_unsync())
        }
        Err(refusal) => policy.refuse(entry, refusal).await,
    }
}

/// A request that may be sent now.
struct Prepared {
    request: RenderedRequest,
    secrets: Vec<CredentialId>,
    scrub: Option<Scrubber>,
    reading: Reading,
    progress: Arc<Progress>,
    head: bool,
}

/// All that happens before the first byte leaves. Gives the path for the audit beside it, unless it holds a placeholder.
async fn prepare(
    policy: &Policy,
    parts: http::request::Parts,
    downstream: Downstream,
    body: Body,
) -> (Result<Prepared, Refusal>, Option<String>) {
    // What is not valid was not searched, but the audit may still show it if nothing known is in it.
    let shown = |path: &str| policy.live.find(path.as_bytes()).is_none();
    let raw_path = parts.uri.path().to_owned();
    let grant = policy.grant(&downstream.identity).await;
    let path = shown(&raw_path).then_some(raw_path);
    let prepared = async {
        let request = ValidRequest::check(parts, downstream, &policy.limits)?;
        let authorized = AuthorizedRequest::decide(request, &*grant?, &policy.live)?;
        let progress = Arc::new(Progress::default());
        let body = inspect(policy, &authorized, body, &progress).await?;
        let ready = within(policy.limits.lookup_deadline, policy.audit.ready()).await;
        if !matches!(ready, Some(Ok(()))) {
            return Err(Refusal::AuditUnavailable);
        }
        let secrets = policy.secrets(&authorized).await?;
        let others = policy.other_secrets(&authorized).await?;
        let carried =
            secrets.iter().zip(authorized.injections.iter().map(|injection| &injection.credential.placeholder));
        let pairs: Vec<_> = carried.chain(others.iter().map(|(secret, placeholder)| (secret, placeholder))).collect();
        let scrub = match pairs.is_empty() {
            true => None,
            false => Some(Scrubber::new(pairs)),
        };
        let ids = authorized.injections.iter().map(|injection| injection.credential.id.clone()).collect();
        let (head, reading) = (authorized.request.method == Method::HEAD, authorized.reading);
        let request = RenderedRequest::write(authorized, &secrets, body)?;
        Ok(Prepared { request, secrets: ids, scrub, reading, progress, head })
    };
    (prepared.await, path)
}

/// Reads and searches a short body whole, so that nothing is sent if it is refused; a long one is searched while it is sent.
async fn inspect(
    policy: &Policy,
    authorized: &AuthorizedRequest,
    body: Body,
    progress: &Arc<Progress>,
) -> Result<Body, Refusal> {
    let Downstream { identity, destination } = authorized.request.downstream.clone();
    let judge = move |owner: &Owner| refused_placeholder(owner, &identity, destination.scheme);
    match authorized.request.length {
        BodyLength::Known(0) => Ok(full(Bytes::new())),
        BodyLength::Known(length) if length <= policy.limits.inspected_body_bytes => {
            let bytes = read_whole(body, length).await?;
            if let Some(owner) = policy.live.find(&bytes) {
                return Err(judge(&owner));
            }
            progress.up.store(length, Ordering::Relaxed);
            Ok(full(bytes))
        }
        BodyLength::Known(_) | BodyLength::Chunked => {
            let scan = policy.live.scan();
            let (live, progress) = (Arc::clone(&policy.live), Arc::clone(progress));
            Ok(SearchedBody { inner: body, live, scan, judge: Box::new(judge), progress }.boxed_unsync())
        }
    }
}

/// Reads a body that has to be exactly as long as its head said.
async fn read_whole(mut body: Body, length: u64) -> Result<Bytes, Refusal> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|_| Refusal::Malformed)?.into_data() else { continue };
        bytes.put(chunk);
        if bytes.len() as u64 > length {
            return Err(Refusal::Framing);
        }
    }
    if bytes.len() as u64 == length { Ok(bytes.freeze()) } else { Err(Refusal::Framing) }
}

/// The answer as the sandbox may see it.
fn clean(
    answer: Response<Body>,
    scrub: Option<Scrubber>,
    reading: Reading,
    head: bool,
) -> Result<(http::response::Parts, Body, Option<StreamScrub>), Refusal> {
    let (parts, body) = answer.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS || !answer::is_plainly_framed(&parts.headers) {
        return Err(Refusal::UpstreamProtocol);
    }
    let mut headers = answer::end_to_end(parts.headers);
    let has_body = !head && !http_body::Body::is_end_stream(&body);
    let scrubs_body = scrub.is_some() && has_body && answer::is_scannable(&headers);
    if has_body && !scrubs_body && scrub.is_some() && reading == Reading::Required {
        return Err(Refusal::Unscannable);
    }
    if let Some(scrubber) = &scrub {
        headers = answer::scrub_headers(headers, scrubber);
    }
    if scrubs_body {
        answer::forget_length(&mut headers);
    }
    // Made anew, so that the upstream's reason phrase stays behind with all other extensions.
    let (mut clean, ()) = Response::new(()).into_parts();
    (clean.status, clean.headers) = (parts.status, headers);
    Ok((clean, body, scrub.filter(|_| scrubs_body).map(StreamScrub::new)))
}

/// The outcome of a future, if it comes in time.
pub(crate) async fn within<F: Future>(deadline: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(deadline, future).await.ok()
}
