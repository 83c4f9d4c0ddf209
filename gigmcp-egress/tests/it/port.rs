//! One proxy port for many, told apart by a token.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gigmcp_egress::{BoxFuture, Identify, Identity, Placeholder, ProxyPort, Rule, Shape};
use http::HeaderValue;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::wire::Wire;
use crate::world::{RUNS_OUT, TCP_PORT, Trust, World};

/// `Proxy-Authorization: Basic NAME:token`.
struct ByToken;

impl Identify for ByToken {
    fn identify<'a>(
        &'a self,
        peer: SocketAddr,
        authorization: Option<&'a HeaderValue>,
    ) -> BoxFuture<'a, Option<Identity>> {
        assert!(peer.ip().is_loopback());
        Box::pin(async move {
            let text = authorization?.to_str().ok()?.strip_prefix("Basic ")?;
            let decoded = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
            let (name, token) = decoded.split_once(':')?;
            (token == "token").then(|| Identity::new(name))
        })
    }
}

fn connect(host: &str, user: Option<&str>) -> String {
    let header =
        user.map_or_else(String::new, |user| format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(user)));
    format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n{header}\r\n")
}

#[tokio::test]
async fn a_shared_port_serves_those_it_can_tell_apart() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let port = world.proxy.listen(listener, Arc::new(ByToken)).unwrap();
    let admission = port.admit(sandbox.identity.clone(), sandbox.authority.clone());
    let wire = async || Wire::new(TcpStream::connect(address).await.unwrap());

    let mut tunnel = wire().await;
    assert_eq!(tunnel.ask(connect("api.example.com", Some("one:token"))).await.status, 200);
    let mut inside = Wire::new(sandbox.handshake(tunnel.into_inner(), "api.example.com").await.unwrap());
    let key = format!("Authorization: Bearer {}\r\n", sandbox.placeholder);
    let reply = inside.ask(format!("GET /x HTTP/1.1\r\nHost: api.example.com\r\n{key}\r\n")).await;
    assert_eq!(reply.status, 200, "{}", reply.head);
    assert!(world.origin.seen()[0].headers["authorization"].to_str().unwrap().contains("S3NT1N3L"));

    let dialled = world.backstage.dialled.load(Ordering::SeqCst);
    for (case, user) in [
        ("EGR-061 none", None),
        ("EGR-061 another token", Some("one:tokeN")),
        ("EGR-061 a shorter one", Some("one:toke")),
        ("somebody who is not admitted", Some("two:token")),
    ] {
        let reply = wire().await.ask(connect("api.example.com", user)).await;
        assert_eq!((reply.status, reply.code()), (407, Some("proxy-identity")), "{case}");
        assert!(reply.header("proxy-authenticate").is_some(), "{case}: {}", reply.head);
    }
    let reply = wire().await.ask(connect("evil.test", Some("one:token"))).await;
    assert_eq!((reply.status, reply.code()), (403, Some("host-denied")), "the rules are those of the identity");

    // One connection, two identities.
    let two = world.sandbox("two");
    let other = port.admit(two.identity.clone(), two.authority.clone());
    let plain = |user: &str| {
        let token = STANDARD.encode(user);
        format!(
            "GET http://plain.example.com/ HTTP/1.1\r\nHost: plain.example.com\r\nProxy-Authorization: Basic {token}\r\n\r\n"
        )
    };
    let mut wire = wire().await;
    assert_eq!(wire.ask(plain("one:token")).await.status, 200);
    assert_eq!(wire.ask(plain("one:token")).await.status, 200, "twin");
    let reply = wire.ask(plain("two:token")).await;
    assert_eq!((reply.status, reply.code()), (407, Some("identity-mismatch")), "EGR-060");
    assert!(wire.is_closed().await);
    assert_eq!(world.backstage.dialled.load(Ordering::SeqCst), dialled + 1, "nothing else was dialled");

    drop(admission);
    assert!(inside.is_closed().await, "its connections end with it");
    drop((other, port));
    assert!(TcpStream::connect(address).await.is_err() || wire.is_closed().await);
    let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
    let expected = [
        "allowed",
        "proxy-identity",
        "proxy-identity",
        "proxy-identity",
        "proxy-identity",
        "host-denied",
        "allowed",
        "allowed",
        "identity-mismatch",
    ];
    assert_eq!(codes, expected);
}

/// What is waited for comes well before that, or never.
const PATIENCE: Duration = Duration::from_secs(60);

fn listen(world: &World) -> (ProxyPort, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (world.proxy.listen(listener, Arc::new(ByToken)).unwrap(), address)
}

/// A connection to a port, from this address of this machine.
async fn from(source: &str, port: SocketAddr) -> Wire<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    Wire::new(socket.connect(port).await.unwrap())
}

