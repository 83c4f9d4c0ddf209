//! The layer without the server.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gigmcp_egress::{
    AuditEvent, AuditSink, AuditUnavailable, Body, BoxFuture, CredentialId, CredentialRule, CredentialUnavailable,
    Credentials, Destination, Downstream, EgressLayer, EventId, FreshTokens, Grant, GrantUnavailable, Grants,
    HostPattern, Identity, InjectLayer, Limits, Placeholder, Rule, Scheme, ScrubLayer, SecretString, Shape, Sink,
    Token, TokenSource, TokenUnavailable,
};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, Full};
use tower::util::BoxCloneService;
use tower::{Layer as _, ServiceExt as _, service_fn};

#[derive(Default)]
struct Fixed {
    revoked: AtomicBool,
    events: Mutex<Vec<AuditEvent>>,
}

impl Grants for Fixed {
    fn grant<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<Arc<Grant>, GrantUnavailable>> {
        let mut rules = vec![Rule::https("api.example.com".parse().unwrap())];
        if self.revoked.load(Ordering::SeqCst) {
            rules.clear();
        }
        let grant = Grant::new(1, rules, Vec::new()).unwrap();
        Box::pin(async move { Ok(Arc::new(grant)) })
    }
}

impl Credentials for Fixed {
    fn credential<'a>(
        &'a self,
        _: &'a Identity,
        _: &'a CredentialId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        Box::pin(async { Err(CredentialUnavailable::Denied) })
    }
}

impl AuditSink for Fixed {
    fn ready<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }

    fn record<'a>(&'a self, event: AuditEvent) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        self.events.lock().unwrap().push(event);
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn a_request_without_identity_is_refused() {
    let upstream = service_fn(|request: Request<Body>| async move {
        assert_eq!(request.uri(), "https://api.example.com/x", "the upstream gets an absolute target");
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("ok"))))
    });
    let fixed = Arc::new(Fixed::default());
    let service = EgressLayer::new(fixed.clone(), fixed.clone(), fixed, Limits::default()).layer(upstream);
    let request = || Request::get("/x").header("host", "api.example.com");
    let refused = service.clone().oneshot(request().body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["x-gigmcp-refusal"]),
        (403, &"unidentified".parse().unwrap())
    );
    let destination = Destination { scheme: Scheme::Https, host: "api.example.com".parse().unwrap(), port: 443 };
    let downstream = Downstream { identity: Identity::new("one"), destination };
    let allowed = service.oneshot(request().extension(downstream).body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    assert_eq!(allowed.status(), 200, "twin");
}

#[tokio::test]
async fn an_answer_in_another_transfer_coding_is_refused() {
    for (coding, expected) in
        [("gzip", 502), ("gzip, chunked", 502), ("identity", 502), ("chunked", 200), ("Chunked", 200)]
    {
        let upstream = service_fn(move |_: Request<Body>| async move {
            let answer = Response::builder().header("transfer-encoding", coding);
            Ok::<_, Infallible>(answer.body(Full::new(Bytes::from("ok"))).unwrap())
        });
        let fixed = Arc::new(Fixed::default());
        let service = EgressLayer::new(fixed.clone(), fixed.clone(), fixed, Limits::default()).layer(upstream);
        let destination = Destination { scheme: Scheme::Https, host: "api.example.com".parse().unwrap(), port: 443 };
        let downstream = Downstream { identity: Identity::new("one"), destination };
        let request = Request::get("/x").header("host", "api.example.com").extension(downstream);
        let answer = service.oneshot(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), expected, "{coding}");
    }
}

/// A body that always has more, so that whoever reads it never waits for it.
struct Flood;

impl http_body::Body for Flood {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
    }
}

