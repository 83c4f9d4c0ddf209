//! Placeholders anywhere but in their place, keys of others, and keys that cannot be had: rows 180 to 198.

use std::io::Write as _;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use gigmcp_egress::{CredentialId, CredentialRule, Placeholder, SecretString, Shape, Sink};

use super::framing::letter;
use crate::row::Door;
use crate::row::{Ask, Right, Row, ask, scene, through};
use crate::secrets::SECRET;
use crate::stage::{CredentialUnavailableKind, Sandbox, Stage};
use crate::wire::Reply;

const API: &str = "api.example.com";
const OTHER: &str = "b.example.com";

pub(crate) fn rows() -> Vec<Row> {
    [places(), spellings(), streamed(), keys(), stores()].into_iter().flatten().collect()
}

fn places() -> Vec<Row> {
    let mut rows = Vec::new();
    let key = || Ask::get("/").header("authorization", "Bearer {P}");
    let none = || Ask::get("/").header("x-a", "nothing");
    for (index, (id, what, host, attack, twin)) in [
        ("181", "a placeholder to an allowed host that it is not for", OTHER, key(), none()),
        ("181", "a placeholder under a wildcard that it is not for", "x.cdn.example.com", key(), none()),
        (
            "181",
            "a placeholder as another header, to a host that it is not for",
            OTHER,
            Ask::get("/").header("x-api-key", "{P}"),
            none(),
        ),
        ("184", "a placeholder in a path", API, Ask::get("/x/{P}/y"), Ask::get("/x/nothing/y")),
        ("184", "a placeholder in a query", API, Ask::get("/x?key={P}"), Ask::get("/x?key=nothing")),
        ("184", "a placeholder as a name in a query", API, Ask::get("/x?{P}=1"), Ask::get("/x?nothing=1")),
        ("184", "a placeholder in User-Agent", API, Ask::get("/").header("user-agent", "{P}"), none()),
        ("184", "a placeholder in Referer", API, Ask::get("/").header("referer", "https://x.test/{P}"), none()),
        ("184", "a placeholder as a header's name", OTHER, Ask::get("/").header("x-a-nothing", "{P}"), none()),
        (
            "184",
            "a placeholder in Content-Type",
            API,
            Ask::post("/", "x").header("content-type", "{P}"),
            Ask::post("/", "x"),
        ),
        ("184", "a placeholder in X-Request-Id", API, Ask::get("/").header("x-request-id", "{P}"), none()),
        ("184", "a placeholder in a body", API, Ask::post("/", "key={P}"), Ask::post("/", "key=nothing")),
        (
            "184",
            "a placeholder in a multipart body",
            OTHER,
            Ask::post("/", "--b\r\nContent-Disposition: form-data; name=\"k\"\r\n\r\n{P}\r\n--b--\r\n")
                .header("content-type", "multipart/form-data; boundary=b"),
            Ask::post("/", "--b\r\nContent-Disposition: form-data; name=\"k\"\r\n\r\nnothing\r\n--b--\r\n")
                .header("content-type", "multipart/form-data; boundary=b"),
        ),
        (
            "184",
            "a placeholder in JSON",
            OTHER,
            Ask::post("/", "{\"k\":\"{P}\"}").header("content-type", "application/json"),
            Ask::post("/", "{\"k\":\"nothing\"}").header("content-type", "application/json"),
        ),
        ("185", "a placeholder inside a value", API, Ask::get("/").header("authorization", "Bearer xx{P}yy"), key()),
        ("185", "a placeholder behind two blanks", API, Ask::get("/").header("authorization", "Bearer  {P}"), key()),
        ("185", "a placeholder in a list", API, Ask::get("/").header("authorization", "Bearer {P}, x"), key()),
        ("185", "a placeholder twice in a value", API, Ask::get("/").header("authorization", "Bearer {P}{P}"), key()),
        ("185", "a placeholder with a byte too many", API, Ask::get("/").header("authorization", "Bearer {P}x"), key()),
        ("185", "a placeholder as parameter", API, Ask::get("/").header("authorization", "Digest username={P}"), key()),
        (
            "185",
            "a placeholder in a Basic password that is longer",
            API,
            Ask::get("/").header("authorization", "Basic {P:base64+1}"),
            Ask::get("/").header("authorization", "Basic {P:password64}"),
        ),
        ("188", "a placeholder in two headers", API, key().header("x-api-key", "{P}"), key()),
        ("188", "a placeholder twice in one header", API, key().header("authorization", "Bearer {P}"), key()),
        (
            "188",
            "a placeholder beside another value of the header",
            API,
            key().header("authorization", "Bearer x"),
            key(),
        ),
        ("186", "a key of the sandbox's own", API, Ask::get("/").header("authorization", "Bearer sk-attacker"), key()),
        (
            "186",
            "a key of its own as Basic",
            API,
            Ask::get("/").header("authorization", "Basic YTpi"),
            Ask::get("/").header("authorization", "Basic {P:user64}"),
        ),
        ("186", "a key of its own in another header", API, Ask::get("/").header("x-api-key", "sk-attacker"), key()),
        ("186", "a key of its own beside ours", API, key().header("api-key", "sk-attacker"), key()),
        (
            "186",
            "a key of its own in X-Goog-Api-Key",
            API,
            Ask::get("/").header("x-goog-api-key", "AIzaAttacker"),
            key(),
        ),
        ("186", "a cookie of its own", API, Ask::get("/").header("cookie", "session=attacker"), key()),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("{id}{}", letter(index));
        rows.push(ask(&id, what, Right::Either(403, 400), host, attack, twin));
    }
    rows
}

