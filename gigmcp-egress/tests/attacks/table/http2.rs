//! HTTP/2 as no library would speak it: rows 141 to 160.

use std::rc::Rc;
use std::time::Duration;

use super::framing::letter;
use crate::frames::*;
use crate::row::{Ask, Right, Row, ask, frames, scene};
use crate::stage::Stage;
use crate::upstream::Answer;
use crate::wire::Cut;

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "https");
const AUTHORITY: (&str, &str) = (":authority", HOST);
const PATH: (&str, &str) = (":path", "/");
const HOST: &str = "b.example.com";
const GOOD: [(&str, &str); 4] = [METHOD, SCHEME, AUTHORITY, PATH];

pub(crate) fn rows() -> Vec<Row> {
    [fields(), framing(), bodies(), floods()].into_iter().flatten().collect()
}

fn with(more: &[(&str, &str)]) -> Vec<u8> {
    headers(1, &[&GOOD[..], more].concat())
}

fn instead(name: &str, value: &str) -> Vec<u8> {
    let fields: Vec<_> = GOOD.iter().map(|field| if field.0 == name { (field.0, value) } else { *field }).collect();
    headers(1, &fields)
}

fn without(name: &str) -> Vec<u8> {
    let fields: Vec<_> = GOOD.iter().filter(|field| field.0 != name).copied().collect();
    headers(1, &fields)
}

