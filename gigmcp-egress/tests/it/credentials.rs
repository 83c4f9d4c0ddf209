//! Placeholders: swapped in their place, an alarm anywhere else.

use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gigmcp_egress::{CredentialId, Placeholder, SecretString, Shape, Sink, Verdict};

use crate::world::{SECRET, Sandbox, World};

fn get(host: &str, headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n")
}

#[tokio::test]
async fn a_placeholder_in_its_place_becomes_the_secret_once() {
    for (case, header, expected) in [
        ("EGR-180 bearer", "Authorization: Bearer {P}", format!("Bearer {SECRET}")),
        ("EGR-185 case of the scheme", "authorization: bearer {P}", format!("bearer {SECRET}")),
        ("token", "Authorization: token {P}", format!("token {SECRET}")),
        ("whole value", "X-Api-Key: {P}", SECRET.to_owned()),
        ("basic password", "Authorization: Basic {me:P}", format!("Basic {}", STANDARD.encode(format!("me:{SECRET}")))),
        ("basic user", "Authorization: Basic {P:}", format!("Basic {}", STANDARD.encode(format!("{SECRET}:")))),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let mut wire = sandbox.https("api.example.com").await;
        let header = fill(header, &sandbox);
        let reply = wire
            .ask(get("api.example.com", &format!("{header}\r\nAccept-Encoding: gzip\r\nRange: bytes=0-3\r\n")))
            .await;
        assert_eq!(reply.status, 200, "{case}: {}", reply.body);
        let seen = &world.origin.seen()[0];
        let name = header.split_once(':').unwrap().0.to_ascii_lowercase();
        assert_eq!(seen.headers[&name], expected.as_str(), "{case}");
        assert_eq!(seen.headers["accept-encoding"], "identity", "{case}: EGR-201");
        assert!(!seen.headers.contains_key("range"), "{case}: EGR-202");
        assert_eq!(world.backstage.opened.load(Ordering::SeqCst), 1, "{case}");
        let events = world.finish().await;
        assert_eq!(events.len(), 1, "{case}");
        assert_eq!(
            (events[0].verdict, &events[0].credentials),
            (Verdict::Allowed, &vec![CredentialId::new("key")]),
            "{case}"
        );
        assert!(!format!("{events:?}").contains("S3NT1N3L"), "{case}");
    }
}