fn spellings() -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, spelling) in [
        "{P}",
        "{P:base64}",
        "{P:base64+1}",
        "{P:base64+2}",
        "{P:url64}",
        "{P:user64}",
        "{P:password64}",
        "{P:hex}",
        "{P:HEX}",
        "{P:percent}",
        "{P:percent-one}",
        "{P:json}",
        "{P:html}",
        "{P:upper}",
    ]
    .into_iter()
    .enumerate()
    {
        let name = spelling.trim_matches(['{', '}']);
        for (way, attack, twin) in [
            ("body", Ask::post("/", format!("x=1&key={spelling}&y=2")), Ask::post("/", "x=1&key=nothing&y=2")),
            ("header", Ask::get("/").header("x-a", spelling), Ask::get("/").header("x-a", "nothing")),
            (
                "query",
                Ask::get(&format!("/?x=1&key={}", spelling.trim_end_matches('='))),
                Ask::get("/?x=1&key=nothing"),
            ),
        ] {
            // A base64 with padding, a plus or a slash is as good in a query; an entity of HTML and a backslash are no target.
            if way == "query" && ["{P:html}", "{P:json}"].contains(&spelling) {
                continue;
            }
            let id = format!("184{}-{way}", letter(index));
            rows.push(ask(
                &id,
                format!("a placeholder as `{name}` in a {way}"),
                Right::Status(403),
                OTHER,
                attack,
                twin,
            ));
        }
    }
    rows
}

