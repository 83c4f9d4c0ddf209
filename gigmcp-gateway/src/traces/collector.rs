//! The way to the collector: one request a batch, by the gateway's own TLS.

use std::{fmt, future::Future, io, path::PathBuf, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Handle,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{CollectorUrl, EXPORT_DEADLINE, TracesError};

/// A collector of spans.
#[derive(Clone)]
pub(super) struct Collector {
    url: CollectorUrl,
    headers: HeaderMap,
    tls: Option<TlsConnector>,
    /// Spans are sent from a thread of their own, which has none.
    runtime: Handle,
}

impl fmt::Debug for Collector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not its headers.
        formatter.debug_struct("Collector").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Collector {
    pub(super) fn new(
        url: CollectorUrl,
        headers: HeaderMap,
        authorities: Option<(PathBuf, Vec<u8>)>,
    ) -> Result<Self, TracesError> {
        let tls = if url.is_tls { Some(connector(authorities)?) } else { None };
        Ok(Self { url, headers, tls, runtime: Handle::current() })
    }

    pub(super) fn url(&self) -> &CollectorUrl {
        &self.url
    }

    async fn send(self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let host = self.url.host.trim_matches(['[', ']']).to_owned();
        let stream = TcpStream::connect((host.as_str(), self.url.port)).await?;
        match &self.tls {
            None => self.ask(stream, request).await,
            Some(tls) => {
                let stream = tls.connect(ServerName::try_from(host)?, stream).await?;
                self.ask(stream, request).await
            }
        }
    }

    async fn ask<S>(&self, stream: S, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let (mut parts, body) = request.into_parts();
        let authority = format!("{}:{}", self.url.host, self.url.port);
        parts.headers.insert(header::HOST, HeaderValue::from_str(&authority)?);
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        for (name, value) in &self.headers {
            parts.headers.append(name, value.clone());
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        parts.uri = path.parse()?;
        let answered = async {
            let (parts, body) = sender.send_request(Request::from_parts(parts, Full::new(body))).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(parts, body))
        };
        // The answer may be whole before the connection is at its end, and the other way round.
        let driven = async {
            connection.await?;
            std::future::pending::<Result<Response<Bytes>, HttpError>>().await
        };
        tokio::select! {
            answered = answered => answered,
            failed = driven => failed,
        }
    }
}

impl HttpClient for Collector {
    fn send_bytes<'client, 'sent>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'sent>>
    where
        'client: 'sent,
        Self: 'sent,
    {
        // A deadline can be set on the runtime only.
        let client = self.clone();
        let sent = self.runtime.spawn(async move { timeout(EXPORT_DEADLINE, client.send(request)).await });
        Box::pin(async move {
            match sent.await {
                Ok(Ok(sent)) => sent,
                Ok(Err(_)) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
                Err(ended) => Err(ended.into()),
            }
        })
    }
}

fn connector(authorities: Option<(PathBuf, Vec<u8>)>) -> Result<TlsConnector, TracesError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some((path, pem)) => {
            let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().unwrap_or_default();
            let (added, _) = roots.add_parsable_certificates(certificates);
            if added == 0 {
                return Err(TracesError::Authorities { path });
            }
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|source| TracesError::Roots { source })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A collector has little to say.
const MAX_ANSWER_BYTES: usize = 64 << 10;