fn fields() -> Vec<Row> {
    let twin = with(&[]);
    let raw = |field: Vec<u8>| frame(HEADERS, END_STREAM | END_HEADERS, 1, &[block(&GOOD), field].concat());
    let malformed = |id: &'static str, what: &'static str, attack: Vec<u8>| (id, what, Right::Malformed, attack);
    let cases = vec![
        ("141", "another :authority, allowed elsewhere", Right::Status(421), instead(":authority", "api.example.com")),
        ("141", "another :authority, denied", Right::Status(421), instead(":authority", "evil.test")),
        malformed("142", "a Host that differs from :authority", with(&[("host", "evil.test")])),
        malformed("142", "two :authority", with(&[(":authority", HOST)])),
        malformed("142", "neither :authority nor Host", without(":authority")),
        malformed("142", "two Hosts", with(&[("host", HOST), ("host", HOST)])),
        malformed("142", "an empty :authority", instead(":authority", "")),
        malformed("144", ":authority with userinfo", instead(":authority", "user@b.example.com")),
        malformed("144", ":authority with a blank", instead(":authority", "b.example.com ")),
        malformed("144", ":authority with a NUL", instead(":authority", "b.example.com\0")),
        malformed("144", ":authority with a path", instead(":authority", "b.example.com/x")),
        ("144", ":authority with another port", Right::Either(421, 400), instead(":authority", "b.example.com:8443")),
        malformed("145", ":scheme http over TLS", instead(":scheme", "http")),
        malformed("145", ":scheme of another protocol", instead(":scheme", "ftp")),
        malformed("145", "an empty :scheme", instead(":scheme", "")),
        malformed("145", "no :scheme", without(":scheme")),
        malformed("145", "an empty :method", instead(":method", "")),
        malformed("145", "no :method", without(":method")),
        malformed("145", "a :method with a blank", instead(":method", "GET x")),
        malformed("145", "a :method with CR LF", instead(":method", "GET / HTTP/1.1\r\nX: y\r\n\r\n")),
        malformed("145", "an empty :path", instead(":path", "")),
        malformed("145", "no :path", without(":path")),
        malformed("145", "a :path without a slash", instead(":path", "x")),
        malformed("145", "a :path with CR LF", instead(":path", "/x HTTP/1.1\r\nHost: evil.test\r\n\r\n")),
        malformed("145", "a :path with LF", instead(":path", "/x\ny")),
        malformed("145", "a :path with a blank", instead(":path", "/x y")),
        malformed("145", "a whole URL as :path", instead(":path", "https://b.example.com/")),
        malformed("145", "a star as :path", instead(":path", "*")),
        malformed("146", "a name in upper case", with(&[("X-A", "b")])),
        malformed("146", "Connection", with(&[("connection", "close")])),
        malformed("146", "Transfer-Encoding", with(&[("transfer-encoding", "chunked")])),
        malformed("146", "Upgrade", with(&[("upgrade", "websocket")])),
        malformed("146", "Keep-Alive", with(&[("keep-alive", "timeout=5")])),
        malformed("146", "Proxy-Connection", with(&[("proxy-connection", "close")])),
        malformed("146", "TE of a coding", with(&[("te", "gzip")])),
        malformed("146", "TE of trailers and more", with(&[("te", "trailers, gzip")])),
        malformed("146", "an empty name", raw(field(b"", b"x"))),
        malformed("146", "a name with a blank", with(&[("x a", "b")])),
        malformed("146", "a name with a colon", with(&[("x:a", "b")])),
        malformed("146", "a name with a control", with(&[("x\x01a", "b")])),
        malformed("146", "a name that is not ASCII", raw(field("xé".as_bytes(), b"x"))),
        malformed("146", "a value with CR LF", with(&[("x-a", "b\r\nHost: evil.test")])),
        malformed("146", "a value with LF", with(&[("x-a", "b\nc")])),
        malformed("146", "a value with a NUL", with(&[("x-a", "b\0c")])),
        malformed("146", "a value that begins with a blank", with(&[("x-a", " b")])),
        malformed("148", "a pseudo field behind a field", headers(1, &[METHOD, SCHEME, AUTHORITY, ("x-a", "b"), PATH])),
        malformed("148", "an unknown pseudo field", with(&[(":evil", "x")])),
        malformed("148", ":status in a request", with(&[(":status", "200")])),
        malformed("148", "two :path", with(&[PATH])),
        malformed("148", "two :method", with(&[METHOD])),
        malformed("148", "two :scheme", with(&[SCHEME])),
        malformed("149", "two equal lengths", with(&[("content-length", "0"), ("content-length", "0")])),
        malformed("149", "a length that is a list", with(&[("content-length", "0, 0")])),
        malformed("149", "a length with a sign", with(&[("content-length", "+0")])),
        malformed("149", "a length and no body", with(&[("content-length", "5")])),
        malformed("136", "Content_Length", with(&[("content_length", "5")])),
        malformed("136", "X-Auth beside X_Auth", with(&[("x-auth", "a"), ("x_auth", "b")])),
        ("130", "an unknown expectation", Right::Status(417), with(&[("expect", "foo")])),
    ];
    let mut rows = Vec::new();
    for (index, (id, what, right, attack)) in cases.into_iter().enumerate() {
        rows.push(frames(&format!("{id}{}-h2", letter(index)), what, right, attack, twin.clone()));
    }
    rows.push(scene("141y", "another :authority beside streams in order", "421, others live", |stage| async move {
        let mut sandbox = stage.sandbox();
        let mut h2 = H2::open(&sandbox, HOST).await.expect("HTTP/2 is spoken");
        let evil: Vec<_> =
            GOOD.map(|field| if field == AUTHORITY { (":authority", "evil.test") } else { field }).to_vec();
        h2.send(&[headers(1, &GOOD), headers(3, &evil), headers(5, &GOOD)].concat(), Cut::Whole).await;
        let mut statuses = [0; 3];
        // In whatever order they come.
        for (index, status) in statuses.iter_mut().enumerate() {
            let mut one = H2::open(&sandbox, HOST).await.unwrap();
            one.send(&headers(1, if index == 1 { &evil } else { &GOOD }), Cut::Whole).await;
            let Heard::Status(heard, _) = one.hear(1).await else { panic!("an answer") };
            *status = heard;
        }
        assert_eq!(statuses, [200, 421, 200]);
        let Heard::Status(200, _) = h2.hear(5).await else { panic!("the last stream lives") };
        sandbox.close().await;
        "421, others live".into()
    }));
    for (index, (what, fields, right)) in [
        ("CONNECT", vec![(":method", "CONNECT"), (":authority", "b.example.com:443")], "refused"),
        ("CONNECT with :path and :scheme", vec![(":method", "CONNECT"), SCHEME, AUTHORITY, PATH], "refused"),
        (
            "extended CONNECT to an unknown protocol",
            vec![(":method", "CONNECT"), (":protocol", "foo"), SCHEME, AUTHORITY, PATH],
            "refused",
        ),
        (":protocol on a GET", vec![METHOD, (":protocol", "websocket"), SCHEME, AUTHORITY, PATH], "refused"),
    ]
    .into_iter()
    .enumerate()
    {
        rows.push(scene(&format!("073{}", letter(index)), format!("{what} over HTTP/2"), right, move |stage| {
            let fields = fields.clone();
            async move { refused(&stage, &frame(HEADERS, END_HEADERS, 1, &block(&fields)), &[400, 405, 501]).await }
        }));
    }
    rows
}