/// In pieces, where nothing is known of what comes.
fn streamed() -> Vec<Row> {
    let doors: &[Door] = &[Door::Tls(OTHER)];
    let head = "POST / HTTP/1.1\r\nHost: {H}\r\nTransfer-Encoding: chunked\r\n\r\n";
    vec![
        through(
            doors,
            "184-chunks",
            "a placeholder over two chunks",
            Right::Status(403),
            format!("{head}{{P:chunks}}"),
            format!("{head}5\r\nhello\r\n0\r\n\r\n"),
        )
        .may_touch(),
        through(
            &[Door::Clear("plain.example.com")],
            "077z",
            "a placeholder in the body of a request in clear text",
            Right::Either(403, 400),
            "POST / HTTP/1.1\r\nHost: {H}\r\nContent-Length: {L}\r\n\r\nk={P}",
            "POST / HTTP/1.1\r\nHost: {H}\r\nContent-Length: {L}\r\n\r\nk=nothing",
        ),
        scene(
            "184-long",
            "a placeholder behind a MiB of body",
            "403; the upstream never had it whole",
            |stage| async move {
                let mut sandbox = stage.sandbox();
                let body = format!("{}{}", "x".repeat(1 << 20), sandbox.placeholder);
                let request =
                    format!("POST / HTTP/1.1\r\nHost: {OTHER}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                let reply = sandbox.https(OTHER).await.ask(request).await;
                assert_eq!(reply.code(), Some("placeholder-wrong-place"));
                assert!(stage.upstream.seen().is_empty(), "no whole request arrived");
                let event = sandbox.event().await.unwrap();
                assert_eq!((event.verdict.code(), event.alarm), ("placeholder-wrong-place", true));
                format!("{}; the upstream never had it whole", reply.status)
            },
        ),
        scene("184-coded", "a placeholder inside a body that is compressed", "found or refused", |stage| async move {
            for (name, coded) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("deflate", zlib), ("x-gzip", gzip)] {
                for host in [API, OTHER] {
                    let mut sandbox = stage.sandbox();
                    let before = stage.touched();
                    let body = coded(format!("key={}&more=of it", sandbox.placeholder).as_bytes());
                    let reply = coded_post(&sandbox, host, name, &body).await;
                    assert!([403, 415, 400].contains(&reply.status), "{name} to {host}: {}", reply.head);
                    assert_eq!(stage.touched(), before, "{name} to {host}");
                    sandbox.close().await;
                }
            }
            for coding in ["compress", "zip", "unknown", "gzip, gzip, gzip, gzip"] {
                let sandbox = stage.sandbox();
                let reply = coded_post(&sandbox, API, coding, b"whatever").await;
                assert!([403, 415, 400].contains(&reply.status), "{coding}: {}", reply.head);
            }
            let sandbox = stage.sandbox();
            assert_eq!(coded_post(&sandbox, OTHER, "gzip", &gzip(b"key=nothing")).await.status, 200, "twin, and G11");
            "found or refused".into()
        }),
    ]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn coded_post(sandbox: &Sandbox, host: &str, coding: &str, body: &[u8]) -> Reply {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    sandbox.https(host).await.ask([head.as_bytes(), body].concat()).await
}

fn request(sandbox: &Sandbox) -> String {
    format!("GET / HTTP/1.1\r\nHost: {API}\r\nAuthorization: Bearer {}\r\n\r\n", sandbox.placeholder)
}

fn keys() -> Vec<Row> {
    vec![
        scene(
            "180",
            "a placeholder in its place",
            "the key arrives once, and comes back as the placeholder",
            |stage| async move {
                let mut sandbox = stage.sandbox();
                stage.upstream.answers(|seen| crate::upstream::with("", seen.head.clone()));
                let before = stage.touched();
                let reply = sandbox.https(API).await.ask(request(&sandbox)).await;
                assert_eq!(reply.status, 200);
                let seen = stage.upstream.seen();
                assert_eq!((seen.len(), seen[0].all("authorization")), (1, vec![format!("Bearer {SECRET}").as_str()]));
                assert_eq!(seen[0].head.matches(SECRET).count(), 1);
                assert_eq!((stage.touched() - before).opened, 1);
                assert!(
                    reply.text().contains(&format!("Bearer {}", sandbox.placeholder)) && !reply.text().contains(SECRET)
                );
                let event = sandbox.event().await.unwrap();
                assert_eq!(event.credentials, [CredentialId::new("key")]);
                "the key arrives once, and comes back as the placeholder".into()
            },
        ),
        scene("180h2", "a placeholder in its place, over HTTP/2", "the key arrives once", |stage| async move {
            let sandbox = stage.sandbox();
            let mut h2 = crate::frames::H2::open(&sandbox, API).await.expect("HTTP/2 is spoken");
            let ask = Ask::get("/").header("authorization", "Bearer {P}");
            h2.send(&ask.frames(1, API, sandbox.placeholder.as_str(), 100), crate::wire::Cut::Whole).await;
            assert!(matches!(h2.hear(1).await, crate::frames::Heard::Status(200, _)));
            let seen = stage.upstream.seen();
            assert_eq!((seen.len(), seen[0].all("authorization")), (1, vec![format!("Bearer {SECRET}").as_str()]));
            "the key arrives once".into()
        }),
        scene("182", "the placeholder of another sandbox", "403 foreign-placeholder, alarm", |stage| async move {
            let (mut one, mut two) = (stage.sandbox(), stage.sandbox());
            let foreign = two.placeholder.as_str().to_owned();
            for (place, message) in [
                ("header", format!("GET / HTTP/1.1\r\nHost: {OTHER}\r\nAuthorization: Bearer {foreign}\r\n\r\n")),
                ("its place", format!("GET / HTTP/1.1\r\nHost: {API}\r\nAuthorization: Bearer {foreign}\r\n\r\n")),
                ("query", format!("GET /?k={foreign} HTTP/1.1\r\nHost: {OTHER}\r\n\r\n")),
                (
                    "body",
                    format!("POST / HTTP/1.1\r\nHost: {OTHER}\r\nContent-Length: {}\r\n\r\n{foreign}", foreign.len()),
                ),
            ] {
                let host = if place == "its place" { API } else { OTHER };
                let before = stage.touched();
                let reply = one.https(host).await.ask(message).await;
                assert_eq!((reply.status, reply.code()), (403, Some("foreign-placeholder")), "{place}");
                assert_eq!(stage.touched(), before, "{place}");
                let event = one.event().await.unwrap();
                assert!(
                    event.alarm && event.identity == one.identity && !format!("{event:?}").contains(&foreign),
                    "{place}"
                );
            }
            assert!(one.close().await.is_empty() && two.close().await.is_empty(), "the other is not told");
            "403 foreign-placeholder, alarm".into()
        }),
        scene("188z", "two credentials in one place", "400 or 403, nothing read", |stage| async move {
            let second = Placeholder::mint(&Shape::of(&SecretString::new(SECRET)));
            let sandbox = stage.sandbox_with(|plan| {
                plan.credentials.push(CredentialRule::new(
                    CredentialId::new("second"),
                    second.clone(),
                    [API.parse().unwrap()],
                    Sink::Header { name: None },
                ));
            });
            let mut wire = sandbox.https(API).await;
            let both = request(&sandbox).replace("\r\n\r\n", &format!("\r\nAuthorization: Bearer {second}\r\n\r\n"));
            let before = stage.touched();
            let reply = wire.ask(&both).await;
            assert!([400, 403].contains(&reply.status), "{}", reply.head);
            assert_eq!(stage.touched(), before);
            let mut wire = sandbox.https(API).await;
            let apart = both.replacen("\r\nAuthorization: Bearer ", "\r\nX-Api-Key: ", 1);
            assert_eq!(wire.ask(apart).await.status, 200, "twin: in two places");
            "400 or 403, nothing read".into()
        }),
        scene(
            "184-name",
            "a placeholder as a name to resolve, to connect to, to shake hands with",
            "refused, alarm",
            |stage| async move {
                let label = Placeholder::mint(&Shape::of(&SecretString::new("0123456789abcdef0123456789abcdef")));
                let mut sandbox = stage.sandbox_with(|plan| plan.credentials[0].placeholder = label.clone());
                let host = format!("{label}.cdn.example.com");
                assert!(sandbox.resolve(&host).await.is_err());
                let mut codes = vec![sandbox.event().await.unwrap()];
                let mut proxy = sandbox.proxy().await;
                assert_eq!(proxy.ask(format!("CONNECT {host}:443 HTTP/1.1\r\n\r\n")).await.status, 403);
                codes.push(sandbox.event().await.unwrap());
                let stream = sandbox.tcp("x.cdn.example.com").await;
                assert!(sandbox.handshake(stream, &host, "").await.is_err());
                codes.push(sandbox.event().await.unwrap());
                for event in codes {
                    assert!(event.alarm && !format!("{event:?}").contains(label.as_str()), "{event:?}");
                }
                "refused, alarm".into()
            },
        ),
    ]
}

fn stores() -> Vec<Row> {
    let unusual = |value: &'static str| move |stage: Rc<Stage>| async move { with_secret(&stage, Ok(value)).await };
    let mut rows = vec![
        scene("189a", "a credential that was revoked", "403 credential-denied", |stage| async move {
            with_secret(&stage, Err(CredentialUnavailableKind::Denied)).await
        }),
        scene("189b", "a store that does not answer", "503 credential-unavailable", |stage| async move {
            with_secret(&stage, Err(CredentialUnavailableKind::Unreachable)).await
        }),
        scene("197", "a secret that changes between head and body", "one version per request", |stage| async move {
            let mut sandbox = stage.sandbox();
            let mut wire = sandbox.https(API).await;
            let head = request(&sandbox).replace("GET", "POST").replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n");
            wire.send(head).await;
            stage.backstage.credential("key", Ok("sk-live-another-one-0123456789ab"));
            assert_eq!(wire.ask("hello").await.status, 200);
            let values = stage.upstream.seen().iter().map(|seen| seen.all("authorization").len()).collect::<Vec<_>>();
            assert_eq!(values, [1]);
            stage.backstage.credential("key", Ok(SECRET));
            sandbox.close().await;
            "one version per request".into()
        }),
        scene("209d", "an audit log that takes nothing", "503 audit-unavailable", |stage| async move {
            let sandbox = stage.sandbox();
            stage.backstage.audit_full.store(true, Ordering::SeqCst);
            let before = stage.touched();
            let reply = sandbox.https(API).await.ask(request(&sandbox)).await;
            stage.backstage.audit_full.store(false, Ordering::SeqCst);
            assert_eq!((stage.touched() - before).dialled, 0);
            assert_eq!((stage.touched() - before).opened, 0);
            assert_eq!(sandbox.https(API).await.ask(request(&sandbox)).await.status, 200, "twin");
            format!("{} {}", reply.status, reply.code().unwrap_or_default())
        }),
    ];
    for (index, (what, value, right)) in [
        ("CR LF in it", "sk-live-\r\nX-Evil: 1", "502 credential-unusable"),
        ("LF in it", "sk-live-\nX-Evil: 1", "502 credential-unusable"),
        ("a NUL in it", "sk-live-\x00123456", "502 credential-unusable"),
        ("bytes that are not ASCII", "sk-live-\u{e9}\u{e9}\u{e9}\u{e9}", "502 credential-unusable"),
        ("a blank in it", "sk-live- 12345678", "502 credential-unusable"),
        ("three bytes", "abc", "502 credential-unusable"),
        ("what a regular expression would replace", "sk-live-$1$0\\1${2}", "200, literally"),
        ("what a template would fill in", "sk-live-{{x}}{0}%s%n", "200, literally"),
    ]
    .into_iter()
    .enumerate()
    {
        rows.push(scene(&format!("190{}", letter(index)), format!("a secret with {what}"), right, unusual(value)));
    }
    rows
}

async fn with_secret(stage: &Rc<Stage>, value: Result<&str, CredentialUnavailableKind>) -> String {
    let mut sandbox = stage.sandbox();
    stage.backstage.credential("key", value);
    let before = stage.touched();
    let reply = sandbox.https(API).await.ask(request(&sandbox)).await;
    let dialled = (stage.touched() - before).dialled;
    stage.backstage.credential("key", Ok(SECRET));
    let event = sandbox.event().await.unwrap();
    assert_eq!(event.verdict.code(), reply.code().unwrap_or("allowed"));
    let seen = stage.upstream.seen();
    if reply.status == 200 {
        assert_eq!(seen[0].all("authorization"), [format!("Bearer {}", value.unwrap())]);
        return "200, literally".into();
    }
    assert_eq!((dialled, seen.len()), (0, 0));
    assert_eq!(sandbox.https(API).await.ask(request(&sandbox)).await.status, 200, "twin");
    assert_eq!(sandbox.event().await.unwrap().verdict.code(), "allowed");
    assert!(sandbox.close().await.is_empty());
    format!("{} {}", reply.status, reply.code().unwrap_or_default())
}
