//! Load, reload and clocks: rows 208 and 209.

use std::rc::Rc;
use std::time::Instant;

use hickory_proto::op::ResponseCode;

use crate::row::{Row, scene};
use crate::stage::Stage;
use crate::upstream::{Answer, with};
use crate::wire::{self, PATIENCE, RUNS_OUT};

const API: &str = "api.example.com";
const GET: &str = "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

pub(crate) fn rows() -> Vec<Row> {
    vec![
        scene("208a", "heads that never end, one byte at a time", "closed at the deadline", |_| async {
            let stage = Rc::new(Stage::with(|limits| limits.head_deadline = RUNS_OUT).await);
            let mut sandbox = stage.sandbox();
            let mut wire = sandbox.http("plain.example.com").await;
            let started = Instant::now();
            // As often as it is read, so that the deadline cannot be one between bytes.
            while tokio::io::AsyncWriteExt::write_all(&mut wire.stream, b"G").await.is_ok() {
                wire::settle().await;
                if started.elapsed() > PATIENCE {
                    panic!("still read");
                }
                if wire.stream.try_read(&mut [0; 512]).is_ok() {
                    break;
                }
            }
            let left = sandbox.close().await;
            assert!(left.len() <= 1);
            "closed at the deadline".into()
        }),
        scene("208b", "a reader that never reads", "closed at the deadline, a bounded part sent", |_| async {
            let stage = Rc::new(Stage::with(|limits| limits.idle_deadline = RUNS_OUT).await);
            stage.upstream.answers(|_| with("", "x".repeat(32 << 20)));
            let mut sandbox = stage.sandbox();
            let mut wire = sandbox.http("plain.example.com").await;
            wire.send("GET / HTTP/1.1\r\nHost: plain.example.com\r\n\r\n").await;
            let event = sandbox.event().await.unwrap();
            assert_eq!(event.verdict.code(), "aborted");
            assert!(event.bytes_down < 16 << 20, "{}", event.bytes_down);
            "closed at the deadline, a bounded part sent".into()
        }),
        scene("208c", "a body that never comes", "closed at the deadline", |_| async {
            let stage = Rc::new(Stage::with(|limits| limits.idle_deadline = RUNS_OUT).await);
            let mut sandbox = stage.sandbox();
            let mut wire = sandbox.http("plain.example.com").await;
            wire.send("POST / HTTP/1.1\r\nHost: plain.example.com\r\nContent-Length: 5\r\n\r\n").await;
            let reply = wire.reply().await;
            assert!(reply.status == 0 || reply.code().is_some(), "{}", reply.head);
            assert_ne!(sandbox.event().await.unwrap().verdict.code(), "allowed");
            assert!(sandbox.close().await.is_empty(), "one event");
            "closed at the deadline".into()
        }),
        scene(
            "208d",
            "idle connections past the limit of one sandbox",
            "they wait; another sandbox is served",
            |_| async {
                let stage = Rc::new(Stage::with(|limits| limits.connections = 20).await);
                let (one, two) = (stage.sandbox(), stage.sandbox());
                let mut idle = Vec::new();
                for _ in 0..60 {
                    idle.push(one.http("plain.example.com").await);
                }
                // It has less patience than an idle connection has time.
                assert_eq!(two.https(API).await.ask(GET).await.status, 200);
                assert!(one.resolve("b.example.com").await.is_ok(), "questions are no connections");
                drop(idle);
                assert_eq!(one.https(API).await.ask(GET).await.status, 200, "twin: when there is room");
                "they wait; another sandbox is served".into()
            },
        ),
        scene("208e", "a thousand refusals in a row", "a thousand events, nothing dialled", |stage| async move {
            let mut sandbox = stage.sandbox();
            let before = stage.touched();
            let mut wire = sandbox.proxy().await;
            for _ in 0..1000 {
                let reply = wire.ask("GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n").await;
                assert_eq!(reply.code(), Some("host-denied"));
            }
            drop(wire);
            assert_eq!((sandbox.close().await.len(), stage.touched()), (1000, before));
            "a thousand events, nothing dialled".into()
        }),
        scene("209a", "a grant without rules", "everything is denied", |stage| async move {
            let mut sandbox = stage.sandbox_with(|plan| {
                plan.rules.clear();
                plan.credentials.clear();
            });
            let before = stage.touched();
            assert_eq!(sandbox.resolve(API).await, Err(ResponseCode::NXDomain));
            let url = sandbox
                .proxy()
                .await
                .ask("GET http://plain.example.com/ HTTP/1.1\r\nHost: plain.example.com\r\n\r\n")
                .await;
            let tunnel = sandbox.proxy().await.ask("CONNECT api.example.com:443 HTTP/1.1\r\n\r\n").await;
            assert_eq!((url.status, tunnel.status, stage.touched()), (403, 403, before));
            assert_eq!(sandbox.close().await.len(), 3);
            "everything is denied".into()
        }),
        scene("209b", "rules that change under load", "each request by one version", |stage| async move {
            let mut sandbox = stage.sandbox();
            let mut wire = sandbox.https(API).await;
            let with_key =
                format!("GET / HTTP/1.1\r\nHost: {API}\r\nAuthorization: Bearer {}\r\n\r\n", sandbox.placeholder);
            for turn in 0..100 {
                let allowed = turn % 2 == 0;
                stage.grant(&sandbox.identity, &sandbox.placeholder, |plan| {
                    if !allowed {
                        plan.rules.clear();
                    }
                });
                let reply = wire.ask(&with_key).await;
                assert_eq!(reply.status, if allowed { 200 } else { 403 }, "{turn}");
            }
            drop(wire);
            assert_eq!(sandbox.close().await.len(), 100);
            "each request by one version".into()
        }),
        scene("209c", "an identity whose rules cannot be read", "503 grant-unavailable", |stage| async move {
            let mut sandbox = stage.sandbox();
            let mut wire = sandbox.https(API).await;
            stage.backstage.forget_grant(&sandbox.identity);
            let before = stage.touched();
            let reply = wire.ask(GET).await;
            assert_eq!(stage.touched(), before);
            stage.grant(&sandbox.identity, &sandbox.placeholder, |_| ());
            assert_eq!(sandbox.https(API).await.ask(GET).await.status, 200, "twin");
            sandbox.close().await;
            format!("{} {}", reply.status, reply.code().unwrap_or_default())
        }),
        scene(
            "209e",
            "a sandbox that is disconnected within an answer",
            "its connection ends, one event",
            |stage| async move {
                stage
                    .upstream
                    .answers(|_| Answer::Silence(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello\n".to_vec()));
                let mut sandbox = stage.sandbox();
                let mut connection = sandbox.https(API).await;
                connection.send(GET).await;
                assert!(!connection.until(b"hello\n").await.is_empty());
                let left = sandbox.close().await;
                assert_eq!(left.iter().map(|event| event.verdict.code()).collect::<Vec<_>>(), ["aborted"]);
                wire::read_to_end(&mut connection.stream).await;
                "its connection ends, one event".into()
            },
        ),
    ]
}