#[tokio::test]
async fn a_placeholder_anywhere_else_is_refused_and_an_alarm() {
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let wrong = "placeholder-wrong-place";
    type Case = (&'static str, &'static str, Box<dyn Fn(&str) -> String>, &'static str);
    let cases: Vec<Case> = vec![
        (
            "EGR-181 unbound host",
            "b.example.com",
            Box::new(|p| get("b.example.com", &format!("Authorization: Bearer {p}\r\n"))),
            "placeholder-wrong-host",
        ),
        (
            "EGR-181 unbound host under a wildcard",
            "img.cdn.example.com",
            Box::new(|p| get("img.cdn.example.com", &format!("X-Api-Key: {p}\r\n"))),
            "placeholder-wrong-host",
        ),
        (
            "EGR-185 inside a value",
            "api.example.com",
            Box::new(|p| get("api.example.com", &format!("Authorization: xx{p}yy\r\n"))),
            "placeholder-ambiguous",
        ),
        (
            "EGR-185 two blanks",
            "api.example.com",
            Box::new(|p| get("api.example.com", &format!("Authorization: Bearer  {p}\r\n"))),
            "placeholder-ambiguous",
        ),
        (
            "EGR-185 list",
            "api.example.com",
            Box::new(|p| get("api.example.com", &format!("Authorization: Bearer {p}, x\r\n"))),
            "placeholder-ambiguous",
        ),
        ("cookie", "api.example.com", Box::new(|p| get("api.example.com", &format!("Cookie: a={p}\r\n"))), wrong),
        (
            "path",
            "api.example.com",
            Box::new(|p| format!("GET /x/{p}/y HTTP/1.1\r\nHost: api.example.com\r\n\r\n")),
            wrong,
        ),
        (
            "query",
            "api.example.com",
            Box::new(|p| format!("GET /?k={p} HTTP/1.1\r\nHost: api.example.com\r\n\r\n")),
            wrong,
        ),
        (
            "query, escaped",
            "api.example.com",
            Box::new(move |p| format!("GET /?k={} HTTP/1.1\r\nHost: api.example.com\r\n\r\n", escaped(p))),
            wrong,
        ),
        (
            "query, one byte escaped",
            "api.example.com",
            Box::new(|p| {
                format!("GET /?k=%{:02x}{} HTTP/1.1\r\nHost: api.example.com\r\n\r\n", p.as_bytes()[0], &p[1..])
            }),
            wrong,
        ),
        (
            "query, base64",
            "b.example.com",
            Box::new(|p| {
                format!(
                    "GET /?k={} HTTP/1.1\r\nHost: b.example.com\r\n\r\n",
                    STANDARD.encode(format!("x{p}")).replace('=', "")
                )
            }),
            wrong,
        ),
        (
            "body",
            "b.example.com",
            Box::new(|p| {
                format!(
                    "POST / HTTP/1.1\r\nHost: b.example.com\r\nContent-Length: {}\r\n\r\n{{\"k\":\"{p}\"}}",
                    p.len() + 8
                )
            }),
            wrong,
        ),
        (
            "body, base64",
            "b.example.com",
            Box::new(|p| {
                let body = STANDARD.encode(format!("key={p}"));
                format!("POST / HTTP/1.1\r\nHost: b.example.com\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            }),
            wrong,
        ),
        (
            "body, one byte escaped",
            "api.example.com",
            Box::new(|p| {
                let body = format!("{{\"k\":\"\\u{:04x}{}\"}}", p.as_bytes()[0], &p[1..]);
                format!("POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            }),
            wrong,
        ),
        (
            "EGR-188 in two places",
            "api.example.com",
            Box::new(|p| get("api.example.com", &format!("Authorization: Bearer {p}\r\nX-Api-Key: {p}\r\n"))),
            "placeholder-ambiguous",
        ),
        (
            "twice the same header",
            "api.example.com",
            Box::new(|p| get("api.example.com", &format!("Authorization: Bearer {p}\r\nAuthorization: x\r\n"))),
            "placeholder-ambiguous",
        ),
        (
            "EGR-186 a key of its own",
            "api.example.com",
            Box::new(|_| get("api.example.com", "Authorization: Bearer sk-attacker\r\n")),
            "agent-credential",
        ),
        (
            "EGR-186 a key of its own in another header",
            "api.example.com",
            Box::new(|_| get("api.example.com", "X-Api-Key: sk-attacker\r\n")),
            "agent-credential",
        ),
        (
            "EGR-186 a key of its own beside ours",
            "api.example.com",
            Box::new(|p| get("api.example.com", &format!("Authorization: Bearer {p}\r\nApi-Key: sk-attacker\r\n"))),
            "agent-credential",
        ),
    ];
    for (case, host, request, code) in cases {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let reply = sandbox.https(host).await.ask(request(sandbox.placeholder.as_str())).await;
        assert_eq!(reply.code(), Some(code), "{case}: {}", reply.head);
        assert_eq!(
            sandbox.https(host).await.ask("GET /? HTTP/1.1\r\nHost: x\r\n\r\n").await.status,
            421,
            "the host can be reached"
        );
        let placeholder = sandbox.placeholder.clone();
        let backstage = std::sync::Arc::clone(&world.backstage);
        let events = world.finish().await;
        assert_eq!(events[0].verdict.code(), code, "{case}");
        assert_eq!(events.len(), 2, "{case}");
        assert_eq!(events[0].alarm, code != "placeholder-ambiguous", "{case}");
        assert!(
            !format!("{:?}", events[0]).contains(placeholder.as_str()),
            "{case}: not even the placeholder is in the audit"
        );
        assert_eq!(
            (backstage.dialled.load(Ordering::SeqCst), backstage.opened.load(Ordering::SeqCst)),
            (0, 0),
            "{case}"
        );
    }
}

#[tokio::test]
async fn a_request_in_an_encoding_is_refused_where_a_credential_goes() {
    for (case, host, coding, code) in [
        ("not gzip", "api.example.com", "Content-Encoding: gzip\r\n", Some("unscannable-request")),
        ("two", "api.example.com", "Content-Encoding: identity, br\r\n", Some("unscannable-request")),
        ("unknown", "api.example.com", "Content-Encoding: x-own\r\n", Some("unscannable-request")),
        ("messages", "api.example.com", "Grpc-Encoding: gzip\r\n", Some("unscannable-request")),
        ("twin: plain messages", "api.example.com", "Grpc-Encoding: identity\r\n", None),
        ("twin: none", "api.example.com", "", None),
        ("twin: identity", "api.example.com", "Content-Encoding: identity\r\n", None),
        ("twin: no credential goes there", "b.example.com", "Content-Encoding: gzip\r\n", None),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let request = format!("POST / HTTP/1.1\r\nHost: {host}\r\n{coding}Content-Length: 2\r\n\r\nxx");
        assert_eq!(sandbox.https(host).await.ask(request).await.code(), code, "{case}");
    }
}

#[tokio::test]
async fn a_compressed_body_is_searched_whole_or_in_chunks() {
    use std::io::Write as _;
    for (case, filler, has_placeholder) in [("short", 10, true), ("long", 200_000, true), ("twin", 200_000, false)] {
        for framing in ["length", "chunks"] {
            let mut world = World::new().await;
            let sandbox = world.sandbox("one");
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            // Noise does not shrink, so the body is longer than what is read whole.
            let noise: String = (0..filler as u64)
                .map(|n| char::from(b'a' + (n.wrapping_mul(n ^ 0x9E37_79B9) >> 7) as u8 % 26))
                .collect();
            let text = if has_placeholder { sandbox.placeholder.as_str() } else { "" };
            write!(encoder, "{noise} {text} {noise}").unwrap();
            let body = encoder.finish().unwrap();
            let (header, start, end) = match framing {
                "length" => (format!("Content-Length: {}", body.len()), String::new(), ""),
                _ => ("Transfer-Encoding: chunked".to_owned(), format!("{:x}\r\n", body.len()), "\r\n0\r\n\r\n"),
            };
            let head = format!(
                "POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Encoding: gzip\r\n{header}\r\n\r\n{start}"
            );
            let request = [head.as_bytes(), &body, end.as_bytes()].concat();
            let reply = sandbox.https("api.example.com").await.ask(request).await;
            let expected = has_placeholder.then_some("placeholder-wrong-place");
            assert_eq!(
                reply.code(),
                expected,
                "EGR-184, G11: {case} in {framing}, {} bytes: {}",
                body.len(),
                reply.head
            );
            if !has_placeholder {
                assert_eq!(world.origin.seen()[0].body, body, "passed on as it was");
            }
        }
    }
}

#[tokio::test]
async fn a_placeholder_is_swapped_only_in_headers_for_credentials() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    for name in ["User-Agent", "Referer", "X-Goog-Meta-Note", "X-Request-Id", "Content-Type", "X-Custom"] {
        let reply = wire.ask(get("api.example.com", &format!("{name}: {}\r\n", sandbox.placeholder))).await;
        assert_eq!(reply.code(), Some("placeholder-wrong-place"), "{name}");
    }
    for name in gigmcp_egress::CREDENTIAL_HEADERS {
        let reply = wire.ask(get("api.example.com", &format!("{name}: {}\r\n", sandbox.placeholder))).await;
        assert_eq!(reply.status, 200, "twin: {name}");
        assert_eq!(world.origin.seen().last().unwrap().headers[*name], SECRET, "{name}");
    }
    world.grant(&sandbox.identity, &sandbox.placeholder, |grant| {
        grant.credentials[0].sink = Sink::Header { name: Some("x-custom".parse().unwrap()) };
    });
    let reply = wire.ask(get("api.example.com", &format!("X-Custom: {}\r\n", sandbox.placeholder))).await;
    assert_eq!(reply.status, 200, "twin: named by the sink");
    let reply = wire.ask(get("api.example.com", &format!("X-Api-Key: {}\r\n", sandbox.placeholder))).await;
    assert_eq!(reply.code(), Some("placeholder-wrong-place"), "the sink names another");
}

#[tokio::test]
async fn a_placeholder_as_a_name_or_a_method_is_an_alarm() {
    for place in ["question", "CONNECT", "SNI", "URL", "method"] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        // One that can be a label, as many keys can.
        let mut placeholder = Placeholder::mint(&Shape::of(&SecretString::new("0123456789abcdef0123456789abcdef")));
        world.grant(&sandbox.identity, &placeholder, |grant| {
            grant.rules.push(gigmcp_egress::Rule::http("*.cdn.example.com".parse().unwrap()))
        });
        // A request of its own, so that the new placeholder is known.
        assert_eq!(sandbox.https("b.example.com").await.ask(get("b.example.com", "")).await.status, 200);
        let host = format!("{placeholder}.cdn.example.com");
        let code = match place {
            "question" => {
                assert_eq!(sandbox.resolve(&host).await, Err(hickory_proto::op::ResponseCode::NXDomain));
                assert!(sandbox.resolve("img.cdn.example.com").await.is_ok(), "twin");
                "placeholder-wrong-place"
            }
            "CONNECT" => {
                let mut proxy = sandbox.proxy().await;
                let reply = proxy.ask(format!("CONNECT {host}:443 HTTP/1.1\r\n\r\n")).await;
                assert_eq!(reply.code(), Some("placeholder-wrong-place"));
                "placeholder-wrong-place"
            }
            "SNI" => {
                let address = sandbox.resolve("img.cdn.example.com").await.unwrap();
                assert!(sandbox.handshake(sandbox.connect(address).await, &host).await.is_err());
                "placeholder-wrong-place"
            }
            "URL" => {
                let mut proxy = sandbox.proxy().await;
                let reply = proxy.ask(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
                assert_eq!(reply.code(), Some("cleartext-credential"));
                "cleartext-credential"
            }
            _ => {
                // A method is letters, and so is one placeholder in some thousands.
                let mint = || Placeholder::mint(&Shape::of(&SecretString::new("abcdefghijklmnop")));
                let letters = |text: &Placeholder| text.as_str().bytes().all(|byte| byte.is_ascii_lowercase());
                placeholder = std::iter::repeat_with(mint).find(letters).unwrap();
                world.grant(&sandbox.identity, &placeholder, |_| ());
                let mut wire = sandbox.https("b.example.com").await;
                assert_eq!(wire.ask(get("b.example.com", "")).await.status, 200);
                let request = get("b.example.com", "").replace("GET", &placeholder.as_str().to_uppercase());
                assert_eq!(wire.ask(request).await.code(), Some("placeholder-wrong-place"));
                assert_eq!(wire.ask(get("b.example.com", "").replace("GET", "PURGE")).await.status, 200, "twin");
                "placeholder-wrong-place"
            }
        };
        let events = world.finish().await;
        let event = events.iter().find(|event| event.verdict != Verdict::Allowed).unwrap();
        assert_eq!((event.verdict.code(), event.alarm), (code, code == "placeholder-wrong-place"), "{place}");
        let shown = format!("{events:?}").to_lowercase();
        assert!(!shown.contains(placeholder.as_str()), "{place}: {events:?}");
    }
}

#[tokio::test]
async fn the_placeholder_of_another_sandbox_is_refused_and_an_alarm() {
    for place in ["header", "body"] {
        let mut world = World::new().await;
        let (one, two) = (world.sandbox("one"), world.sandbox("two"));
        // The second sandbox has done nothing yet but to be there.
        let foreign = two.placeholder.as_str();
        let request = match place {
            "header" => get("b.example.com", &format!("Authorization: Bearer {foreign}\r\n")),
            _ => {
                format!("POST / HTTP/1.1\r\nHost: b.example.com\r\nContent-Length: {}\r\n\r\n{foreign}", foreign.len())
            }
        };
        let reply = one.https("b.example.com").await.ask(request).await;
        assert_eq!((reply.status, reply.code()), (403, Some("foreign-placeholder")), "EGR-182: {place}");
        assert!(world.refused_untouched(place, "foreign-placeholder").await.alarm);
    }
}

#[tokio::test]
async fn a_placeholder_in_a_streamed_body_never_leaves_whole() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("b.example.com").await;
    wire.send("POST / HTTP/1.1\r\nHost: b.example.com\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for piece in format!("before {} after", sandbox.placeholder).as_bytes().chunks(5) {
        wire.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await;
    }
    wire.send("0\r\n\r\n").await;
    assert_eq!(wire.reply().await.code(), Some("placeholder-wrong-place"));
    let seen = world.origin.seen();
    assert!(seen.iter().all(|seen| !String::from_utf8_lossy(&seen.body).contains(sandbox.placeholder.as_str())));
    let events = world.finish().await;
    assert_eq!(events.iter().map(|event| event.verdict.code()).collect::<Vec<_>>(), ["placeholder-wrong-place"]);
}

#[tokio::test]
async fn credentials_do_not_travel_in_clear_text() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    // Even where the credential is bound to the very host.
    world.grant(&sandbox.identity, &sandbox.placeholder, |grant| {
        grant.credentials[0].hosts.push("plain.example.com".parse().unwrap())
    });
    let mut wire = sandbox.http("plain.example.com").await;
    let reply = wire.ask(get("plain.example.com", &format!("Authorization: Bearer {}\r\n", sandbox.placeholder))).await;
    assert_eq!((reply.status, reply.code()), (403, Some("cleartext-credential")), "EGR-077");
    let touched = [&world.backstage.dialled, &world.backstage.opened].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(touched, [0, 0], "neither an upstream nor the vault");
    assert_eq!(wire.ask(get("plain.example.com", "")).await.status, 200, "twin");
    let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
    assert_eq!(codes, ["cleartext-credential", "allowed"]);
}

#[tokio::test]
async fn a_secret_that_cannot_stand_in_a_header_is_not_sent() {
    for (case, secret, code) in [
        ("EGR-190 CR LF", Some("sk-live-0123\r\nX-Evil: S3NT1N3L"), "credential-unusable"),
        ("EGR-190 NUL", Some("sk-live-0123\0"), "credential-unusable"),
        ("too short", Some("short"), "credential-unusable"),
        ("EGR-189 revoked", None, "credential-denied"),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        world.set_secret(secret);
        let mut wire = sandbox.https("api.example.com").await;
        let request = get("api.example.com", &format!("Authorization: Bearer {}\r\n", sandbox.placeholder));
        let reply = wire.ask(&request).await;
        assert_eq!(reply.code(), Some(code), "{case}");
        assert!(!reply.body.contains("S3NT1N3L"));
        assert_eq!(world.backstage.dialled.load(Ordering::SeqCst), 0, "{case}");
        world.set_secret(Some(SECRET));
        assert_eq!(wire.ask(&request).await.status, 200, "twin of {case}");
        let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
        assert_eq!(codes, [code, "allowed"], "{case}");
    }
}

#[tokio::test]
async fn a_full_audit_log_denies() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    let request = get("api.example.com", &format!("Authorization: Bearer {}\r\n", sandbox.placeholder));
    world.backstage.audit_full.store(true, Ordering::SeqCst);
    let reply = wire.ask(&request).await;
    assert_eq!((reply.status, reply.code()), (503, Some("audit-unavailable")), "EGR-209");
    assert_eq!(world.backstage.opened.load(Ordering::SeqCst), 0, "no credential was read");
    assert_eq!(world.backstage.dialled.load(Ordering::SeqCst), 0);
    world.backstage.audit_full.store(false, Ordering::SeqCst);
    assert_eq!(wire.ask(&request).await.status, 200, "twin");
}

fn fill(header: &str, sandbox: &Sandbox) -> String {
    let p = sandbox.placeholder.as_str();
    header
        .replace("{me:P}", &STANDARD.encode(format!("me:{p}")))
        .replace("{P:}", &STANDARD.encode(format!("{p}:")))
        .replace("{P}", p)
}
