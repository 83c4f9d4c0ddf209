//! One connection to a gateway elsewhere.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    sync::Mutex,
};
use tokio_rustls::TlsConnector;

use super::{Asked, RemoteError};
use crate::settings::PublicUrl;

/// Where the gateway is, and the connection that is open to it. It is asked for one thing after the other.
pub(super) struct Connection {
    url: PublicUrl,
    /// None only for this machine.
    tls: Option<TlsConnector>,
    open: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Connection {
    pub(super) fn new(url: &PublicUrl, authorities: Option<&Path>) -> Result<Self, RemoteError> {
        // A file that cannot be read is told of also where it is not needed.
        let tls = if url.is_tls() || authorities.is_some() { Some(connector(authorities)?) } else { None };
        let tls = tls.filter(|_| url.is_tls());
        Ok(Self { url: url.clone(), tls, open: Mutex::default() })
    }

    pub(super) fn url(&self) -> &PublicUrl {
        &self.url
    }

    fn authority(&self) -> &str {
        self.url.origin().split_once("://").map_or("", |(_, authority)| authority)
    }

    pub(super) fn host(&self) -> &str {
        self.url.host()
    }

    /// Sends one request. What could not be sent on a connection that was open for a while is sent on a new one.
    pub(super) async fn send(
        &self,
        asked: &Asked<'_>,
        key: Option<&HeaderValue>,
    ) -> Result<Response<Incoming>, RemoteError> {
        let mut open = self.open.lock().await;
        let kept = match open.take() {
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let mut request = Request::builder()
            .method(&asked.method)
            .uri(asked.path.text())
            .header(header::HOST, self.authority())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("gigmcp-gateway/", env!("CARGO_PKG_VERSION")));
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, key);
        }
        if let Some(once) = &asked.once {
            request = request.header("idempotency-key", once);
        }
        if asked.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = Full::new(asked.body.clone().unwrap_or_default());
        let request = request.body(body).expect("its parts are valid");
        let response = sender.send_request(request).await.map_err(RemoteError::Broken)?;
        *open = Some(sender);
        Ok(response)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, RemoteError> {
        let host = self.host().to_owned();
        let dialled = tokio::time::timeout(DIAL_DEADLINE, self.dial()).await;
        let stream = dialled.unwrap_or_else(|_| Err(self.failed(io::ErrorKind::TimedOut.into())))?;
        let Some(tls) = &self.tls else { return shaken(stream).await };
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|error| self.failed(io::Error::other(error)))?;
        let secured = tokio::time::timeout(DIAL_DEADLINE, tls.connect(name, stream)).await;
        // What says nothing speaks no TLS.
        let secured = secured.map_err(|_| self.failed(io::ErrorKind::TimedOut.into()))?;
        shaken(secured.map_err(|source| RemoteError::Tls { host, source })?).await
    }

    async fn dial(&self) -> Result<TcpStream, RemoteError> {
        let host = self.host().to_owned();
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let found = lookup_host((name, self.url.port())).await;
        let found = found.map_err(|source| RemoteError::Name { host: host.clone(), source })?;
        // Whatever `localhost` is said to be: without TLS, a key stays on this machine.
        let addresses: Vec<SocketAddr> =
            found.filter(|address| self.tls.is_some() || address.ip().is_loopback()).collect();
        if addresses.is_empty() {
            return Err(RemoteError::NotHere { host });
        }
        let stream = TcpStream::connect(&*addresses).await.map_err(|source| self.failed(source))?;
        stream.set_nodelay(true).map_err(|source| self.failed(source))?;
        Ok(stream)
    }

    fn failed(&self, source: io::Error) -> RemoteError {
        RemoteError::Connect { authority: self.authority().to_owned(), source }
    }
}

async fn shaken<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, RemoteError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(RemoteError::Broken)?;
    tokio::spawn(connection);
    Ok(sender)
}

/// TLS to whom the authorities of this machine certify, and those in the file.
fn connector(authorities: Option<&Path>) -> Result<TlsConnector, RemoteError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = authorities {
        let unreadable = |source| RemoteError::Unreadable { path: path.to_owned(), source };
        let pem = std::fs::read(path).map_err(unreadable)?;
        let none = || RemoteError::Authorities { path: path.to_owned() };
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.map_err(|_| none())?).map_err(|_| none())?;
        }
        if roots.len() == before {
            return Err(none());
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

const DIAL_DEADLINE: Duration = Duration::from_secs(10);
