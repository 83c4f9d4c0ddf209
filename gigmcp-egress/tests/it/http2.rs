//! What a sandbox may try over HTTP/2.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::frames::*;
use crate::world::{RUNS_OUT, Sandbox, Trust, World};

const HOST: &str = "b.example.com";

/// The fields of a plain request.
fn get(path: &str) -> Vec<(&str, &str)> {
    vec![(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", path)]
}

fn with<'a>(mut fields: Vec<(&'a str, &'a str)>, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    fields.extend_from_slice(more);
    fields
}

fn replaced<'a>(name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut fields = get("/");
    fields.iter_mut().find(|field| field.0 == name).unwrap().1 = value;
    fields
}

fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    let mut fields = get("/");
    fields.retain(|field| field.0 != name);
    fields
}

async fn connect(sandbox: &Sandbox) -> Frames<TlsStream<TcpStream>> {
    Frames::client(sandbox.speaking("h2", HOST).await).await
}

#[tokio::test]
async fn a_bad_stream_ends_alone_and_leaves_one_event() {
    let reset = End::Reset(PROTOCOL_ERROR);
    // What the library cannot decode at all ends the connection.
    let gone = End::GoAway(PROTOCOL_ERROR);
    for (case, fields, end, code) in [
        ("EGR-141 other authority", replaced(":authority", "evil.test"), End::Answer(421), "host-mismatch"),
        (
            "EGR-141 other allowed authority",
            replaced(":authority", "api.example.com"),
            End::Answer(421),
            "host-mismatch",
        ),
        ("EGR-144 other port", replaced(":authority", "b.example.com:8443"), End::Answer(421), "host-mismatch"),
        ("EGR-142 host differs", with(get("/"), &[("host", "evil.test")]), reset, "host-not-canonical"),
        ("EGR-142 two hosts", with(get("/"), &[("host", HOST), ("host", HOST)]), reset, "host-not-canonical"),
        ("EGR-142 two authorities", with(vec![(":authority", HOST)], &get("/")), reset, "malformed"),
        ("EGR-142 neither", without(":authority"), reset, "malformed"),
        ("EGR-142 host alone", with(without(":authority"), &[("host", HOST)]), reset, "malformed"),
        ("EGR-144 userinfo", replaced(":authority", "u@b.example.com"), reset, "host-not-canonical"),
        ("EGR-144 blank", replaced(":authority", "b.example.com "), reset, "malformed"),
        ("EGR-144 NUL", replaced(":authority", "b.example.com\0"), reset, "malformed"),
        ("EGR-002 trailing dot", replaced(":authority", "b.example.com."), reset, "host-not-canonical"),
        ("EGR-026 address", replaced(":authority", "1.2.3.4"), End::Answer(403), "ip-literal"),
        ("EGR-145 scheme", replaced(":scheme", "http"), reset, "malformed"),
        ("EGR-145 no scheme", without(":scheme"), reset, "malformed"),
        ("EGR-145 empty method", replaced(":method", ""), gone, "malformed"),
        ("EGR-145 no method", without(":method"), reset, "malformed"),
        ("EGR-145 empty path", replaced(":path", ""), reset, "malformed"),
        ("EGR-145 blank in path", replaced(":path", "/a b"), reset, "malformed"),
        ("EGR-145 line break in path", replaced(":path", "/a\r\nx: y"), reset, "malformed"),
        ("EGR-145 path that is none", replaced(":path", "*"), End::Answer(400), "target-not-canonical"),
        ("EGR-170 dots", replaced(":path", "/a/%2e%2e/b"), End::Answer(400), "target-not-canonical"),
        ("EGR-146 upper case", with(get("/"), &[("X-A", "b")]), gone, "malformed"),
        ("EGR-146 connection", with(get("/"), &[("connection", "close")]), reset, "malformed"),
        ("EGR-146 transfer-encoding", with(get("/"), &[("transfer-encoding", "chunked")]), reset, "malformed"),
        ("EGR-146 upgrade", with(get("/"), &[("upgrade", "websocket")]), reset, "malformed"),
        ("EGR-146 keep-alive", with(get("/"), &[("keep-alive", "1")]), reset, "malformed"),
        ("EGR-146 proxy-connection", with(get("/"), &[("proxy-connection", "close")]), reset, "malformed"),
        ("EGR-146 te", with(get("/"), &[("te", "gzip")]), reset, "malformed"),
        ("EGR-146 line break in a value", with(get("/"), &[("x-a", "b\r\nc: d")]), gone, "malformed"),
        ("EGR-148 pseudo after regular", with(vec![("x-a", "b")], &get("/")), reset, "malformed"),
        ("EGR-148 unknown pseudo", with(vec![(":x", "b")], &get("/")), gone, "malformed"),
        ("EGR-148 two paths", with(vec![(":path", "/")], &get("/")), reset, "malformed"),
        ("EGR-148 status", with(vec![(":status", "200")], &get("/")), reset, "malformed"),
        ("EGR-149 length without body", with(get("/"), &[("content-length", "5")]), reset, "malformed"),
        (
            "EGR-149 two lengths",
            with(get("/"), &[("content-length", "0"), ("content-length", "5")]),
            reset,
            "malformed",
        ),
        (
            "EGR-112 the same length twice",
            with(get("/"), &[("content-length", "0"), ("content-length", "0")]),
            End::Answer(400),
            "framing",
        ),
        (
            "EGR-073 connect",
            vec![(":method", "CONNECT"), (":authority", "b.example.com:443")],
            End::Answer(501),
            "connect-in-stream",
        ),
        ("EGR-073 connect with path", replaced(":method", "CONNECT"), reset, "malformed"),
        (
            "EGR-073 extended",
            with(vec![(":protocol", "websocket")], &replaced(":method", "CONNECT")),
            reset,
            "malformed",
        ),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let mut frames = connect(&sandbox).await;
        frames.request(1, &fields).await;
        let seen = frames.end(1).await;
        assert_eq!(seen, end, "{case}");
        assert_eq!(world.backstage.dialled.load(Ordering::SeqCst), 0, "{case}: no upstream connection");
        assert_eq!(world.backstage.opened.load(Ordering::SeqCst), 0, "{case}: no credential was read");
        if matches!(end, End::GoAway(_)) {
            frames = connect(&sandbox).await;
        }
        frames.request(3, &get("/")).await;
        assert_eq!(frames.end(3).await, End::Answer(200), "twin of {case}");
        assert_eq!(frames.find(DATA).await.payload, b"ok", "{case}");
        let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
        assert_eq!(codes, [code, "allowed"], "{case}");
    }
}