#[tokio::test]
async fn an_answer_that_never_keeps_one_waiting_ends_with_its_rule() {
    let mut limits = Limits::default();
    limits.revocation_interval = Duration::from_millis(20);
    let fixed = Arc::new(Fixed::default());
    let service = EgressLayer::new(fixed.clone(), fixed.clone(), fixed.clone(), limits)
        .layer(service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Flood)) }));
    let destination = Destination { scheme: Scheme::Https, host: "api.example.com".parse().unwrap(), port: 443 };
    let downstream = Downstream { identity: Identity::new("one"), destination };
    let request = Request::get("/x").header("host", "api.example.com").extension(downstream);
    let mut body = service.oneshot(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap().into_body();
    let mut read = async |patience| {
        let all = async {
            while let Some(frame) = body.frame().await {
                frame?;
                // A server writes it to a socket here, where timers have their turn.
                tokio::task::yield_now().await;
            }
            Ok::<_, gigmcp_egress::BoxError>(())
        };
        tokio::time::timeout(patience, all).await
    };
    assert!(read(Duration::from_millis(200)).await.is_err(), "twin: as long as it is allowed, it goes on");
    fixed.revoked.store(true, Ordering::SeqCst);
    let ended = read(Duration::from_secs(60)).await.expect("EGR-086: it goes on");
    assert_eq!(ended.unwrap_err().to_string(), "the rules no longer allow this");
    crate::world::until(|| !fixed.events.lock().unwrap().is_empty()).await;
    assert_eq!(fixed.events.lock().unwrap()[0].verdict.code(), "revoked");
}

#[tokio::test]
async fn injecting_and_scrubbing_work_alone() {
    let secret = SecretString::new("sk-live-0123456789abcdef");
    let placeholder = Placeholder::mint(&Shape::of(&secret));
    let hosts = ["api.example.com".parse().unwrap()];
    let rule = CredentialRule::new(CredentialId::new("key"), placeholder.clone(), hosts, Sink::Bearer);
    // Tells what it was sent.
    let upstream = service_fn(|request: Request<Body>| async move {
        let sent = request.headers().get("authorization").cloned();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!("{} {sent:?}", request.uri())))))
    });
    let inject = InjectLayer::new([(rule, secret.clone())], Limits::default()).unwrap();
    let scrub = ScrubLayer::new([(secret.clone(), placeholder.clone())], Limits::default()).unwrap();
    let ask = async |service: BoxedService, target: &str, authorization: String| {
        let request = Request::get(target).header("authorization", authorization).body(full("")).unwrap();
        let answer = service.oneshot(request).await.unwrap();
        let code = answer.headers().get("x-gigmcp-refusal").map(|code| code.to_str().unwrap().to_owned());
        (code, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    };
    let injecting = || BoxCloneService::new(inject.layer(service_fn(echo)));
    let both = BoxCloneService::new(scrub.layer(inject.layer(upstream)));
    let bearer = format!("Bearer {placeholder}");
    let (code, body) = ask(injecting(), "https://api.example.com/x", bearer.clone()).await;
    assert_eq!(code, None);
    assert!(body.ends_with("x Bearer sk-live-0123456789abcdef"), "{body}");
    let (_, body) = ask(both, "https://api.example.com/x", bearer.clone()).await;
    assert!(!body.contains("0123456789abcdef") && body.contains("https://api.example.com/x"), "{body}");
    for (case, target, value, code) in [
        ("another host", "https://b.example.com/", bearer.clone(), "placeholder-wrong-host"),
        ("clear text", "http://api.example.com/", bearer.clone(), "cleartext-credential"),
        ("another place", "https://api.example.com/", placeholder.to_string(), "placeholder-ambiguous"),
        (
            "in the target",
            &*format!("https://api.example.com/?{placeholder}"),
            String::new(),
            "placeholder-wrong-place",
        ),
        ("no host", "/x", bearer.clone(), "target-not-canonical"),
    ] {
        assert_eq!(ask(injecting(), target, value).await.0.as_deref(), Some(code), "{case}");
    }
}

