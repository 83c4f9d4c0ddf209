use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::OwnedSemaphorePermit;

use crate::audit::{AuditKind, EventId};
use crate::authorize::{AuthorizedRequest, Injection, Reading};
use crate::body::{AnswerBody, Body, BoxError, Progress};
use crate::coding;
use crate::forward::ForwardError;
use crate::grant::BoxFuture;
use crate::identity::{CredentialId, Identity};
use crate::inspect::{Inspected, Inspection, inspect};
use crate::policy::{Policy, within};
use crate::reader::{Expected, clean};
use crate::refusal::Refusal;
use crate::render::RenderedRequest;
use crate::request::{BodyEnd, Downstream, ValidRequest};
use crate::revocation::Ongoing;
use crate::rule::{Allowance, Rule};
use crate::scrub::Scrubber;
use crate::secret::SecretString;
use crate::sink::Place;
use crate::switch::switch;

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
    let identity = downstream.identity.clone();
    let destination = &downstream.destination;
    let mut entry = policy
        .entry(AuditKind::Request, &downstream.identity)
        .host(policy.shown(destination.host.as_str()), Some(destination.port))
        .method(policy.shown(parts.method.as_str()));
    let mut told = Told::of(entry.id());
    let prepared = prepare(&policy, parts, downstream, body, &mut told).await;
    entry.set_path(told.path.as_deref());
    entry.set_policy_version(told.version);
    let Prepared { request, ongoing, sent, scrub, answer, progress, sending } = match prepared {
        Ok(prepared) => prepared,
        Err(refusal) => return policy.refuse(entry, refusal).await,
    };
    entry.set_credentials(sent.iter().map(|(id, _)| id.clone()).collect());
    entry.set_progress(Arc::clone(&progress));
    let answered = tokio::select! {
        biased;
        answered = upstream(request.into_http()) => answered,
        // What is sent for a long time has to be allowed for as long.
        refusal = ongoing.clone().revoked() => return policy.refuse(entry, refusal).await,
        () = silence(&progress, policy.limits.response_deadline) => {
            return policy.refuse(entry, Refusal::UpstreamTimeout).await;
        }
    };
    let response = match answered {
        Ok(response) => response,
        Err(error) => {
            let refusal = progress.refused.get().copied().unwrap_or_else(|| ForwardError::refusal(&*error));
            tracing::debug!(
                error = &*error as &dyn std::error::Error,
                code = refusal.code(),
                "request not answered by the upstream"
            );
            drop(error);
            return policy.refuse(entry, refusal).await;
        }
    };
    drop(sending);
    if response.status() == StatusCode::UNAUTHORIZED {
        sent.iter().for_each(|(id, value)| policy.credentials.rejected(&identity, id, value));
    }
    drop(sent);
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switch(ongoing, response, answer, scrub, entry).await;
    }
    let windows = coding::windows(response.headers());
    if scrub.is_some() && windows > 0 && !answer.head && !http_body::Body::is_end_stream(response.body()) {
        let places = policy.bodies.answers.take(&identity, windows);
        let Some(places) = within(policy.limits.lookup_deadline, places).await else {
            return policy.refuse(entry, Refusal::RateLimited).await;
        };
        progress.hold(places);
    }
    match clean(response, scrub, answer, &policy.limits) {
        Ok((parts, body, reader)) => {
            entry.set_status(parts.status);
            let body = AnswerBody::new(body, reader, progress).recorded(entry).watched(ongoing.revoked());
            Response::from_parts(parts, body.boxed_unsync())
        }
        Err(refusal) => policy.refuse(entry, refusal).await,
    }
}

/// What the audit learns on the way, however far that goes.
struct Told {
    request: EventId,
    path: Option<String>,
    version: Option<u64>,
}

impl Told {
    fn of(request: EventId) -> Self {
        Self { request, path: None, version: None }
    }
}

/// A request that may be sent now.
struct Prepared {
    request: RenderedRequest,
    /// What it was let through for.
    ongoing: Ongoing,
    /// What goes out with it.
    sent: Vec<(CredentialId, SecretString)>,
    scrub: Option<Scrubber>,
    answer: Expected,
    progress: Arc<Progress>,
    /// What it occupies until it was answered.
    sending: Option<OwnedSemaphorePermit>,
}

/// All that happens before the first byte leaves.
async fn prepare(
    policy: &Arc<Policy>,
    parts: http::request::Parts,
    downstream: Downstream,
    body: Body,
    told: &mut Told,
) -> Result<Prepared, Refusal> {
    let raw_path = parts.uri.path().to_owned();
    // Before anything is waited for: who gives up then is counted as well.
    let admitted = policy.rates.admit(&downstream.identity, &policy.limits);
    let grant = policy.grant(&downstream.identity).await;
    // What is not valid was not searched, but the audit may still show it if nothing known is in it.
    told.path = policy.live.find(raw_path.as_bytes()).is_none().then_some(raw_path);
    told.version = grant.as_ref().ok().map(|grant| grant.version());
    let identity = downstream.identity.clone();
    let end = if http_body::Body::is_end_stream(&body) { BodyEnd::Reached } else { BodyEnd::Open };
    admitted?;
    let request = ValidRequest::check(parts, end, downstream, &policy.limits)?;
    let mut authorized = AuthorizedRequest::decide(request, &*grant?, &policy.live)?;
    told.path = Some(shown_path(&authorized));
    policy.rates.admit_by(&authorized.rule, &identity)?;
    let progress = Arc::new(Progress::default());
    let ongoing = Ongoing::begun(policy, &authorized);
    let inspection = Inspection {
        limits: &policy.limits,
        live: &policy.live,
        places: Some(&policy.bodies),
        ongoing: Some(&ongoing),
    };
    let Inspected { body, place: sending } = tokio::select! {
        biased;
        inspected = inspect(inspection, &mut authorized, body, &progress) => inspected?,
        // A body that takes its time must not outlive what allows it.
        refusal = ongoing.clone().revoked() => return Err(refusal),
    };
    let ready = within(policy.limits.lookup_deadline, policy.audit.ready(&identity)).await;
    if !matches!(ready, Some(Ok(()))) {
        return Err(Refusal::AuditUnavailable);
    }
    let secrets = policy.secrets(&authorized, told.request).await?;
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
    // With the credentials that stand in the body.
    let ongoing = Ongoing::request(policy, &authorized);
    let request = RenderedRequest::write(authorized, &secrets, body)?;
    Ok(Prepared { request, ongoing, sent, scrub, answer, progress, sending })
}

/// On hosts that credentials go to, a session is a credential as well.
fn takes_cookies(rule: &Rule, reading: Reading) -> bool {
    reading != Reading::Required || rule.allows(Allowance::Cookies)
}

/// The path with the name of a credential where its placeholder stands.
fn shown_path(authorized: &AuthorizedRequest) -> String {
    let mut path = authorized.request.path().to_owned();
    let mut places: Vec<_> = authorized
        .injections
        .iter()
        .filter_map(|Injection { credential, place }| match place {
            Place::Target { range, .. } if range.end <= path.len() => Some((range.clone(), &credential.id)),
            _ => None,
        })
        .collect();
    // From the end, so that the ranges before stay where they are.
    places.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    for (range, id) in places {
        path.replace_range(range, &format!("{{{id}}}"));
    }
    path
}

/// Ends when an upstream has been silent for too long since the last byte of the request left.
async fn silence(progress: &Progress, deadline: Duration) {
    let mut sent = progress.up.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(deadline).await;
        match progress.up.load(Ordering::Relaxed) {
            now if now == sent => return,
            now => sent = now,
        }
    }
}
