//! What a strict proxy must not break: G1 to G18. Each exception from the strict default is a rule's, and refused without it.

use std::time::Duration;

use gigmcp_egress::{Allowance, Placeholder, Rule, SecretString, Shape};
use tokio::io::AsyncReadExt as _;

use super::hello::Hello;
use crate::row::{Row, scene};
use crate::stage::Stage;
use crate::upstream::{Answer, with};
use crate::wire::{self, Cut};

const API: &str = "api.example.com";
const OTHER: &str = "b.example.com";

/// A rule for a host, with these paths and exceptions.
fn rule(host: &str, paths: &[&str], allowances: &[Allowance]) -> Rule {
    let mut rule = Rule::https(host.parse().unwrap());
    if !paths.is_empty() {
        rule = rule.paths(paths.iter().map(|path| path.parse().unwrap()));
    }
    allowances.iter().fold(rule, |rule, allowance| rule.allow(*allowance))
}

/// What becomes of a request under a rule, and the target or header it arrived with.
async fn under(stage: &Stage, rule: Rule, request: &str) -> (u16, Option<crate::upstream::Seen>) {
    let host = if rule.host.matches(&API.parse().unwrap()) { API } else { OTHER };
    let mut sandbox = stage.sandbox_with(|plan| {
        plan.rules.retain(|other| other.host != rule.host);
        plan.rules.push(rule);
    });
    stage.upstream.seen();
    let request = request.replace("{H}", host).replace("{P}", sandbox.placeholder.as_str());
    let mut connection = sandbox.https(host).await;
    let reply = connection.ask(request).await;
    drop(connection);
    assert_eq!(sandbox.close().await.len(), 1, "one event");
    (reply.status, stage.upstream.seen().pop())
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {{H}}\r\n\r\n")
}

pub(crate) fn rows() -> Vec<Row> {
    [paths(), bodies(), streams(), clients()].into_iter().flatten().collect()
}

fn paths() -> Vec<Row> {
    vec![
        scene(
            "G1",
            "an encoded slash, as GitLab and npm have it",
            "allowed by name, byte for byte",
            |stage| async move {
                for target in ["/api/v4/projects/group%2Fproject", "/@scope%2fname"] {
                    let (status, seen) = under(&stage, rule(OTHER, &[], &[]), &get(target)).await;
                    assert_eq!((status, seen.unwrap().target()), (200, target), "no path rules");
                }
                let judged = rule(OTHER, &["/api/v4/projects/*"], &[Allowance::EncodedSlash]);
                let (status, seen) = under(&stage, judged, &get("/api/v4/projects/group%2Fproject")).await;
                assert_eq!((status, seen.unwrap().target()), (200, "/api/v4/projects/group%2Fproject"));
                let strict = rule(OTHER, &["/api/v4/projects/*"], &[]);
                assert_eq!(
                    under(&stage, strict.clone(), &get("/api/v4/projects/group%2Fproject")).await.0,
                    400,
                    "not without it"
                );
                assert_eq!(under(&stage, strict, &get("/api/v4/projects/group")).await.0, 200);
                "allowed by name, byte for byte".into()
            },
        ),
        scene("G2", "keys of S3", "allowed by name, byte for byte", |stage| async move {
            for target in
                ["/bucket/a//b", "/bucket/a+b", "/bucket/a%20b", "/bucket/~x", "/bucket/%7Ex", "/bucket/a%2Bb=c;d"]
            {
                let open = rule(
                    OTHER,
                    &["/bucket/**"],
                    &[Allowance::OpaquePath, Allowance::PathParameters, Allowance::EncodedSlash],
                );
                let (status, seen) = under(&stage, open, &get(target)).await;
                assert_eq!((status, seen.unwrap().target()), (200, target), "{target}");
                let free = under(&stage, rule(OTHER, &[], &[]), &get(target)).await;
                assert_eq!((free.0, free.1.unwrap().target()), (200, target), "{target}: no path rules");
            }
            let open = rule(OTHER, &["/bucket/**"], &[Allowance::OpaquePath]);
            for target in ["/bucket/../x", "/bucket/%2e%2e/x", "/other", "//bucket/x"] {
                assert_ne!(under(&stage, open.clone(), &get(target)).await.0, 200, "{target}");
            }
            "allowed by name, byte for byte".into()
        }),
        scene("G17", "a Host with its port", "allowed", |stage| async move {
            let (status, seen) = under(&stage, rule(OTHER, &[], &[]), &get("/").replace("{H}", "{H}:443")).await;
            assert_eq!((status, seen.unwrap().header("host")), (200, Some(OTHER)));
            "allowed".into()
        }),
    ]
}

