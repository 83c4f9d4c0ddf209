//! What stands for the internet's servers: HTTP/1.1 and HTTP/2 over TLS, WebSocket, gRPC, event streams, and `git`.

mod events;
mod git;
mod grpc;
mod large;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, mpsc::Sender},
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::{net::TcpStream, sync::oneshot};
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

use crate::world::Event;

pub(crate) use large::{LARGE_BYTES, large_digest};

/// Answers everything, whoever asks; what it got, it notes.
pub(crate) struct Origin {
    key: String,
    seen: Mutex<Vec<Seen>>,
    tell: Sender<Event>,
    repositories: git::Repositories,
}

/// One request as the origin got it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) host: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    /// What it began with.
    pub(crate) body: Bytes,
}

/// The body of an answer.
type Body = UnsyncBoxBody<Bytes, Infallible>;

impl Origin {
    pub(crate) fn new(key: String, tell: Sender<Event>) -> Self {
        Self { key, seen: Mutex::default(), tell, repositories: git::Repositories::new() }
    }

    /// What came, in the order in which it came.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// A new bare repository at `/git/NAME`, with two branches.
    pub(crate) fn repository(&self, name: &str) -> std::path::PathBuf {
        self.repositories.create(name)
    }

    /// Serves one connection in the version that was agreed on.
    pub(crate) async fn serve(self: Arc<Self>, stream: TlsStream<TcpStream>) {
        let version = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        let service = service_fn(move |request| {
            let origin = Arc::clone(&self);
            async move { Ok::<_, Infallible>(origin.answer(request).await) }
        });
        let io = TokioIo::new(stream);
        // A client that goes away is its own affair.
        match version.as_deref() {
            Some(b"h2") => drop(http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await),
            _ => drop(http1::Builder::new().serve_connection(io, service).with_upgrades().await),
        }
    }

    async fn answer(self: Arc<Self>, mut request: Request<Incoming>) -> Response<Body> {
        let upgrade = request.headers().contains_key(header::UPGRADE).then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let seen = Seen {
            method: parts.method,
            version: parts.version,
            host: host(&parts.headers, &parts.uri),
            target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            headers: parts.headers,
            body: Bytes::new(),
        };
        // Noted before it is read: whoever waits for an answer finds it.
        let at = self.note(seen.clone());
        match path.as_str() {
            "/upload" => return large::digest(body).await,
            "/large" => return large::answer(&self.key),
            "/ws" => return self.websocket(&seen.headers, upgrade.expect("a WebSocket begins with an upgrade")),
            path if path.starts_with("/test.Echo/") => return grpc::answer(&self, &seen, body).await,
            _ => {}
        }
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        self.seen.lock().unwrap()[at].body = body.clone();
        let seen = Seen { body, ..seen };
        match path.as_str() {
            "/hold" => {
                self.hold().await;
                echo(&seen)
            }
            "/events" => events::answer(&self, &seen),
            "/redirect" => {
                let mut answer = status(StatusCode::TEMPORARY_REDIRECT);
                let target = "https://other.example.com/echo".parse().unwrap();
                answer.headers_mut().insert(header::LOCATION, target);
                answer
            }
            path if path.starts_with("/git/") => self.repositories.answer(&self, &seen).await,
            path if path.starts_with("/files/") => large::part_of_file(&seen),
            _ => echo(&seen),
        }
    }

    fn note(&self, seen: Seen) -> usize {
        let mut all = self.seen.lock().unwrap();
        all.push(seen);
        all.len() - 1
    }

    /// Waits until the test says so.
    async fn hold(&self) {
        let (release, released) = oneshot::channel();
        // The test may be over.
        drop(self.tell.send(Event::Held(release)));
        drop(released.await);
    }

    /// Says what authorized the handshake, then repeats what it is told.
    fn websocket(&self, headers: &HeaderMap, upgrade: hyper::upgrade::OnUpgrade) -> Response<Body> {
        let mut answer = status(StatusCode::SWITCHING_PROTOCOLS);
        let accept = derive_accept_key(headers["sec-websocket-key"].as_bytes());
        for (name, value) in [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", &accept)] {
            answer.headers_mut().insert(name, value.parse().unwrap());
        }
        let greeting = format!("hello {}", headers["authorization"].to_str().unwrap());
        tokio::spawn(async move {
            let Ok(stream) = upgrade.await else { return };
            let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, None).await;
            drop(socket.send(greeting.into()).await);
            while let Some(Ok(message)) = socket.next().await {
                if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                    return;
                }
            }
        });
        answer
    }
}

impl Seen {
    /// How often `needle` stands in the request, plainly or as a part of `Basic`.
    pub(crate) fn count(&self, needle: &str) -> usize {
        let plain = |text: &[u8]| String::from_utf8_lossy(text).matches(needle).count();
        let headers = self.headers.values().map(|value| plain(value.as_bytes())).sum::<usize>();
        let basic = basic(&self.headers).map_or(0, |decoded| plain(&decoded));
        headers + basic + plain(self.target.as_bytes()) + plain(&self.body)
    }
}

/// User and password, if the request brought them.
fn basic(headers: &HeaderMap) -> Option<Vec<u8>> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.decode(headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?).ok()
}

fn host(headers: &HeaderMap, uri: &http::Uri) -> String {
    let host = headers.get(header::HOST).map(|host| host.to_str().unwrap().to_owned());
    host.or_else(|| uri.authority().map(ToString::to_string)).unwrap_or_default()
}

/// Says all that the request said, in headers and body, as a careless debug endpoint would.
fn echo(seen: &Seen) -> Response<Body> {
    let said = seen.headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())));
    let text = json!({ "version": format!("{:?}", seen.version), "headers": said.collect::<Vec<_>>() }).to_string();
    let mut answer = Response::new(full(text + "\n"));
    if let Some(value) = seen.headers.get(header::AUTHORIZATION) {
        answer.headers_mut().insert("x-echo-authorization", value.clone());
    }
    for cookie in ["a=1; Path=/", "b=2; Path=/"] {
        answer.headers_mut().append(header::SET_COOKIE, cookie.parse().unwrap());
    }
    answer
}

fn status(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(full(""));
    *answer.status_mut() = status;
    answer
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// A body whose pieces come out of a channel.
fn streamed(pieces: tokio::sync::mpsc::Receiver<Frame<Bytes>>) -> Body {
    let pieces = futures_util::stream::unfold(pieces, |mut pieces| async {
        let piece = pieces.recv().await?;
        Some((Ok::<_, Infallible>(piece), pieces))
    });
    http_body_util::StreamBody::new(pieces).boxed_unsync()
}

fn hex_digest(digest: Sha256) -> String {
    hex::encode(digest.finalize())
}