/// A request in clear text, of somebody or nobody.
fn plain(method: &str, authority: &str, path: &str, user: Option<&str>, headers: &str) -> String {
    let user =
        user.map_or_else(String::new, |user| format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(user)));
    format!("{method} http://{authority}{path} HTTP/1.1\r\nHost: {authority}\r\n{user}{headers}\r\n")
}

fn get(path: &str, user: Option<&str>) -> String {
    plain("GET", "plain.example.com", path, user, "")
}

/// A WebSocket in clear text that says nothing.
async fn silent_websocket(world: &World) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.set_plain(listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                while futures_util::StreamExt::next(&mut socket).await.is_some() {}
            });
        }
    });
}

#[tokio::test]
async fn what_is_under_way_ends_with_its_admission() {
    let websocket = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let host = format!("plain.example.com:{TCP_PORT}");
    let user = Some("ghost:token");
    for (case, request, begun) in [
        ("an answer", get("/events", user), "data: one\n\n\r\n"),
        (
            "a request",
            plain("POST", "plain.example.com", "/", user, "Content-Length: 9\r\nExpect: 100-continue\r\n"),
            "HTTP/1.1 100 Continue\r\n\r\n",
        ),
        ("a WebSocket", plain("GET", &host, "/", user, websocket), "\r\n\r\n"),
        ("rest", get("/", user), "ok\r\n0\r\n\r\n"),
    ] {
        let mut world =
            World::with(Trust::Origin, |limits| limits.revocation_interval = Duration::from_millis(10)).await;
        silent_websocket(&world).await;
        let (identity, placeholder) = (Identity::new("ghost"), Placeholder::mint(&Shape::opaque()));
        let mut rule = Rule::http("plain.example.com".parse().unwrap());
        rule.ports = vec![80, TCP_PORT];
        world.grant(&identity, &placeholder, |grant| *grant.rules.last_mut().unwrap() = rule);
        let sandbox = world.sandbox("one");
        let (port, address) = listen(&world);
        let admission = port.admit(identity, sandbox.authority.clone());
        let (mut wire, mut twin) = (from("127.0.0.1", address).await, from("127.0.0.1", address).await);
        for wire in [&mut wire, &mut twin] {
            wire.send(&request).await;
            timeout(PATIENCE, wire.until(begun)).await.expect(case);
        }
        // While it goes on, the identity's placeholder is known.
        let honeytoken = plain("GET", "plain.example.com", &format!("/?{placeholder}"), None, "");
        let honeytoken = honeytoken.replace("http://plain.example.com", "");
        let there = sandbox.resolve("plain.example.com").await.unwrap();
        let reply = sandbox.http_at(there).await.ask(&honeytoken).await;
        assert_eq!(reply.code(), Some("foreign-placeholder"), "{case}: twin: {}", reply.head);
        drop(admission);
        for mut wire in [wire, twin] {
            assert!(timeout(PATIENCE, wire.is_closed()).await.expect(case), "{case}");
        }
        let since = Instant::now();
        while sandbox.http_at(there).await.ask(&honeytoken).await.code().is_some() {
            assert!(since.elapsed() < PATIENCE, "{case}: the identity is forgotten when nothing of it is left");
        }
    }
}

#[tokio::test]
async fn those_who_never_say_who_they_are_stop_nobody() {
    let mut world = World::with(Trust::Origin, |limits| {
        (limits.port_connections, limits.handshake_deadline) = (4, Duration::from_secs(3600));
    })
    .await;
    let sandbox = world.sandbox("one");
    let (port, address) = listen(&world);
    let _admission = port.admit(sandbox.identity.clone(), sandbox.authority.clone());
    let (mut patient, request) = (from("127.0.0.1", address).await, get("/", Some("one:token")));
    patient.send("GET").await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        let mut wire = from("127.0.0.2", address).await;
        wire.send("G").await;
        silent.push(wire);
    }
    let known = async || {
        let mut wire = from("127.0.0.1", address).await;
        let reply = timeout(PATIENCE, wire.ask(get("/", Some("one:token")))).await.expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.head);
        wire
    };
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(known().await);
    }
    for wire in &mut silent[..4] {
        assert!(timeout(PATIENCE, wire.is_closed()).await.expect("the first of whoever has the most is closed"));
    }
    assert_eq!(patient.ask(&request["GET".len()..]).await.status, 200, "who has few is not");
    for wire in &mut all {
        assert_eq!(wire.ask(get("/", Some("one:token"))).await.status, 200, "nor is anybody who is known");
    }
}

