//! One proxy port for many, told apart by a token.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gigmcp_egress::{BoxFuture, Identify, Identity};
use http::HeaderValue;
use tokio::net::TcpStream;

use crate::wire::Wire;
use crate::world::World;

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
