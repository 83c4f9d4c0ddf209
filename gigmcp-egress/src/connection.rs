use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tower::Service as _;

use crate::allow;
use crate::audit::{AuditKind, Verdict};
use crate::authorize::refuse_as_name;
use crate::body::Body;
use crate::ca::MintError;
use crate::http1::{self, EarlyBytes};
use crate::http2;
use crate::idle::IdleStream;
use crate::intake::{Door, Site};
use crate::limits::Limits;
use crate::name::{Authority, HostName};
use crate::policy::within;
use crate::refusal::Refusal;
use crate::relay;
use crate::request::{Destination, Downstream};
use crate::rule::Scheme;
use crate::tls::{HTTP_2, NoConfig};
use crate::tunnel;

/// Serves one accepted connection to its end.
pub(crate) async fn serve(stream: TcpStream, door: Door, site: Arc<Site>) {
    let local = stream.local_addr().map(|address| address.ip().to_canonical());
    let stream = IdleStream::new(stream, site.limits().idle_deadline);
    match door {
        Door::Proxy => tunnel::serve_proxy(stream, site).await,
        Door::Dns => serve_dns(stream, site).await,
        Door::Port(port) => {
            let name = match local {
                Ok(IpAddr::V4(address)) => site.dns.name(address),
                Ok(IpAddr::V6(_)) | Err(_) => None,
            };
            let Some(host) = name else {
                let shown = local.map(|address| address.to_string()).unwrap_or_default();
                return site.record_connect(&shown, port, Refusal::UnknownAddress).await;
            };
            if port == 80 {
                return serve_http(stream, site, Destination { scheme: Scheme::Http, host, port }).await;
            }
            match relay::scheme_at(&site, &host, port).await {
                Ok(Scheme::Tcp) => relay::serve(stream, site, Destination { scheme: Scheme::Tcp, host, port }).await,
                Ok(scheme) => serve_tls(stream, site, Destination { scheme, host, port }).await,
                Err(refusal) => site.record_connect(host.as_str(), port, refusal).await,
            }
        }
    }
}

/// Ends TLS for a connection to a known place, and serves the requests inside. Anything but TLS for that very name is refused
/// before a certificate is made; nothing is ever passed through unread.
pub(crate) async fn serve_tls<T>(stream: T, site: Arc<Site>, destination: Destination)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    // Each is boxed, so that a connection that rests keeps room for what it speaks only.
    let handshake = Box::pin(handshake(stream, &site, &destination));
    match within(site.limits().handshake_deadline, handshake).await.unwrap_or(Err(Refusal::TlsHandshake)) {
        Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(HTTP_2) => {
            Box::pin(http2::serve(stream, site, destination)).await
        }
        Ok(stream) => Box::pin(serve_http(stream, site, destination)).await,
        Err(refusal) => site.record_connect(destination.host.as_str(), destination.port, refusal).await,
    }
}

async fn handshake<T>(stream: T, site: &Site, destination: &Destination) -> Result<TlsStream<EarlyBytes<T>>, Refusal>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = EarlyBytes::new(Bytes::new(), stream);
    let first = stream.first().await.map_err(|_| Refusal::TlsHandshake)?;
    if first.is_some_and(|byte| byte != TLS_HANDSHAKE) {
        let _ = stream.write_all(CLEARTEXT_ANSWER).await;
        let _ = stream.shutdown().await;
        return Err(Refusal::CleartextInTunnel);
    }
    let mut start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream)
        .await
        .map_err(|_| Refusal::TlsHandshake)?;
    if let Err(refusal) = judge_hello(start.client_hello().server_name(), site, destination).await {
        let _ = start.io.write_all(UNRECOGNIZED_NAME_ALERT).await;
        let _ = start.io.shutdown().await;
        return Err(refusal);
    }
    let config = match site.tls.of(&destination.host).await {
        Ok(config) => config,
        Err(error) => {
            let _ = start.io.write_all(UNRECOGNIZED_NAME_ALERT).await;
            let _ = start.io.shutdown().await;
            return Err(no_config(&error));
        }
    };
    start.into_stream(config).await.map_err(|error| {
        tracing::info!(identity = %site.identity, host = %destination.host, %error, "TLS handshake of the sandbox failed");
        Refusal::TlsHandshake
    })
}

