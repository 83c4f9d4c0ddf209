//! Upstreams that speak HTTP/2, well or badly.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use gigmcp_egress::{Allowance, Sink};
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response, Version};
use rustls::ServerConfig;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::frames::*;
use crate::world::{SECRET, Sandbox, World};

/// Accepts TLS for the names of the world's origin, with these protocols.
pub(crate) async fn listen(
    world: &World,
    protocols: &[&str],
) -> (SocketAddr, mpsc::UnboundedReceiver<TlsStream<TcpStream>>) {
    let mut config = world.origin.config.clone();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    listen_so(world, config).await
}

/// The same, configured so.
pub(crate) async fn listen_so(
    world: &World,
    config: ServerConfig,
) -> (SocketAddr, mpsc::UnboundedReceiver<TlsStream<TcpStream>>) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, accepted) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = sender.send(stream);
            }
        }
    });
    world.set_tls_origin(address);
    (address, accepted)
}

pub(crate) async fn client(sandbox: &Sandbox, host: &str) -> SendRequest<Bytes> {
    let stream = sandbox.speaking("h2", host).await;
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    client
}

fn grpc(sandbox: &Sandbox) -> Request<()> {
    Request::post("https://api.example.com/svc/Method")
        .header("authorization", format!("Bearer {}", sandbox.placeholder))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

#[tokio::test]
async fn grpc_streams_both_ways_and_its_trailers_come_back_clean() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let (_, mut accepted) = listen(&world, &["h2", "http/1.1"]).await;
    let origin = tokio::spawn(async move {
        let mut connection = h2::server::handshake(accepted.recv().await.unwrap()).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        let driving = tokio::spawn(async move { while connection.accept().await.is_some() {} });
        let (parts, mut body) = request.into_parts();
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        // An echo, piece by piece: the answer goes on while the request does.
        while let Some(chunk) = body.data().await {
            let chunk = chunk.unwrap();
            body.flow_control().release_capacity(chunk.len()).unwrap();
            stream.send_data(chunk, false).unwrap();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "7".parse().unwrap());
        trailers.insert("grpc-message", format!("bad key {SECRET}").parse().unwrap());
        stream.send_trailers(trailers).unwrap();
        driving.await.unwrap();
        parts
    });
    let mut client = client(&sandbox, "api.example.com").await;
    let (answer, mut stream) = client.send_request(grpc(&sandbox), false).unwrap();
    stream.send_data(Bytes::from("one \n"), false).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    let mut body = answer.into_body();
    for piece in ["one \n", "two \n", "three \n"] {
        let mut seen = Vec::new();
        while seen.len() < piece.len() {
            let chunk = body.data().await.unwrap().unwrap();
            body.flow_control().release_capacity(chunk.len()).unwrap();
            seen.extend_from_slice(&chunk);
        }
        assert_eq!(seen, piece.as_bytes(), "each piece comes back before the next is sent");
        match piece {
            "one \n" => stream.send_data(Bytes::from("two \n"), false).unwrap(),
            "two \n" => stream.send_data(Bytes::from("three \n"), true).unwrap(),
            _ => {}
        }
    }
    assert!(body.data().await.is_none());
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "7");
    assert_eq!(trailers["grpc-message"], format!("bad key {}", sandbox.placeholder));
    drop((client, stream, body));
    let events = world.finish().await;
    assert_eq!(events.iter().map(|event| event.verdict.code()).collect::<Vec<_>>(), ["allowed"]);
    let parts = origin.await.unwrap();
    assert_eq!(parts.uri, "https://api.example.com/svc/Method");
    assert_eq!(parts.headers["te"], "trailers");
    assert_eq!(parts.headers["authorization"], format!("Bearer {SECRET}"));
    assert!(!parts.headers.contains_key("host"), "the authority says it");
}