/// What has to be refused somehow: the stream, the connection, or by one of these statuses; with one event and nothing touched.
async fn refused(stage: &Rc<Stage>, attack: &[u8], statuses: &[u16]) -> String {
    let mut sandbox = stage.sandbox();
    let before = stage.touched();
    let mut h2 = H2::open(&sandbox, HOST).await.expect("HTTP/2 is spoken");
    h2.send(attack, Cut::Whole).await;
    let heard = h2.hear(1).await;
    assert!(
        matches!(&heard, Heard::Reset(_) | Heard::GoAway(_))
            || matches!(&heard, Heard::Status(status, _) if statuses.contains(status)),
        "{heard:?}"
    );
    assert_eq!(stage.touched(), before);
    let code = sandbox.event().await.expect("an event").verdict.code();
    assert!(code != "allowed" && code != "aborted", "{code}");
    drop(h2);
    assert!(sandbox.close().await.is_empty(), "one event");
    let mut sandbox = stage.sandbox();
    let mut h2 = H2::open(&sandbox, HOST).await.unwrap();
    h2.send(&headers(1, &GOOD), Cut::Whole).await;
    assert!(matches!(h2.hear(1).await, Heard::Status(200, _)), "twin");
    sandbox.close().await;
    "refused".into()
}

fn framing() -> Vec<Row> {
    let twin = with(&[]);
    let cases = vec![
        ("160", "DATA before HEADERS", frame(DATA, 0, 1, b"x")),
        ("160", "an even stream", headers(2, &GOOD)),
        ("160", "stream 0 with HEADERS", headers(0, &GOOD)),
        ("160", "stream 0 with DATA", frame(DATA, 0, 0, b"x")),
        ("160", "RST_STREAM of an idle stream", frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])),
        ("160", "WINDOW_UPDATE of an idle stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 8])),
        (
            "160",
            "a push from a client",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &block(&GOOD)].concat()),
        ),
        ("160", "CONTINUATION without HEADERS", frame(CONTINUATION, END_HEADERS, 1, &block(&GOOD))),
        (
            "160",
            "another frame between HEADERS and CONTINUATION",
            [frame(HEADERS, END_STREAM, 1, &block(&GOOD)), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        (
            "160",
            "CONTINUATION of another stream",
            [frame(HEADERS, END_STREAM, 1, &block(&GOOD)), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
        ),
        (
            "160",
            "padding longer than the frame",
            frame(HEADERS, END_STREAM | END_HEADERS | 8, 1, &[&[255][..], &block(&GOOD)].concat()),
        ),
        (
            "160",
            "a stream that depends on itself",
            frame(HEADERS, END_STREAM | END_HEADERS | 32, 1, &[&[0, 0, 0, 1, 16][..], &block(&GOOD)].concat()),
        ),
        ("160", "a frame longer than allowed", frame(DATA, 0, 1, &[0; 20_000])),
        ("160", "PING of 7 bytes", frame(PING, 0, 0, &[0; 7])),
        ("160", "SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("160", "SETTINGS of a stream", frame(SETTINGS, 0, 1, &[])),
        ("160", "an acknowledgement with settings in it", frame(SETTINGS, ACK, 0, &[0, 4, 0, 0, 0, 0])),
        ("160", "a window of more than 2^31-1", frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
        ("160", "WINDOW_UPDATE of 0 for the connection", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("160", "WINDOW_UPDATE past 2^31-1", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("152", "an index outside of the table", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff, 0xff, 0x03])),
        ("152", "index 0", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0x80])),
        (
            "152",
            "a number that does not end",
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &[&[0xff][..], &[0xff; 30], &[0]].concat()),
        ),
        (
            "152",
            "a string longer than its block",
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0, 0x7f, 0xff, 0x7f, b'x']),
        ),
        (
            "152",
            "a table larger than allowed",
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &[number(1 << 20, 5, 0x20), block(&GOOD)].concat()),
        ),
        (
            "152",
            "a code of Huffman that does not exist",
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'x']),
        ),
    ];
    let mut rows = Vec::new();
    for (index, (id, what, attack)) in cases.into_iter().enumerate() {
        rows.push(frames(&format!("{id}{}", letter(index)), what, Right::Ended, attack, twin.clone()));
    }
    rows.push(scene("160y", "HEADERS and DATA on streams that are closed", "ended", |stage| async move {
        for attack in [headers(1, &GOOD), frame(DATA, END_STREAM, 1, b"x"), frame(DATA, 0, 1, &[])] {
            let mut sandbox = stage.sandbox();
            let mut h2 = H2::open(&sandbox, HOST).await.expect("HTTP/2 is spoken");
            h2.send(&headers(1, &GOOD), Cut::Whole).await;
            assert!(matches!(h2.hear(1).await, Heard::Status(200, _)));
            let before = stage.touched();
            h2.send(&attack, Cut::Whole).await;
            h2.send(&headers(3, &GOOD), Cut::Whole).await;
            let heard = h2.hear(1).await;
            assert!(
                matches!(heard, Heard::Reset(STREAM_CLOSED) | Heard::GoAway(STREAM_CLOSED | PROTOCOL_ERROR)),
                "{heard:?}"
            );
            assert_eq!((stage.touched() - before).dialled, 0);
            drop(h2);
            sandbox.close().await;
        }
        "ended".into()
    }));
    rows.push(scene("148y", "a pseudo field in trailers", "refused, or left behind", |stage| async move {
        let mut sandbox = stage.sandbox();
        let mut h2 = H2::open(&sandbox, HOST).await.expect("HTTP/2 is spoken");
        let post = [(":method", "POST"), SCHEME, AUTHORITY, PATH];
        let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[(":path", "/evil")]));
        h2.send(&[open_headers(1, &post), frame(DATA, 0, 1, b"x"), trailers].concat(), Cut::Whole).await;
        let heard = h2.hear(1).await;
        let seen = stage.upstream.seen();
        assert!(seen.iter().all(|seen| seen.target() == "/" && !seen.head.contains("evil")), "{heard:?}");
        drop(h2);
        assert_eq!(sandbox.close().await.len(), 1, "one event");
        "refused, or left behind".into()
    }));
    rows.push(scene("149z", "DATA where the length says none", "reset", |stage| async move {
        let mut sandbox = stage.sandbox();
        let mut h2 = H2::open(&sandbox, HOST).await.expect("HTTP/2 is spoken");
        let post = [(":method", "POST"), SCHEME, AUTHORITY, PATH, ("content-length", "0")];
        h2.send(&[open_headers(1, &post), frame(DATA, END_STREAM, 1, b"hello")].concat(), Cut::Whole).await;
        let heard = h2.hear(1).await;
        assert!(matches!(heard, Heard::Reset(PROTOCOL_ERROR)), "{heard:?}");
        assert!(stage.upstream.seen().iter().all(|seen| seen.body.is_empty()), "nothing of it travels on");
        drop(h2);
        assert_eq!(sandbox.close().await.len(), 1, "one event");
        "reset".into()
    }));
    rows.push(scene("145z", "a fragment in :path", "left behind by the library", |stage| async move {
        let sandbox = stage.sandbox();
        let mut h2 = H2::open(&sandbox, HOST).await.expect("HTTP/2 is spoken");
        h2.send(&instead(":path", "/x#y"), Cut::Whole).await;
        let heard = h2.hear(1).await;
        if matches!(heard, Heard::Status(200, _)) {
            assert_eq!(stage.upstream.seen()[0].target(), "/x", "what is judged is what is sent");
        }
        "left behind by the library".into()
    }));
    rows
}

