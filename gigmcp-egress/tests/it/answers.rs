//! What comes back: scrubbed of the credential in every spelling, or not at all.

use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::world::{SECRET, World};

#[tokio::test]
async fn an_echo_comes_back_with_the_placeholder() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    let p = sandbox.placeholder.as_str();
    let basic = STANDARD.encode(format!("me:{p}"));
    for (case, value) in [("bearer", format!("Bearer {p}")), ("basic", format!("Basic {basic}"))] {
        let reply =
            wire.ask(format!("GET /echo HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: {value}\r\n\r\n")).await;
        assert_eq!((reply.status, reply.whole), (200, true), "{case}");
        let everything = format!("{}{}", reply.head, reply.body);
        for spelling in
            [SECRET.to_owned(), STANDARD.encode(SECRET), STANDARD.encode(format!("me:{SECRET}"))[8..40].to_owned()]
        {
            assert!(!everything.contains(&spelling), "{case}: {everything}");
        }
        assert!(reply.body.contains("host: api.example.com"), "{case}: the rest of the body is there");
    }
    let reply =
        wire.ask(format!("GET /echo HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer {p}\r\n\r\n")).await;
    assert_eq!(reply.header("x-echo"), Some(format!("Bearer {p}").as_str()), "EGR-200");
    assert!(reply.body.contains(&format!("authorization: Bearer {p}")), "{}", reply.body);
    let sent = world
        .origin
        .seen()
        .iter()
        .filter(|seen| seen.headers["authorization"].to_str().unwrap().contains(SECRET))
        .count();
    assert_eq!(sent, 2, "positive control: the origin did have the secret to echo");
}

#[tokio::test]
async fn an_earlier_requests_key_does_not_come_back_to_a_request_without_one() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    let key = format!("Authorization: Bearer {}\r\n", sandbox.placeholder);
    assert_eq!(wire.ask(format!("GET / HTTP/1.1\r\nHost: api.example.com\r\n{key}\r\n")).await.status, 200);
    let request = "GET /last HTTP/1.1\r\nHost: api.example.com\r\nRange: bytes=0-3\r\nAccept-Encoding: gzip\r\n\r\n";
    let reply = wire.ask(request).await;
    assert_eq!((reply.status, reply.whole), (200, true));
    let everything = format!("{}{}", reply.head, reply.body);
    assert!(!everything.contains(SECRET), "{everything}");
    let placeholder = sandbox.placeholder.as_str();
    assert!(reply.body.contains(&format!("authorization: Bearer {placeholder}")), "the twin of it: {everything}");
    let sent = &world.origin.seen()[1].headers;
    assert_eq!((sent.get("range"), &sent["accept-encoding"]), (None, &"identity".parse().unwrap()), "EGR-202");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_not_passed_on() {
    for (case, host, path, expected, verdict) in [
        ("EGR-201 an unknown coding", "api.example.com", "/unknown", (502, Some("unscannable")), "unscannable"),
        ("twin: no key is for this host", "b.example.com", "/unknown", (200, None), "allowed"),
        ("EGR-201 a lie", "api.example.com", "/gzip", (0, None), "unscannable"),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let reply = sandbox.https(host).await.ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!((reply.status, reply.code()), expected, "{case}");
        assert_eq!(world.finish().await[0].verdict.code(), verdict, "{case}");
    }
}

#[tokio::test]
async fn an_answer_in_other_bytes_than_those_of_ascii_is_not_passed_on() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    for (charset, passes) in [
        ("charset=utf-8", true),
        ("charset=ISO-8859-1", true),
        ("charset=%22windows-1252%22", true),
        ("charset=shift_jis", true),
        ("charset=binary", true),
        ("charset=ibm850", true),
        ("charset=utf-16", false),
        ("Charset=%22UTF-16LE%22", false),
        ("boundary=x;charset=utf-32BE", false),
        ("charset=utf-7", false),
        ("charset=ISO-10646-UCS-2", false),
        ("charset=ebcdic-us", false),
        ("charset=IBM037", false),
        ("charset=cp1140", false),
    ] {
        for host in ["api.example.com", "b.example.com"] {
            let request = format!("GET /charset/{charset} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let reply = sandbox.https(host).await.ask(request).await;
            // No key is for the other.
            let expected = if passes || host == "b.example.com" { (200, None) } else { (502, Some("unscannable")) };
            assert_eq!((reply.status, reply.code()), expected, "EGR-201: {charset} of {host}");
        }
    }
}

#[tokio::test]
async fn what_asks_for_other_bytes_stays_behind_where_answers_are_searched() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let asking = ["accept-charset", "connect-accept-encoding", "grpc-accept-encoding", "a-im"];
    let headers: String = asking.iter().map(|name| format!("{name}: x\r\n")).collect();
    for host in ["api.example.com", "b.example.com"] {
        for (case, searched) in [("with a credential", true), ("twin: with none at all", false)] {
            world.grant(&sandbox.identity, &sandbox.placeholder, |policy| {
                policy.credentials.retain(|_| searched);
            });
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{headers}Accept-Language: x\r\n\r\n");
            assert_eq!(sandbox.https(host).await.ask(request).await.status, 200, "{host} {case}");
            let sent = world.origin.seen().pop().unwrap().headers;
            for name in asking {
                assert_eq!(sent.contains_key(name), !searched, "EGR-201: {host} {case}: {name}");
            }
            assert!(sent.contains_key("accept-language"), "{host} {case}: the rest travels on");
        }
    }
}

