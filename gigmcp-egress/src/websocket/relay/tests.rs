#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::audit::{AuditEvent, AuditKind, AuditSink, AuditUnavailable};
use crate::credential::CredentialRule;
use crate::identity::{CredentialId, Identity};
use crate::placeholder::{Placeholder, Shape};
use crate::secret::SecretString;
use crate::sink::Sink;
use crate::websocket::frame::{Opcode, Sender};
use crate::websocket::reader::{FrameReader, PIECE_BYTES};
use crate::websocket::writer::FrameWriter;

const SECRET: &str = "sk-live-S3NT1N3L-0123456789";
const RECHECK: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(60);

/// A relay at work: what the sandbox and the upstream hold of it, and the events it leaves.
struct World {
    sandbox: DuplexStream,
    upstream: DuplexStream,
    placeholder: Placeholder,
    allowed: Arc<AtomicBool>,
    events: mpsc::UnboundedReceiver<AuditEvent>,
}

struct Events(mpsc::UnboundedSender<AuditEvent>);

impl AuditSink for Events {
    fn ready<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        Box::pin(async { Ok(()) })
    }

    fn record<'a>(&'a self, event: AuditEvent) -> BoxFuture<'a, Result<(), AuditUnavailable>> {
        let _ = self.0.send(event);
        Box::pin(async { Ok(()) })
    }
}

impl World {
    fn new() -> Self {
        Self::with_buffers(1 << 20)
    }

    fn with_buffers(bytes: usize) -> Self {
        let identity = Identity::new("one");
        let secret = SecretString::new(SECRET);
        let placeholder = Placeholder::mint(&Shape::of(&secret));
        let live = Arc::new(LivePlaceholders::default());
        let hosts = ["api.example.com".parse().unwrap()];
        let credential =
            CredentialRule::new(CredentialId::new("key"), placeholder.clone(), hosts, Sink::Header { name: None });
        live.note(&identity, &[credential]);
        let allowed = Arc::new(AtomicBool::new(true));
        let (sender, events) = mpsc::unbounded_channel();
        let relay = Relay {
            live,
            judge: Box::new(|_| Refusal::PlaceholderWrongPlace),
            scrubber: Some(Scrubber::new([(&secret, &placeholder)])),
            still_allowed: Box::new({
                let allowed = Arc::clone(&allowed);
                move || {
                    let answer = if allowed.load(Ordering::Relaxed) { Ok(()) } else { Err(Refusal::HostDenied) };
                    Box::pin(async move { answer })
                }
            }),
            recheck: RECHECK,
            idle_deadline: IDLE,
            entry: Entry::new(Arc::new(Events(sender)), AuditKind::Request, identity),
        };
        let ((sandbox, down), (upstream, up)) = (duplex(bytes), duplex(bytes));
        tokio::spawn(relay.run(Box::new(down), Box::new(up)));
        Self { sandbox, upstream, placeholder, allowed, events }
    }

    /// The one event.
    async fn event(&mut self) -> AuditEvent {
        let event = self.events.recv().await.unwrap();
        assert!(self.events.recv().await.is_none(), "one event and no more");
        event
    }
}

fn frame(sender: Sender, opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut writer = FrameWriter::new(sender);
    writer.put(Piece { opcode, fin, payload: payload.into() });
    writer.pending().to_vec()
}

/// Everything that comes from a stream to its end: opcode, end of message, payload. What comes from the relay must be
/// well-formed, whatever went in.
async fn frames(stream: &mut DuplexStream, sender: Sender) -> Vec<(Opcode, bool, String)> {
    let (mut reader, mut frames) = (FrameReader::new(sender), Vec::new());
    loop {
        while let Some(piece) = reader.next().unwrap() {
            frames.push((piece.opcode, piece.fin, String::from_utf8_lossy(&piece.payload).into_owned()));
        }
        if reader.fill(stream).await.unwrap() == 0 {
            return frames;
        }
    }
}

fn close(code: u16) -> (Opcode, bool, String) {
    (Opcode::Close, true, String::from_utf8_lossy(&code.to_be_bytes()).into_owned())
}