fn bodies() -> Vec<Row> {
    let post =
        |length: &str| open_headers(1, &[(":method", "POST"), SCHEME, AUTHORITY, PATH, ("content-length", length)]);
    let twin = [post("5"), frame(DATA, END_STREAM, 1, b"hello")].concat();
    let mut rows = Vec::new();
    for (index, (what, attack)) in [
        ("more DATA than the length says", [post("4"), frame(DATA, END_STREAM, 1, b"hello")].concat()),
        ("less DATA than the length says", [post("6"), frame(DATA, END_STREAM, 1, b"hello")].concat()),
        ("a length of the second kind", [post("05"), frame(DATA, END_STREAM, 1, b"hello")].concat()),
        ("a length of 2^64", [post("18446744073709551616"), frame(DATA, END_STREAM, 1, b"hello")].concat()),
    ]
    .into_iter()
    .enumerate()
    {
        rows.push(frames(&format!("149{}", letter(index)), what, Right::Malformed, attack, twin.clone()));
    }
    rows.push(ask(
        "156",
        "a placeholder in a body, over DATA frames of one byte",
        Right::Status(403),
        "b.example.com",
        Ask::post("/", "key={P}&x=1"),
        Ask::post("/", "key=nothing&x=1"),
    ));
    rows.push(ask(
        "156b",
        "a placeholder in a header",
        Right::Status(403),
        "b.example.com",
        Ask::get("/").header("x-a", "{P}"),
        Ask::get("/").header("x-a", "nothing"),
    ));
    rows
}