#[tokio::test]
async fn a_trailer_is_no_way_to_bring_a_key() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    world.grant(&sandbox.identity, &sandbox.placeholder, |policy| {
        policy.credentials[0].sink = Sink::Header { name: Some(http::HeaderName::from_static("x-custom-key")) };
        policy.rules[0].allowances.push(Allowance::Trailers);
    });
    let (_, mut accepted) = listen(&world, &["h2"]).await;
    let origin = tokio::spawn(async move {
        let mut connection = h2::server::handshake(accepted.recv().await.unwrap()).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
        let mut body = request.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "hello");
        let trailers = body.trailers().await.unwrap().unwrap();
        respond.send_response(Response::new(()), true).unwrap();
        trailers.keys().map(|name| name.as_str().to_owned()).collect::<Vec<_>>()
    });
    let mut client = client(&sandbox, "api.example.com").await;
    let request = Request::post("https://api.example.com/x").body(()).unwrap();
    let (answer, mut stream) = client.send_request(request, false).unwrap();
    stream.send_data(Bytes::from("hello"), false).unwrap();
    let names = ["x-custom-key", "x_custom_key", "x.custom.key", "x_api_key", "authorization", "x-custom-sum"];
    let trailers = names.map(|name| (http::HeaderName::from_static(name), http::HeaderValue::from_static("sk-a")));
    stream.send_trailers(HeaderMap::from_iter(trailers)).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(origin.await.unwrap(), ["x-custom-sum"], "EGR-186; the last is the twin");
}

#[tokio::test]
async fn a_credential_is_written_so_that_nothing_on_the_way_keeps_it() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let (_, mut accepted) = listen(&world, &["h2"]).await;
    let mut client = client(&sandbox, "api.example.com").await;
    let (answer, _) = client.send_request(grpc(&sandbox), true).unwrap();
    let mut origin = Frames(accepted.recv().await.unwrap());
    origin.0.read_exact(&mut [0; 24]).await.unwrap();
    let settings = origin.find(SETTINGS).await.payload;
    assert!(settings.chunks(6).any(|setting| setting == [0, 2, 0, 0, 0, 0]), "EGR-158: push is switched off");
    let head = origin.find(HEADERS).await;
    // Never indexed (0x10), name 23 of the static table, which is `authorization` (RFC 7541, section 6.2.3).
    assert!(head.payload.windows(2).any(|bytes| bytes == [0x1f, 0x08]), "EGR-157: {:x?}", head.payload);
    origin.send(SETTINGS, 0, 0, &[]).await;
    origin.send(HEADERS, END_HEADERS | END_STREAM, head.stream, &[0x88]).await;
    assert_eq!(answer.await.unwrap().status(), 200, "twin: it is an ordinary request");
}

#[tokio::test]
async fn an_upstream_that_breaks_the_protocol_is_not_used_again() {
    let push = [
        &[0, 0, 0, 2][..],
        &block(&[(":method", "GET"), (":scheme", "https"), (":authority", "api.example.com"), (":path", "/")]),
    ]
    .concat();
    for (case, kind, flags, payload) in [
        ("EGR-158 push", PUSH_PROMISE, END_HEADERS, push),
        ("EGR-203 connection header", HEADERS, END_HEADERS, [&[0x88][..], &block(&[("connection", "close")])].concat()),
        (
            "EGR-203 transfer-encoding",
            HEADERS,
            END_HEADERS,
            [&[0x88][..], &block(&[("transfer-encoding", "chunked")])].concat(),
        ),
        ("no status", HEADERS, END_HEADERS, block(&[("x-a", "b")])),
        ("upper case", HEADERS, END_HEADERS, [&[0x88][..], &block(&[("X-A", "b")])].concat()),
        (
            "length without body",
            HEADERS,
            END_HEADERS | END_STREAM,
            [&[0x88][..], &block(&[("content-length", "5")])].concat(),
        ),
        ("reset", RST_STREAM, 0, PROTOCOL_ERROR.to_be_bytes().to_vec()),
        ("broken head", HEADERS, END_HEADERS, vec![0xff, 0x7f]),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let (_, mut accepted) = listen(&world, &["h2"]).await;
        let mut client = client(&sandbox, "api.example.com").await;
        let (answer, _) = client.send_request(grpc(&sandbox), true).unwrap();
        let mut origin = Frames(accepted.recv().await.unwrap());
        origin.0.read_exact(&mut [0; 24]).await.unwrap();
        let stream = origin.find(HEADERS).await.stream;
        origin.send(SETTINGS, 0, 0, &[]).await;
        origin.send(kind, flags, stream, &payload).await;
        let answer = answer.await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-gigmcp-refusal"]),
            (502, &"upstream-protocol".parse().unwrap()),
            "{case}"
        );
        client = client.ready().await.unwrap();
        let (answer, _) = client.send_request(grpc(&sandbox), true).unwrap();
        let mut again = Frames(accepted.recv().await.unwrap());
        again.0.read_exact(&mut [0; 24]).await.unwrap();
        let stream = again.find(HEADERS).await.stream;
        again.send(SETTINGS, 0, 0, &[]).await;
        again.send(HEADERS, END_HEADERS | END_STREAM, stream, &[0x88]).await;
        assert_eq!(answer.await.unwrap().status(), 200, "twin of {case}, on a connection of its own");
        let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
        assert_eq!(codes, ["upstream-protocol", "allowed"], "{case}");
    }
}

