//! One request on one connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::answer::Answer;
use super::content::{self, Sent};
use super::url::{Scheme, Url};
use super::{Remote, RemoteError};

impl Remote {
    pub(super) async fn request(&self, url: &Url, headers: HeaderMap) -> Result<Answer, RemoteError> {
        let request = Outgoing { method: Method::GET, headers, content: content::bytes("") };
        self.exchange(url, request, self.0.timeouts.answer).await
    }

    /// Any request. `until` is how long it may take to send it and to get the head of the answer.
    pub(super) async fn exchange(&self, url: &Url, request: Outgoing, until: Duration) -> Result<Answer, RemoteError> {
        let host = || url.host.to_string();
        let timed_out = |what| move |_| RemoteError::TimedOut { host: host(), what };
        let connected = timeout(self.0.timeouts.connect, self.connect(url)).await.map_err(timed_out("connect"))??;
        timeout(until, send(url, connected, request)).await.map_err(timed_out("answer"))?
    }

    async fn connect(&self, url: &Url) -> Result<Box<dyn Stream>, RemoteError> {
        let host = || url.host.to_string();
        let failed = |source| RemoteError::Connect { host: host(), source };
        let addresses = self.addresses(url).await?;
        let stream = TcpStream::connect(&*addresses).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        if url.scheme == Scheme::Http {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(url.host.host().to_owned());
        let name = name.map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let connector = TlsConnector::from(Arc::clone(&self.0.tls));
        Ok(Box::new(connector.connect(name, stream).await.map_err(failed)?))
    }

    /// All of a host's addresses: one that must not be dialled spoils the answer.
    async fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, RemoteError> {
        let host = || url.host.to_string();
        let port = url.host.port();
        let found: Vec<SocketAddr> = match url.host.host().parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => tokio::net::lookup_host((url.host.host(), port))
                .await
                .map_err(|source| RemoteError::Connect { host: host(), source })?
                .collect(),
        };
        match found.iter().find(|address| !self.0.addresses.allows(url.host.host(), address.ip())) {
            Some(denied) => Err(RemoteError::Address { host: host(), address: denied.ip() }),
            None => Ok(found),
        }
    }
}

/// What is asked, beside where.
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) content: Sent,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn send(url: &Url, stream: Box<dyn Stream>, outgoing: Outgoing) -> Result<Answer, RemoteError> {
    let failed = |source| RemoteError::Http { host: url.host.to_string(), source };
    let mut http = http1::Builder::new();
    let (mut sender, connection) =
        http.max_buf_size(HEAD_BYTES).handshake::<_, Sent>(TokioIo::new(stream)).await.map_err(failed)?;
    // Ends with the answer that it is kept in.
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(connection.await) });
    let Outgoing { method, headers, content } = outgoing;
    let mut request = Request::new(content);
    *request.method_mut() = method;
    *request.uri_mut() = url.path.parse().map_err(|_| RemoteError::Challenge { host: url.host.to_string() })?;
    *request.headers_mut() = headers;
    if let Ok(host) = HeaderValue::from_str(&url.authority()) {
        request.headers_mut().insert(header::HOST, host);
    }
    request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    let response = sender.send_request(request).await.map_err(failed)?;
    Ok(Answer::new(url.clone(), response, driver))
}

const HEAD_BYTES: usize = 64 << 10;
const USER_AGENT: &str = concat!("gigmcp-registry/", env!("CARGO_PKG_VERSION"));
