//! The endpoint on a real socket, and a client written by hand.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use gigmcp_mcp::{Principal, ServerIdentity, StreamableHttp, StreamableHttpLimits, Upstream};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("JSON expected: {}", self.body))
    }

    pub(crate) fn session(&self) -> String {
        self.headers["mcp-session-id"].to_str().unwrap().to_owned()
    }
}

/// A response whose body is read event by event.
pub(crate) struct Streamed {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    read: String,
}

impl Streamed {
    /// The next event or comment, as written; none at the end.
    pub(crate) async fn next_text(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                return Some(event);
            }
            let frame = self.body.frame().await?.ok()?;
            self.read += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
        }
    }

    /// The next message as JSON text.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            let text = self.next_text().await?;
            let (_, event) = text.split_once("\nevent: ").unwrap_or(("", &*text));
            if let Some(message) = event.trim_start_matches("event: ").strip_prefix("message\ndata: ") {
                return Some(message.to_owned());
            }
            // A sign of life, or the id by which a client can come back.
            assert!(text.starts_with(':') || text.starts_with("id: "), "{text}");
        }
    }
}

pub(crate) fn endpoint_of(limits: StreamableHttpLimits) -> StreamableHttp {
    let identity = ServerIdentity { name: "gig".into(), version: "1".into() };
    StreamableHttp::new(identity, limits).allow_origin("https://app.example.com")
}

impl Endpoint {
    pub(crate) async fn serve(upstream: Arc<dyn Upstream>, limits: StreamableHttpLimits) -> Self {
        Self::serve_as(Arc::new(endpoint_of(limits)), upstream).await
    }

    pub(crate) async fn serve_as(endpoint: Arc<StreamableHttp>, upstream: Arc<dyn Upstream>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                connection.set_nodelay(true).unwrap();
                let (endpoint, upstream) = (endpoint.clone(), upstream.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (endpoint, upstream) = (endpoint.clone(), upstream.clone());
                    async move {
                        // The test's stand-in for authentication: the caller says who it is.
                        let name = request.headers().get("x-principal").map_or("one", |name| name.to_str().unwrap());
                        let principal = Principal::new(name);
                        Ok::<_, hyper::Error>(endpoint.handle(&principal, &upstream, request).await)
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service),
                );
            }
        });
        Self { address }
    }

    /// Sends a request with the usual headers, as changed by `headers` (`-name` removes one).
    pub(crate) async fn send(&self, method: Method, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let Streamed { status, headers, body, .. } = self.open(method, headers, body).await;
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    /// The same, with the body still to come.
    pub(crate) async fn open(&self, method: Method, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Streamed {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri("/mcp")
            .header("host", self.address.to_string())
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .body(Full::new(body.into()))
            .unwrap();
        for (name, value) in headers {
            match name.strip_prefix('-') {
                Some(name) => drop(request.headers_mut().remove(name)),
                None => {
                    let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
                    drop(request.headers_mut().insert(name, value.parse().unwrap()));
                }
            }
        }
        let response = sender.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Streamed { status: parts.status, headers: parts.headers, body, read: String::new() }
    }

    pub(crate) async fn post(&self, headers: &[(&str, &str)], body: &str) -> Reply {
        self.send(Method::POST, headers, body.to_owned()).await
    }

    /// A session of a client that can be asked for these.
    pub(crate) async fn session(&self, capabilities: &str) -> String {
        let body =
            initialize("2025-11-25").replace(r#""capabilities":{}"#, &format!(r#""capabilities":{capabilities}"#));
        let reply = self.post(&[], &body).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        reply.session()
    }

    /// A session of this revision.
    pub(crate) async fn initialize(&self, version: &str) -> String {
        let reply = self.post(&[], &initialize(version)).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        reply.session()
    }
}

pub(crate) fn initialize(version: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{}},"clientInfo":{{"name":"t","version":"1"}}}}}}"#
    )
}
