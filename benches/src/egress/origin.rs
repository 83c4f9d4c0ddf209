//! The origin: the least that speaks TLS and HTTP/1.1, in a process of its own, so that "direct" is as fast as can be.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::certificates;
use super::websocket::{self, Side};
use super::world::SECRET;
use crate::Failure;
use crate::process::serve_until_orphaned;

pub(crate) async fn serve(directory: &Path) -> Result<(), Failure> {
    let acceptor = certificates::acceptor(directory)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    let pages = Arc::new(Pages::new());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, pages) = (acceptor.clone(), Arc::clone(&pages));
            // A client that goes away ends its task, and that is all.
            tokio::spawn(async move { drop(connection(stream, acceptor, &pages).await) });
        }
    });
    serve_until_orphaned(&port.to_string()).await
}

/// Answers that are made once.
struct Pages {
    small: Vec<u8>,
    line: Vec<u8>,
}

impl Pages {
    fn new() -> Self {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {SMALL_BYTES}\r\n\r\n");
        let line = LINE.iter().copied().cycle().take(WRITE_BYTES).collect();
        Self { small: [head.as_bytes(), &[b'x'; SMALL_BYTES]].concat(), line }
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, pages: &Pages) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    let mut read = Vec::with_capacity(4096);
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let head = std::str::from_utf8(&read[..end])?.to_owned();
        read.drain(..end);
        // What was to be injected must have been.
        let path = if head.contains(SECRET) { head.split(' ').nth(1).unwrap_or_default() } else { "no credential" };
        match path {
            SMALL => stream.write_all(&pages.small).await?,
            LARGE => large(&mut stream, pages).await?,
            EVENTS => events(&mut stream).await?,
            WEBSOCKET => {
                stream.write_all(websocket::accept(&head).as_bytes()).await?;
                stream.flush().await?;
                return websocket::echo(&mut stream, read, Side::Server).await;
            }
            other => {
                let answer = format!("HTTP/1.1 404 {other}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await?;
            }
        }
        stream.flush().await?;
    }
}

async fn large(stream: &mut (impl AsyncWrite + Unpin), pages: &Pages) -> Result<(), Failure> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {LARGE_BYTES}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    for _ in 0..LARGE_BYTES / WRITE_BYTES {
        stream.write_all(&pages.line).await?;
    }
    Ok(())
}

/// Events that tell when they left; all processes here have the same clock.
async fn events(stream: &mut (impl AsyncWrite + Unpin)) -> Result<(), Failure> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let mut ticks = tokio::time::interval(EVENT_INTERVAL);
    for _ in 0..EVENT_COUNT {
        ticks.tick().await;
        let event = format!("data: {}\n\n", now_nanos()?);
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
        stream.flush().await?;
    }
    stream.write_all(b"0\r\n\r\n").await?;
    Ok(())
}

pub(crate) fn now_nanos() -> Result<u64, Failure> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

pub(crate) const SMALL: &str = "/1k";
pub(crate) const LARGE: &str = "/100m";
pub(crate) const EVENTS: &str = "/events";
pub(crate) const WEBSOCKET: &str = "/echo";
pub(crate) const SMALL_BYTES: usize = 1024;
pub(crate) const LARGE_BYTES: usize = 100 << 20;
pub(crate) const EVENT_COUNT: usize = 200;
const EVENT_INTERVAL: Duration = Duration::from_millis(4);
/// What the scrubber has to look at: words of JSON, some of which begin as the credential does.
pub(crate) const LINE: &[u8] =
    br#"{"id":"sk-ordinary","text":"The quick brown fox jumps over the lazy dog. ","n":12345678},
"#;
const WRITE_BYTES: usize = 64 << 10;
