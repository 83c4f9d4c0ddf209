//! Requests to the provider: one connection each, no redirect, one deadline, a bounded answer.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::config::{Issuer, Reach, ReachBy, is_loopback};

/// Asks the provider.
#[derive(Clone)]
pub(super) struct Http {
    tls: TlsConnector,
    /// What is reached elsewhere than under its name: the scheme and authority of the issuer.
    reached: Option<((String, String), Reach)>,
    deadline: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum HttpError {
    #[error("{url} is not an address that is asked: https, or http on this machine")]
    Address { url: String },
    #[error("connecting to {host}")]
    Connect { host: String, source: io::Error },
    #[error("{host} has no address on this machine or in a private network, and plain http goes nowhere else")]
    Plain { host: String },
    #[error("speaking HTTP with {host}")]
    Http { host: String, source: hyper::Error },
    #[error("{host} did not answer within {after:?}")]
    TimedOut { host: String, after: Duration },
    #[error("the answer of {host} is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong { host: String },
}

/// How a host proves who it is.
enum Proof {
    Certificate(ServerName<'static>),
    Loopback,
    Private,
}

struct Route {
    host: String,
    port: u16,
    proof: Proof,
    /// What the issuer's scheme is, if the connection has another.
    forwarded: Option<&'static str>,
}

impl Http {
    pub(super) fn new(issuer: &Issuer, reach: Option<Reach>, authorities: &[u8]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(certificates(authorities));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has these versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let reached = reach.zip(issuer.as_str().parse().ok().as_ref().and_then(origin));
        Self {
            tls: TlsConnector::from(Arc::new(config)),
            reached: reached.map(|(reach, origin)| (origin, reach)),
            deadline: DEADLINE,
        }
    }

    #[cfg(test)]
    pub(super) fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Whether a provider's address may be asked, or sent to a browser.
    pub(super) fn may_ask(&self, url: &str) -> bool {
        url.parse().is_ok_and(|uri| self.route(&uri).is_some())
    }

    /// The answer to one request, whatever its status: a redirect is an answer as well.
    pub(super) async fn ask(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, HttpError> {
        let address = || HttpError::Address { url: request.uri().to_string() };
        let route = self.route(request.uri()).ok_or_else(address)?;
        let host = route.host.clone();
        let asked = tokio::time::timeout(self.deadline, self.send(route, request)).await;
        asked.map_err(|_| HttpError::TimedOut { host, after: self.deadline })?
    }

    fn route(&self, uri: &Uri) -> Option<Route> {
        let (scheme, authority) = origin(uri)?;
        let authority: http::uri::Authority = authority.parse().ok()?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let named = |host: &str| ServerName::try_from(host.to_owned()).ok().map(Proof::Certificate);
        let proof = match &*scheme {
            "https" => named(&host)?,
            "http" if is_loopback(&host) => Proof::Loopback,
            _ => return None,
        };
        let port = authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        let Some((_, reach)) = self.reached.as_ref().filter(|(at, _)| origin(uri).as_ref() == Some(at)) else {
            return Some(Route { host, port, proof, forwarded: None });
        };
        let (proof, over) = match (reach.by, proof) {
            (ReachBy::ItsName, _) => (named(&reach.host)?, "https"),
            (ReachBy::Plain, _) | (ReachBy::Issuer, Proof::Loopback | Proof::Private) => (Proof::Private, "http"),
            (ReachBy::Issuer, proof @ Proof::Certificate(_)) => (proof, "https"),
        };
        let forwarded = (over != scheme).then_some(if scheme == "https" { "https" } else { "http" });
        Some(Route { host: reach.host.to_string(), port: reach.port, proof, forwarded })
    }

    async fn send(&self, route: Route, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, HttpError> {
        let request = written(&route, request)?;
        let host = route.host;
        let failed = |source| HttpError::Connect { host: host.clone(), source };
        match route.proof {
            Proof::Certificate(name) => {
                let stream = TcpStream::connect((host.as_str(), route.port)).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                exchange(&host, self.tls.connect(name, stream).await.map_err(failed)?, request).await
            }
            proof => {
                let near = |address: IpAddr| match proof {
                    Proof::Loopback => address.is_loopback(),
                    _ => address.is_loopback() || is_private(address),
                };
                let mut addresses = tokio::net::lookup_host((host.as_str(), route.port)).await.map_err(failed)?;
                let address = addresses.find(|address| near(address.ip().to_canonical()));
                let address = address.ok_or_else(|| HttpError::Plain { host: host.clone() })?;
                let stream = TcpStream::connect(address).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                exchange(&host, stream, request).await
            }
        }
    }
}

/// As it is written to the connection: under the host's own name, whatever was dialled.
fn written(route: &Route, request: Request<Vec<u8>>) -> Result<Request<Full<Bytes>>, HttpError> {
    let address = || HttpError::Address { url: request.uri().to_string() };
    let authority = request.uri().authority().ok_or_else(address)?;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| address())?;
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri: Uri = path.parse().map_err(|_| address())?;
    let (mut parts, body) = request.into_parts();
    parts.uri = uri;
    parts.headers.insert(header::HOST, host);
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    parts.headers.insert(header::USER_AGENT, HeaderValue::from_static("gigmcp"));
    if let Some(scheme) = route.forwarded {
        parts.headers.insert("x-forwarded-proto", HeaderValue::from_static(scheme));
    }
    Ok(Request::from_parts(parts, Full::new(body.into())))
}

async fn exchange(
    host: &str,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<Vec<u8>>, HttpError> {
    let failed = |source| HttpError::Http { host: host.to_owned(), source };
    let handshake = http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(failed)?;
    let answered = async {
        let (parts, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(source) => failed(*source),
            Err(error) if error.is::<LengthLimitError>() => HttpError::TooLong { host: host.to_owned() },
            Err(error) => HttpError::Connect { host: host.to_owned(), source: io::Error::other(error) },
        })?;
        Ok(Response::from_parts(parts, body.to_bytes().into()))
    };
    // The connection is worked in this task. When it is done, the answer is all there, or will never be.
    let worked = async {
        drop(connection.await);
        std::future::pending().await
    };
    tokio::select! { answer = answered => answer, never = worked => never }
}

/// Scheme and authority, in lower case.
fn origin(uri: &Uri) -> Option<(String, String)> {
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    Some((uri.scheme_str()?.to_ascii_lowercase(), authority.as_str().to_ascii_lowercase()))
}

/// RFC 1918 and RFC 4193.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private(),
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

/// The certificates of a PEM text.
fn certificates(pem: &[u8]) -> impl Iterator<Item = CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok)
}

/// Whether a PEM text holds a certificate.
pub(crate) fn holds_authorities(pem: &[u8]) -> bool {
    certificates(pem).next().is_some()
}

const DEADLINE: Duration = Duration::from_secs(10);
/// Keys, documents and tokens of providers have a few kilobytes.
const MAX_ANSWER_BYTES: usize = 512 << 10;
const MAX_HEAD_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn route(issuer: &str, reach: Option<&str>, url: &str) -> Option<String> {
        let reach = reach.map(|reach| reach.parse().expect("an address"));
        let http = Http::new(&issuer.parse().expect("an issuer"), reach, b"");
        let route = http.route(&url.parse().expect("a URL"))?;
        let proof = match route.proof {
            Proof::Certificate(name) => name.to_str().into_owned(),
            Proof::Loopback => "loopback".to_owned(),
            Proof::Private => "private".to_owned(),
        };
        Some(format!("{}:{} {proof} {}", route.host, route.port, route.forwarded.unwrap_or("-")))
    }

