//! Changes of protocol: rows 161 to 168.

use std::rc::Rc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::framing::letter;
use crate::row::{Door, Right, Row, scene, through};
use crate::secrets::{SECRET, found_in};
use crate::stage::{Sandbox, Stage, Tls};
use crate::upstream::{Answer, Seen};
use crate::wire::{self, Cut, Wire};

const API: &str = "api.example.com";
const OTHER: &str = "b.example.com";

pub(crate) fn rows() -> Vec<Row> {
    [offers(), answers(), said(), heard()].into_iter().flatten().collect()
}

/// An upgrade without its last line end, for further headers.
const OFFER: &str = "GET /socket HTTP/1.1\r\nHost: {H}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn offer(host: &str) -> String {
    format!("{}\r\n", OFFER.replace("{H}", host))
}

/// An answer that agrees, and these frames behind it.
fn agreed(seen: &Seen, frames: &[u8]) -> Answer {
    let key = seen.header("sec-websocket-key").unwrap_or_default();
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()));
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
    );
    Answer::Upgrade([head.as_bytes(), frames].concat())
}

/// A frame of a client, masked, or of a server.
fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let flag = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(flag | u8::try_from(length).unwrap()),
        length @ 126..65536 => {
            bytes.push(flag | 126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(flag | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    let mask = mask.inspect(|mask| bytes.extend(mask)).unwrap_or_default();
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

const MASK: Option<[u8; 4]> = Some([0x12, 0x34, 0x56, 0x78]);
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;

/// What a peer said by frames that are unmasked, as text of all data frames, and the code of its close.
fn unframed(mut bytes: &[u8]) -> (Vec<u8>, Option<u16>) {
    let mut said = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        let masked = second & 0x80 != 0;
        let (length, rest) = match second & 0x7f {
            126 if rest.len() >= 2 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 if rest.len() >= 8 => {
                (usize::try_from(u64::from_be_bytes(rest[..8].try_into().unwrap())).unwrap(), &rest[8..])
            }
            length => (usize::from(length), rest),
        };
        let (mask, rest) = if masked && rest.len() >= 4 {
            (<[u8; 4]>::try_from(&rest[..4]).unwrap(), &rest[4..])
        } else {
            ([0; 4], rest)
        };
        let payload: Vec<u8> =
            rest.iter().take(length).zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        match first & 0x0f {
            0..=2 => said.extend(&payload),
            8 => {
                return (
                    said,
                    Some(if payload.len() >= 2 { u16::from_be_bytes([payload[0], payload[1]]) } else { 1005 }),
                );
            }
            _ => {}
        }
        bytes = rest.get(length..).unwrap_or_default();
    }
    (said, None)
}

/// Opens a WebSocket to a host whose origin says these frames at once.
async fn open(stage: &Rc<Stage>, sandbox: &Sandbox, host: &str, frames: Vec<u8>) -> Wire<Tls> {
    stage.upstream.answers(move |seen| agreed(seen, &frames));
    stage.upstream.upgraded();
    let mut connection = sandbox.https(host).await;
    connection.send(offer(host)).await;
    let reply = connection.one().await;
    assert_eq!(reply.status, 101, "{}", reply.head);
    connection
}

fn offers() -> Vec<Row> {
    let doors: &[Door] = &[Door::Tls(OTHER)];
    let plain = "GET / HTTP/1.1\r\nHost: {H}\r\n\r\n";
    let with = |from: &str, to: &str| format!("{}\r\n", OFFER.replacen(from, to, 1));
    let mut rows = Vec::new();
    for (index, (what, attack)) in [
        ("an upgrade to WebSocket or h2c", with("Upgrade: websocket", "Upgrade: websocket, h2c")),
        ("an upgrade to something unknown", with("Upgrade: websocket", "Upgrade: foo")),
        ("an upgrade to TLS", with("Upgrade: websocket", "Upgrade: TLS/1.0")),
        ("two upgrades", with("Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: foo")),
        ("an upgrade by POST", with("GET", "POST")),
        ("an upgrade without a key", with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "")),
        (
            "an upgrade with two keys",
            with("Sec-WebSocket-Key:", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key:"),
        ),
        ("an upgrade with a short key", with("dGhlIHNhbXBsZSBub25jZQ==", "dGhl")),
        ("an upgrade with a key that is no base64", with("dGhlIHNhbXBsZSBub25jZQ==", "!!!!!!!!!!!!!!!!!!!!!!==")),
        ("an upgrade of another version", with("Version: 13", "Version: 8")),
        ("an upgrade without a version", with("Sec-WebSocket-Version: 13\r\n", "")),
        ("an upgrade with a length", with("\r\nConnection", "\r\nContent-Length: 5\r\nConnection")),
        ("an upgrade in chunks", with("\r\nConnection", "\r\nTransfer-Encoding: chunked\r\nConnection")),
        ("an upgrade by HTTP/1.0", with("HTTP/1.1", "HTTP/1.0")),
        ("an upgrade without Connection", with("Connection: Upgrade\r\n", "")),
        ("Connection without an upgrade", with("Upgrade: websocket\r\n", "")),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("164{}", letter(index));
        rows.push(through(doors, &id, what, Right::CloseEither(400, 501), attack, plain));
    }
    rows.push(scene("165", "an upgrade that a rule denies", "403, nothing dialled", |stage| async move {
        let mut sandbox = stage.sandbox_with(|plan| {
            plan.rules.clear();
            plan.rules.push(gigmcp_egress::Rule::https(OTHER.parse().unwrap()).paths(["/other/**".parse().unwrap()]));
        });
        let before = stage.touched();
        let reply = sandbox.https(OTHER).await.ask(offer(OTHER)).await;
        assert_eq!(stage.touched(), before);
        assert_eq!(Some(sandbox.event().await.unwrap().verdict.code()), reply.code());
        assert!(sandbox.close().await.is_empty());
        format!("{}, nothing dialled", reply.status)
    }));
    rows.push(scene("166w", "an offer to compress", "the offer does not arrive", |stage| async move {
        let sandbox = stage.sandbox();
        stage.upstream.answers(|seen| agreed(seen, &[]));
        let mut connection = sandbox.https(OTHER).await;
        let offer = format!("{}Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Protocol: chat\r\n\r\n", OFFER.replace("{H}", OTHER));
        connection.send(offer).await;
        let reply = connection.one().await;
        assert_eq!((reply.status, reply.header("sec-websocket-extensions")), (101, None));
        let seen = stage.upstream.seen().pop().unwrap();
        assert_eq!((seen.header("sec-websocket-extensions"), seen.header("sec-websocket-protocol")), (None, Some("chat")));
        "the offer does not arrive".into()
    }));
    rows.push(scene(
        "G9",
        "a WebSocket of a client that would like to compress",
        "works uncompressed",
        |stage| async move {
            let sandbox = stage.sandbox();
            let mut connection = open(&stage, &sandbox, OTHER, frame(TEXT, None, b"hello")).await;
            wire::send(&mut connection.stream, &frame(TEXT, MASK, b"good day"), Cut::Bytes).await;
            wire::send(&mut connection.stream, &frame(CLOSE, MASK, &1000_u16.to_be_bytes()), Cut::Whole).await;
            connection_ends(&stage, connection, b"hello", b"good day").await;
            "works uncompressed".into()
        },
    ));
    rows
}

/// Reads to the end, and checks what either side has heard.
async fn connection_ends(stage: &Rc<Stage>, connection: Wire<Tls>, here: &[u8], there: &[u8]) {
    let (mut ahead, mut stream) = connection.into_parts();
    while !unframed(&ahead).0.starts_with(here) {
        let mut buffer = [0; 512];
        let length = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap();
        assert_ne!(length, 0, "it ends before it was said");
        ahead.extend_from_slice(&buffer[..length]);
    }
    for _ in 0..200 {
        if unframed(&stage.upstream.upgraded_so_far()).0.starts_with(there) {
            return;
        }
        wire::settle().await;
    }
    panic!("the origin heard {:?}", stage.upstream.upgraded_so_far());
}

fn answers() -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, (what, answer)) in [
        ("200", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno"),
        ("403", "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno"),
        ("400", "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno"),
        (
            "426",
            "HTTP/1.1 426 Upgrade Required\r\nupgrade: websocket\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nno",
        ),
        ("302", "HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 2\r\n\r\nno"),
    ]
    .into_iter()
    .enumerate()
    {
        for (way, ahead) in [
            ("frames", frame(TEXT, MASK, b"smuggled")),
            ("a request", b"GET /smuggled HTTP/1.1\r\nHost: b.example.com\r\n\r\n".to_vec()),
        ] {
            let id = format!("161{}{}", letter(index), if way == "frames" { "" } else { "-162" });
            rows.push(scene(
                &id,
                format!("an upstream that answers an upgrade with {what}, and {way} sent before"),
                "relayed as HTTP; what came before is not",
                move |stage| {
                    let ahead = ahead.clone();
                    async move {
                        stage.upstream.answers(move |_| Answer::Then(answer.as_bytes().to_vec()));
                        let mut sandbox = stage.sandbox();
                        let mut connection = sandbox.https(OTHER).await;
                        connection.send([offer(OTHER).as_bytes(), &ahead].concat()).await;
                        let reply = connection.reply().await;
                        assert_eq!((reply.status.to_string().as_str(), reply.text().as_str()), (what, "no"));
                        assert!(connection.is_closed().await, "what was sent for another protocol is not read as HTTP");
                        assert!(stage.upstream.upgraded().is_empty());
                        let targets: Vec<_> =
                            stage.upstream.seen().iter().map(|seen| seen.target().to_owned()).collect();
                        assert_eq!(targets, ["/socket"]);
                        drop(connection);
                        assert_eq!(sandbox.close().await.len(), 1, "one event");
                        "relayed as HTTP; what came before is not".into()
                    }
                },
            ));
        }
    }
    for (index, (what, answer)) in [
        ("a wrong proof", "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"),
        ("no proof", "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"),
        ("another protocol", "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: h2c\r\n\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        rows.push(scene(&format!("163{}", letter(index)), format!("an upstream that agrees with {what}"), "502 upstream-protocol", move |stage| async move {
            stage.upstream.answers(move |_| Answer::Upgrade(answer.as_bytes().to_vec()));
            let mut sandbox = stage.sandbox();
            let reply = sandbox.https(OTHER).await.ask(offer(OTHER)).await;
            assert_eq!(Some(sandbox.event().await.unwrap().verdict.code()), reply.code());
            assert!(sandbox.close().await.is_empty());
            format!("{} {}", reply.status, reply.code().unwrap_or_default())
        }));
    }
    rows.push(scene(
        "162",
        "frames sent before the answer, which agrees",
        "held, then delivered",
        |stage| async move {
            let sandbox = stage.sandbox();
            stage.upstream.answers(|seen| agreed(seen, &frame(TEXT, None, b"hello")));
            stage.upstream.upgraded();
            let mut connection = sandbox.https(OTHER).await;
            connection.send([offer(OTHER).as_bytes(), &frame(TEXT, MASK, b"early")].concat()).await;
            assert_eq!(connection.one().await.status, 101);
            connection_ends(&stage, connection, b"hello", b"early").await;
            "held, then delivered".into()
        },
    ));
    rows
}