fn floods() -> Vec<Row> {
    vec![
        scene("150", "CONTINUATION without end", "GOAWAY or closed, bounded", |stage| async move {
            let start = frame(HEADERS, END_STREAM, 1, &block(&GOOD));
            let more = frame(CONTINUATION, 0, 1, &block(&[("x-a", &"b".repeat(200))]));
            flood(&stage, &start, &more, 4 << 20).await;
            flood(&stage, &start, &frame(CONTINUATION, 0, 1, &[]), 1 << 20).await;
            "GOAWAY or closed, bounded".into()
        }),
        scene("151", "streams that are reset at once (rapid reset)", "GOAWAY or closed, bounded", |stage| async move {
            let mut sandbox = stage.sandbox();
            let before = stage.touched();
            let mut h2 = H2::open(&sandbox, HOST).await.expect("HTTP/2 is spoken");
            let mut opened = 0;
            for number in 0..20_000_u32 {
                let stream = 2 * number + 1;
                let pair = [open_headers(stream, &GOOD), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
                if tokio::io::AsyncWriteExt::write_all(&mut h2.stream, &pair).await.is_err() {
                    break;
                }
                opened = number;
                if number % 64 == 0 {
                    crate::wire::settle().await;
                }
            }
            let heard = h2.hear(1).await;
            assert!(matches!(heard, Heard::GoAway(ENHANCE_YOUR_CALM) | Heard::Closed | Heard::Reset(_)), "{heard:?}");
            assert!((stage.touched() - before).dialled < 2048, "{opened} opened, {:?}", stage.touched() - before);
            drop(h2);
            sandbox.close().await;
            "GOAWAY or closed, bounded".into()
        }),
        scene("152y", "headers that are small packed and large unpacked", "refused", |stage| async move {
            // One entry of 3 KiB in the dynamic table, then named a thousand times.
            let long = "b".repeat(3000);
            let entry = [&[0x40][..], &[3], b"x-a", &number(long.len(), 7, 0), long.as_bytes()].concat();
            let bomb = [block(&GOOD), entry, vec![0xbe; 1000]].concat();
            refused(&stage, &frame(HEADERS, END_STREAM | END_HEADERS, 1, &bomb), &[431, 400]).await
        }),
        scene("152x", "more fields than allowed", "refused", |stage| async move {
            let many = [block(&GOOD), block(&[("a", "b")]).repeat(500)].concat();
            refused(&stage, &frame(HEADERS, END_STREAM | END_HEADERS, 1, &many), &[431, 400]).await
        }),
        scene("153a", "a window that stays closed", "ended at the deadline", |_| async {
            let stage = Rc::new(Stage::with(|limits| limits.idle_deadline = crate::wire::RUNS_OUT).await);
            stage.upstream.answers(|_| crate::upstream::with("", "x".repeat(100_000)));
            let mut sandbox = stage.sandbox();
            let mut h2 = H2::open(&sandbox, HOST).await.expect("HTTP/2 is spoken");
            h2.send(&[frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]), headers(1, &GOOD)].concat(), Cut::Whole).await;
            let event = sandbox.event().await.unwrap();
            assert_eq!(event.verdict.code(), "aborted");
            assert!(event.bytes_down < 100_000);
            "ended at the deadline".into()
        }),
        scene("154", "the 101st stream at a time", "REFUSED_STREAM", |stage| async move {
            let mut sandbox = stage.sandbox();
            stage.upstream.answers(|_| Answer::Silence(Vec::new()));
            let mut h2 = H2::open(&sandbox, HOST).await.expect("HTTP/2 is spoken");
            for number in 0..101 {
                h2.send(&headers(2 * number + 1, &GOOD), Cut::Whole).await;
            }
            let heard = h2.hear(201).await;
            assert_eq!(heard, Heard::Reset(REFUSED_STREAM));
            drop(h2);
            sandbox.close().await;
            stage.upstream.answers_as_usual();
            "REFUSED_STREAM".into()
        }),
        scene("155", "settings and pings without end", "bounded", |stage| async move {
            for (kind, payload) in [(SETTINGS, &[0, 3, 0, 0, 0, 100][..]), (PING, &[0; 8])] {
                let sandbox = stage.sandbox();
                let mut h2 = H2::open(&sandbox, HOST).await.expect("HTTP/2 is spoken");
                // Nothing is read meanwhile, so the answers have nowhere to go: it stops by itself, or we are closed.
                let one = frame(kind, 0, 0, payload).repeat(100);
                let mut sent = 0_u64;
                while sent < 64 << 20 {
                    match tokio::time::timeout(
                        Duration::from_millis(300),
                        tokio::io::AsyncWriteExt::write_all(&mut h2.stream, &one),
                    )
                    .await
                    {
                        Ok(Ok(())) => sent += one.len() as u64,
                        Ok(Err(_)) | Err(_) => break,
                    }
                }
                assert!(sent < 64 << 20, "{sent} bytes of kind {kind} taken");
            }
            "bounded".into()
        }),
    ]
}

/// Sends a start and then more of the same until it is ended, which has to be soon.
async fn flood(stage: &Rc<Stage>, start: &[u8], more: &[u8], bound: usize) {
    let mut sandbox = stage.sandbox();
    let before = stage.touched();
    let mut h2 = H2::open(&sandbox, HOST).await.expect("HTTP/2 is spoken");
    h2.send(start, Cut::Whole).await;
    let mut sent = 0;
    while sent < bound {
        if tokio::io::AsyncWriteExt::write_all(&mut h2.stream, more).await.is_err() {
            break;
        }
        sent += more.len();
        if (sent / more.len()).is_multiple_of(32) {
            crate::wire::settle().await;
        }
    }
    assert!(sent < bound, "{sent} bytes taken");
    let heard = h2.hear(1).await;
    assert!(matches!(heard, Heard::GoAway(_) | Heard::Closed), "{heard:?}");
    assert_eq!(stage.touched(), before);
    assert_ne!(sandbox.event().await.expect("an event").verdict.code(), "allowed");
    drop(h2);
    assert!(sandbox.close().await.is_empty(), "one event");
}