#[tokio::test]
async fn a_body_is_as_long_as_its_head_says() {
    for (case, length, sent, end, codes) in [
        ("twin", "5", "12345", End::Answer(200), &["allowed"][..]),
        ("EGR-149 shorter", "5", "123", End::Reset(PROTOCOL_ERROR), &["malformed"]),
        ("EGR-149 longer", "5", "123456789", End::Reset(PROTOCOL_ERROR), &["malformed"]),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let mut frames = connect(&sandbox).await;
        let fields = with(replaced(":method", "POST"), &[("content-length", length)]);
        frames.send(HEADERS, END_HEADERS, 1, &block(&fields)).await;
        frames.send(DATA, END_STREAM, 1, sent.as_bytes()).await;
        let seen = frames.end(1).await;
        assert_eq!(seen, end, "{case}");
        if end == End::Answer(200) {
            assert_eq!(frames.find(DATA).await.payload, b"ok");
            assert_eq!(world.origin.seen()[0].body, sent.as_bytes());
        }
        let seen: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
        assert_eq!(seen, codes, "{case}");
    }
}

#[tokio::test]
async fn a_broken_connection_is_closed_and_leaves_one_event() {
    let plain = block(&get("/"));
    let large = [&plain[..], &[0x40], &string("x-a"), &string(&"b".repeat(4000))].concat();
    type Sent = Vec<(u8, u8, u32, Vec<u8>)>;
    for (case, sent, end) in [
        ("EGR-160 even stream", vec![(HEADERS, END_HEADERS | END_STREAM, 2, plain.clone())], PROTOCOL_ERROR),
        ("EGR-160 body before head", vec![(DATA, END_STREAM, 1, b"x".to_vec())], PROTOCOL_ERROR),
        (
            "EGR-150 endless continuation",
            [(HEADERS, END_STREAM, 1, plain.clone())]
                .into_iter()
                .chain((0..200).map(|_| (CONTINUATION, 0, 1, block(&[("x-a", "b")]))))
                .collect::<Sent>(),
            ENHANCE_YOUR_CALM,
        ),
        ("EGR-150 continuation of nothing", vec![(CONTINUATION, END_HEADERS, 1, plain.clone())], PROTOCOL_ERROR),
        (
            "EGR-152 bomb",
            vec![(HEADERS, END_HEADERS | END_STREAM, 1, [&large[..], &[0xbe; 5000]].concat())],
            ENHANCE_YOUR_CALM,
        ),
        ("EGR-152 index of nothing", vec![(HEADERS, END_HEADERS | END_STREAM, 1, vec![0xff, 0x7f])], PROTOCOL_ERROR),
        (
            "EGR-152 table too large",
            vec![(HEADERS, END_HEADERS | END_STREAM, 1, [&[0x3f, 0xff, 0xff, 0x7f][..], &plain].concat())],
            PROTOCOL_ERROR,
        ),
        (
            "EGR-158 push by a client",
            vec![(PUSH_PROMISE, END_HEADERS, 1, [&[0, 0, 0, 2][..], &plain].concat())],
            PROTOCOL_ERROR,
        ),
        ("window beyond its end", vec![(WINDOW_UPDATE, 0, 0, vec![0x7f, 0xff, 0xff, 0xff])], 3),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let mut frames = connect(&sandbox).await;
        for (kind, flags, stream, payload) in &sent {
            frames.send(*kind, *flags, *stream, payload).await;
        }
        assert_eq!(frames.end(u32::MAX).await, End::GoAway(end), "{case}");
        world.refused_untouched(case, "malformed").await;
    }
}

