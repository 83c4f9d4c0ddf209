//! What upstreams answer, and when: rows 130, 134, 161 to 168 and 200 to 206.

use std::io::Write as _;
use std::rc::Rc;
use std::time::Duration;

use super::framing::letter;
use crate::row::{Row, scene};
use crate::secrets::{SECRET, found_in};
use crate::stage::{Sandbox, Stage};
use crate::upstream::{Answer, When, with};

const API: &str = "api.example.com";

pub(crate) fn rows() -> Vec<Row> {
    [framing(), echoes(), coded(), headers(), timing()].into_iter().flatten().collect()
}

fn request(sandbox: &Sandbox) -> String {
    format!("GET / HTTP/1.1\r\nHost: {API}\r\nAuthorization: Bearer {}\r\n\r\n", sandbox.placeholder)
}

/// An answer that is ambiguous or no answer at all.
fn framing() -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, (what, answer)) in [
        ("two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
        ("a length with a sign", "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello"),
        (
            "another transfer coding",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        ("chunked twice", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("no HTTP", "SSH-2.0-OpenSSH_9.9\r\n\r\n"),
        ("a status of two digits", "HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n"),
        ("a status of 999", "HTTP/1.1 9999 OK\r\ncontent-length: 0\r\n\r\n"),
        ("a head without an end", "HTTP/1.1 200 OK\r\nx: "),
        (
            "101 to a request that asked for nothing",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        ),
        ("a head of 100 KiB", LARGE),
        ("a continued line", "HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n"),
        ("a NUL in a header", "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n"),
        ("HTTP/2.0 as version", "HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        rows.push(scene(
            &format!("203{}", letter(index)),
            format!("an upstream that answers {what}"),
            "502 upstream-protocol",
            move |stage| async move {
                let bytes = if answer == LARGE {
                    format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "a".repeat(100 << 10))
                } else {
                    answer.to_owned()
                };
                stage.upstream.answers(move |_| Answer::Close(bytes.clone().into_bytes()));
                let mut sandbox = stage.sandbox();
                let mut wire = sandbox.https(API).await;
                let reply = wire.ask(request(&sandbox)).await;
                assert_eq!(Some(sandbox.event().await.unwrap().verdict.code()), reply.code());
                assert_eq!(found_in(&reply.raw), None);
                stage.upstream.answers_as_usual();
                assert_eq!(
                    sandbox.https(API).await.ask(request(&sandbox)).await.status,
                    200,
                    "twin: the connection is not used again"
                );
                sandbox.event().await;
                assert!(sandbox.close().await.is_empty());
                format!("{} {}", reply.status, reply.code().unwrap_or_default())
            },
        ));
    }
    rows.push(scene(
        "203y",
        "an upstream that says more than its answer (a second answer)",
        "not given to the next request",
        |stage| async move {
            stage.upstream.answers(|_| {
                let one = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                Answer::Then(format!("{one}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil").into_bytes())
            });
            let sandbox = stage.sandbox();
            let mut wire = sandbox.https(API).await;
            assert_eq!(wire.ask(request(&sandbox)).await.text(), "ok");
            stage.upstream.answers_as_usual();
            for _ in 0..3 {
                assert_ne!(wire.ask(request(&sandbox)).await.text(), "evil");
            }
            "not given to the next request".into()
        },
    ));
    rows.push(scene(
        "134",
        "an upstream that answers before it has read the body",
        "answered; neither side is used again",
        |stage| async move {
            stage.upstream.answers_when(When::Head, |_| with("", "early"));
            let mut sandbox = stage.sandbox();
            let mut wire = sandbox.https(API).await;
            let smuggled = "GET /smuggled HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
            let body = format!("{smuggled}{}", "x".repeat(100_000));
            wire.send(format!("POST / HTTP/1.1\r\nHost: {API}\r\nContent-Length: {}\r\n\r\n", body.len())).await;
            let reply = wire.reply().await;
            assert_eq!((reply.status, reply.text().as_str()), (200, "early"));
            wire.send(body).await;
            assert!(wire.is_closed().await, "the body that is still to come is no request");
            let targets: Vec<_> = stage.upstream.seen().iter().map(|seen| seen.target().to_owned()).collect();
            assert_eq!(targets, ["/"], "nothing of the body was read as a request");
            stage.upstream.answers_as_usual();
            let before = stage.touched();
            assert_eq!(sandbox.https(API).await.ask(request(&sandbox)).await.status, 200);
            assert_eq!((stage.touched() - before).dialled, 1, "on a connection of its own");
            sandbox.close().await;
            "answered; neither side is used again".into()
        },
    ));
    rows.push(scene("133", "a request inside the body of another", "one request, one answer", |stage| async move {
        let mut sandbox = stage.sandbox();
        let mut wire = sandbox.https(API).await;
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
        let post = format!("POST /one HTTP/1.1\r\nHost: {API}\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len());
        wire.send(format!("{post}GET /two HTTP/1.1\r\nHost: {API}\r\n\r\n")).await;
        assert_eq!((wire.reply().await.status, wire.reply().await.status), (200, 200));
        let targets: Vec<_> = stage.upstream.seen().iter().map(|seen| seen.target().to_owned()).collect();
        assert_eq!(targets, ["/one", "/two"]);
        drop(wire);
        assert_eq!(sandbox.close().await.len(), 2);
        "one request, one answer".into()
    }));
    rows.push(scene("130y", "a body that waits for permission", "100 by us, not forwarded", |stage| async move {
        let sandbox = stage.sandbox();
        let mut wire = sandbox.https(API).await;
        wire.send(format!("POST / HTTP/1.1\r\nHost: {API}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")).await;
        assert_eq!(wire.one().await.status, 100);
        assert_eq!(wire.ask("hello").await.status, 200);
        let seen = stage.upstream.seen();
        assert_eq!((seen[0].header("expect"), seen[0].body.as_slice()), (None, b"hello".as_slice()));
        "100 by us, not forwarded".into()
    }));
    rows.push(scene("130z", "a body that waits for permission, for a host that is denied", "403, and no 100", |stage| async move {
        let mut sandbox = stage.sandbox();
        let mut wire = sandbox.proxy().await;
        wire.send("POST http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
        let reply = wire.one().await;
        assert_eq!((reply.status, reply.code()), (403, Some("host-denied")));
        assert!(wire.is_closed().await, "a body that may come or not is not waited for");
        sandbox.event().await;
        assert!(sandbox.close().await.is_empty());
        "403, and no 100".into()
    }));
    rows
}

/// Stands for a large answer.
const LARGE: &str = "large";

/// What the key looks like when it comes back.
fn echoes() -> Vec<Row> {
    let mut rows = Vec::new();
    type Make = fn() -> Answer;
    let cases: Vec<(&str, Make)> = vec![
        ("a header", || with(&format!("x-echo: Bearer {SECRET}\r\n"), "ok")),
        ("Location", || with(&format!("location: https://api.example.com/?k={SECRET}\r\n"), "ok")),
        ("Set-Cookie", || with(&format!("set-cookie: k={SECRET}; Path=/\r\n"), "ok")),
        ("WWW-Authenticate", || with(&format!("www-authenticate: Bearer realm=\"{SECRET}\"\r\n"), "ok")),
        ("a header's name", || with(&format!("x-{}: a\r\n", SECRET.replace(['+', '/'], "")), "ok")),
        ("the reason phrase", || {
            Answer::Then(format!("HTTP/1.1 200 {SECRET}\r\ncontent-length: 2\r\n\r\nok").into_bytes())
        }),
        ("a trailer", || {
            Answer::Then(format!("HTTP/1.1 200 OK\r\ntrailer: x-t\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: {SECRET}\r\n\r\n").into_bytes())
        }),
        ("early hints", || {
            Answer::Then(format!("HTTP/1.1 103 Early Hints\r\nlink: </{SECRET}>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").into_bytes())
        }),
        ("an interim answer", || {
            Answer::Then(
                format!("HTTP/1.1 102 {SECRET}\r\nx: {SECRET}\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .into_bytes(),
            )
        }),
        ("a body", || with("", format!("before {SECRET} behind"))),
        ("a body, over chunks", || {
            let (one, two) = SECRET.split_at(15);
            Answer::Then(
                format!(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
                    one.len(),
                    two.len()
                )
                .into_bytes(),
            )
        }),
        ("a chunk extension", || {
            Answer::Then(
                format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x={SECRET}\r\nok\r\n0\r\n\r\n")
                    .into_bytes(),
            )
        }),
        ("the body of an error", || {
            let body = format!("bad key {SECRET}");
            Answer::Then(
                format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes(),
            )
        }),
        ("a body that only the end ends", || {
            Answer::Close(format!("HTTP/1.1 200 OK\r\n\r\nlast {SECRET}").into_bytes())
        }),
        ("the end of a body that is cut", || {
            Answer::Cut(format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{SECRET}").into_bytes())
        }),
        ("an answer that is no HTTP", || Answer::Close(format!("{SECRET}\r\n\r\n").into_bytes())),
        ("a header that is none", || Answer::Close(format!("HTTP/1.1 200 OK\r\n{SECRET}\r\n\r\n").into_bytes())),
    ];
    for (index, (what, make)) in cases.into_iter().enumerate() {
        rows.push(scene(
            &format!("200{}", letter(index)),
            format!("the key in {what}"),
            "not shown",
            move |stage| async move {
                stage.upstream.answers(move |_| make());
                let mut sandbox = stage.sandbox();
                let mut wire = sandbox.https(API).await;
                wire.send(request(&sandbox)).await;
                let mut raw = Vec::new();
                // Interim answers are looked at as well.
                loop {
                    let reply = wire.one().await;
                    raw.extend_from_slice(&reply.raw);
                    if !(100..200).contains(&reply.status) {
                        break;
                    }
                }
                assert_eq!(found_in(&raw), None, "{}", String::from_utf8_lossy(&raw));
                assert!(stage.upstream.seen()[0].head.contains(SECRET), "control: the upstream has the key");
                let event = sandbox.event().await.unwrap();
                assert_eq!(crate::stage::fault_of(&event), None);
                drop(wire);
                assert!(sandbox.close().await.is_empty(), "one event");
                "not shown".into()
            },
        ));
    }
    rows
}

fn coded() -> Vec<Row> {
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let small = gzip(format!("before {SECRET} behind").as_bytes());
    let bomb = gzip(&vec![0; 32 << 20]);
    let cases: Vec<(&str, &'static str, Vec<u8>)> = vec![
        ("gzip with the key", "gzip", small.clone()),
        ("gzip that says it is br", "br", small.clone()),
        ("plain text that says it is gzip", "gzip", format!("before {SECRET}").into_bytes()),
        ("a coding that nobody knows", "rot13", format!("before {SECRET}").into_bytes()),
        ("gzip in gzip", "gzip, gzip", gzip(&small)),
        ("gzip that is cut", "gzip", small[..small.len() - 12].to_vec()),
        ("a bomb of 1000 to 1", "gzip", bomb),
        ("two gzips in a row", "gzip", [gzip(b"ok"), small.clone()].concat()),
        ("gzip with bytes behind it", "gzip", [gzip(b"ok"), SECRET.as_bytes().to_vec()].concat()),
    ];
    let mut rows = Vec::new();
    for (index, (what, coding, body)) in cases.into_iter().enumerate() {
        rows.push(scene(&format!("201{}", letter(index)), format!("an answer of {what}"), "not shown", move |stage| {
            let body = body.clone();
            async move {
                let answer = body.clone();
                stage.upstream.answers(move |_| with(&format!("content-encoding: {coding}\r\n"), &answer));
                let mut sandbox = stage.sandbox();
                let mut wire = sandbox.https(API).await;
                let reply = wire.ask(request(&sandbox)).await;
                assert!(reply.raw.len() < 8 << 20, "{} bytes passed on", reply.raw.len());
                assert_eq!(
                    stage.upstream.seen()[0].header("accept-encoding").map(|value| value.contains("rot13")),
                    Some(false)
                );
                shows_nothing(&reply.raw, &body);
                let event = sandbox.event().await.unwrap();
                assert_ne!(event.bytes_down, 32 << 20);
                "not shown".into()
            }
        }));
    }
    rows
}

/// The key is not in the answer, packed as it came or unpacked.
fn shows_nothing(raw: &[u8], body: &[u8]) {
    assert_eq!(found_in(raw), None);
    assert!(
        body.len() < 16 || !raw.windows(body.len()).any(|window| window == body),
        "the body was passed on as it came"
    );
    if let Some(at) = raw.windows(2).position(|window| window == [0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        let _ = std::io::Read::read_to_end(
            &mut std::io::Read::take(flate2::read::MultiGzDecoder::new(&raw[at..]), 1 << 20),
            &mut unpacked,
        );
        assert_eq!(found_in(&unpacked), None, "packed");
    }
}

fn headers() -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, header) in [
        "Alt-Svc: h3=\":443\"",
        "NEL: {}",
        "Report-To: {}",
        "Reporting-Endpoints: a=\"https://x.test\"",
        "Clear-Site-Data: \"*\"",
        "X-Gigmcp-Refusal: host-denied",
        "Connection: close",
        "Keep-Alive: timeout=5",
        "Proxy-Authenticate: Basic",
        "Upgrade: h2c",
    ]
    .into_iter()
    .enumerate()
    {
        let name = header.split(':').next().unwrap().to_ascii_lowercase();
        rows.push(scene(
            &format!("205{}", letter(index)),
            format!("an upstream that sends {header}"),
            "removed",
            move |stage| {
                let name = name.clone();
                async move {
                    stage.upstream.answers(move |_| with(&format!("{header}\r\nx-other: 1\r\n"), "ok"));
                    let sandbox = stage.sandbox();
                    let reply = sandbox.https(API).await.ask(request(&sandbox)).await;
                    assert_eq!((reply.status, reply.header("x-other")), (200, Some("1")), "control");
                    assert_eq!(reply.header(&name), None);
                    "removed".into()
                }
            },
        ));
    }
    rows.push(scene("202", "a slice of an answer where a credential goes", "Range is removed", |stage| async move {
        let sandbox = stage.sandbox();
        let mut wire = sandbox.https(API).await;
        for range in ["Range: bytes=0-3", "Range: bytes=0-3\r\nIf-Range: \"x\""] {
            assert_eq!(
                wire.ask(request(&sandbox).replace("\r\n\r\n", &format!("\r\n{range}\r\n\r\n"))).await.status,
                200
            );
            let seen = stage.upstream.seen().remove(0);
            assert_eq!((seen.header("range"), seen.header("if-range")), (None, None));
        }
        let other = "GET / HTTP/1.1\r\nHost: b.example.com\r\nRange: bytes=0-3\r\n\r\n";
        assert_eq!(sandbox.https("b.example.com").await.ask(other).await.status, 200);
        assert_eq!(stage.upstream.seen()[0].header("range"), Some("bytes=0-3"), "twin: where none goes");
        "Range is removed".into()
    }));
    rows.push(scene("206", "refusals and errors of upstreams", "a code and a fixed text", |stage| async move {
        // Nobody listens there, nor will another test.
        let nobody = tokio::net::TcpSocket::new_v4().unwrap();
        nobody.bind(([127, 0, 0, 1], 0).into()).unwrap();
        stage.backstage.route("93.184.216.36", nobody.local_addr().unwrap());
        stage.backstage.resolves(API, &["93.184.216.36"]);
        let sandbox = stage.sandbox();
        let reply = sandbox.https(API).await.ask(request(&sandbox)).await;
        stage.backstage.resolves(API, &["93.184.216.34"]);
        assert_eq!((reply.status, reply.code()), (502, Some("upstream-connect")));
        let text = String::from_utf8_lossy(&reply.raw).into_owned();
        for told in ["93.184", "127.0.0.1", "refused (os", sandbox.placeholder.as_str(), "hyper", "rustls"] {
            assert!(!text.contains(told), "{told}: {text}");
        }
        "a code and a fixed text".into()
    }));
    rows
}

fn timing() -> Vec<Row> {
    vec![
        scene("204", "an event and then silence", "the event at once", |stage| async move {
            stage.upstream.answers(|_| {
                Answer::Silence(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\nb\r\ndata: one\n\n\r\n".to_vec())
            });
            let mut sandbox = stage.sandbox();
            let mut wire = sandbox.https(API).await;
            wire.send(request(&sandbox)).await;
            assert!(!wire.until(b"data: one\n\n").await.is_empty());
            drop(wire);
            sandbox.close().await;
            "the event at once".into()
        }),
        scene("204y", "the beginning of a key and then silence", "held back", |stage| async move {
            let part = &SECRET[..20];
            stage.upstream.answers(move |_| {
                Answer::Silence(
                    format!(
                        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\nok\n{part}\r\n",
                        part.len() + 3
                    )
                    .into_bytes(),
                )
            });
            let mut sandbox = stage.sandbox();
            let mut wire = sandbox.https(API).await;
            wire.send(request(&sandbox)).await;
            assert!(!wire.until(b"ok\n").await.is_empty());
            for _ in 0..20 {
                crate::wire::settle().await;
            }
            let (ahead, stream) = wire.into_parts();
            drop(stream);
            assert_eq!(found_in(&ahead), None);
            sandbox.close().await;
            "held back".into()
        }),
        scene("153", "an upstream that never answers", "504 upstream-timeout", |_| async {
            let stage = Rc::new(Stage::with(|limits| limits.response_deadline = Duration::from_millis(100)).await);
            stage.upstream.answers(|_| Answer::Silence(Vec::new()));
            let mut sandbox = stage.sandbox();
            let reply = sandbox.https(API).await.ask(request(&sandbox)).await;
            assert_eq!(Some(sandbox.event().await.unwrap().verdict.code()), reply.code());
            format!("{} {}", reply.status, reply.code().unwrap_or_default())
        }),
    ]
}
