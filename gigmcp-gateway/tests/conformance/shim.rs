//! Adds a token to every request, because the suite has no option for a header, and changes nothing else.

use std::convert::Infallible;

use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{AUTHORIZATION, HOST, ORIGIN},
};
use http_body_util::{BodyExt, Empty, combinators::BoxBody};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1::handshake,
    server::conn::http1::Builder,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// Passes requests on to `gateway` until it is dropped. Both bodies are streams, and whoever goes away is gone for the
/// other side too.
pub(crate) async fn serve(listener: TcpListener, gateway: &'static str, token: String) {
    let ours = listener.local_addr().unwrap().to_string();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (ours, token) = (ours.clone(), token.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| pass(request, &ours, gateway, &token));
            // A client that goes away is its own affair.
            drop(Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn pass(
    mut request: Request<Incoming>,
    ours: &str,
    gateway: &str,
    token: &str,
) -> Result<Response<BoxBody<Bytes, hyper::Error>>, Infallible> {
    let headers = request.headers_mut();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    // Whoever asked us asked the gateway; any other name is the client's and stays.
    for (name, own, theirs) in
        [(HOST, ours.to_owned(), gateway.to_owned()), (ORIGIN, format!("http://{ours}"), format!("http://{gateway}"))]
    {
        if headers.get(&name).is_some_and(|value| value.as_bytes() == own.as_bytes()) {
            headers.insert(name, HeaderValue::from_str(&theirs).unwrap());
        }
    }
    Ok(match forward(request, gateway).await {
        Some(response) => response.map(BodyExt::boxed),
        None => {
            let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    })
}

async fn forward(request: Request<Incoming>, gateway: &str) -> Option<Response<Incoming>> {
    let stream = TcpStream::connect(gateway).await.ok()?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    // Ends when the answer's body is dropped.
    tokio::spawn(connection);
    sender.send_request(request).await.ok()
}
