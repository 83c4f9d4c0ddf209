//! One request, and the answer with what all have.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

use super::{Answers, Arriving, Caller, Front, Peer, refused::Refused, target, vitals::UnderWay};
use crate::traces::RequestSpan;

impl<A: Answers> Front<A> {
    /// Answers a request, or says why not.
    pub(super) async fn respond(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        refused: Option<Refused>,
        mut under_way: UnderWay,
        peer: Peer,
    ) -> Response<Answered<A::Body>> {
        let began = Instant::now();
        let method = request.method().clone();
        // What follows a chunked body is never read: whoever was before us may have seen its end elsewhere.
        let is_last = request.version() < Version::HTTP_2 && request.headers().contains_key(header::TRANSFER_ENCODING);
        let admitted = match refused {
            Some(refused) => Err(refused),
            None => self.admit(&mut request, peer),
        };
        let span = self.traces.request(request.headers());
        let is_https = admitted.is_ok_and(|caller| caller.is_https && !is_loopback(request.headers()));
        let (route, mut response) = match admitted {
            Ok(caller) => {
                let route = self.answers.route(request.uri().path());
                let request = request.map(|body| Arriving::new(body, under_way.body()));
                // For as long as it takes only: what a connection has of its own, thousands have that do nothing.
                let answering = Box::pin(self.answers.answer(request, caller));
                let answer = match span.clone() {
                    Some(span) => span.during(answering).await,
                    None => answering.await,
                };
                (route, answer.map(Kind::Answer))
            }
            Err(refused) => {
                self.stats.refused(refused);
                (REFUSED, refusal(refused))
            }
        };
        under_way.answered();
        if method == Method::HEAD {
            response = without_body(response);
        }
        finish(response.headers_mut(), is_https);
        if is_last {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.stats.answered(route, &method, response.status(), began.elapsed());
        if let Some(span) = &span {
            span.answered(route, &method, response.status());
        }
        response.map(|kind| Answered { kind, under_way, _span: span })
    }

    /// Makes of a request what those behind us count on.
    fn admit(&self, request: &mut Request<Incoming>, peer: Peer) -> Result<Caller, Refused> {
        if request.method() == Method::CONNECT {
            return Err(Refused::Tunnel);
        }
        target::settle(request)?;
        if request.version() == Version::HTTP_2 {
            target::join_cookies(request.headers_mut());
        }
        if request.headers().len() > self.limits.max_fields {
            return Err(Refused::TooManyFields);
        }
        let encoded = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
        if request.headers().get_all(header::CONTENT_ENCODING).iter().any(encoded) {
            return Err(Refused::Encoded);
        }
        let (caller, host) = self.proxies.caller(peer, request.headers_mut())?;
        if let Some(host) = host {
            target::set_host(request.headers_mut(), &host)?;
        }
        Ok(caller)
    }
}

/// What a request of HEAD is answered: all that GET is, but for the body (RFC 9110, section 9.3.2). One that would go on ends here.
fn without_body<B: Body>(response: Response<Kind<B>>) -> Response<Kind<B>> {
    let (mut parts, kind) = response.into_parts();
    let length = match &kind {
        Kind::Answer(body) => body.size_hint().exact(),
        Kind::Ours(body) => body.size_hint().exact(),
    };
    let may_have_one = !matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if let Some(length) = length.filter(|_| may_have_one) {
        parts.headers.entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    Response::from_parts(parts, Kind::Ours(Full::default()))
}

fn refusal<B>(refused: Refused) -> Response<Kind<B>> {
    let mut response = Response::new(Kind::Ours(Full::new(Bytes::from_static(refused.text().as_bytes()))));
    *response.status_mut() = refused.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if refused == Refused::Encoded {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    response
}

/// What all answers have; some of those behind us say more.
fn finish(headers: &mut HeaderMap, is_https: bool) {
    for (name, value) in SECURITY_HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if is_https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(A_YEAR));
    }
    headers.remove(header::SERVER);
}

/// A browser would believe it for all that listens on this machine.
fn is_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.starts_with("127.") || name == "[::1]"
}

/// The body of an answer, under way until it was read.
pub(super) struct Answered<B> {
    kind: Kind<B>,
    under_way: UnderWay,
    _span: Option<Arc<RequestSpan>>,
}

enum Kind<B> {
    Answer(B),
    Ours(Full<Bytes>),
}

impl<B: Body<Data = Bytes, Error = io::Error> + Unpin> Body for Answered<B> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let polled = match &mut this.kind {
            Kind::Answer(body) => Pin::new(body).poll_frame(context),
            Kind::Ours(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
        };
        // Until it is asked for more, it is the client that is waited for.
        this.under_way.unread(matches!(polled, Poll::Ready(Some(Ok(_)))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Answer(body) => body.is_end_stream(),
            Kind::Ours(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Answer(body) => body.size_hint(),
            Kind::Ours(body) => body.size_hint(),
        }
    }
}

/// The policy of documents that are not shown: nothing of an answer is a page, run, framed, guessed at or told of to others.
const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
const A_YEAR: &str = "max-age=31536000";
/// What is counted of requests that lead nowhere.
const REFUSED: &str = "refused";
