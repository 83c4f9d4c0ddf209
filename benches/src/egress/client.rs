//! The load generator: written out requests, and just enough reading of answers.

use std::net::{Ipv4Addr, SocketAddr};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Failure;

/// One way to the origin.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) way: Way,
    /// What the client sends as its credential.
    pub(crate) key: String,
    pub(crate) origin_port: u16,
    pub(crate) connector: TlsConnector,
    /// The process at `address`.
    pub(crate) process: u32,
}

/// How a subject is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// By TLS at once.
    Straight,
    /// By `CONNECT`.
    Proxy,
}

impl Subject {
    pub(crate) fn at(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// A new connection with a full handshake.
    pub(crate) async fn connect(&self, host: &str) -> Result<Client, Failure> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let authority = format!("{host}:{}", self.origin_port);
        if self.way == Way::Proxy {
            stream.write_all(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes()).await?;
            let head = tunnel_head(&mut stream).await?;
            if !head.starts_with(b"HTTP/1.1 200") {
                return Err(format!("{}: {}", self.name, String::from_utf8_lossy(&head)).into());
            }
        }
        let stream = self.connector.connect(ServerName::try_from(host.to_owned())?, stream).await?;
        Ok(Client { stream, name: self.name, authority, key: self.key.clone(), read: Vec::with_capacity(64 << 10) })
    }
}

/// Reads no further than the head: what follows is TLS.
async fn tunnel_head(stream: &mut TcpStream) -> Result<Vec<u8>, Failure> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

/// A connection that is kept.
pub(crate) struct Client {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) name: &'static str,
    pub(crate) authority: String,
    pub(crate) key: String,
    /// Of the answer that is being read.
    pub(crate) read: Vec<u8>,
}

impl Client {
    /// Reads a whole answer; gives how long its body was.
    pub(crate) async fn get(&mut self, path: &str) -> Result<usize, Failure> {
        let mut length = 0;
        self.stream_of(path, |piece| {
            length += piece.len();
            Ok(())
        })
        .await?;
        Ok(length)
    }

    /// Gives each piece of the body as it comes.
    pub(crate) async fn stream_of(
        &mut self,
        path: &str,
        mut piece: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Self { authority, key, .. } = self;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {key}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        match self.head().await? {
            Framing::Length(mut left) => {
                while left > 0 {
                    if self.read.is_empty() {
                        self.more().await?;
                    }
                    let take = left.min(self.read.len());
                    piece(&self.read[..take])?;
                    self.read.drain(..take);
                    left -= take;
                }
                Ok(())
            }
            Framing::Chunked => self.chunks(piece).await,
        }
    }

    async fn chunks(&mut self, mut piece: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        loop {
            let end = self.find(b"\r\n").await?;
            let size = usize::from_str_radix(std::str::from_utf8(&self.read[..end])?, 16)?;
            while self.read.len() < end + 2 + size + 2 {
                self.more().await?;
            }
            let chunk = &self.read[end + 2..end + 2 + size];
            piece(chunk)?;
            self.read.drain(..end + 2 + size + 2);
            if size == 0 {
                return Ok(());
            }
        }
    }

    /// Reads the head of an answer that must be a success.
    async fn head(&mut self) -> Result<Framing, Failure> {
        let end = self.find(b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&self.read[..end + 2]).to_ascii_lowercase();
        self.read.drain(..end + 4);
        if !head.starts_with("http/1.1 200") {
            return Err(format!("{} answered {head}", self.name).into());
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        match length {
            Some(length) => Ok(Framing::Length(length.trim().parse()?)),
            None if head.contains("transfer-encoding: chunked") => Ok(Framing::Chunked),
            None => Err(format!("{}: no length in {head}", self.name).into()),
        }
    }

    pub(crate) async fn find(&mut self, needle: &[u8]) -> Result<usize, Failure> {
        loop {
            if let Some(at) = self.read.windows(needle.len()).position(|window| window == needle) {
                return Ok(at);
            }
            self.more().await?;
        }
    }

    pub(crate) async fn more(&mut self) -> Result<(), Failure> {
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(format!("{} closed the connection", self.name).into()),
            _ => Ok(()),
        }
    }
}

enum Framing {
    Length(usize),
    Chunked,
}