    #[test]
    fn where_a_request_goes_and_how_that_is_proven() {
        let (public, local) = ("https://id.example/realm", "http://localhost:8080");
        for (issuer, reach, url, expected) in [
            (public, None, "https://id.example/token", Some("id.example:443 id.example -")),
            (public, None, "https://other.example:8443/x", Some("other.example:8443 other.example -")),
            (public, None, "http://127.0.0.1:1/x", Some("127.0.0.1:1 loopback -")),
            (public, None, "http://id.example/token", None),
            (public, None, "ftp://id.example/token", None),
            (public, None, "https://a@id.example/token", None),
            (public, Some("inner:8443"), "https://id.example/token", Some("inner:8443 id.example -")),
            (public, Some("https://inner:8443"), "https://ID.example/token", Some("inner:8443 inner -")),
            (public, Some("http://inner:80"), "https://id.example/token", Some("inner:80 private https")),
            (public, Some("http://inner:80"), "https://other.example/x", Some("other.example:443 other.example -")),
            (public, Some("http://inner:80"), "https://id.example:8443/x", Some("id.example:8443 id.example -")),
            (local, Some("zitadel:8080"), "http://localhost:8080/token", Some("zitadel:8080 private -")),
            (local, Some("https://zitadel:1"), "http://localhost:8080/token", Some("zitadel:1 zitadel http")),
        ] {
            assert_eq!(route(issuer, reach, url).as_deref(), expected, "{issuer} {reach:?} {url}");
        }
    }

    #[tokio::test]
    async fn who_does_not_answer_is_not_waited_for_and_a_redirect_is_an_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let http = Http::new(&url.parse().expect("an issuer"), None, b"");
        let ask = |path: &str| Request::get(format!("{url}{path}")).body(Vec::new()).expect("a request");
        // It takes the connection, and that is all.
        let silent = http.clone().with_deadline(Duration::from_millis(50)).ask(ask("/x")).await;
        assert!(matches!(silent, Err(HttpError::TimedOut { .. })), "{silent:?}");
        let answering = tokio::spawn(async move {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let text = b"HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n";
                // The first went away.
                drop(tokio::io::AsyncWriteExt::write_all(&mut stream, text).await);
            }
        });
        let answer = http.ask(ask("/x")).await.expect("twin");
        assert_eq!(answer.status(), http::StatusCode::FOUND);
        answering.await.expect("asked once, and not where it leads");
    }
}