#[tokio::test]
async fn requests_of_one_identity_share_a_connection() {
    let mut world = World::new().await;
    let (one, two) = (world.sandbox("one"), world.sandbox("two"));
    let (_, mut accepted) = listen(&world, &["h2"]).await;
    let served = tokio::spawn(async move {
        let mut connections = 0;
        while let Some(stream) = accepted.recv().await {
            connections += 1;
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let answer = Response::builder().header("x-authority", request.uri().authority().unwrap().as_str());
                    respond.send_response(answer.body(()).unwrap(), true).unwrap();
                }
            });
        }
        connections
    });
    for sandbox in [&one, &one, &two, &one] {
        let mut client = client(sandbox, "api.example.com").await;
        let (answer, _) = client.send_request(grpc(sandbox), true).unwrap();
        assert_eq!(answer.await.unwrap().headers()["x-authority"], "api.example.com");
    }
    assert_eq!(world.backstage.dialled.load(Ordering::SeqCst), 2, "one connection each");
    served.abort();
}

#[tokio::test]
async fn the_two_sides_need_not_speak_the_same() {
    for (case, protocols, downstream) in [
        ("EGR-110 h1 in, only h2 out", &["h2"][..], "http/1.1"),
        ("EGR-110 h2 in, only h1 out", &["http/1.1"], "h2"),
        ("EGR-110 h2 in, no ALPN out", &[], "h2"),
        ("twin: h1 to both", &["h2", "http/1.1"], "http/1.1"),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let (_, mut accepted) = listen(&world, protocols).await;
        let origin = tokio::spawn(async move {
            let stream = accepted.recv().await.unwrap();
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let (sender, mut seen) = mpsc::unbounded_channel();
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                sender.send(request.into_parts().0).unwrap();
                async { Ok::<_, std::convert::Infallible>(Response::new(http_body_util::Full::new(Bytes::from("ok")))) }
            });
            if h2 {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let (request, mut respond) = connection.accept().await.unwrap().unwrap();
                respond.send_response(Response::new(()), false).unwrap().send_data(Bytes::from("ok"), true).unwrap();
                tokio::spawn(async move { while connection.accept().await.is_some() {} });
                request.into_parts().0
            } else {
                let io = hyper_util::rt::TokioIo::new(stream);
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
                seen.recv().await.unwrap()
            }
        });
        let bearer = format!("Bearer {}", sandbox.placeholder);
        let status = if downstream == "h2" {
            let mut client = client(&sandbox, "api.example.com").await;
            let request =
                Request::get("https://api.example.com/x").header("authorization", bearer).header("te", "trailers");
            let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
            answer.await.unwrap().status().as_u16()
        } else {
            let mut wire = crate::wire::Wire::new(sandbox.speaking("http/1.1", "api.example.com").await);
            let head = format!(
                "GET /x HTTP/1.1\r\nHost: api.example.com\r\nConnection: keep-alive\r\nTE: trailers\r\nAuthorization: {bearer}\r\n\r\n"
            );
            wire.ask(head).await.status
        };
        assert_eq!(status, 200, "{case}");
        let parts = origin.await.unwrap();
        assert_eq!(parts.uri.path(), "/x", "{case}");
        let names: Vec<_> =
            parts.headers.keys().map(|name| name.as_str()).filter(|name| *name != "accept-encoding").collect();
        let host = parts.version == Version::HTTP_11;
        assert_eq!(names.contains(&"host"), host, "{case}: {names:?}");
        assert_eq!(names.contains(&"te"), !host, "{case}: it is for HTTP/2 alone");
        assert_eq!(names.len(), 2, "{case}: nothing else about the connection crosses: {names:?}");
        assert_eq!(parts.headers["authorization"], format!("Bearer {SECRET}"), "{case}");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_not_passed_on_as_whole() {
    let mut world = World::new().await;
    let sandbox = world.sandbox("one");
    let (_, mut accepted) = listen(&world, &["h2"]).await;
    let mut client = client(&sandbox, "api.example.com").await;
    let (answer, _) = client.send_request(grpc(&sandbox), true).unwrap();
    let mut origin = Frames(accepted.recv().await.unwrap());
    origin.0.read_exact(&mut [0; 24]).await.unwrap();
    let stream = origin.find(HEADERS).await.stream;
    origin.send(SETTINGS, 0, 0, &[]).await;
    origin.send(HEADERS, END_HEADERS, stream, &[0x88]).await;
    origin.send(DATA, 0, stream, b"some\n").await;
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "some\n");
    drop(origin);
    let error = body.data().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR), "EGR-108");
    poll_fn(|cx| client.poll_ready(cx)).await.unwrap();
    let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
    assert_eq!(codes, ["aborted"]);
}

