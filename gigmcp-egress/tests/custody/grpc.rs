//! gRPC: HTTP/2 on both sides, a body without end, and a status in trailers.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::secrets::{DECOY, SECRET, decoys_missing_in, echoes, found_in};
use crate::stage::{Stage, fault_of};

const ELSEWHERE: &str = "93.184.219.1";

#[tokio::test]
async fn a_secret_in_a_status_of_grpc_does_not_come_back() {
    crate::log::listen_to_everything();
    let stage = Stage::new().await;
    let mut config = (*stage.upstream.authority.server(&["api.example.com"], |_| ())).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    stage.backstage.route(ELSEWHERE, listener.local_addr().unwrap());
    stage.backstage.resolves("api.example.com", &[ELSEWHERE]);
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = TlsAcceptor::from(std::sync::Arc::new(config)).accept(stream).await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let _ = told.send(request.headers()["authorization"].to_str().unwrap().to_owned());
            let mut stream = respond.send_response(head(), false).unwrap();
            let body = lines().join("\n");
            stream.send_data(Bytes::from(message(body.as_bytes())), false).unwrap();
            stream.send_trailers(trailers()).unwrap();
        }
    });
    let mut sandbox = stage.sandbox();
    let (client, connection) = h2::client::handshake(sandbox.h2("api.example.com").await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("https://api.example.com/dc-live-D3C0YB1RD/Call")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {}", sandbox.placeholder))
        .body(())
        .unwrap();
    let (answer, mut stream) = client.ready().await.unwrap().send_request(request, false).unwrap();
    stream.send_data(Bytes::from(message(b"hello")), true).unwrap();
    let (head, mut body) = answer.await.unwrap().into_parts();
    let mut everything = format!("{:?}\n", head.headers).into_bytes();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        let _ = body.flow_control().release_capacity(data.len());
        everything.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.unwrap().expect("a status");
    for value in head.headers.values().chain(trailers.values()) {
        everything.extend_from_slice(value.as_bytes());
        everything.push(b'\n');
    }
    assert_eq!((head.status.as_u16(), &trailers["grpc-status"]), (200, &HeaderValue::from_static("16")));
    assert_eq!(heard.recv().await.unwrap(), format!("Bearer {SECRET}"), "control: the host has the secret");
    assert_eq!(found_in(&everything), None, "{}", String::from_utf8_lossy(&everything));
    assert_eq!(decoys_missing_in(&everything), Vec::<&str>::new(), "control: the search finds what is there");
    assert_eq!(trailers["grpc-message"], format!("bad key {}", sandbox.placeholder));
    let event = sandbox.event().await.unwrap();
    assert_eq!((event.verdict.code(), fault_of(&event)), ("allowed", None));
    sandbox.close().await;
}

fn lines() -> Vec<String> {
    echoes(SECRET).into_iter().zip(echoes(DECOY)).map(|(secret, decoy)| format!("{secret} {decoy}")).collect()
}

fn head() -> Response<()> {
    let mut response = Response::builder().header("content-type", "application/grpc");
    for (index, line) in lines().into_iter().enumerate() {
        response = response.header(format!("x-echo-{index}"), line);
    }
    response.body(()).unwrap()
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("16"));
    trailers.insert("grpc-message", HeaderValue::from_str(&format!("bad key {SECRET}")).unwrap());
    for (index, line) in lines().into_iter().enumerate() {
        let name: HeaderName = format!("x-detail-{index}").parse().unwrap();
        trailers.insert(name, HeaderValue::from_str(&line).unwrap());
    }
    trailers
}

/// A message with its prefix: not compressed, and its length.
fn message(body: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}