#[tokio::test]
async fn who_does_not_say_in_time_who_it_is_is_closed() {
    let mut world = World::with(Trust::Origin, |limits| limits.handshake_deadline = RUNS_OUT).await;
    let sandbox = world.sandbox("one");
    let (port, address) = listen(&world);
    let _admission = port.admit(sandbox.identity.clone(), sandbox.authority.clone());
    let mut known = from("127.0.0.1", address).await;
    assert_eq!(known.ask(get("/", Some("one:token"))).await.status, 200);
    for (case, begun) in [("nothing", ""), ("half a head", "GET http")] {
        let mut wire = from("127.0.0.1", address).await;
        wire.send(begun).await;
        assert!(timeout(PATIENCE, wire.is_closed()).await.expect(case), "{case}");
    }
    assert_eq!(known.ask(get("/", Some("one:token"))).await.status, 200, "twin: may rest for longer");
}

#[tokio::test]
async fn who_is_refused_again_and_again_slows_down_nobody_elsewhere() {
    let mut world = World::with(Trust::Origin, |limits| limits.refusals_per_second = 1).await;
    let mut one = world.sandbox("unidentified");
    one.identity = Identity::new("unidentified");
    let (port, address) = listen(&world);
    let _admission = port.admit(one.identity.clone(), one.authority.clone());
    let mut eager = Vec::new();
    // More than there are seconds in which all of this is done.
    for _ in 0..40 {
        let mut wire = from("127.0.0.2", address).await;
        wire.send(get("/", None)).await;
        eager.push(wire);
    }
    let since = Instant::now();
    assert_eq!(eager[0].reply().await.status, 407);
    assert_eq!(from("127.0.0.1", address).await.ask(get("/", None)).await.status, 407);
    let denied = plain("GET", "evil.test", "/", Some("unidentified:token"), "");
    assert_eq!(from("127.0.0.1", address).await.ask(denied).await.code(), Some("host-denied"), "whatever its name");
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
    let all = async {
        for wire in &mut eager[1..] {
            wire.reply().await;
        }
    };
    assert!(timeout(Duration::from_millis(300), all).await.is_err(), "twin: from there it is slow");
}

#[tokio::test]
async fn a_refusal_is_recorded_as_whose_it_is() {
    let mut world = World::with(Trust::Origin, |limits| limits.connections = 1).await;
    let (one, two) = (world.sandbox("one"), world.sandbox("two"));
    let (port, address) = listen(&world);
    let _admissions = [&one, &two].map(|of| port.admit(of.identity.clone(), of.authority.clone()));
    let mut wire = from("127.0.0.1", address).await;
    assert_eq!(wire.ask(get("/", Some("one:token"))).await.status, 200);
    let asks = [
        ("one too many", get("/", Some("one:token"))),
        ("nobody", connect("api.example.com", None)),
        ("nobody, nonsense", "nonsense\r\n\r\n".to_owned()),
    ];
    for (case, ask) in asks {
        assert!(from("127.0.0.1", address).await.ask(ask).await.code().is_some(), "{case}");
    }
    assert_eq!(wire.ask(get("/", Some("two:token"))).await.code(), Some("identity-mismatch"));
    drop((_admissions, port));
    let events = world.finish().await;
    let told: Vec<_> = events[1..]
        .iter()
        .map(|event| {
            let host = event.host.as_deref();
            (event.identity.as_str(), event.kind.code(), event.verdict.code(), host, event.method.as_deref())
        })
        .collect();
    let there = Some("plain.example.com");
    let expected = [
        ("one", "request", "rate-limited", there, Some("GET")),
        ("unidentified", "connect", "proxy-identity", Some("api.example.com"), Some("CONNECT")),
        ("unidentified", "connect", "malformed", None, None),
        ("one", "request", "identity-mismatch", there, Some("GET")),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn admitting_somebody_again_is_no_alarm() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let (port, address) = listen(&world);
    let admit = || port.admit(sandbox.identity.clone(), sandbox.authority.clone());
    let first = admit();
    let mut wire = from("127.0.0.1", address).await;
    assert_eq!(wire.ask(get("/", Some("one:token"))).await.status, 200);
    let second = admit();
    assert_eq!(wire.ask(get("/", Some("one:token"))).await.code(), None, "what was before is closed");
    assert!(timeout(PATIENCE, wire.is_closed()).await.expect("an end"));
    let mut wire = from("127.0.0.1", address).await;
    assert_eq!(wire.ask(get("/", Some("one:token"))).await.status, 200);
    drop(first);
    assert_eq!(
        wire.ask(get("/", Some("one:token"))).await.status,
        200,
        "the end of the first is not that of the second"
    );
    drop((second, port));
    let events = world.finish().await;
    let codes: Vec<_> = events.iter().map(|event| (event.verdict.code(), event.alarm)).collect();
    assert_eq!(codes, [("allowed", false); 3]);
}