fn no_config(error: &NoConfig) -> Refusal {
    match error {
        // What a sandbox can cause is in the audit; it must not fill the operator's log.
        NoConfig::Rate => Refusal::MintRate,
        NoConfig::Mint(MintError::Scope { .. }) => Refusal::AuthorityScope,
        NoConfig::Mint(MintError::Sign(_) | MintError::Configure(_)) => {
            tracing::error!(error = error as &dyn std::error::Error, "no certificate");
            Refusal::TlsHandshake
        }
    }
}

/// The name in the handshake must be where the connection goes, and allowed now.
async fn judge_hello(sni: Option<&str>, site: &Site, destination: &Destination) -> Result<(), Refusal> {
    let policy = site.shared.policy();
    refuse_as_name(&site.identity, sni.unwrap_or_default(), destination.scheme, &policy.live)?;
    let name: HostName = sni.ok_or(Refusal::SniMissing)?.parse().map_err(|_| Refusal::SniNotCanonical)?;
    if name != destination.host {
        return Err(Refusal::SniMismatch);
    }
    let grant = policy.grant(&site.identity).await?;
    allow::destination(&grant, destination).map(drop)
}

/// Serves the requests of a connection whose destination is known.
pub(crate) async fn serve_http<T>(stream: T, site: Arc<Site>, destination: Destination)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = |request: Result<Request<Body>, Refusal>| {
        let (mut egress, destination) = (site.shared.service.clone(), &destination);
        let (site, downstream) =
            (&site, Downstream { identity: site.identity.clone(), destination: destination.clone() });
        async move {
            match request.and_then(|request| same_place(request, destination)) {
                Ok(mut request) => {
                    request.extensions_mut().insert(downstream);
                    egress.call(request).await.unwrap_or_else(|never| match never {})
                }
                Err(refusal) => site.refuse(destination.host.as_str(), destination.port, refusal).await,
            }
        }
    };
    http1::serve(stream, site.limits(), service).await;
}

/// A whole URL has no business here and is refused with all else that is not canonical; one of another place is told apart.
fn same_place(request: Request<Body>, destination: &Destination) -> Result<Request<Body>, Refusal> {
    let Some(authority) = request.uri().authority().filter(|_| request.uri().scheme().is_some()) else {
        return Ok(request);
    };
    let there = authority.as_str().parse().is_ok_and(|Authority { host, port }| {
        host == destination.host && port.or(destination.scheme.default_port()) == Some(destination.port)
    });
    if there { Ok(request) } else { Err(Refusal::HostMismatch) }
}

/// DNS over TCP: questions with their length before them (RFC 1035, section 4.2.2).
async fn serve_dns<T: AsyncRead + AsyncWrite + Unpin>(mut stream: T, site: Arc<Site>) {
    let mut question = Vec::new();
    loop {
        let read = within(site.limits().head_deadline, async {
            let length = stream.read_u16().await?;
            question.resize(usize::from(length), 0);
            stream.read_exact(&mut question).await
        });
        let Some(Ok(_)) = read.await else { return };
        let Some(reply) = site.dns.reply(site.shared.policy(), &site.identity, &question).await else { return };
        let Ok(length) = u16::try_from(reply.len()) else { return };
        let framed = [&length.to_be_bytes(), reply.as_slice()].concat();
        if stream.write_all(&framed).await.is_err() {
            return;
        }
    }
}

impl Site {
    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.policy().limits
    }

    /// Records and answers what stood where a request should have.
    pub(crate) async fn refuse(&self, host: &str, port: u16, refusal: Refusal) -> Response<Body> {
        let policy = self.shared.policy();
        let entry = policy.entry(AuditKind::Request, &self.identity).host(host, Some(port));
        policy.refuse(entry, refusal).await
    }

    /// Records a connection that carried no request.
    pub(crate) async fn record_connect(&self, host: &str, port: u16, refusal: Refusal) {
        let mut entry = self.shared.policy().entry(AuditKind::Connect, &self.identity).host(host, Some(port));
        entry.set_verdict(Verdict::Refused(refusal));
        let policy = self.shared.policy();
        policy.rates.slow_down(&self.identity, &policy.limits).await;
        entry.record().await;
    }
}

/// The record type every TLS connection begins with.
const TLS_HANDSHAKE: u8 = 22;
/// A fatal alert, 112 (RFC 6066, section 3), before any key: the library cannot be told to send one of our choice.
const UNRECOGNIZED_NAME_ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 112];
const CLEARTEXT_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nx-gigmcp-refusal: cleartext-in-tunnel\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
