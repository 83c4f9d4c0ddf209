//! Bytes that are no request, or two, on the way in: each refused with nothing touched, however it is cut.

use gigmcp_egress::{AuditKind, Verdict};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::wire::{Reply, Wire};
use crate::world::{RUNS_OUT, Trust, World};

/// How bytes are cut into segments.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    Bytes,
    At(usize),
}

impl Cut {
    fn pieces(self, bytes: &[u8]) -> Vec<&[u8]> {
        match self {
            Self::Whole => vec![bytes],
            Self::Bytes => bytes.chunks(1).collect(),
            Self::At(at) => vec![&bytes[..at], &bytes[at..]],
        }
    }
}

async fn ask<T: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<T>, bytes: &[u8], cut: Cut) -> Reply {
    for piece in cut.pieces(bytes) {
        wire.send(piece).await;
        tokio::task::yield_now().await;
    }
    wire.reply().await
}

/// Requests to a host that is allowed, wrong in one thing each.
fn refused() -> Vec<(&'static str, String, u16, &'static str)> {
    let get = |rest: &str| format!("GET / HTTP/1.1\r\nHost: api.example.com\r\n{rest}\r\n");
    let post = |rest: &str| format!("POST / HTTP/1.1\r\nHost: api.example.com\r\n{rest}");
    let target = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
    vec![
        ("EGR-112 two lengths", post("Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 400, "framing"),
        ("EGR-112 two equal lengths", post("Content-Length: 1\r\nContent-Length: 1\r\n\r\na"), 400, "framing"),
        ("EGR-112 list", post("Content-Length: 1, 1\r\n\r\na"), 400, "framing"),
        ("EGR-113 plus", post("Content-Length: +1\r\n\r\na"), 400, "framing"),
        ("EGR-113 hexadecimal", post("Content-Length: 0x1\r\n\r\na"), 400, "framing"),
        ("EGR-113 leading zero", post("Content-Length: 01\r\n\r\na"), 400, "framing"),
        ("EGR-113 blank behind", post("Content-Length: 1 \r\n\r\na"), 400, "framing"),
        ("EGR-113 too large", post("Content-Length: 18446744073709551616\r\n\r\na"), 400, "framing"),
        ("EGR-113 empty", post("Content-Length:\r\n\r\n"), 400, "framing"),
        ("length and chunks", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400, "framing"),
        ("EGR-114 twice", post("Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"), 400, "framing"),
        ("EGR-114 unknown", post("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 400, "framing"),
        ("EGR-114 real", post("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 501, "transfer-coding"),
        ("EGR-114 identity", post("Transfer-Encoding: identity\r\n\r\n"), 501, "transfer-coding"),
        ("EGR-114 vertical tab", post("Transfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n"), 400, "malformed"),
        ("EGR-116 blank before the colon", post("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), 400, "header"),
        ("EGR-116 tab in a name", post("Transfer\t-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400, "header"),
        ("EGR-116 underscore", post("Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n"), 400, "header"),
        ("EGR-117 folded", get("X: a\r\n b\r\n"), 400, "header"),
        ("EGR-118 LF", "GET / HTTP/1.1\nHost: api.example.com\n\n".into(), 400, "malformed"),
        ("EGR-118 LF at the end", "GET / HTTP/1.1\r\nHost: api.example.com\r\n\n".into(), 400, "malformed"),
        ("EGR-118 CR", "GET / HTTP/1.1\rHost: api.example.com\r\n\r\n".into(), 400, "malformed"),
        ("EGR-118 CR CR LF", "GET / HTTP/1.1\r\r\nHost: api.example.com\r\n\r\n".into(), 400, "malformed"),
        ("EGR-124 no host", "GET / HTTP/1.1\r\n\r\n".into(), 400, "host-not-canonical"),
        ("EGR-124 two hosts", get("Host: api.example.com\r\n"), 400, "host-not-canonical"),
        ("EGR-124 empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n".into(), 400, "host-not-canonical"),
        ("EGR-124 list", "GET / HTTP/1.1\r\nHost: api.example.com, b\r\n\r\n".into(), 400, "host-not-canonical"),
        ("EGR-125 whole URL", target("https://api.example.com/"), 400, "target-not-canonical"),
        ("EGR-125 whole URL of another", target("https://b.example.com/"), 421, "host-mismatch"),
        ("EGR-126 star", target("*"), 400, "target-not-canonical"),
        ("EGR-126 authority", target("api.example.com:443"), 400, "target-not-canonical"),
        ("EGR-128 two empty lines", format!("\r\n\r\n{}", get("")), 400, "malformed"),
        ("EGR-129 body on GET", get("Content-Length: 1\r\n\r\na"), 400, "framing"),
        ("EGR-130 expectation", post("Expect: foo\r\nContent-Length: 1\r\n\r\na"), 417, "expectation"),
        ("EGR-138 fragment", target("/#frag"), 400, "target-not-canonical"),
        ("EGR-138 raw UTF-8", target("/é"), 400, "target-not-canonical"),
        ("EGR-138 blank", target("/a b"), 400, "target-not-canonical"),
        ("EGR-138 quote", target("/\""), 400, "target-not-canonical"),
        ("EGR-065 CONNECT", "CONNECT b.example.com:443 HTTP/1.1\r\nHost: api.example.com\r\n\r\n".into(), 405, {
            "method-refused"
        }),
        ("HTTP/2 without being asked", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 400, "malformed"),
        ("not HTTP", "\0".into(), 400, "malformed"),
    ]
}

/// Requests whose head is right and whose body breaks the rules of chunks.
fn broken() -> Vec<(&'static str, String, u16, &'static str)> {
    let chunked =
        |body: &str| format!("POST / HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    vec![
        ("EGR-120 prefix", chunked("0x1\r\na\r\n0\r\n\r\n"), 400, "framing"),
        ("EGR-120 blank", chunked("1 \r\na\r\n0\r\n\r\n"), 400, "framing"),
        ("EGR-120 17 digits", chunked("00000000000000001\r\na\r\n0\r\n\r\n"), 400, "framing"),
        ("EGR-121 extension", chunked("1;a=b\r\na\r\n0\r\n\r\n"), 400, "framing"),
        ("EGR-121 LF in an extension", chunked("1;a=\"\n\"\r\na\r\n0\r\n\r\n"), 400, "framing"),
        ("EGR-122 no line end", chunked("1\r\na0\r\n\r\n"), 400, "framing"),
        ("EGR-122 LF", chunked("1\r\na\n0\r\n\r\n"), 400, "framing"),
    ]
}

/// A request that must not be looked at.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

#[tokio::test]
async fn what_is_in_doubt_is_refused_however_it_is_cut() {
    for (case, request, status, code) in refused() {
        for cut in [Cut::Whole, Cut::Bytes] {
            let mut world = World::new().await;
            let sandbox = world.sandbox("one");
            let mut wire = sandbox.https("api.example.com").await;
            let reply = ask(&mut wire, [&request, NEXT].concat().as_bytes(), cut).await;
            assert_eq!((reply.status, reply.code()), (status, Some(code)), "{case}, {cut:?}: {}", reply.head);
            assert_eq!(reply.header("connection"), Some("close"), "{case}, {cut:?}");
            assert!(wire.is_closed().await, "{case}, {cut:?}: nothing behind it is read");
            drop(wire);
            let event = world.refused_untouched(&format!("{case}, {cut:?}"), code).await;
            assert_eq!(event.host.as_deref(), Some("api.example.com"), "{case}");
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_is_refused_however_it_is_cut() {
    for (case, request, status, code) in broken() {
        for cut in [Cut::Whole, Cut::Bytes] {
            let mut world = World::new().await;
            let sandbox = world.sandbox("one");
            let mut wire = sandbox.https("api.example.com").await;
            let reply = ask(&mut wire, [&request, NEXT].concat().as_bytes(), cut).await;
            assert_eq!((reply.status, reply.code()), (status, Some(code)), "{case}, {cut:?}: {}", reply.head);
            assert!(wire.is_closed().await, "{case}, {cut:?}: nothing behind it is read");
            drop(wire);
            world.refused_untouched(&format!("{case}, {cut:?}"), code).await;
        }
    }
}

#[tokio::test]
async fn no_split_makes_a_refusal_an_acceptance() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let address = sandbox.resolve("plain.example.com").await.unwrap();
    let mut expected = Vec::new();
    for (case, request, status, code) in refused().into_iter().filter(|(_, request, ..)| request.len() < 100) {
        for at in 1..request.len() {
            // In clear text, where the connection itself costs least; the host is another, and allowed there.
            let request = request.replace("api.example.com", "plain.example.com").replace("https://p", "http://p");
            let mut wire = sandbox.http_at(address).await;
            let reply = ask(&mut wire, request.as_bytes(), Cut::At(at)).await;
            assert_eq!((reply.status, reply.code()), (status, Some(code)), "{case} at {at}: {}", reply.head);
            expected.push(code);
        }
    }
    assert!(world.origin.seen().is_empty());
    for (case, request, status, code) in broken() {
        for at in 1..request.len() {
            let request = request.replace("api.example.com", "plain.example.com");
            let mut wire = sandbox.http_at(address).await;
            let reply = ask(&mut wire, request.as_bytes(), Cut::At(at)).await;
            assert_eq!((reply.status, reply.code()), (status, Some(code)), "{case} at {at}: {}", reply.head);
            expected.push(code);
        }
    }
    assert!(world.origin.seen().is_empty());
    let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
    assert_eq!(codes, expected, "one event each");
}

#[tokio::test]
async fn a_good_request_is_the_same_however_it_is_cut() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let request = "POST /a HTTP/1.1\r\nhOST: api.example.com:443\r\nTransfer-Encoding: chunked\r\n\r\n\
        2\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n";
    let mut wire = sandbox.https("api.example.com").await;
    let cuts = [Cut::Whole, Cut::Bytes].into_iter().chain((1..request.len()).map(Cut::At));
    let mut count = 0;
    for cut in cuts {
        let reply = ask(&mut wire, request.as_bytes(), cut).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "ok"), "G15, G17, {cut:?}");
        count += 1;
    }
    let seen = world.origin.seen();
    assert_eq!(seen.len(), count, "all on one connection");
    assert!(seen.iter().all(|seen| seen.body == b"hello" && seen.headers["host"] == "api.example.com"));
    assert!(world.finish().await.iter().all(|event| event.verdict == Verdict::Allowed));
}

#[tokio::test]
async fn requests_sent_together_are_answered_in_order_and_judged_alone() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    let post = "POST /1 HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 5\r\n\r\nhello";
    let get = "GET /2 HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 0\r\n\r\n";
    wire.send([post, get, &NEXT.replace("api", "b")].concat()).await;
    for expected in [200, 200, 421] {
        assert_eq!(wire.reply().await.status, expected, "EGR-133, EGR-085, G5");
    }
    assert!(wire.is_closed().await);
    let targets: Vec<_> = world.origin.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/1", "/2"]);
    let mut codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["allowed", "allowed", "host-mismatch"]);
}

#[tokio::test]
async fn the_rest_of_a_refused_body_is_no_request() {
    for (case, framing) in [("EGR-133 length", "Content-Length: 500"), ("EGR-133 chunks", "Transfer-Encoding: chunked")]
    {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        world.grant(&sandbox.identity, &sandbox.placeholder, |grant| grant.rules.clear());
        let mut wire = sandbox.proxy().await;
        let request =
            format!("POST http://plain.example.com/ HTTP/1.1\r\nHost: plain.example.com\r\n{framing}\r\n\r\n");
        let reply = wire.ask([&request, NEXT].concat()).await;
        assert_eq!((reply.status, reply.header("connection")), (403, Some("close")), "{case}");
        wire.send(NEXT.repeat(20)).await;
        assert!(wire.is_closed().await, "{case}");
        drop(wire);
        world.refused_untouched(case, "host-denied").await;
    }
}

#[tokio::test]
async fn an_expectation_is_met_only_after_the_decision() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let post = "POST / HTTP/1.1\r\nHost: api.example.com\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let mut wire = sandbox.https("api.example.com").await;
    assert_eq!(wire.ask(post).await.status, 100, "G3");
    assert_eq!(wire.ask("hello").await.status, 200);
    world.grant(&sandbox.identity, &sandbox.placeholder, |grant| grant.rules.clear());
    let reply = wire.ask(post).await;
    assert_eq!((reply.status, reply.code()), (403, Some("host-denied")), "EGR-130: no 100 before it");
    assert!(wire.is_closed().await, "the body may come or not, so nothing is read any more");
    let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
    assert_eq!(codes, ["allowed", "host-denied"]);
}

#[tokio::test]
async fn a_body_that_breaks_while_it_is_sent_breaks_the_upstream_request() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let head = "POST / HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n";
    wire.send([head, &chunk.repeat(16)].concat()).await;
    let reply = wire.ask(format!("1;x\r\na\r\n0\r\n\r\n{NEXT}")).await;
    assert_eq!((reply.status, reply.code()), (400, Some("framing")), "EGR-121");
    assert!(wire.is_closed().await);
    assert!(world.origin.seen().iter().all(|seen| seen.target == "/"), "no second request");
    let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
    assert_eq!(codes, ["framing"]);
}

#[tokio::test]
async fn heads_are_bounded_in_bytes_fields_and_time() {
    let limit = 1 << 10;
    for (case, request, status, code) in [
        ("EGR-140 target", format!("GET /{} HTTP/1.1\r\nHost: api.example.com\r\n\r\n", "a".repeat(512)), 414, {
            "target-too-long"
        }),
        ("endless target", format!("GET /{}", "a".repeat(limit)), 414, "target-too-long"),
        ("endless field", format!("GET / HTTP/1.1\r\nHost: api.example.com\r\nA: {}", "a".repeat(limit)), 431, {
            "head-too-large"
        }),
        ("fields", format!("GET / HTTP/1.1\r\nHost: api.example.com\r\n{}\r\n", "A: b\r\n".repeat(20)), 431, {
            "head-too-large"
        }),
        ("EGR-208 half a head", "GET / HTTP/1.1\r\n".to_owned(), 408, "request-timeout"),
    ] {
        let mut world = World::with(Trust::Origin, |limits| {
            limits.head_bytes = limit;
            limits.target_bytes = 512;
            limits.header_fields = 20;
            if status == 408 {
                limits.head_deadline = RUNS_OUT;
            }
        })
        .await;
        let sandbox = world.sandbox("one");
        let mut wire = sandbox.https("api.example.com").await;
        let reply = wire.ask(request).await;
        assert_eq!((reply.status, reply.code()), (status, Some(code)), "{case}");
        assert!(wire.is_closed().await, "{case}");
        drop(wire);
        world.refused_untouched(case, code).await;
    }
}

#[tokio::test]
async fn a_greeting_of_another_protocol_is_not_answered_by_the_proxy() {
    for (case, greeting) in
        [("EGR-074 SOCKS5", &b"\x05\x01\x00"[..]), ("EGR-074 SOCKS4", b"\x04\x01\x01\xbb\x01\x02\x03\x04\0")]
    {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let mut wire = sandbox.proxy().await;
        wire.send(greeting).await;
        assert!(wire.is_closed().await, "{case}: without a word");
        drop(wire);
        let event = world.refused_untouched(case, "malformed").await;
        assert_eq!(event.kind, AuditKind::Connect, "{case}");
    }
}

#[tokio::test]
async fn a_tunnel_carries_tls_alone() {
    for (case, bytes) in [("EGR-062 SSH", "SSH-2.0-x\r\n"), ("EGR-062 SMTP", "EHLO x\r\n"), ("EGR-062 NUL", "\0\0\0\0")]
    {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let mut wire = sandbox.proxy().await;
        let reply = wire.ask(["CONNECT api.example.com:443 HTTP/1.1\r\n\r\n", bytes].concat()).await;
        assert_eq!(reply.status, 200, "{case}");
        assert_eq!(wire.reply().await.code(), Some("cleartext-in-tunnel"), "{case}");
        assert!(wire.is_closed().await, "{case}");
        drop(wire);
        world.refused_untouched(case, "cleartext-in-tunnel").await;
    }
}