#[tokio::test]
async fn an_end_without_close_notify_is_not_the_end_of_a_body() {
    use tokio::io::AsyncWriteExt as _;
    for (case, framing, notify, whole) in [
        ("EGR-108 length", "Content-Length: 9\r\n", false, false),
        ("EGR-108 length, though TLS ends well", "Content-Length: 9\r\n", true, false),
        ("EGR-108 until the end", "", false, false),
        ("twin", "", true, true),
    ] {
        let mut world = World::new().await;
        let sandbox = world.sandbox("one");
        let (_, mut accepted) = listen(&world, &["http/1.1"]).await;
        let (read, was_read) = tokio::sync::oneshot::channel();
        let origin = tokio::spawn(async move {
            let mut stream = accepted.recv().await.unwrap();
            while stream.read_u8().await.unwrap() != b'\n' {}
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\nsome\n").as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            // A reset that comes with the beginning would hide that from the client.
            let _ = was_read.await;
            if notify {
                stream.shutdown().await.unwrap();
            }
        });
        let mut client = client(&sandbox, "api.example.com").await;
        let request = Request::get("https://api.example.com/").body(()).unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        let (mut seen, mut ended, mut read) = (Vec::new(), Ok(()), Some(read));
        while let Some(chunk) = body.data().await {
            match chunk {
                Ok(chunk) => {
                    seen.extend_from_slice(&chunk);
                    read.take().map(|read| read.send(()));
                }
                Err(error) => {
                    ended = Err(error.reason());
                    break;
                }
            }
        }
        origin.await.unwrap();
        assert_eq!((&*seen, ended.is_ok()), (&b"some\n"[..], whole), "{case}: {ended:?}");
        let codes: Vec<_> = world.finish().await.iter().map(|event| event.verdict.code()).collect();
        assert_eq!(codes, [if whole { "allowed" } else { "aborted" }], "{case}");
    }
}
