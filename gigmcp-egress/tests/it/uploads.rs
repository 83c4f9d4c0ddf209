//! The body of a request on its way up: bounded, counted as far as it left, and not sent on when all is over.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use gigmcp_egress::AuditEvent;
use http::Request;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;

use crate::http2_upstream::{client, listen};
use crate::wire::Wire;
use crate::world::{RUNS_OUT, Trust, World, soon};

async fn accept(accepted: &mut mpsc::UnboundedReceiver<TlsStream<TcpStream>>) -> Wire<TlsStream<TcpStream>> {
    Wire::new(soon(accepted.recv()).await.unwrap())
}

fn told(events: &[AuditEvent]) -> Vec<(&str, u64)> {
    events.iter().map(|event| (event.verdict.code(), event.bytes_up)).collect()
}

#[tokio::test]
async fn a_body_that_grows_beyond_its_rule_is_cut_and_counted() {
    for (case, answer, last, code, up) in [
        ("before the answer", "", "5\r\n12345\r\n", "body-too-large", 16),
        ("during the answer", "content-length: 9\r\n\r\nsome\n", "5\r\n12345\r\n", "body-too-large", 16),
        ("twin", "", "4\r\n1234\r\n0\r\n\r\n", "allowed", 20),
    ] {
        let mut world = World::with(Trust::Origin, |limits| limits.inspected_body_bytes = 10).await;
        let sandbox = world.sandbox("one");
        world.grant(&sandbox.identity, &sandbox.placeholder, |policy| policy.rules[1].max_body_bytes = Some(20));
        let (_, mut accepted) = listen(&world, &["http/1.1"]).await;
        let mut wire = sandbox.https("b.example.com").await;
        let head = "POST / HTTP/1.1\r\nHost: b.example.com\r\nTransfer-Encoding: chunked\r\n\r\n";
        wire.send(format!("{head}8\r\n12345678\r\n8\r\nabcdefgh\r\n")).await;
        let mut origin = accept(&mut accepted).await;
        soon(origin.until("abcdefgh\r\n")).await;
        if !answer.is_empty() {
            origin.send(format!("HTTP/1.1 200 OK\r\n{answer}")).await;
            soon(wire.until("some\n\r\n")).await;
        }
        wire.send(last).await;
        match code {
            "allowed" => {
                soon(origin.until("1234\r\n0\r\n\r\n")).await;
                origin.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                assert_eq!(soon(wire.reply()).await.status, 200, "{case}");
            }
            _ => {
                if answer.is_empty() {
                    let reply = soon(wire.reply()).await;
                    assert_eq!((reply.status, reply.code()), (413, Some(code)), "{case}");
                } else {
                    assert!(soon(wire.is_closed()).await, "{case}: an answer that began is cut");
                }
                assert!(soon(origin.is_closed()).await, "{case}: no more of it, and no end");
            }
        }
        assert_eq!(told(&world.finish().await), [(code, up)], "{case}");
    }
}

