//! One HTTP/1.1 request on a connection of its own.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::super::KeyWrapError;
use super::InvalidTransit;

/// Where to ask, and how.
pub(super) struct Http {
    host: String,
    port: u16,
    /// As in the address, for the header.
    authority: HeaderValue,
    /// None for plain HTTP to this machine.
    tls: Option<TlsConnector>,
    timeout: Duration,
}

/// What was answered; wiped on drop.
pub(super) type Body = Zeroizing<Vec<u8>>;

impl Http {
    pub(super) fn new(address: &str) -> Result<Self, InvalidTransit> {
        let invalid = || InvalidTransit::Address { address: address.into() };
        let uri: Uri = address.parse().map_err(|_| invalid())?;
        let (scheme, authority) = uri.scheme_str().zip(uri.authority()).ok_or_else(invalid)?;
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none() && !authority.as_str().contains('@');
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if !bare || host.is_empty() {
            return Err(invalid());
        }
        let tls = match scheme {
            "https" => Some(trusting(machine_roots())),
            "http" if is_loopback(host) => None,
            "http" => return Err(InvalidTransit::Plain { address: address.into() }),
            _ => return Err(invalid()),
        };
        let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        let header = HeaderValue::from_str(authority.as_str()).map_err(|_| invalid())?;
        Ok(Self { host: host.into(), port, authority: header, tls, timeout: Duration::from_secs(10) })
    }

    pub(super) fn roots(self, pem: &[u8]) -> Result<Self, InvalidTransit> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| InvalidTransit::Roots)?;
            roots.add(certificate).map_err(|_| InvalidTransit::Roots)?;
        }
        if roots.is_empty() {
            return Err(InvalidTransit::Roots);
        }
        Ok(Self { tls: self.tls.map(|_| trusting(roots)), ..self })
    }

    pub(super) fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The body of an answer with status 200. There is one deadline for all of it, and no redirect is followed.
    pub(super) async fn post(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Body, HttpError> {
        let request = self.request(path, headers, body)?;
        let asked = tokio::time::timeout(self.timeout, self.send(request)).await;
        let (status, body) = asked.map_err(|_| HttpError::TimedOut { after: self.timeout })??;
        match status {
            StatusCode::OK => Ok(body),
            status => Err(HttpError::Status { status: status.as_u16(), said: said(&body) }),
        }
    }

    fn request(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Request<Full<Bytes>>, HttpError> {
        let mut request = Request::post(path)
            .header(HOST, &self.authority)
            .header(CONNECTION, "close")
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(value).map_err(|_| HttpError::Answer)?;
            value.set_sensitive(true);
            request = request.header(*name, value);
        }
        // The body is wiped when the last reference to it goes.
        request.body(Full::new(Bytes::from_owner(body))).map_err(|_| HttpError::Answer)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Body), HttpError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(HttpError::Connect)?;
        stream.set_nodelay(true).map_err(HttpError::Connect)?;
        let Some(tls) = &self.tls else { return exchange(stream, request).await };
        let name =
            ServerName::try_from(self.host.clone()).map_err(|error| HttpError::Connect(io::Error::other(error)))?;
        exchange(tls.connect(name, stream).await.map_err(HttpError::Connect)?, request).await
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Body), HttpError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answered = async { read(sender.send_request(request).await?).await };
    // The connection is worked in this task. When it is done, the answer is all there, or will never be.
    let worked = async {
        drop(connection.await);
        std::future::pending().await
    };
    tokio::select! { answer = answered => answer, never = worked => never }
}

async fn read(response: Response<hyper::body::Incoming>) -> Result<(StatusCode, Body), HttpError> {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    let body = body.map_err(|source| match source.downcast::<hyper::Error>() {
        Ok(source) => HttpError::Http(*source),
        Err(_) => HttpError::Answer, // too long
    })?;
    Ok((status, Zeroizing::new(body.to_bytes().into())))
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority.to_str().unwrap_or_default())
    }
}

/// Why there is no usable answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("connecting to the key service")]
    Connect(#[source] io::Error),
    #[error("speaking HTTP with the key service")]
    Http(#[from] hyper::Error),
    #[error("the key service did not answer within {after:?}")]
    TimedOut { after: Duration },
    /// What it said is its own text, cut to a line.
    #[error("the key service answered {status}: {said}")]
    Status { status: u16, said: String },
    #[error("the answer of the key service is not one of the transit engine")]
    Answer,
}

impl From<HttpError> for KeyWrapError {
    fn from(error: HttpError) -> Self {
        match error {
            // A service that is sealed, standing by, overloaded or restarting.
            HttpError::Status { status: 412 | 429 | 472 | 473 | 500..=599, .. }
            | HttpError::Connect(_)
            | HttpError::Http(_)
            | HttpError::TimedOut { .. } => Self::Unavailable { source: error.into() },
            HttpError::Status { .. } | HttpError::Answer => Self::Denied { source: error.into() },
        }
    }
}

/// `{"errors":["..."]}` as one short line; other answers, such as a proxy's page, say nothing.
fn said(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<String>,
    }
    let errors = serde_json::from_slice(body).map_or_else(|_| Vec::new(), |answer: Errors| answer.errors);
    let line = errors.join("; ").trim().replace(|letter: char| letter.is_control(), " ");
    let line: String = line.chars().take(200).collect();
    if line.is_empty() { "nothing more".into() } else { line }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Those that can be read; with none, every certificate is refused.
fn machine_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn trusting(roots: RootCertStore) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has these versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// A key of 32 bytes is answered in a few hundred.
const MAX_ANSWER_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_keep_the_token_are_taken() {
        for (address, port) in [
            ("https://vault.test", 443),
            ("https://vault.test:8200/", 8200),
            ("https://[2001:db8::1]:8200", 8200),
            ("http://127.0.0.1:8200", 8200),
            ("http://[::1]", 80),
            ("http://localhost:8200", 8200),
        ] {
            assert_eq!(Http::new(address).map(|http| http.port).ok(), Some(port), "{address}");
        }
        for address in ["http://vault.test:8200", "http://10.0.0.1", "http://localhost.evil.test"] {
            assert_eq!(Http::new(address).err(), Some(InvalidTransit::Plain { address: address.into() }));
        }
        for address in [
            "",
            "vault.test",
            "/v1",
            "ftp://vault.test",
            "https://vault.test/v1",
            "https://user@vault.test",
            "https://vault.test?x",
        ] {
            assert_eq!(Http::new(address).err(), Some(InvalidTransit::Address { address: address.into() }));
        }
    }

    #[test]
    fn what_a_service_says_is_one_short_line() {
        for (body, expected) in [
            (&br#"{"errors":["permission denied"]}"#[..], "permission denied"),
            (
                br#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#,
                "1 error occurred:  * permission denied",
            ),
            (br#"{"errors":[]}"#, "nothing more"),
            (b"<html>", "nothing more"),
        ] {
            assert_eq!(said(body), expected);
        }
        let long = format!(r#"{{"errors":["{}"]}}"#, "x".repeat(1000));
        assert_eq!(said(long.as_bytes()).len(), 200);
    }
}
