//! A server that speaks the transit engine's API over real sockets, with or without TLS. It keeps what it encrypted in a
//! table, which a client cannot tell from encrypting it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What it does with the next requests.
#[derive(Clone, Debug)]
pub(crate) enum Mood {
    Honest,
    /// This status, and this text as the body.
    Answers(u16, &'static str),
    /// An honest answer with this in the place of its ciphertext or plaintext.
    Lies(&'static str),
    /// So many bytes of JSON.
    Floods(usize),
    /// Reads, and says nothing.
    Silent,
    /// Reads, and closes.
    Closes,
    Redirects(String),
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) mood: Mood,
    pub(crate) latest: u32,
    pub(crate) min_decryption_version: u32,
    pub(crate) namespace: Option<&'static str>,
    encrypted: HashMap<String, String>,
    /// Method, path and body of each request.
    pub(crate) seen: Vec<(String, String)>,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
    /// PEM, with TLS.
    pub(crate) root: String,
}

impl Server {
    pub(crate) async fn plain() -> Self {
        Self::start(None, String::new()).await
    }

    /// With a certificate for 127.0.0.1 and `localhost`.
    pub(crate) async fn tls() -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = ca.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
                .unwrap();
        Self::start(Some(TlsAcceptor::from(Arc::new(config))), root.pem()).await
    }

    async fn start(tls: Option<TlsAcceptor>, root: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            mood: Mood::Honest,
            latest: 1,
            min_decryption_version: 1,
            namespace: None,
            encrypted: HashMap::new(),
            seen: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, state) = (tls.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, state).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, state).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, state, root }
    }

    pub(crate) fn feels(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.lock().unwrap().seen.len()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, state: Arc<Mutex<State>>) {
    let mood = state.lock().unwrap().mood.clone();
    if let Mood::Closes | Mood::Silent = mood {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        if let Mood::Silent = mood {
            std::future::pending::<()>().await;
        }
        return;
    }
    let service = service_fn(move |request| answer(request, Arc::clone(&state)));
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut state = state.lock().unwrap();
    state.seen.push((format!("{} {}", head.method, head.uri), String::from_utf8(body.to_vec()).unwrap()));
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let errors = |status: u16, text: &str| (status, json!({ "errors": [text] }));
    let (status, json) = match state.mood.clone() {
        Mood::Answers(status, text) => return Ok(response(status, text.into())),
        Mood::Floods(bytes) => return Ok(response(200, format!(r#"{{"data":{{}},"x":"{}"}}"#, "x".repeat(bytes)))),
        Mood::Redirects(to) => {
            let mut response = response(307, String::new());
            response.headers_mut().insert("location", to.parse().unwrap());
            return Ok(response);
        }
        _ if head.method != "POST" => errors(405, "unsupported operation"),
        _ if header("x-vault-token") != Some("s.right") || header("x-vault-namespace") != state.namespace => {
            errors(403, "permission denied")
        }
        Mood::Lies(text) => (200, json!({ "data": { "ciphertext": text, "plaintext": text } })),
        _ => match serde_json::from_slice(&body) {
            Ok(body) => state.operate(head.uri.path(), &body),
            Err(_) => errors(400, "error parsing JSON"),
        },
    };
    Ok(response(status, json.to_string()))
}

fn response(status: u16, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

impl State {
    fn operate(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let errors = |status: u16, text: &str| (status, json!({ "errors": [text] }));
        let field = |name: &str| body[name].as_str().unwrap_or_default();
        match path {
            "/v1/transit/encrypt/gigmcp" => {
                let ciphertext = self.encrypt(field("plaintext"));
                // As the engine answers, with what nobody asked for around it.
                let data = json!({ "ciphertext": ciphertext, "key_version": self.latest });
                (200, json!({ "request_id": "1-2-3", "lease_id": "", "renewable": false, "data": data, "auth": null }))
            }
            "/v1/transit/decrypt/gigmcp" | "/v1/transit/rewrap/gigmcp" => {
                let ciphertext = field("ciphertext");
                let version = ciphertext.split(':').nth(1).and_then(|word| word[1..].parse::<u32>().ok());
                if version.is_none_or(|version| version < self.min_decryption_version) {
                    return errors(400, "ciphertext or signature version is disallowed by policy (too old)");
                }
                let Some(plaintext) = self.encrypted.get(ciphertext).cloned() else {
                    return errors(400, "cipher: message authentication failed");
                };
                if path.contains("decrypt") {
                    return (200, json!({ "data": { "plaintext": plaintext } }));
                }
                (200, json!({ "data": { "ciphertext": self.encrypt(&plaintext), "key_version": self.latest } }))
            }
            _ => errors(404, "no handler for route"),
        }
    }

    fn encrypt(&mut self, plaintext: &str) -> String {
        let ciphertext = format!("vault:v{}:{:08}abcdefgh+/==", self.latest, self.encrypted.len());
        self.encrypted.insert(ciphertext.clone(), plaintext.into());
        ciphertext
    }
}