#[tokio::test]
async fn a_head_has_a_bound() {
    let fields: Vec<_> = (0..101).map(|_| ("x-a", "b")).collect();
    let long = "b".repeat(4000);
    for (case, block, code) in [
        ("EGR-152 too many fields", block(&with(get("/"), &fields)), "head-too-large"),
        (
            "EGR-152 too many bytes, by reference",
            [&block(&get("/"))[..], &[0x40], &string("x-a"), &string(&long), &[0xbe; 20]].concat(),
            "head-too-large",
        ),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let mut frames = connect(&sandbox).await;
        frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &block).await;
        assert_eq!(frames.end(1).await, End::Answer(431), "{case}");
        // An answer on the connection means that what came before was dealt with.
        frames.request(3, &get("/a b")).await;
        assert_eq!(frames.end(3).await, End::Reset(PROTOCOL_ERROR));
        let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
        assert_eq!(codes, [code, "malformed"], "{case}");
    }
}

#[tokio::test]
async fn streams_are_counted_for_a_connection_and_for_a_sandbox() {
    for (case, streams, of_identity) in [("EGR-154 connection", 2, 512), ("EGR-208 identity", 100, 2)] {
        let mut world = World::with(Trust::Origin, |limits| {
            (limits.streams, limits.streams_per_identity) = (streams, of_identity);
        })
        .await;
        let sandbox = world.sandbox("one");
        let mut frames = connect(&sandbox).await;
        for stream in [1, 3] {
            frames.request(stream, &get("/events")).await;
            assert_eq!(frames.end(stream).await, End::Answer(200), "{case}: twin");
        }
        frames.request(5, &get("/")).await;
        assert_eq!(frames.end(5).await, End::Reset(REFUSED_STREAM), "{case}");
        // One given up makes room.
        frames.send(RST_STREAM, 0, 1, &CANCEL.to_be_bytes()).await;
        let mut stream = 7;
        loop {
            frames.request(stream, &get("/")).await;
            match frames.end(stream).await {
                End::Answer(200) => break,
                End::Reset(REFUSED_STREAM) => stream += 2, // it is not gone yet
                other => panic!("{case}: {other:?}"),
            }
        }
        let mut codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
        codes.dedup();
        codes.sort_unstable();
        codes.dedup();
        assert!(codes.contains(&"stream-limit"), "{case}: {codes:?}");
    }
}

