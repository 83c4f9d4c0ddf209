//! WebSocket through the whole proxy, between a client and a server that are not ours.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::HeaderValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use crate::http2_upstream::listen;
use crate::world::{Sandbox, Trust, World};

/// An origin that greets with the credential it was sent, then echoes; "tell" makes it tell the credential in pieces.
async fn echo(world: &World) {
    let (_, mut accepted) = listen(world, &["http/1.1"]).await;
    tokio::spawn(async move {
        while let Some(stream) = accepted.recv().await {
            tokio::spawn(async move {
                let mut sent = String::new();
                #[allow(clippy::result_large_err, reason = "the library's type")]
                let note = |request: &Request, response: Response| {
                    let value = |name| {
                        request.headers().get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned())
                    };
                    sent = value("authorization").unwrap_or_default();
                    assert_eq!(value("sec-websocket-extensions"), None, "G9: the offer is removed");
                    Ok(response)
                };
                let Ok(mut socket) = accept_hdr_async(stream, note).await else { return };
                let _ = socket.send(Message::text(format!("you are {sent}"))).await;
                while let Some(Ok(message)) = socket.next().await {
                    let answer = if message.to_text().is_ok_and(|text| text == "tell") {
                        Message::binary(sent.clone().into_bytes())
                    } else if message.is_text() || message.is_binary() {
                        message
                    } else {
                        continue;
                    };
                    let _ = socket.send(answer).await;
                }
            });
        }
    });
}

async fn open(sandbox: &Sandbox, authorization: &str) -> Result<WebSocketStream<TlsStream<TcpStream>>, Error> {
    let stream = sandbox.speaking("http/1.1", "api.example.com").await;
    let mut request = "wss://api.example.com/live?x=1".into_client_request().unwrap();
    request.headers_mut().insert("authorization", authorization.parse().unwrap());
    request.headers_mut().insert("sec-websocket-extensions", "permessage-deflate".parse().unwrap());
    Ok(client_async(request, stream).await?.0)
}

#[tokio::test]
async fn messages_pass_and_the_secret_does_not_come_back() {
    let mut world = World::new().await;
    echo(&world).await;
    let sandbox = world.sandbox("one");
    let bearer = format!("Bearer {}", sandbox.placeholder);
    let mut socket = open(&sandbox, &bearer).await.unwrap();
    let greeting = socket.next().await.unwrap().unwrap();
    assert_eq!(greeting.to_text().unwrap(), format!("you are {bearer}"), "EGR-168: it got the secret, we see none");
    let large = "x".repeat(1 << 20);
    for text in ["hello", "", &large] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().to_text().unwrap(), text);
    }
    socket.send(Message::text("tell")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_data(), bearer.as_bytes(), "EGR-168 in binary");
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    let events = world.finish().await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!((events[0].verdict.code(), events[0].status, events[0].credentials.len()), ("allowed", Some(101), 1));
    assert!(events[0].bytes_up > 1 << 20 && events[0].bytes_down > 1 << 20);
    assert!(!format!("{events:?}").contains("S3NT1N3L"));
}

#[tokio::test]
async fn a_placeholder_in_a_message_ends_the_connection() {
    let mut world = World::new().await;
    echo(&world).await;
    let sandbox = world.sandbox("one");
    let mut socket = open(&sandbox, &format!("Bearer {}", sandbox.placeholder)).await.unwrap();
    socket.next().await.unwrap().unwrap();
    socket.send(Message::text(format!("my key is {}", sandbox.placeholder))).await.unwrap();
    let end = socket.next().await.unwrap().unwrap();
    assert!(matches!(&end, Message::Close(Some(frame)) if u16::from(frame.code) == 1008), "EGR-166: {end:?}");
    let events = world.finish().await;
    assert_eq!((events[0].verdict.code(), events[0].alarm, events.len()), ("placeholder-wrong-place", true, 1));
}

#[tokio::test]
async fn a_handshake_is_a_request_like_any_other() {
    for (case, authorization, code) in [
        ("EGR-186 a key of its own", "Bearer sk-attacker".to_owned(), "agent-credential"),
        ("no rule any more", String::new(), "host-denied"),
    ] {
        let mut world = World::new().await;
        echo(&world).await;
        let sandbox = world.sandbox("one");
        let stream = sandbox.speaking("http/1.1", "api.example.com").await;
        if code == "host-denied" {
            let placeholder = sandbox.placeholder.clone();
            world.grant(&sandbox.identity, &placeholder, |policy| policy.rules.clear());
        }
        let mut request = "wss://api.example.com/live".into_client_request().unwrap();
        if !authorization.is_empty() {
            request.headers_mut().insert("authorization", authorization.parse().unwrap());
        }
        let Err(Error::Http(answer)) = client_async(request, stream).await else { panic!("{case}: accepted") };
        assert_eq!(answer.headers()["x-gigmcp-refusal"], code, "EGR-165: {case}");
        world.refused_untouched(case, code).await;
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_switch_opens_no_tunnel() {
    for (case, answer, status) in [
        ("EGR-161 403", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
        ("EGR-161 200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", 200),
        (
            "another key's proof",
            "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            502,
        ),
        ("another protocol", "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 502),
    ] {
        let mut world = World::new().await;
        let (_, mut accepted) = listen(&world, &["http/1.1"]).await;
        let origin = tokio::spawn(async move {
            let mut stream = accepted.recv().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            rest
        });
        let sandbox = world.sandbox("one");
        let mut wire = sandbox.https("api.example.com").await;
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        // Frames, or another request, sent before the answer (EGR-162).
        let early = "\u{1}\u{2}GET /smuggled HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
        let reply = wire.ask(format!("GET /live HTTP/1.1\r\nHost: api.example.com\r\n{upgrade}\r\n{early}")).await;
        assert_eq!(reply.status, status, "{case}");
        drop((wire, world.finish().await));
        assert_eq!(origin.await.unwrap(), b"", "{case}: nothing but the request was sent");
    }
}

#[tokio::test]
async fn a_relay_ends_with_its_rule() {
    let mut world = World::with(Trust::Origin, |limits| limits.revocation_interval = Duration::from_millis(50)).await;
    echo(&world).await;
    let sandbox = world.sandbox("one");
    let mut socket = open(&sandbox, &format!("Bearer {}", sandbox.placeholder)).await.unwrap();
    assert!(socket.next().await.unwrap().unwrap().to_text().unwrap().starts_with("you are"));
    let placeholder = sandbox.placeholder.clone();
    world.grant(&sandbox.identity, &placeholder, |policy| drop(policy.rules.remove(0)));
    let end = socket.next().await.unwrap().unwrap();
    assert!(matches!(&end, Message::Close(Some(frame)) if u16::from(frame.code) == 1008), "EGR-086: {end:?}");
    assert_eq!(world.finish().await[0].verdict.code(), "revoked");
}