#[tokio::test]
async fn injecting_alone_does_not_change_protocols() {
    let secret = SecretString::new("sk-live-0123456789abcdef");
    let placeholder = Placeholder::mint(&Shape::of(&secret));
    let hosts = ["api.example.com".parse().unwrap()];
    let rule = CredentialRule::new(CredentialId::new("key"), placeholder.clone(), hosts, Sink::Bearer);
    let inject = InjectLayer::new([(rule, secret)], Limits::default()).unwrap();
    for (case, upgrade, code) in [("WebSocket", Some("websocket"), Some("upgrade")), ("twin: a request", None, None)] {
        let mut request = Request::get("https://api.example.com/x")
            .header("authorization", format!("Bearer {placeholder}"))
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        if let Some(upgrade) = upgrade {
            request = request.header("connection", "upgrade").header("upgrade", upgrade);
        }
        let service = inject.layer(service_fn(echo));
        let answer = service.oneshot(request.body(full("")).unwrap()).await.unwrap();
        let told = answer.headers().get("x-gigmcp-refusal").map(|code| code.to_str().unwrap());
        assert_eq!(told, code, "{case}");
    }
}

type BoxedService = BoxCloneService<Request<Body>, Response<Body>, Infallible>;

async fn echo(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let sent = request.headers()["authorization"].to_str().unwrap();
    Ok(Response::new(full(&format!("{} {sent}", request.uri()))))
}

fn full(text: &str) -> Body {
    Full::new(Bytes::from(text.to_owned())).map_err(|never| match never {}).boxed_unsync()
}

/// Fetches tokens at once for one credential, and never for another.
#[derive(Default)]
struct Issuers(Mutex<Vec<String>>);

impl TokenSource for Issuers {
    fn fetch<'a>(&'a self, _: &'a Identity, id: &'a CredentialId) -> BoxFuture<'a, Result<Token, TokenUnavailable>> {
        self.0.lock().unwrap().push(id.to_string());
        Box::pin(async move {
            if id.as_str() == "hanging" {
                std::future::pending::<()>().await;
            }
            Ok(Token::new(SecretString::new(format!("token-of-{id}-0123456789abcdef")), None))
        })
    }
}

/// Two credentials, each of its host.
struct Two([Placeholder; 3]);

const OF: [(&str, &str); 3] = [("quick", "a.example.com"), ("other", "b.example.com"), ("hanging", "c.example.com")];