#[tokio::test(start_paused = true)]
async fn a_library_speaks_with_a_library_both_ways() {
    let mut world = World::new();
    let (sandbox, upstream) = (&mut world.sandbox, &mut world.upstream);
    let mut client = WebSocketStream::from_raw_socket(sandbox, Role::Client, None).await;
    let server = async {
        let mut server = WebSocketStream::from_raw_socket(upstream, Role::Server, None).await;
        while let Some(Ok(message)) = server.next().await {
            if message.is_text() || message.is_binary() {
                server.send(message).await.unwrap();
            }
        }
    };
    let client = async {
        let long: Vec<u8> = (0..300_000u32).map(|at| at as u8).collect();
        for message in [
            Message::text("hello"),
            Message::text(""),
            Message::binary(vec![0, 255, 10]),
            Message::text("\u{e9}\u{1f600}".repeat(20_000)),
            Message::binary(long),
        ] {
            client.send(message.clone()).await.unwrap();
            assert_eq!(client.next().await.unwrap().unwrap(), message);
        }
        client.send(Message::Ping("are you there".into())).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong("are you there".into()));
        client.close(None).await.unwrap();
        assert!(client.next().await.unwrap().unwrap().is_close());
        assert!(client.next().await.is_none());
    };
    tokio::join!(client, server);
    let event = world.event().await;
    let bytes = 5 + 3 + 120_000 + 300_000;
    assert_eq!((event.verdict, event.bytes_up), (Verdict::Allowed, bytes + "are you there".len() as u64));
    assert_eq!(event.bytes_down, event.bytes_up);
    assert!(!event.alarm);
}