#[tokio::test]
async fn a_client_that_gives_up_again_and_again_is_cut_off() {
    let mut world = World::with(Trust::Origin, |limits| limits.reset_streams = 10).await;
    let sandbox = world.sandbox("one");
    let mut frames = connect(&sandbox).await;
    for index in 0..100 {
        let stream = 2 * index + 1;
        frames.request(stream, &get("/events")).await;
        frames.send(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()).await;
    }
    assert_eq!(frames.end(u32::MAX).await, End::GoAway(ENHANCE_YOUR_CALM), "CVE-2023-44487");
    let events = world.finish().await;
    assert!(events.len() <= 102, "{}", events.len());
}

#[tokio::test]
async fn a_stream_that_does_not_move_is_reset() {
    // SETTINGS_INITIAL_WINDOW_SIZE
    for (case, window) in [("EGR-153 shut", 0), ("EGR-153 one byte", 1)] {
        let mut world = World::with(Trust::Origin, |limits| limits.idle_deadline = RUNS_OUT).await;
        let sandbox = world.sandbox("one");
        let settings = [&[0, 4, 0, 0, 0][..], &[window]].concat();
        let stream = sandbox.speaking("h2", HOST).await;
        let mut frames = Frames::client_with(stream, &settings).await;
        frames.request(1, &get("/large")).await;
        assert_eq!(frames.end(1).await, End::Answer(200), "{case}");
        // The connection lives: it is the stream that does not move.
        let reset = loop {
            frames.send(PING, 0, 0, &[0; 8]).await;
            let frame = frames.next().await.expect("the connection stays");
            if frame.kind == RST_STREAM {
                break frame;
            }
        };
        assert_eq!((reset.stream, &*reset.payload), (1, &CANCEL.to_be_bytes()[..]), "{case}");
        let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
        assert_eq!(codes, ["aborted"], "{case}");
    }
}

#[tokio::test]
async fn a_connection_that_sends_no_whole_head_is_closed() {
    let half = block(&get("/"));
    let sent = Some((0, &half[..]));
    for (case, rest, sent, end, codes) in [
        ("EGR-150 a block that never ends", Duration::ZERO, sent, ENHANCE_YOUR_CALM, &["malformed"][..]),
        ("EGR-150 the same after a while", RUNS_OUT / 10, sent, ENHANCE_YOUR_CALM, &["malformed"]),
        ("nothing at all", Duration::ZERO, None, NO_ERROR, &[]),
    ] {
        let mut world = World::with(Trust::Origin, |limits| limits.head_deadline = RUNS_OUT).await;
        let sandbox = world.sandbox("one");
        let mut frames = connect(&sandbox).await;
        assert!(tokio::time::timeout(rest, frames.end(1)).await.is_err(), "{case}: it may rest");
        if let Some((flags, payload)) = sent {
            frames.send(HEADERS, flags, 1, payload).await;
        }
        assert_eq!(frames.end(1).await, End::GoAway(end), "{case}");
        let seen: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
        assert_eq!(seen, codes, "{case}");
    }
}

#[tokio::test]
async fn what_was_agreed_on_is_what_is_spoken() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut stream = sandbox.speaking("h2", HOST).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    stream.write_all(b"GET / HTTP/1.1\r\nHost: b.example.com\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1"), "EGR-098");
    world.refused_untouched("EGR-098", "malformed").await;
}