fn bodies() -> Vec<Row> {
    let post = |lines: &str, body: &str| format!("POST /x HTTP/1.1\r\nHost: {{H}}\r\n{lines}\r\n{body}");
    let waiting = post("Expect: 100-continue\r\nContent-Length: 100000\r\n", "");
    let fat = post("Content-Length: 5\r\n", "hello").replace("POST", "GET");
    let deleting = post("Content-Length: 5\r\n", "hello").replace("POST", "DELETE");
    let trailing = post(
        "Content-Encoding: aws-chunked\r\nX-Amz-Trailer: x-amz-checksum-crc32\r\nTransfer-Encoding: chunked\r\n",
        "5\r\nhello\r\n0\r\nx-amz-checksum-crc32: AAAAAA==\r\n\r\n",
    );
    vec![
        scene("G3", "a large body that waits for permission, as of curl and git", "allowed", move |stage| {
            let waiting = waiting.clone();
            async move {
                let sandbox = stage.sandbox();
                let mut connection = sandbox.https(OTHER).await;
                connection.send(waiting.replace("{H}", OTHER)).await;
                assert_eq!(connection.one().await.status, 100);
                assert_eq!(connection.ask("x".repeat(100_000)).await.status, 200);
                assert_eq!(stage.upstream.seen()[0].body.len(), 100_000);
                "allowed".into()
            }
        }),
        scene("G4", "a body on GET, as Elasticsearch has it", "allowed by name", move |stage| {
            let fat = fat.clone();
            async move {
                let (status, seen) = under(&stage, rule(OTHER, &[], &[Allowance::BodyOnGet]), &fat).await;
                assert_eq!((status, seen.unwrap().body.as_slice()), (200, b"hello".as_slice()));
                assert_eq!(under(&stage, rule(OTHER, &[], &[]), &fat).await.0, 400, "not without it");
                "allowed by name".into()
            }
        }),
        scene("129z", "a body on DELETE, as of GitHub's API", "allowed", move |stage| {
            let deleting = deleting.clone();
            async move {
                let (status, seen) = under(&stage, rule(OTHER, &[], &[]), &deleting).await;
                assert_eq!((status, seen.unwrap().body.as_slice()), (200, b"hello".as_slice()));
                "allowed".into()
            }
        }),
        scene("G5", "GET with a length of 0", "allowed", move |stage| async move {
            let request = get("/").replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(under(&stage, rule(OTHER, &[], &[]), &request).await.0, 200);
            "allowed".into()
        }),
        scene("G6", "trailers of a request, as of AWS", "allowed by name", move |stage| {
            let trailing = trailing.clone();
            async move {
                let (status, seen) = under(&stage, rule(OTHER, &[], &[Allowance::Trailers]), &trailing).await;
                assert_eq!((status, seen.unwrap().body.as_slice()), (200, b"hello".as_slice()));
                "allowed by name".into()
            }
        }),
        scene("G7", "Range where a credential goes, and 206", "allowed by name", |stage| async move {
            stage.upstream.answers(|seen| match seen.header("range") {
                Some(_) => Answer::Then(
                    b"HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 0-1/9\r\ncontent-length: 2\r\n\r\nab"
                        .to_vec(),
                ),
                None => with("", "whole"),
            });
            let ranged = get("/").replace("\r\n\r\n", "\r\nAuthorization: Bearer {P}\r\nRange: bytes=0-1\r\n\r\n");
            assert_eq!(under(&stage, rule(API, &[], &[Allowance::Range]), &ranged).await.0, 206);
            assert_eq!(under(&stage, rule(API, &[], &[]), &ranged).await.0, 200, "removed without it");
            let free = get("/").replace("\r\n\r\n", "\r\nRange: bytes=0-1\r\n\r\n");
            assert_eq!(under(&stage, rule(OTHER, &[], &[]), &free).await.0, 206, "kept where none goes");
            "allowed by name".into()
        }),
        scene("G11", "a gzipped body in chunks, as of git", "allowed", |stage| async move {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            std::io::Write::write_all(&mut encoder, b"0032want 0123456789\n".repeat(100).as_slice()).unwrap();
            let body = encoder.finish().unwrap();
            for host in [OTHER, API] {
                let sandbox = stage.sandbox();
                let key = if host == API {
                    format!("Authorization: Bearer {}\r\n", sandbox.placeholder)
                } else {
                    String::new()
                };
                let head = format!(
                    "POST /git-upload-pack HTTP/1.1\r\nHost: {host}\r\n{key}Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
                    body.len()
                );
                let request = [head.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
                let reply = sandbox.https(host).await.ask(request).await;
                assert_eq!(reply.status, 200, "{host}: {}", reply.text());
                let seen = stage.upstream.seen().pop().unwrap();
                assert_eq!((seen.body == body, seen.header("content-encoding")), (true, Some("gzip")), "{host}");
            }
            "allowed".into()
        }),
    ]
}

fn streams() -> Vec<Row> {
    vec![
        scene("G8", "a stream of events for two hours, one every five minutes", "every event at once", |_| async {
            // On a runtime of its own: there time passes when nothing else is to be done, and nowhere else.
            let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::spawn_blocking(move || runtime().block_on(two_hours_of_events())).await.unwrap();
            "every event at once".into()
        }),
        scene("G10", "headers that come several times", "all of them, both ways", |stage| async move {
            stage.upstream.answers(|_| {
                with("set-cookie: a=1\r\nset-cookie: b=2\r\nlink: <x>\r\nlink: <y>\r\nvary: a\r\nvary: b\r\n", "ok")
            });
            let sandbox = stage.sandbox();
            let head = format!(
                "GET / HTTP/1.1\r\nHost: {OTHER}\r\nAccept: a\r\nAccept: b\r\nCookie: x=1\r\nCookie: y=2\r\n\r\n"
            );
            let reply = sandbox.https(OTHER).await.ask(head).await;
            let count = |name: &str| reply.head.to_ascii_lowercase().matches(&format!("\r\n{name}:")).count();
            assert_eq!((reply.status, count("set-cookie"), count("link"), count("vary")), (200, 2, 2, 2));
            let seen = stage.upstream.seen().pop().unwrap();
            assert_eq!(seen.all("accept"), ["a", "b"]);
            assert_eq!(seen.all("cookie").join("; "), "x=1; y=2");
            "all of them, both ways".into()
        }),
        scene("G10h2", "cookies in crumbs, over HTTP/2", "one cookie header", |stage| async move {
            let sandbox = stage.sandbox();
            let mut h2 = crate::frames::H2::open(&sandbox, OTHER).await.expect("HTTP/2 is spoken");
            let ask = crate::row::Ask::get("/").header("cookie", "x=1").header("cookie", "y=2").header("accept", "a");
            h2.send(&ask.frames(1, OTHER, "", 100), Cut::Whole).await;
            assert!(matches!(h2.hear(1).await, crate::frames::Heard::Status(200, _)));
            assert_eq!(stage.upstream.seen().pop().unwrap().all("cookie"), ["x=1; y=2"], "RFC 9113, section 8.2.3");
            "one cookie header".into()
        }),
        scene(
            "G12",
            "a redirection to another host, as of registries",
            "passed on, not followed",
            |stage| async move {
                stage.upstream.answers(|seen| match seen.target() {
                "/v2/blob" => Answer::Then(b"HTTP/1.1 307 Temporary Redirect\r\nlocation: https://x.cdn.example.com/blob?sig=1\r\ncontent-length: 0\r\n\r\n".to_vec()),
                _ => with("", "blob"),
            });
                let sandbox = stage.sandbox();
                let key = format!("Authorization: Bearer {}\r\n", sandbox.placeholder);
                let reply =
                    sandbox.https(API).await.ask(format!("GET /v2/blob HTTP/1.1\r\nHost: {API}\r\n{key}\r\n")).await;
                assert_eq!(
                    (reply.status, reply.header("location")),
                    (307, Some("https://x.cdn.example.com/blob?sig=1"))
                );
                assert_eq!(stage.upstream.seen().len(), 1, "not followed");
                let host = "x.cdn.example.com";
                let reply =
                    sandbox.https(host).await.ask(format!("GET /blob?sig=1 HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
                assert_eq!((reply.status, stage.upstream.seen()[0].header("authorization")), (200, None));
                "passed on, not followed".into()
            },
        ),
    ]
}

fn clients() -> Vec<Row> {
    vec![
        scene(
            "G13a",
            "a hello with a key share of 1.2 KiB in two segments, as of Chrome and Java",
            "allowed",
            |stage| async move {
                let sandbox = stage.sandbox();
                let hello = Hello::to(API).with_large_share().record();
                assert!(hello.len() > 1300);
                for at in [1, 5, 600, hello.len() - 1] {
                    let mut stream = sandbox.tcp(API).await;
                    wire::send(&mut stream, &hello, Cut::At(at)).await;
                    assert_eq!(stream.read_u8().await.unwrap(), 22, "{at}");
                }
                "allowed".into()
            },
        ),
        scene("G13b", "HTTP/2 with large settings, as of Go", "allowed", |stage| async move {
            use crate::frames::{H2, Heard, SETTINGS, WINDOW_UPDATE, frame};
            let sandbox = stage.sandbox();
            let mut h2 = H2::open(&sandbox, OTHER).await.expect("HTTP/2 is spoken");
            let settings =
                [[0, 4, 0, 0x40, 0, 0], [0, 6, 0, 0xa0, 0, 0], [0, 5, 0, 0xff, 0xff, 0xff], [0x0a, 0x0a, 1, 2, 3, 4]]
                    .concat();
            h2.send(&frame(SETTINGS, 0, 0, &settings), Cut::Whole).await;
            h2.send(&frame(WINDOW_UPDATE, 0, 0, &[0x3f, 0xff, 0, 0]), Cut::Whole).await;
            h2.send(&frame(0xfa, 0, 0, b"grease"), Cut::Whole).await;
            h2.send(&crate::row::Ask::get("/").frames(1, OTHER, "", 100), Cut::Whole).await;
            assert!(matches!(h2.hear(1).await, Heard::Status(200, _)));
            "allowed".into()
        }),
        scene("G14", "SDKs that check the shape of a key", "the placeholder has it", |_| async {
            let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg";
            for (key, prefix) in [
                ("sk-ant-api03-0123456789abcdefghijklmnopqrstuvwxyzABCDEF", "sk-ant-"),
                ("ghp_0123456789abcdefghijABCDEFGHIJ012345", "ghp_"),
                (jwt, "eyJ"),
            ] {
                let placeholder = Placeholder::mint(&Shape::of(&SecretString::new(key)));
                assert!(placeholder.as_str().starts_with(prefix), "{placeholder}");
                assert_eq!(placeholder.as_str().matches('.').count(), key.matches('.').count());
            }
            "the placeholder has it".into()
        }),
        scene("G15", "names of headers in any case", "allowed", |stage| async move {
            for name in ["authorization", "AUTHORIZATION", "Authorization", "aUTHORIZATION"] {
                let (status, seen) = under(
                    &stage,
                    rule(API, &[], &[]),
                    &get("/").replace("\r\n\r\n", &format!("\r\n{name}: Bearer {{P}}\r\n\r\n")),
                )
                .await;
                assert_eq!((status, seen.unwrap().all("authorization").len()), (200, 1), "{name}");
            }
            "allowed".into()
        }),
    ]
}

async fn two_hours_of_events() {
    let stage = Stage::new().await;
    let every = Duration::from_secs(300);
    stage.upstream.answers(move |_| Answer::Events { count: 24, every });
    let mut sandbox = stage.sandbox();
    let mut connection = sandbox.https(API).await;
    let key = format!("Authorization: Bearer {}", sandbox.placeholder);
    connection.send(format!("GET /events HTTP/1.1\r\nHost: {API}\r\n{key}\r\n\r\n")).await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    for number in 0..24 {
        let due = format!("data: {number}\n\n");
        while !received.windows(due.len()).any(|window| window == due.as_bytes()) {
            let length = connection.stream.read(&mut buffer).await.unwrap();
            assert_ne!(length, 0, "the stream lives");
            received.extend_from_slice(&buffer[..length]);
        }
        let late = began.elapsed().saturating_sub(every * (number + 1));
        // The clock goes on by itself when nothing seems to be under way.
        assert!(late < every / 2, "event {number} is late by {late:?}");
    }
    tokio::time::resume();
    drop(connection);
    sandbox.close().await;
}