#[tokio::test]
async fn what_had_left_is_counted_however_the_request_ends() {
    for (case, code, status, up) in [
        ("the upstream drops the connection", "upstream-protocol", 502, 5),
        ("the upstream says nothing", "upstream-timeout", 504, 5),
        ("the sandbox leaves", "aborted", 0, 5),
        ("twin", "allowed", 200, 10),
    ] {
        let mut world = World::with(Trust::Origin, |limits| {
            // Longer bodies than this are counted while they are sent.
            limits.inspected_body_bytes = 0;
            if code == "upstream-timeout" {
                limits.response_deadline = RUNS_OUT;
            }
        })
        .await;
        let sandbox = world.sandbox("one");
        let (_, mut accepted) = listen(&world, &["http/1.1"]).await;
        let mut wire = sandbox.https("api.example.com").await;
        wire.send("POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 10\r\n\r\nfirst").await;
        let mut origin = accept(&mut accepted).await;
        soon(origin.until("first")).await;
        match status {
            502 => drop(origin),
            504 => assert!(soon(origin.is_closed()).await, "{case}: nothing more is sent"),
            200 => {
                wire.send("after").await;
                soon(origin.until("after")).await;
                origin.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
            _ => {
                drop(wire);
                assert!(soon(origin.is_closed()).await, "{case}");
                assert_eq!(told(&world.finish().await), [(code, up)], "{case}");
                continue;
            }
        }
        let reply = soon(wire.reply()).await;
        assert_eq!((reply.status, reply.code()), (status, Some(code).filter(|code| *code != "allowed")), "{case}");
        assert_eq!(told(&world.finish().await), [(code, up)], "{case}");
    }
}

/// A client of HTTP/2 may go on with its request after the answer has ended; by then the event is written.
#[tokio::test]
async fn nothing_more_of_a_request_leaves_once_it_was_recorded() {
    for (case, answer, over) in [("over", "content-length: 5\r\n\r\n", true), ("twin", "\r\n", false)] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let (_, mut accepted) = listen(&world, &["http/1.1"]).await;
        let mut client = client(&sandbox, "api.example.com").await;
        let request = Request::post("https://api.example.com/").body(()).unwrap();
        let (answering, mut sending) = client.send_request(request, false).unwrap();
        sending.send_data(Bytes::from("first"), false).unwrap();
        let mut origin = accept(&mut accepted).await;
        soon(origin.until("first\r\n")).await;
        origin.send(format!("HTTP/1.1 200 OK\r\n{answer}done\n")).await;
        let mut body = soon(answering).await.unwrap().into_body();
        assert_eq!(soon(body.data()).await.unwrap().unwrap(), "done\n", "{case}");
        if over {
            assert!(soon(body.data()).await.is_none_or(|rest| rest.unwrap().is_empty()), "{case}");
        }
        // The stream may be closed by now.
        assert!(sending.send_data(Bytes::from("second"), false).is_ok() || over, "{case}");
        match over {
            true => assert!(soon(origin.is_closed()).await, "{case}"),
            false => soon(origin.until("second\r\n")).await,
        }
        drop((client, sending, body, origin));
        let expected = if over { ("allowed", 5) } else { ("aborted", 11) };
        assert_eq!(told(&world.finish().await), [expected], "{case}");
    }
}

#[tokio::test]
async fn a_connection_is_used_again_only_if_the_whole_request_came_before_the_answer() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
    for (case, early, dialled) in [("an early answer", true, 2), ("twin", false, 1)] {
        let mut world = World::with(Trust::Origin, |limits| limits.inspected_body_bytes = 0).await;
        let sandbox = world.sandbox("one");
        let (_, mut accepted) = listen(&world, &["http/1.1"]).await;
        let mut wire = sandbox.https("api.example.com").await;
        wire.send("POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 10\r\n\r\nfirst").await;
        let mut origin = accept(&mut accepted).await;
        soon(origin.until("first")).await;
        if early {
            origin.send(answer).await;
            soon(wire.until("\r\n\r\n")).await;
        }
        wire.send("after").await;
        soon(origin.until("after")).await;
        if !early {
            origin.send(answer).await;
            soon(wire.until("\r\n\r\n")).await;
        }
        // By now all of both has come, in either case.
        origin.send("done").await;
        soon(wire.until("done")).await;
        let mut next = sandbox.https("api.example.com").await;
        next.send("GET /next HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
        if early {
            origin = accept(&mut accepted).await;
        }
        assert!(soon(origin.request()).await.starts_with("GET /next "), "{case}");
        origin.send(format!("{answer}next")).await;
        assert_eq!(soon(next.reply()).await.body, "next", "{case}");
        assert_eq!(world.backstage.dialled.load(Ordering::SeqCst), dialled, "{case}");
    }
}

#[tokio::test]
async fn a_long_coded_upload_is_read_to_its_end() {
    use std::io::Write as _;
    // Xorshift: no coding makes it shorter.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let noise: Vec<u8> = (0..200_000).map(|_| next()).collect();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&noise).unwrap();
    let coded = encoder.finish().unwrap();
    assert!(coded.len() > 65 << 10, "too long to be read before it is sent: {}", coded.len());
    for (case, cut, code) in [("EGR-201 cut", 9, Some("unscannable-request")), ("twin", 0, None)] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let body = &coded[..coded.len() - cut];
        let head = "POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Encoding: gzip\r\n";
        let mut wire = sandbox.https("api.example.com").await;
        let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
        let reply = soon(wire.ask([head.as_bytes(), body].concat())).await;
        assert_eq!(reply.code(), code, "{case}: {} bytes", body.len());
        if code.is_none() {
            let get = "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
            assert_eq!(soon(wire.ask(get)).await.status, 200, "{case}");
            assert_eq!(world.backstage.dialled.load(Ordering::SeqCst), 1, "{case}: its connection is used again");
        }
    }
}