#[tokio::test(start_paused = true)]
async fn a_placeholder_in_any_frame_ends_both_sides() {
    let halves = |placeholder: &str| {
        let (left, right) = placeholder.split_at(placeholder.len() / 2);
        [left.to_owned(), right.to_owned()]
    };
    for (case, opcodes) in [
        ("EGR-166 fragments", [(Opcode::Text, false), (Opcode::Continuation, true)]),
        ("binary fragments", [(Opcode::Binary, false), (Opcode::Continuation, true)]),
        ("two messages", [(Opcode::Text, true), (Opcode::Text, true)]),
        ("two pings", [(Opcode::Ping, true), (Opcode::Pong, true)]),
    ] {
        let mut world = World::new();
        let parts = halves(world.placeholder.as_str());
        for ((opcode, fin), part) in opcodes.into_iter().zip(&parts) {
            world.sandbox.write_all(&frame(Sender::Client, opcode, fin, part.as_bytes())).await.unwrap();
        }
        let left = frames(&mut world.upstream, Sender::Client).await;
        assert_eq!(left, [(opcodes[0].0, opcodes[0].1, parts[0].clone()), close(1008)], "{case}");
        assert_eq!(frames(&mut world.sandbox, Sender::Server).await, [close(1008)], "{case}");
        let event = world.event().await;
        assert_eq!(event.verdict, Verdict::Refused(Refusal::PlaceholderWrongPlace), "{case}");
        assert!(event.alarm, "{case}");
        assert_eq!(event.bytes_up, parts[0].len() as u64, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_spelling_of_a_placeholder_is_found_and_a_part_of_it_passes() {
    for (case, found) in [("whole", true), ("base64", true), ("escaped", true), ("close", true), ("a part", false)] {
        let mut world = World::new();
        let text = world.placeholder.as_str().to_owned();
        let (opcode, payload) = match case {
            "whole" => (Opcode::Text, format!("xx{text}yy")),
            "base64" => (Opcode::Binary, STANDARD.encode(format!("u:{text}:p"))),
            "escaped" => (Opcode::Text, text.bytes().map(|byte| format!("\\u{byte:04x}")).collect()),
            "close" => (Opcode::Close, format!("\u{f}A{text}")),
            _ => (Opcode::Text, text[1..].to_owned()),
        };
        world.sandbox.write_all(&frame(Sender::Client, opcode, true, payload.as_bytes())).await.unwrap();
        world.sandbox.shutdown().await.unwrap();
        let left = frames(&mut world.upstream, Sender::Client).await;
        let expected = if found { close(1008) } else { (opcode, true, payload) };
        assert_eq!(left, [expected], "{case}");
        drop(world.upstream.shutdown().await);
        let refused = Verdict::Refused(Refusal::PlaceholderWrongPlace);
        assert_eq!(world.event().await.verdict, if found { refused } else { Verdict::Aborted }, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_from_the_upstream_is_replaced_over_fragments() {
    for split in 1..SECRET.len() {
        let mut world = World::new();
        let (left, right) = SECRET.split_at(split);
        for (opcode, fin, text) in [
            (Opcode::Text, false, format!("a {left}")),
            (Opcode::Ping, true, SECRET.to_owned()),
            (Opcode::Continuation, true, format!("{right} b")),
            (Opcode::Binary, true, SECRET.to_owned()),
            (Opcode::Close, true, format!("\u{f}A{SECRET}")),
        ] {
            world.upstream.write_all(&frame(Sender::Server, opcode, fin, text.as_bytes())).await.unwrap();
        }
        world.sandbox.write_all(&frame(Sender::Client, Opcode::Close, true, b"")).await.unwrap();
        let placeholder = world.placeholder.to_string();
        let expected = [
            (Opcode::Text, false, "a ".to_owned()),
            (Opcode::Ping, true, String::new()),
            (Opcode::Continuation, true, format!("{placeholder} b")),
            (Opcode::Binary, true, placeholder),
            (Opcode::Close, true, "\u{f}A".to_owned()),
        ];
        assert_eq!(frames(&mut world.sandbox, Sender::Server).await, expected, "EGR-168, split at {split}");
        assert_eq!(world.event().await.verdict, Verdict::Allowed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_over_messages_ends_both_sides_before_its_last_part() {
    let mut world = World::new();
    let (left, right) = SECRET.split_at(9);
    for text in [left, right] {
        world.upstream.write_all(&frame(Sender::Server, Opcode::Text, true, text.as_bytes())).await.unwrap();
    }
    let arrived = frames(&mut world.sandbox, Sender::Server).await;
    assert_eq!(arrived, [(Opcode::Text, true, left.to_owned()), close(1008)]);
    assert_eq!(frames(&mut world.upstream, Sender::Client).await, [close(1008)]);
    assert_eq!(world.event().await.verdict, Verdict::Refused(Refusal::Unscannable));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_not_well_formed_ends_both_sides() {
    let ok = frame(Sender::Client, Opcode::Text, true, b"ok");
    let with_first = |first: u8| [&[first], &ok[1..]].concat();
    let long_ping = [&[0x89, 0xFE, 0, 126, 0, 0, 0, 0][..], &[0; 126]].concat();
    for (case, bytes) in [
        ("unmasked", vec![0x81, 2, b'o', b'k']),
        ("EGR-166 RSV1", with_first(0xC1)),
        ("RSV2", with_first(0xA1)),
        ("RSV3", with_first(0x91)),
        ("reserved opcode", with_first(0x83)),
        ("reserved control opcode", with_first(0x8B)),
        ("long control frame", long_ping),
        ("fragmented control frame", with_first(0x09)),
        ("continuation of nothing", with_first(0x80)),
        ("length not minimal", vec![0x81, 0xFE, 0, 2, 0, 0, 0, 0, b'o', b'k']),
    ] {
        let mut world = World::new();
        world.sandbox.write_all(&[&ok[..], &bytes].concat()).await.unwrap();
        let left = frames(&mut world.upstream, Sender::Client).await;
        assert_eq!(left, [(Opcode::Text, true, "ok".to_owned()), close(1002)], "{case}, after a twin that passes");
        assert_eq!(frames(&mut world.sandbox, Sender::Server).await, [close(1002)], "{case}");
        let event = world.event().await;
        assert_eq!((event.verdict, event.alarm), (Verdict::Refused(Refusal::Frame), false), "{case}");
    }
    let mut world = World::new();
    world.upstream.write_all(&frame(Sender::Client, Opcode::Text, true, b"masked")).await.unwrap();
    assert_eq!(frames(&mut world.sandbox, Sender::Server).await, [close(1002)]);
    assert_eq!(frames(&mut world.upstream, Sender::Client).await, [close(1002)]);
    assert_eq!(world.event().await.verdict, Verdict::Refused(Refusal::UpstreamProtocol));
}

#[tokio::test(start_paused = true)]
async fn masks_are_ours() {
    let mut world = World::new();
    let sent = [&[0x81, 0x82, 1, 2, 3, 4][..], &[b'o' ^ 1, b'k' ^ 2]].concat();
    let mut masks = Vec::new();
    for _ in 0..8 {
        world.sandbox.write_all(&sent).await.unwrap();
        let mut arrived = [0; 8];
        world.upstream.read_exact(&mut arrived).await.unwrap();
        assert_eq!([arrived[6] ^ arrived[2], arrived[7] ^ arrived[3]], *b"ok");
        masks.push(arrived[2..6].to_vec());
    }
    assert!(!masks.contains(&vec![1, 2, 3, 4]));
    masks.sort();
    masks.dedup();
    assert_eq!(masks.len(), 8, "another for each frame");
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_a_close_and_an_answer_to_it_is_awaited_for_a_while() {
    let mut world = World::new();
    let sent = [
        frame(Sender::Client, Opcode::Close, true, b"\x03\xE8bye"),
        frame(Sender::Client, Opcode::Text, true, b"more"),
    ];
    world.sandbox.write_all(&sent.concat()).await.unwrap();
    let started = Instant::now();
    let left = frames(&mut world.upstream, Sender::Client).await;
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(started.elapsed() >= GRACE && started.elapsed() < 2 * GRACE + RECHECK);
    assert_eq!(world.event().await.verdict, Verdict::Allowed);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_one_side_ends_the_other() {
    let mut world = World::new();
    let started = Instant::now();
    drop(world.upstream);
    assert_eq!(frames(&mut world.sandbox, Sender::Server).await, []);
    assert_eq!(world.events.recv().await.unwrap().verdict, Verdict::Aborted);
    assert!(started.elapsed() <= 2 * GRACE);
    let mut world = World::new();
    world.upstream.write_all(&[0x81, 100, b'x']).await.unwrap();
    drop(world.sandbox);
    assert_eq!(frames(&mut world.upstream, Sender::Client).await, []);
    assert_eq!(world.events.recv().await.unwrap().verdict, Verdict::Aborted);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_connection_ends_and_bytes_of_either_side_keep_it() {
    let mut world = World::new();
    let started = Instant::now();
    for round in 0..6 {
        tokio::time::sleep(IDLE - RECHECK).await;
        match round % 2 {
            0 => world.sandbox.write_all(&frame(Sender::Client, Opcode::Ping, true, b"")).await.unwrap(),
            _ => world.upstream.write_all(&frame(Sender::Server, Opcode::Pong, true, b"")).await.unwrap(),
        }
    }
    let arrived = frames(&mut world.sandbox, Sender::Server).await;
    assert_eq!((arrived.len(), arrived.last()), (4, Some(&close(1001))));
    assert!(started.elapsed() >= 7 * IDLE - 6 * RECHECK);
    assert_eq!(frames(&mut world.upstream, Sender::Client).await.last(), Some(&close(1001)));
    assert_eq!(world.event().await.verdict, Verdict::Aborted);
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_its_rule() {
    for (case, busy) in [("EGR-086 kept busy", true), ("EGR-086 idle", false)] {
        let mut world = World::new();
        tokio::time::sleep(4 * RECHECK).await;
        assert!(world.events.try_recv().is_err(), "{case}: it lives as long as it is allowed");
        let started = Instant::now();
        world.allowed.store(false, Ordering::Relaxed);
        if busy {
            let ping = frame(Sender::Client, Opcode::Ping, true, b"");
            while world.events.is_empty() {
                world.sandbox.write_all(&ping).await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        let event = world.events.recv().await.unwrap();
        assert!(started.elapsed() <= Duration::from_secs(5), "{case}");
        assert_eq!(event.verdict, Verdict::Refused(Refusal::HostDenied), "{case}");
        assert_eq!(frames(&mut world.sandbox, Sender::Server).await, [close(1008)], "{case}");
        assert_eq!(frames(&mut world.upstream, Sender::Client).await.last(), Some(&close(1008)), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_stops_the_other_writer() {
    let mut world = World::with_buffers(1024);
    let endless = frame(Sender::Client, Opcode::Binary, true, &[b'x'; 4 * PIECE_BYTES]);
    let mut written = 0;
    let write = async {
        for part in endless.chunks(1024) {
            world.sandbox.write_all(part).await.unwrap();
            written += part.len();
        }
    };
    assert!(timeout(Duration::from_secs(1), write).await.is_err());
    assert!(written < 3 * PIECE_BYTES, "{written} bytes were taken");
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_dropped_is_recorded() {
    let (sender, mut events) = mpsc::unbounded_channel();
    let relay = Relay {
        live: Arc::default(),
        judge: Box::new(|_| Refusal::PlaceholderWrongPlace),
        scrubber: None,
        still_allowed: Box::new(|| Box::pin(async { Ok(()) })),
        recheck: RECHECK,
        idle_deadline: IDLE,
        entry: Entry::new(Arc::new(Events(sender)), AuditKind::Request, Identity::new("one")),
    };
    let ((mut sandbox, down), (mut upstream, up)) = (duplex(1024), duplex(1024));
    let running = tokio::spawn(relay.run(Box::new(down), Box::new(up)));
    sandbox.write_all(&frame(Sender::Client, Opcode::Text, true, b"ok")).await.unwrap();
    upstream.read_exact(&mut [0; 8]).await.unwrap();
    running.abort();
    let event = events.recv().await.unwrap();
    assert_eq!((event.verdict, event.bytes_up, event.bytes_down), (Verdict::Aborted, 2, 0));
    assert!(events.recv().await.is_none());
}