impl Grants for Two {
    fn grant<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<Arc<Grant>, GrantUnavailable>> {
        let rules = OF.map(|(_, host)| Rule::https(host.parse().unwrap())).to_vec();
        let credentials = OF.iter().zip(&self.0).map(|((id, host), placeholder)| {
            CredentialRule::new(CredentialId::new(*id), placeholder.clone(), [host.parse().unwrap()], Sink::Bearer)
        });
        let grant = Grant::new(1, rules, credentials.collect()).unwrap();
        Box::pin(async move { Ok(Arc::new(grant)) })
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_of_other_hosts_hold_up_nobody() {
    let upstream = service_fn(|_: Request<Body>| async move {
        // What every host of these tests says: all that any of them was told.
        Ok::<_, Infallible>(Response::new(full("token-of-quick-0123456789abcdef token-of-other-0123456789abcdef")))
    });
    let issuers = Arc::new(Issuers::default());
    let placeholders = [(); 3].map(|()| Placeholder::mint(&Shape::opaque()));
    let tokens = Arc::new(FreshTokens::new(issuers.clone()));
    let service =
        EgressLayer::new(Arc::new(Two(placeholders.clone())), tokens, Arc::new(Fixed::default()), Limits::default())
            .layer(upstream);
    let ask = async |host: &str, bearer: Option<&Placeholder>| {
        let destination = Destination { scheme: Scheme::Https, host: host.parse().unwrap(), port: 443 };
        let mut request = Request::get("/x").header("host", host);
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let request = request.extension(Downstream { identity: Identity::new("one"), destination });
        let began = tokio::time::Instant::now();
        let answer = service.clone().oneshot(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let text = String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
        (status, text, began.elapsed())
    };
    let (status, text, took) = ask("a.example.com", Some(&placeholders[0])).await;
    assert_eq!((status, took), (200, Duration::ZERO), "{text}");
    assert!(text.contains("token-of-other"), "twin: a token that nobody asked for is not known: {text}");
    assert_eq!(*issuers.0.lock().unwrap(), ["quick"], "nor fetched");
    // The host of a token may show what others sent it.
    let (status, text, _) = ask("b.example.com", None).await;
    assert_eq!((status, &*text), (200, &*format!("{} {}", placeholders[0], placeholders[1])));
    assert_eq!(*issuers.0.lock().unwrap(), ["quick", "other"]);
    let (_, text, _) = ask("a.example.com", None).await;
    assert_eq!(
        text,
        format!("{} {}", placeholders[0], placeholders[1]),
        "what was given out is searched for everywhere"
    );
    let (status, _, took) = ask("c.example.com", Some(&placeholders[2])).await;
    assert_eq!((status, took), (503, Duration::from_secs(5)), "twin: who needs it waits");
    assert_eq!(ask("a.example.com", Some(&placeholders[0])).await.2, Duration::ZERO, "and still nobody else");
}

/// Notes for which request a credential was asked.
struct Noting {
    grant: Arc<Grant>,
    asked: Mutex<Vec<Option<EventId>>>,
    events: Mutex<Vec<AuditEvent>>,
}

impl Grants for Noting {
    fn grant<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<Arc<Grant>, GrantUnavailable>> {
        Box::pin(async { Ok(self.grant.clone()) })
    }
}

impl Credentials for Noting {
    fn credential<'a>(
        &'a self,
        _: &'a Identity,
        _: &'a CredentialId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        self.asked.lock().unwrap().push(None);
        Box::pin(async { Ok(SecretString::new("the-real-value")) })
    }

    fn credential_for<'a>(
        &'a self,
        _: &'a Identity,
        _: &'a CredentialId,
        request: EventId,
    ) -> BoxFuture<'a, Result<SecretString, CredentialUnavailable>> {
        self.asked.lock().unwrap().push(Some(request));
        Box::pin(async { Ok(SecretString::new("the-real-value")) })
    }
}

impl AuditSink for Noting {
    fn ready<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }

    fn record<'a>(&'a self, event: AuditEvent) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        self.events.lock().unwrap().push(event);
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn a_credential_is_asked_for_with_the_id_of_the_request_that_it_goes_out_with() {
    let placeholder = Placeholder::mint(&Shape::opaque());
    let host: HostPattern = "api.example.com".parse().unwrap();
    let (id, sink) = (CredentialId::new("key"), Sink::Header { name: None });
    let credential = CredentialRule::new(id, placeholder.clone(), [host.clone()], sink);
    let grant = Arc::new(Grant::new(1, vec![Rule::https(host)], vec![credential]).unwrap());
    let noting = Arc::new(Noting { grant, asked: Mutex::default(), events: Mutex::default() });
    let upstream =
        service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("ok")))) });
    let service = EgressLayer::new(noting.clone(), noting.clone(), noting.clone(), Limits::default()).layer(upstream);
    let destination = Destination { scheme: Scheme::Https, host: "api.example.com".parse().unwrap(), port: 443 };
    let downstream = Downstream { identity: Identity::new("one"), destination };
    for goes_out in [true, false, true] {
        let mut request = Request::get("/x").header("host", "api.example.com");
        if goes_out {
            request = request.header("authorization", format!("Bearer {}", placeholder.as_str()));
        }
        let request = request.extension(downstream.clone()).body(Empty::<Bytes>::new()).unwrap();
        let answer = service.clone().oneshot(request).await.unwrap();
        answer.into_body().collect().await.unwrap();
        while noting.events.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let event = noting.events.lock().unwrap().pop().unwrap();
        let asked = std::mem::take(&mut *noting.asked.lock().unwrap());
        assert_eq!(asked, [goes_out.then_some(event.id)], "{:?}", event.verdict);
    }
}