#[tokio::test]
async fn an_event_arrives_at_once_though_the_answer_is_scrubbed() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    let key = format!("Authorization: Bearer {}\r\n", sandbox.placeholder);
    wire.send(format!("GET /events HTTP/1.1\r\nHost: api.example.com\r\n{key}\r\n")).await;
    wire.until("data: one\n\n").await; // EGR-204: the origin sends nothing more
}

#[tokio::test]
async fn headers_that_lead_past_us_or_pose_as_ours_are_removed() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    for (host, cookies) in [("b.example.com", 2), ("api.example.com", 0)] {
        let reply = sandbox.https(host).await.ask(format!("GET /headers HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!((reply.status, reply.code(), reply.header("alt-svc")), (200, None, None), "EGR-205: {host}");
        assert_eq!(reply.head.matches("set-cookie:").count(), cookies, "G10: sessions are credentials too: {host}");
    }
    let placeholder = sandbox.placeholder.clone();
    world.grant(&sandbox.identity, &placeholder, |policy| {
        policy.rules[0].allowances.push(gigmcp_egress::Allowance::Cookies);
    });
    let request = "GET /headers HTTP/1.1\r\nHost: api.example.com\r\nCookie: a=1\r\n\r\n";
    let reply = sandbox.https("api.example.com").await.ask(request).await;
    assert_eq!((reply.status, reply.head.matches("set-cookie:").count()), (200, 2), "by name of the rule");
}

#[tokio::test]
async fn a_large_answer_passes_whole_with_and_without_scrubbing() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    for header in [String::new(), format!("Authorization: Bearer {}\r\n", sandbox.placeholder)] {
        let reply = wire.ask(format!("GET /large HTTP/1.1\r\nHost: api.example.com\r\n{header}\r\n")).await;
        assert_eq!((reply.status, reply.whole, reply.body.len()), (200, true, 1 << 20));
    }
    let down: Vec<_> = world.finish().await.iter().map(|event| event.bytes_down).collect();
    assert_eq!(down, [1 << 20, 1 << 20]);
}

#[tokio::test]
async fn a_client_that_leaves_is_recorded_as_aborted() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    wire.send("GET /large HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    let mut stream = wire.into_inner();
    use tokio::io::AsyncReadExt as _;
    stream.read_u8().await.unwrap();
    drop(stream);
    let backstage = std::sync::Arc::clone(&world.backstage);
    let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
    assert_eq!(codes, ["aborted"]);
    assert_eq!(backstage.dialled.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_frames_of_an_answer_do_not_tell_a_right_guess_from_a_wrong_one() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    let mut frames = Vec::new();
    let right = &SECRET[..SECRET.len() - 1];
    for guess in [right, &right.replace("S3NT", "GUES"), &SECRET[..4], "nope"] {
        let head =
            format!("POST /tail HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer {}", sandbox.placeholder);
        let reply = wire.ask(format!("{head}\r\nContent-Length: {}\r\n\r\n.....{guess}", guess.len() + 5)).await;
        assert_eq!((reply.status, reply.body), (200, format!(".....{guess}")));
        frames.push(reply.frames);
    }
    assert_eq!((&frames[0], &frames[2]), (&frames[1], &frames[3]));
}

#[tokio::test]
async fn a_key_that_another_host_shows_does_not_come_back_either() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let key = format!("Authorization: Bearer {}\r\n", sandbox.placeholder);
    let mut wire = sandbox.https("api.example.com").await;
    assert_eq!(wire.ask(format!("GET / HTTP/1.1\r\nHost: api.example.com\r\n{key}\r\n")).await.status, 200);
    let mut wire = sandbox.https("b.example.com").await;
    let request = "GET /last HTTP/1.1\r\nHost: b.example.com\r\nRange: bytes=0-3\r\nAccept-Encoding: gzip\r\n\r\n";
    let reply = wire.ask(request).await;
    let everything = format!("{}{}", reply.head, reply.body);
    assert!(!everything.contains(SECRET), "{everything}");
    assert!(reply.body.contains(&format!("authorization: Bearer {}", sandbox.placeholder)), "{everything}");
    let sent = &world.origin.seen()[1].headers;
    assert_eq!(
        (&sent["range"], &sent["accept-encoding"]),
        (&"bytes=0-3".parse().unwrap(), &"identity".parse().unwrap())
    );
    world.set_secret(None);
    let reply = wire.ask(request.replace("/last", "/echo")).await;
    assert_eq!(reply.status, 200, "a credential that is not set hinders nothing");
}
