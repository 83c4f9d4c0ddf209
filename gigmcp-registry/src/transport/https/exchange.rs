//! One GET on a connection of its own.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_RANGE, ETAG, HOST, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE,
    USER_AGENT,
};
use hyper::http::HeaderName;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::{Download, Fetched, TooLong};
use super::MayDial;
use super::url::Url;

/// What a server answered.
pub(super) enum Answer {
    Ended(Fetched),
    Redirect(String),
}

pub(super) async fn get(
    url: &Url,
    tls: &TlsConnector,
    may_dial: Option<&MayDial>,
    stall: Duration,
    download: &mut Download,
) -> Result<Answer, HttpError> {
    let stream = within(stall, connect(url, tls, may_dial)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = request(url, download)?;
    let answered = async {
        let response = within(stall, async { Ok(sender.send_request(request).await?) }).await?;
        read(response, stall, download).await
    };
    // The connection is worked in this task. When it is done, the answer is all there, or will never be.
    let worked = async {
        drop(connection.await);
        std::future::pending().await
    };
    tokio::select! { answer = answered => answer, never = worked => never }
}

async fn connect(url: &Url, tls: &TlsConnector, may_dial: Option<&MayDial>) -> Result<TlsStream<TcpStream>, HttpError> {
    let found = tokio::net::lookup_host((url.host(), url.port())).await.map_err(HttpError::Connect)?;
    let found: Vec<_> = found.collect();
    let denied = |address: &&SocketAddr| may_dial.is_some_and(|may_dial| !may_dial(url.host(), address.ip()));
    if let Some(address) = found.iter().find(denied) {
        return Err(HttpError::Address { host: url.host().into(), address: address.ip() });
    }
    let stream = TcpStream::connect(&*found).await.map_err(HttpError::Connect)?;
    let name = ServerName::try_from(url.host().to_owned());
    let name = name.map_err(|error| HttpError::Connect(io::Error::other(error)))?;
    tls.connect(name, stream).await.map_err(HttpError::Connect)
}

fn request(url: &Url, download: &Download) -> Result<Request<Empty<Bytes>>, HttpError> {
    let mut request = Request::get(url.path())
        .header(HOST, url.authority())
        .header(CONNECTION, "close")
        .header(ACCEPT_ENCODING, "identity")
        .header(USER_AGENT, concat!("gigmcp-registry/", env!("CARGO_PKG_VERSION")));
    if let Some(tag) = download.known_tag() {
        request = request.header(IF_NONE_MATCH, tag);
    }
    if let Some(tag) = resumable(download) {
        request = request.header(RANGE, format!("bytes={}-", download.bytes().len())).header(IF_RANGE, tag);
    }
    request.body(Empty::new()).map_err(|_| HttpError::Answer { why: "the address cannot be asked for" })
}

/// A weak tag (`W/`) may stand for two files, and the end of one would be put to the beginning of the other.
fn resumable(download: &Download) -> Option<&str> {
    download.tag().filter(|tag| tag.starts_with('"') && !download.bytes().is_empty())
}

async fn read(response: Response<Incoming>, stall: Duration, download: &mut Download) -> Result<Answer, HttpError> {
    let header = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
    match response.status() {
        StatusCode::OK if header(CONTENT_ENCODING).is_none_or(|coding| coding == "identity") => {
            download.begin(header(ETAG).map(Into::into));
        }
        StatusCode::OK => return Err(HttpError::Answer { why: "it is coded, which was not asked for" }),
        StatusCode::PARTIAL_CONTENT => {
            let from = format!("bytes {}-", download.bytes().len());
            let goes_on = header(CONTENT_RANGE).is_some_and(|range| range.starts_with(&from));
            if resumable(download).is_none() || header(ETAG) != download.tag() || !goes_on {
                download.begin(None);
                return Err(HttpError::Answer { why: "it is a part that was not asked for" });
            }
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            download.begin(None);
            return Err(HttpError::Answer { why: "the file is shorter than what has arrived of it" });
        }
        StatusCode::NOT_MODIFIED => return Ok(Answer::Ended(Fetched::NotModified)),
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Answer::Ended(Fetched::NotFound)),
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => {
            let location = header(LOCATION).ok_or(HttpError::Answer { why: "it redirects to nowhere" })?;
            return Ok(Answer::Redirect(location.into()));
        }
        status => return Err(HttpError::Status { status: status.as_u16() }),
    }
    let mut body = response.into_body();
    while let Some(frame) = within(stall, async { Ok(body.frame().await.transpose()?) }).await? {
        if let Ok(chunk) = frame.into_data() {
            download.push(&chunk)?;
        }
    }
    Ok(Answer::Ended(Fetched::Complete))
}

async fn within<T>(stall: Duration, step: impl Future<Output = Result<T, HttpError>>) -> Result<T, HttpError> {
    timeout(stall, step).await.unwrap_or(Err(HttpError::Stalled { after: stall }))
}

/// What can go wrong between a server and us.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// No connection, or no TLS on it.
    #[error("connecting to the registry")]
    Connect(#[source] io::Error),
    /// An address that must not be dialled. Nothing was.
    #[error("{host} resolves to {address}, which may not be dialled")]
    Address {
        /// The host.
        host: String,
        /// What it resolved to.
        address: IpAddr,
    },
    /// The connection broke, or what came over it is not HTTP.
    #[error("speaking HTTP with the registry")]
    Http(#[from] hyper::Error),
    /// Nothing arrived.
    #[error("nothing arrived from the registry within {after:?}")]
    Stalled {
        /// How long was waited.
        after: Duration,
    },
    /// A status that is no answer.
    #[error("the registry answered with status {status}")]
    Status {
        /// The status.
        status: u16,
    },
    /// An answer to something else.
    #[error("the registry's answer cannot be used: {why}")]
    Answer {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Longer than it may be.
    #[error(transparent)]
    TooLong(#[from] TooLong),
}

impl HttpError {
    /// Whether another connection may bring the rest.
    pub(super) fn is_break(&self) -> bool {
        matches!(self, Self::Http(_) | Self::Connect(_) | Self::Stalled { .. })
    }
}
