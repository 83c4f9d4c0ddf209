//! What was let through ends with what let it through: a body on its way up, an answer on its way down.

use std::time::Duration;

use bytes::Bytes;
use gigmcp_egress::Sink;
use http::Method;

use crate::http2_upstream::listen;
use crate::wire::Wire;
use crate::world::{Policy, Trust, World, soon};

const INTERVAL: Duration = Duration::from_millis(30);

/// A world in which the rules are asked again so often.
async fn world() -> World {
    World::with(Trust::Origin, |limits| limits.revocation_interval = INTERVAL).await
}

#[tokio::test]
async fn an_upload_without_end_ends_with_its_rule() {
    let mut world = world().await;
    let sandbox = world.sandbox("one");
    let (_, mut accepted) = listen(&world, &["http/1.1"]).await;
    let (mut wires, mut origins) = (Vec::new(), Vec::new());
    for host in ["api.example.com", "b.example.com"] {
        let mut wire = sandbox.https(host).await;
        wire.send(format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\nfirst")).await;
        let mut origin = Wire::new(soon(accepted.recv()).await.unwrap());
        soon(origin.until("\r\n\r\nfirst")).await;
        wires.push(wire);
        origins.push(origin);
    }
    world.grant(&sandbox.identity, &sandbox.placeholder, |policy| drop(policy.rules.remove(0)));
    let reply = soon(wires[0].reply()).await;
    assert_eq!((reply.status, reply.code()), (403, Some("revoked")), "EGR-086");
    assert!(soon(origins[0].is_closed()).await, "what was sent does not pass for the whole");
    assert!(tokio::time::timeout(INTERVAL * 5, origins[1].is_closed()).await.is_err(), "the other one goes on");
    wires[1].send("second").await;
    soon(origins[1].until("second")).await;
    origins[1].send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(soon(wires[1].reply()).await.status, 200, "twin");
    let events = world.finish().await;
    let seen: Vec<_> = events.iter().map(|event| (event.verdict.code(), event.bytes_up)).collect();
    assert_eq!(seen, [("revoked", 5), ("allowed", 11)]);
}

#[tokio::test]
async fn a_body_that_is_still_read_ends_with_its_rule_and_nothing_is_sent() {
    let json = Sink::Json("/key".parse().unwrap());
    let rule: fn(&mut Policy) = |policy| drop(policy.rules.remove(0));
    let credential: fn(&mut Policy) = |policy| policy.credentials.clear();
    let typed = "Content-Type: application/json\r\nContent-Length: 9";
    for (case, sink, gone, head, begun, rest) in [
        ("searched whole", None, rule, "Content-Length: 10", "12345", "67890"),
        ("read ahead", None, rule, "Transfer-Encoding: chunked", "5\r\n12345\r\n", "5\r\n67890\r\n0\r\n\r\n"),
        ("a credential may stand in it", Some(json), credential, typed, "{\"a\":", "\"b\"}"),
    ] {
        for revoked in [true, false] {
            let mut world = world().await;
            let sandbox = world.sandbox("one");
            let set = |edit: fn(&mut Policy)| {
                world.grant(&sandbox.identity, &sandbox.placeholder, |policy| {
                    if let Some(sink) = sink.clone() {
                        policy.credentials[0].sink = sink;
                    }
                    edit(policy);
                });
            };
            set(|_| ());
            let mut wire = sandbox.https("api.example.com").await;
            // Permission comes when the body is wanted: the rules have been read by then.
            let head = format!("POST / HTTP/1.1\r\nHost: api.example.com\r\nExpect: 100-continue\r\n{head}\r\n\r\n");
            assert_eq!(wire.ask(head).await.status, 100, "{case}");
            wire.send(begun).await;
            if !revoked {
                assert_eq!(wire.ask(rest).await.status, 200, "twin of {case}");
                continue;
            }
            set(gone);
            let reply = soon(wire.reply()).await;
            assert_eq!((reply.status, reply.code()), (403, Some("revoked")), "{case}");
            world.refused_untouched(case, "revoked").await;
        }
    }
}

#[tokio::test]
async fn a_stream_ends_with_any_part_of_what_let_it_through() {
    type Edit = fn(&mut Policy);
    let cases: [(&str, Edit, bool); 12] = [
        ("the host", |policy| drop(policy.rules.remove(0)), true),
        ("the port", |policy| policy.rules[0].ports = vec![8443], true),
        ("the path", |policy| policy.rules[0].paths = Some(vec!["/other/**".parse().unwrap()]), true),
        ("the method", |policy| policy.rules[0].methods = Some(vec![Method::POST]), true),
        ("the credential", |policy| policy.credentials.clear(), true),
        ("the credential's host", |policy| policy.credentials[0].hosts = vec!["b.example.com".parse().unwrap()], true),
        (
            "the credential's path",
            |policy| policy.credentials[0].paths = Some(vec!["/other/**".parse().unwrap()]),
            true,
        ),
        ("the credential's method", |policy| policy.credentials[0].methods = Some(vec![Method::POST]), true),
        ("the credential's value", |policy| policy.credentials[0].version += 1, true),
        ("twin: another host", |policy| drop(policy.rules.remove(1)), false),
        (
            "twin: narrower, with room for it",
            |policy| {
                policy.rules[0].paths = Some(vec!["/events".parse().unwrap()]);
                policy.rules[0].methods = Some(vec![Method::GET]);
                policy.credentials[0].paths = Some(vec!["/events".parse().unwrap()]);
                policy.credentials[0].methods = Some(vec![Method::GET]);
            },
            false,
        ),
        (
            "twin: by another rule",
            |policy| {
                let general = policy.rules.remove(0);
                policy.rules.push(general.methods([Method::GET]));
            },
            false,
        ),
    ];
    for (case, edit, ends) in cases {
        let mut world = world().await;
        let sandbox = world.sandbox("one");
        let mut wire = sandbox.https("api.example.com").await;
        let key = format!("Authorization: Bearer {}\r\n", sandbox.placeholder);
        wire.send(format!("GET /events HTTP/1.1\r\nHost: api.example.com\r\n{key}\r\n")).await;
        soon(wire.until("data: one\n\n\r\n")).await;
        world.grant(&sandbox.identity, &sandbox.placeholder, edit);
        match ends {
            true => assert!(soon(wire.is_closed()).await, "EGR-086: {case}: ends without its last chunk"),
            false => assert!(tokio::time::timeout(INTERVAL * 5, wire.is_closed()).await.is_err(), "{case}: goes on"),
        }
        let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
        assert_eq!(codes, [if ends { "revoked" } else { "aborted" }], "{case}");
    }
}

#[tokio::test]
async fn a_credential_that_did_not_go_out_ends_nothing() {
    let mut world = world().await;
    let sandbox = world.sandbox("one");
    let mut wire = sandbox.https("api.example.com").await;
    wire.send("GET /events HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    soon(wire.until("data: one\n\n\r\n")).await;
    world.grant(&sandbox.identity, &sandbox.placeholder, |policy| policy.credentials.clear());
    assert!(tokio::time::timeout(INTERVAL * 5, wire.is_closed()).await.is_err(), "twin");
}

#[tokio::test]
async fn an_upload_ends_with_its_rule_though_nobody_reads_its_answer() {
    for (case, revoked) in [("EGR-086", true), ("twin", false)] {
        let mut world = world().await;
        let sandbox = world.sandbox("one");
        let (_, mut accepted) = listen(&world, &["http/1.1"]).await;
        let stream = sandbox.speaking("h2", "api.example.com").await;
        let (mut client, connection) =
            h2::client::Builder::new().initial_window_size(0).handshake(stream).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        let request = http::Request::post("https://api.example.com/").body(()).unwrap();
        let (answering, mut sending) = client.send_request(request, false).unwrap();
        sending.send_data(Bytes::from("first"), false).unwrap();
        let mut origin = Wire::new(soon(accepted.recv()).await.unwrap());
        soon(origin.until("first\r\n")).await;
        origin.send("HTTP/1.1 200 OK\r\n\r\ndone\n").await;
        let unread = soon(answering).await.unwrap();
        if revoked {
            world.grant(&sandbox.identity, &sandbox.placeholder, |policy| drop(policy.rules.remove(0)));
        }
        let sender = tokio::spawn(async move {
            while sending.send_data("more".into(), false).is_ok() {
                tokio::time::sleep(INTERVAL / 6).await;
            }
        });
        match revoked {
            true => soon(async { while !origin.is_closed().await {} }).await,
            false => {
                let goes_on = async { while !origin.is_closed().await {} };
                assert!(tokio::time::timeout(INTERVAL * 8, goes_on).await.is_err(), "{case}: goes on");
                soon(origin.until("more")).await;
            }
        }
        sender.abort();
        let _ = sender.await;
        drop((client, unread, origin));
        let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
        assert_eq!(codes, [if revoked { "revoked" } else { "aborted" }], "{case}");
    }
}
