//! A small client of HTTPS.

mod connect;

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Uri, header::HOST};
use http_body_util::{BodyExt, Full};
use hyper::{Response, body::Incoming, client::conn::http1::SendRequest};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_rustls::TlsConnector;

use super::client::{HttpAnswer, HttpClient, HttpFailure};
use crate::upstream::BoxFuture;
use connect::{Route, connect};

/// Speaks HTTP/1.1 over TLS, verifies every host, keeps a few connections for the next request.
pub struct HttpsClient {
    tls: TlsConnector,
    route: Route,
    timeout: Duration,
    idle: Mutex<HashMap<String, Vec<Sender>>>,
}

type Sender = SendRequest<Full<Bytes>>;

impl HttpsClient {
    /// A client that trusts these roots, in PEM, and no others.
    ///
    /// # Errors
    /// [`InvalidHttpsClient::Roots`] if there is none in it.
    pub fn new(roots: &[u8]) -> Result<Self, InvalidHttpsClient> {
        let mut store = RootCertStore::empty();
        // A bundle may hold a few certificates that rustls does not take; those are not trusted then.
        store.add_parsable_certificates(CertificateDer::pem_slice_iter(roots).filter_map(Result::ok));
        if store.is_empty() {
            return Err(InvalidHttpsClient::Roots);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has these versions")
            .with_root_certificates(store)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (tls, idle) = (TlsConnector::from(Arc::new(config)), Mutex::default());
        Ok(Self { tls, route: Route::Direct, timeout: Duration::from_secs(3600), idle })
    }

    /// A client as the environment says: roots in `SSL_CERT_FILE`, or else in the file that Debian and others keep them in, and
    /// the proxy in `HTTPS_PROXY` if there is one.
    ///
    /// # Errors
    /// If the roots cannot be read, or the proxy is no `http://HOST:PORT`.
    pub fn from_env(environment: impl Fn(&str) -> Option<String>) -> Result<Self, InvalidHttpsClient> {
        let path = environment("SSL_CERT_FILE").map_or_else(|| DEFAULT_ROOTS.into(), PathBuf::from);
        let roots = std::fs::read(&path).map_err(|source| InvalidHttpsClient::Read { path, source })?;
        let client = Self::new(&roots)?;
        match environment("HTTPS_PROXY").filter(|proxy| !proxy.is_empty()) {
            Some(proxy) => client.through(&proxy),
            None => Ok(client),
        }
    }

    /// The same through a proxy that is asked with `CONNECT`, at `http://HOST:PORT`.
    ///
    /// # Errors
    /// [`InvalidHttpsClient::Proxy`] if that is no such address.
    pub fn through(self, proxy: &str) -> Result<Self, InvalidHttpsClient> {
        let invalid = || InvalidHttpsClient::Proxy { proxy: proxy.into() };
        let address: Uri = proxy.parse().map_err(|_| invalid())?;
        let is_plain = address.scheme_str() == Some("http") && address.path() == "/" && !proxy.contains('@');
        let (Some(host), Some(port), true) = (address.host(), address.port_u16(), is_plain) else {
            return Err(invalid());
        };
        Ok(Self { route: Route::Proxy { host: host.into(), port }, ..self })
    }

    /// The same with all connections going to one address, whatever the host. It has to show the certificate of the host.
    #[must_use]
    pub fn to_address(self, address: SocketAddr) -> Self {
        Self { route: Route::Address(address), ..self }
    }

    /// How long one request may take. Default an hour: the engine has a deadline for each call.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    async fn exchange(&self, host: &str, request: Request<Full<Bytes>>, max: usize) -> Result<HttpAnswer, HttpFailure> {
        let broken = || HttpFailure::Broken { host: host.into() };
        let (mut sender, response) = self.started(host, request).await?;
        let (parts, mut body) = response.into_parts();
        let mut read = BytesMut::new();
        let mut is_cut = false;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| broken())?.into_data() else { continue };
            let room = max - read.len();
            read.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                is_cut = true;
                break;
            }
        }
        if !is_cut && sender.ready().await.is_ok() {
            self.keep(host, sender);
        }
        Ok(HttpAnswer { status: parts.status, headers: parts.headers, body: read.freeze(), is_cut })
    }

    /// Sends on a connection that is there, or on a new one. A kept one may have ended meanwhile: as long as it has not taken the
    /// request, another one may.
    async fn started(
        &self,
        host: &str,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Sender, Response<Incoming>), HttpFailure> {
        while let Some(mut sender) = self.kept(host) {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((sender, response)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(HttpFailure::Broken { host: host.into() }),
                },
            }
        }
        let mut sender = connect(&self.tls, &self.route, host).await?;
        let response = sender.send_request(request).await.map_err(|_| HttpFailure::Broken { host: host.into() })?;
        Ok((sender, response))
    }

    fn kept(&self, host: &str) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.get_mut(host)?;
        std::iter::from_fn(|| senders.pop()).find(|sender| !sender.is_closed())
    }

    fn keep(&self, host: &str, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.entry(host.into()).or_default();
        senders.retain(|sender| !sender.is_closed());
        if senders.len() < MAX_IDLE {
            senders.push(sender);
        }
    }
}

impl HttpClient for HttpsClient {
    fn send<'a>(
        &'a self,
        request: Request<Bytes>,
        max_body_bytes: usize,
    ) -> BoxFuture<'a, Result<HttpAnswer, HttpFailure>> {
        Box::pin(async move {
            let host = request.uri().host().unwrap_or_default().to_owned();
            let why =
                || HttpFailure::Unreachable { host: host.clone(), why: "its address is no https:// address".into() };
            if request.uri().scheme_str() != Some("https") || request.uri().port().is_some() {
                return Err(why());
            }
            let (mut parts, body) = request.into_parts();
            parts.headers.insert(HOST, HeaderValue::from_str(&host).map_err(|_| why())?);
            let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
            parts.uri = target.parse().map_err(|_| why())?;
            let request = Request::from_parts(parts, Full::new(body));
            let ended = tokio::time::timeout(self.timeout, self.exchange(&host, request, max_body_bytes)).await;
            ended.unwrap_or_else(|_| Err(HttpFailure::TimedOut { host: host.clone(), after: self.timeout }))
        })
    }
}

impl fmt::Debug for HttpsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpsClient({:?})", self.route)
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHttpsClient {
    /// The file with the roots cannot be read.
    #[error("{} should hold the certificates to trust and cannot be read; name another file in SSL_CERT_FILE", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is no certificate in it.
    #[error("there is no certificate in PEM among the roots, so that no host could be trusted")]
    Roots,
    /// Not the address of a proxy.
    #[error("{proxy:?} is not the address of a proxy, such as http://127.0.0.1:3128")]
    Proxy {
        /// What was said.
        proxy: String,
    },
}

const DEFAULT_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
const MAX_IDLE: usize = 4;
