//! Programs that have never heard of proxies: original destination, TLS name and `Host` must be one.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gigmcp_egress::{AuditKind, Verdict};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::wire::Wire;
use crate::world::{Trust, World};

#[tokio::test]
async fn a_program_without_proxy_settings_reaches_an_allowed_host() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    for _ in 0..3 {
        let reply = wire
            .ask("GET /v1/x?y=1 HTTP/1.1\r\nHost: api.example.com\r\nX-Forwarded-For: 1.2.3.4\r\nVia: x\r\n\r\n")
            .await;
        assert_eq!((reply.status, reply.body.as_str(), reply.code()), (200, "ok", None));
    }
    let seen = world.origin.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].target, "/v1/x?y=1");
    assert_eq!(seen[0].headers["host"], "api.example.com");
    assert!(!seen[0].headers.contains_key("x-forwarded-for") && !seen[0].headers.contains_key("via"), "EGR-084");
    assert_eq!(world.backstage.dialled.load(Ordering::SeqCst), 1, "the upstream connection is used again");
    let events = world.finish().await;
    assert_eq!(events.len(), 3, "one event for each request");
    let event = &events[0];
    assert_eq!((event.verdict, event.kind, event.status), (Verdict::Allowed, AuditKind::Request, Some(200)));
    assert_eq!(
        (event.host.as_deref(), event.port, event.path.as_deref()),
        (Some("api.example.com"), Some(443), Some("/v1/x"))
    );
    assert_eq!((event.bytes_up, event.bytes_down), (0, 2));
}

#[tokio::test]
async fn a_request_must_be_for_the_host_of_its_connection() {
    for (case, host, code, status) in [
        ("fronting by Host, both allowed", "Host: b.example.com", "host-mismatch", 421),
        ("fronting by Host, not allowed", "Host: evil.test", "host-mismatch", 421),
        ("EGR-024 other port", "Host: api.example.com:8443", "host-mismatch", 421),
        ("EGR-124 two hosts", "Host: api.example.com\r\nHost: api.example.com", "host-not-canonical", 400),
        ("EGR-124 no host", "X: y", "host-not-canonical", 400),
        ("EGR-002 trailing dot", "Host: api.example.com.", "host-not-canonical", 400),
        ("EGR-012 userinfo", "Host: api.example.com@evil.test", "host-not-canonical", 400),
        ("EGR-026 address", "Host: 93.184.216.34", "ip-literal", 403),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let mut wire = sandbox.https("api.example.com").await;
        let reply = wire.ask(format!("GET / HTTP/1.1\r\n{host}\r\n\r\n")).await;
        assert_eq!((reply.status, reply.code()), (status, Some(code)), "{case}");
        assert!(wire.is_closed().await, "{case}: nothing more is read from this connection");
        world.refused_untouched(case, code).await;
    }
}

#[tokio::test]
async fn a_later_request_is_judged_like_the_first() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    assert_eq!(wire.ask("GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.status, 200);
    let reply = wire.ask("GET / HTTP/1.1\r\nHost: b.example.com\r\n\r\n").await;
    assert_eq!((reply.status, reply.code()), (421, Some("host-mismatch")), "EGR-085");
    assert_eq!(world.origin.seen().len(), 1);
    let verdicts: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
    assert_eq!(verdicts, ["allowed", "host-mismatch"]);
}

#[tokio::test]
async fn the_tls_name_must_be_the_original_destination() {
    for (case, resolved, sni, code) in [
        ("EGR-053 both allowed", "api.example.com", "b.example.com", "sni-mismatch"),
        ("not allowed", "api.example.com", "evil.test", "sni-mismatch"),
        ("EGR-088 address, which is no name", "api.example.com", "127.0.0.1", "sni-missing"),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let address = sandbox.resolve(resolved).await.unwrap();
        assert!(sandbox.handshake(sandbox.connect(address).await, sni).await.is_err(), "{case}");
        assert!(sandbox.handshake(sandbox.connect(address).await, resolved).await.is_ok(), "twin of {case}");
        world.refused_untouched(case, code).await;
    }
}

#[tokio::test]
async fn an_address_that_was_not_given_out_leads_nowhere() {
    let mut world = World::new().await;
    let (one, two) = (world.sandbox("one"), world.sandbox("two"));
    // The second sandbox resolves more, so it holds an address that the first was never given.
    two.resolve("api.example.com").await.unwrap();
    let foreign = two.resolve("b.example.com").await.unwrap();
    one.resolve("api.example.com").await.unwrap();
    for address in [Ipv4Addr::new(127, 64, 200, 1), foreign] {
        let mut stream = one.connect(address).await;
        assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)), "EGR-052, EGR-054: {address}");
    }
    assert!(two.handshake(two.connect(foreign).await, "b.example.com").await.is_ok(), "twin");
    let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
    assert_eq!(codes, ["unknown-address", "unknown-address"]);
}

