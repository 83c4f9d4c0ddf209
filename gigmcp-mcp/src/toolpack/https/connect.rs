//! Connections: by name, to one address, or through a proxy.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::toolpack::client::HttpFailure;

/// How a host is reached.
#[derive(Clone, Debug)]
pub(super) enum Route {
    Direct,
    Address(SocketAddr),
    Proxy { host: String, port: u16 },
}

/// A verified connection to a host. Its task ends with it.
pub(super) async fn connect(
    tls: &TlsConnector,
    route: &Route,
    host: &str,
) -> Result<SendRequest<Full<Bytes>>, HttpFailure> {
    let unreachable = |why: String| HttpFailure::Unreachable { host: host.into(), why };
    let untrusted = |why: String| HttpFailure::Untrusted { host: host.into(), why };
    let late = || unreachable(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()));
    let name = ServerName::try_from(host.to_owned()).map_err(|_| untrusted("it has no name".into()))?;
    let opened = timeout(CONNECT_TIMEOUT, open(route, host)).await.map_err(|_| late())?;
    let stream = opened.map_err(|error| unreachable(error.to_string()))?;
    let secured = timeout(CONNECT_TIMEOUT, tls.connect(name, stream)).await.map_err(|_| late())?;
    let stream = secured.map_err(|error| untrusted(error.to_string()))?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(error.to_string()))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended");
        }
    });
    Ok(sender)
}

async fn open(route: &Route, host: &str) -> io::Result<TcpStream> {
    let stream = match route {
        Route::Direct => TcpStream::connect((host, HTTPS_PORT)).await?,
        Route::Address(address) => TcpStream::connect(address).await?,
        Route::Proxy { host: proxy, port } => {
            let mut stream = TcpStream::connect((proxy.as_str(), *port)).await?;
            tunnel(&mut stream, host).await?;
            stream
        }
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks a proxy for a tunnel (RFC 9110, section 9.3.6). The answer is read byte by byte: what follows it is TLS.
async fn tunnel(stream: &mut TcpStream, host: &str) -> io::Result<()> {
    let request = format!("CONNECT {host}:{HTTPS_PORT} HTTP/1.1\r\nHost: {host}:{HTTPS_PORT}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD_BYTES {
            return Err(io::Error::other("the proxy's answer is too long"));
        }
        head.push(stream.read_u8().await?);
    }
    let status = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    if status == b"200" {
        return Ok(());
    }
    Err(io::Error::other(format!("the proxy answered {}", String::from_utf8_lossy(&status[..status.len().min(3)]))))
}

const HTTPS_PORT: u16 = 443;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEAD_BYTES: usize = 8 << 10;