/// What a sandbox says on a WebSocket, and what ends it.
fn said() -> Vec<Row> {
    let mut rows = Vec::new();
    type Make = fn(&str) -> Vec<u8>;
    let cases: Vec<(&str, &str, &'static str, Make)> = vec![
        ("166", "a placeholder in a text frame", OTHER, |p| frame(TEXT, MASK, format!("key={p}").as_bytes())),
        ("166", "a placeholder in a text frame to its host", API, |p| frame(TEXT, MASK, format!("key={p}").as_bytes())),
        ("166", "a placeholder in a binary frame", OTHER, |p| frame(BINARY, MASK, format!("\0\x01{p}\0").as_bytes())),
        ("166", "a placeholder in base64", OTHER, |p| frame(TEXT, MASK, STANDARD.encode(format!("x{p}")).as_bytes())),
        ("166", "a placeholder over two fragments", OTHER, |p| {
            let (one, two) = p.split_at(9);
            [frame(0x01, MASK, one.as_bytes()), frame(0x80, MASK, two.as_bytes())].concat()
        }),
        ("166", "a placeholder over fragments of a byte, with pings between", OTHER, |p| {
            let mut bytes = frame(0x01, MASK, b"k");
            for byte in p.bytes() {
                bytes.extend(frame(0x00, MASK, &[byte]));
                bytes.extend(frame(PING, MASK, b""));
            }
            [bytes, frame(0x80, MASK, b"")].concat()
        }),
        ("166", "a placeholder in a ping", OTHER, |p| frame(PING, MASK, p.as_bytes())),
        ("166", "a placeholder in a close", OTHER, |p| {
            frame(CLOSE, MASK, &[&1000_u16.to_be_bytes()[..], p.as_bytes()].concat())
        }),
        ("167", "a frame without a mask", OTHER, |_| frame(TEXT, None, b"hello")),
        ("167", "a frame that says it is compressed", OTHER, |_| frame(0xc1, MASK, b"hello")),
        ("167", "a reserved bit", OTHER, |_| frame(0xa1, MASK, b"hello")),
        ("167", "a reserved kind", OTHER, |_| frame(0x83, MASK, b"hello")),
        ("167", "a reserved kind of control", OTHER, |_| frame(0x8b, MASK, b"hello")),
        ("167", "a ping of 126 bytes", OTHER, |_| frame(PING, MASK, &[b'x'; 126])),
        ("167", "a ping in fragments", OTHER, |_| frame(0x09, MASK, b"x")),
        ("167", "a continuation of nothing", OTHER, |_| frame(0x80, MASK, b"x")),
        ("167", "a message within a message", OTHER, |_| [frame(0x01, MASK, b"x"), frame(TEXT, MASK, b"y")].concat()),
        ("167", "a length of 2^63", OTHER, |_| [&[TEXT, 0xff][..], &(1_u64 << 63).to_be_bytes(), &[0; 4]].concat()),
        ("167", "a length that is not the shortest", OTHER, |_| {
            [&[TEXT, 0x80 | 126][..], &5_u16.to_be_bytes(), &[0; 4], b"hello"].concat()
        }),
        ("167", "a close of one byte", OTHER, |_| frame(CLOSE, MASK, &[3])),
        ("167", "a close with a code that nobody sends", OTHER, |_| frame(CLOSE, MASK, &1006_u16.to_be_bytes())),
        ("167", "no frames but HTTP", OTHER, |_| b"GET / HTTP/1.1\r\nHost: b.example.com\r\n\r\n".to_vec()),
    ];
    for (index, (id, what, host, make)) in cases.into_iter().enumerate() {
        let alarm = id == "166";
        rows.push(scene(
            &format!("{id}{}", letter(index)),
            what,
            if alarm { "closed with 1008; the upstream has not got it" } else { "closed; the upstream has not got it" },
            move |stage| async move {
                for cut in [Cut::Whole, Cut::Bytes] {
                    let mut sandbox = stage.sandbox();
                    let mut connection = open(&stage, &sandbox, host, Vec::new()).await;
                    let attack = make(sandbox.placeholder.as_str());
                    wire::send(&mut connection.stream, &attack, cut).await;
                    let (mut ahead, mut stream) = connection.into_parts();
                    ahead.extend(wire::read_to_end(&mut stream).await);
                    let (_, code) = unframed(&ahead);
                    assert!(!alarm || code == Some(1008), "{code:?}");
                    let got = stage.upstream.upgraded_so_far();
                    let heard = unframed(&got).0;
                    assert!(
                        !heard.windows(32).any(|window| window == sandbox.placeholder.as_str().as_bytes()),
                        "{heard:?}"
                    );
                    assert!(!heard.windows(5).any(|window| window == b"hello"), "{heard:?}");
                    let event = sandbox.event().await.unwrap();
                    assert!(!alarm || event.alarm, "{event:?}");
                    assert_ne!(event.verdict.code(), "allowed");
                    assert!(sandbox.close().await.is_empty(), "one event");
                }
                if alarm {
                    "closed with 1008; the upstream has not got it".into()
                } else {
                    "closed; the upstream has not got it".into()
                }
            },
        ));
    }
    rows
}