#[tokio::test]
async fn a_refusal_says_its_code_and_the_connection_goes_on() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let stream = sandbox.speaking("h2", HOST).await;
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    for (method, code) in [("PUT", Some("method-denied")), ("GET", None)] {
        world.grant(&sandbox.identity, &sandbox.placeholder, |grant| {
            for rule in &mut grant.rules {
                rule.methods = Some(vec![http::Method::GET]);
            }
        });
        let request = http::Request::builder().method(method).uri("https://b.example.com/").body(()).unwrap();
        client = client.ready().await.unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.headers().get("x-gigmcp-refusal").map(|code| code.to_str().unwrap()), code);
        let mut body = answer.into_body();
        while let Some(chunk) = body.data().await {
            chunk.unwrap();
        }
    }
    let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
    assert_eq!(codes, ["method-denied", "allowed"]);
}

#[tokio::test]
async fn a_placeholder_is_found_however_it_is_framed() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let placeholder = sandbox.placeholder.as_str();
    let half = placeholder.len() / 2;
    let post = block(&replaced(":method", "POST"));
    let plain = block(&get("/"));
    let literal = block(&with(get("/"), &[("x-a", placeholder)]));
    let indexed = [&plain[..], &[0x40], &string("x-a"), &string(placeholder)].concat();
    let by_index = [&plain[..], &[0xbe]].concat();
    // Heads one after the other, the pieces of a body behind the last, and what comes of that last one.
    for (case, heads, body, end) in [
        ("EGR-156 over two frames", vec![&post], vec![&placeholder[..half], &placeholder[half..]], End::Answer(403)),
        ("EGR-156 as a literal", vec![&literal], vec![], End::Answer(403)),
        ("EGR-156 as a literal to be indexed", vec![&indexed], vec![], End::Answer(403)),
        ("twin: half of it is nothing", vec![&post], vec![&placeholder[..half]], End::Answer(200)),
        ("twin: a name alone is nothing", vec![&plain], vec![], End::Answer(200)),
    ] {
        let mut frames = connect(&sandbox).await;
        for head in &heads {
            let flags = if body.is_empty() { END_HEADERS | END_STREAM } else { END_HEADERS };
            frames.send(HEADERS, flags, 1, head).await;
        }
        for (index, piece) in body.iter().enumerate() {
            let flags = if index + 1 == body.len() { END_STREAM } else { 0 };
            frames.send(DATA, flags, 1, piece.as_bytes()).await;
        }
        assert_eq!(frames.end(1).await, end, "{case}");
        if case == "EGR-156 as a literal to be indexed" {
            // The answer is all references to the first.
            frames.send(HEADERS, END_HEADERS | END_STREAM, 3, &by_index).await;
            assert_eq!(frames.find(HEADERS).await.stream, 3, "EGR-156 by its index");
        }
    }
    let codes: Vec<_> = world.finish().await.iter().map(|event| (event.verdict.code(), event.alarm)).collect();
    let (refused, allowed): (Vec<_>, Vec<_>) =
        codes.iter().copied().partition(|(code, _)| code.starts_with("placeholder-"));
    assert_eq!((refused.len(), allowed.len()), (4, 2), "{codes:?}");
    assert!(
        refused.iter().all(|(_, alarm)| *alarm) && allowed.iter().all(|event| *event == ("allowed", false)),
        "{codes:?}"
    );
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_is_told_after_the_decision() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut frames = connect(&sandbox).await;
    let expecting = [("content-length", "5"), ("expect", "100-continue")];
    let other = with(replaced(":authority", "evil.test"), &expecting);
    frames.send(HEADERS, END_HEADERS, 1, &block(&other)).await;
    assert_eq!(frames.end(1).await, End::Answer(421), "EGR-130 refused without being asked for a body");
    frames.send(HEADERS, END_HEADERS, 3, &block(&with(replaced(":method", "POST"), &expecting))).await;
    assert_eq!(frames.end(3).await, End::Answer(100), "G3");
    assert!(world.origin.seen().is_empty());
    frames.send(DATA, END_STREAM, 3, b"12345").await;
    assert_eq!(frames.end(3).await, End::Answer(200));
    let seen = world.origin.seen();
    assert_eq!((&*seen[0].body, seen[0].headers.contains_key("expect")), (&b"12345"[..], false));
}