#[tokio::test]
async fn revoking_bites_on_the_next_request_of_a_live_connection() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    let request = "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
    assert_eq!(wire.ask(request).await.status, 200);
    world.grant(&sandbox.identity, &sandbox.placeholder, |grant| grant.rules.clear());
    let reply = wire.ask(request).await;
    assert_eq!((reply.status, reply.code()), (403, Some("host-denied")), "EGR-086");
    world.grant(&sandbox.identity, &sandbox.placeholder, |_| ());
    assert_eq!(wire.ask(request).await.status, 200, "a denial leaves the connection usable");
    assert_eq!(world.origin.seen().len(), 2);
    world.grant(&sandbox.identity, &sandbox.placeholder, |grant| grant.rules.clear());
    let address = Ipv4Addr::new(127, 64, 0, 1);
    assert!(
        sandbox.handshake(sandbox.connect(address).await, "api.example.com").await.is_err(),
        "EGR-058: no certificate either"
    );
    let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
    assert_eq!(codes, ["allowed", "host-denied", "allowed", "host-denied"]);
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_recorded() {
    let plain = "GET / HTTP/1.1\r\nHost: api.example.com\r\n";
    let post = "POST / HTTP/1.1\r\nHost: api.example.com\r\n";
    for (case, request, code, status) in [
        ("EGR-112 two lengths", format!("{post}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "framing", 400),
        ("EGR-113 signed length", format!("{post}Content-Length: +1\r\n\r\na"), "framing", 400),
        ("EGR-114 unknown coding", format!("{post}Transfer-Encoding: gzip\r\n\r\n"), "transfer-coding", 501),
        ("EGR-113 leading zero", format!("{post}Content-Length: 01\r\n\r\na"), "framing", 400),
        (
            "EGR-114 chunked twice",
            format!("{post}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
            "framing",
            400,
        ),
        ("EGR-116 blank before the colon", format!("{post}Content-Length : 1\r\n\r\na"), "header", 400),
        ("EGR-117 folded header", format!("{plain}X: a\r\n b\r\n\r\n"), "header", 400),
        (
            "EGR-125 whole URL in a tunnel",
            "GET https://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n".into(),
            "target-not-canonical",
            400,
        ),
        ("EGR-126 star", "OPTIONS * HTTP/1.1\r\nHost: api.example.com\r\n\r\n".into(), "target-not-canonical", 400),
        ("EGR-129 body on GET", format!("{plain}Content-Length: 1\r\n\r\na"), "framing", 400),
        ("EGR-130 unknown expectation", format!("{post}Expect: foo\r\nContent-Length: 1\r\n\r\n"), "expectation", 417),
        ("EGR-161 upgrade", format!("{plain}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"), "upgrade", 400),
        (
            "EGR-065 CONNECT in a tunnel",
            "CONNECT b.example.com:443 HTTP/1.1\r\nHost: api.example.com\r\n\r\n".into(),
            "method-refused",
            405,
        ),
        (
            "EGR-169 dot segment",
            "GET /a/../b HTTP/1.1\r\nHost: api.example.com\r\n\r\n".into(),
            "target-not-canonical",
            400,
        ),
        ("EGR-196 TRACE", "TRACE / HTTP/1.1\r\nHost: api.example.com\r\n\r\n".into(), "method-refused", 405),
        ("not HTTP at all", "\0\0\0\0\r\n\r\n".into(), "malformed", 400),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let mut wire = sandbox.https("api.example.com").await;
        let reply = wire.ask(request).await;
        assert_eq!(reply.status, status, "{case}: {}", reply.head);
        assert!(wire.is_closed().await, "{case}");
        world.refused_untouched(case, code).await;
    }
}

#[tokio::test]
async fn requests_that_only_look_odd_pass() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    for (case, request) in [
        ("G1 encoded slash", "GET /api/v4/projects/group%2Fproject HTTP/1.1\r\nHost: api.example.com\r\n\r\n"),
        ("G17 port in Host", "GET / HTTP/1.1\r\nHost: api.example.com:443\r\n\r\n"),
        ("EGR-001 case", "GET / HTTP/1.1\r\nhost: API.example.COM\r\n\r\n"),
        ("G5 empty body", "GET / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 0\r\n\r\n"),
        ("a body", "POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 5\r\n\r\nhello"),
        (
            "a chunked body",
            "POST / HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
    ] {
        let reply = wire.ask(request).await;
        assert_eq!((reply.status, reply.code()), (200, None), "{case}");
    }
    let bodies: Vec<_> = world.origin.seen().into_iter().map(|seen| String::from_utf8(seen.body).unwrap()).collect();
    assert_eq!(bodies, ["", "", "", "", "hello", "hello"]);
}

#[tokio::test]
async fn a_body_that_waits_for_permission_gets_it() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    wire.send("POST / HTTP/1.1\r\nHost: api.example.com\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!(wire.reply().await.status, 100, "G3");
    assert_eq!(wire.ask("hello").await.status, 200);
    assert!(!world.origin.seen()[0].headers.contains_key("expect"), "EGR-130: not forwarded");
}

#[tokio::test]
async fn clear_text_on_the_tls_port_is_refused() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let address = sandbox.resolve("api.example.com").await.unwrap();
    let reply = Wire::new(sandbox.connect(address).await).ask("GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    assert_eq!((reply.status, reply.code()), (400, Some("cleartext-in-tunnel")), "EGR-101");
    world.refused_untouched("EGR-101", "cleartext-in-tunnel").await;
}

#[tokio::test]
async fn a_sandbox_at_its_limit_waits_and_harms_nobody() {
    let mut world = World::with(Trust::Origin, |limits| limits.connections = 1).await;
    let (one, two) = (world.sandbox("one"), world.sandbox("two"));
    let request = "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
    let mut first = one.https("api.example.com").await;
    assert_eq!(first.ask(request).await.status, 200);
    let mut waiting = one.proxy().await;
    waiting.send("GET http://plain.example.com/ HTTP/1.1\r\nHost: plain.example.com\r\n\r\n").await;
    assert_eq!(two.https("api.example.com").await.ask(request).await.status, 200, "EGR-208");
    assert_eq!(first.ask(request).await.status, 200);
    assert_eq!(world.origin.seen().len(), 3, "the second connection still waits");
    drop(first);
    assert_eq!(waiting.reply().await.status, 200, "and is served when there is room");
}

#[tokio::test]
async fn dropping_the_attachment_ends_all_connections() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    let mut raw = sandbox.connect(sandbox.resolve("b.example.com").await.unwrap()).await;
    assert_eq!(wire.ask("GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await.status, 200);
    world.finish().await;
    assert!(wire.is_closed().await);
    let _ = raw.write_all(b"x").await;
    assert!(matches!(raw.read(&mut [0]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_stream_ends_when_its_rule_is_gone() {
    let mut world = World::with(Trust::Origin, |limits| limits.revocation_interval = Duration::from_millis(50)).await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    wire.send("GET /events HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let mut twin = sandbox.https("b.example.com").await;
    twin.send("GET /events HTTP/1.1\r\nHost: b.example.com\r\n\r\n").await;
    wire.until("data: one\n\n\r\n").await;
    twin.until("data: one\n\n\r\n").await;
    let placeholder = sandbox.placeholder.clone();
    world.grant(&sandbox.identity, &placeholder, |policy| drop(policy.rules.remove(0)));
    assert!(wire.is_closed().await, "EGR-086: ends without its last chunk");
    assert!(tokio::time::timeout(Duration::from_millis(300), twin.is_closed()).await.is_err(), "the other one goes on");
    let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
    assert_eq!(codes, ["revoked", "aborted"]);
}