/// What an upstream says on a WebSocket.
fn heard() -> Vec<Row> {
    let mut rows = Vec::new();
    type Make = fn() -> Vec<u8>;
    let cases: Vec<(&str, Make)> = vec![
        ("a text frame", || frame(TEXT, None, format!("key {SECRET} end").as_bytes())),
        ("a binary frame", || frame(BINARY, None, format!("\0{SECRET}\0").as_bytes())),
        ("two fragments", || {
            let (one, two) = SECRET.split_at(14);
            [frame(0x01, None, one.as_bytes()), frame(0x80, None, two.as_bytes())].concat()
        }),
        ("base64", || frame(TEXT, None, STANDARD.encode(format!("xy{SECRET}")).as_bytes())),
        ("a ping", || frame(PING, None, SECRET.as_bytes())),
        ("a close", || frame(CLOSE, None, &[&1000_u16.to_be_bytes()[..], SECRET.as_bytes()].concat())),
        ("a masked frame", || frame(TEXT, MASK, SECRET.as_bytes())),
        ("bytes that are no frame", || SECRET.as_bytes().to_vec()),
    ];
    for (index, (what, make)) in cases.into_iter().enumerate() {
        rows.push(scene(
            &format!("168{}", letter(index)),
            format!("the key in {what} of an upstream"),
            "not shown",
            move |stage| async move {
                let mut sandbox = stage.sandbox();
                let frames = [make(), frame(CLOSE, None, &1000_u16.to_be_bytes())].concat();
                stage.upstream.answers(move |seen| agreed(seen, &frames));
                let mut connection = sandbox.https(API).await;
                let key = format!("Authorization: Bearer {}\r\n", sandbox.placeholder);
                connection.send(format!("{}{key}\r\n", OFFER.replace("{H}", API))).await;
                assert_eq!(connection.one().await.status, 101);
                wire::send(&mut connection.stream, &frame(CLOSE, MASK, &1000_u16.to_be_bytes()), Cut::Whole).await;
                let (mut ahead, mut stream) = connection.into_parts();
                ahead.extend(wire::read_to_end(&mut stream).await);
                assert_eq!(found_in(&ahead), None, "{ahead:?}");
                assert_eq!(found_in(&unframed(&ahead).0), None, "{ahead:?}");
                assert!(stage.upstream.seen()[0].head.contains(SECRET), "control: the upstream has the key");
                assert_eq!(sandbox.close().await.len(), 1, "one event");
                "not shown".into()
            },
        ));
    }
    rows
}
