//! A connection of a client that costs as little as one can.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::{
    Failure,
    calls::{head_end, is_whole},
};

pub(super) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    /// A connection from this address of the machine.
    pub(super) async fn open(to: SocketAddr, from: Ipv4Addr) -> Result<Self, Failure> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// Sends a request and gives the whole answer.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> Result<&[u8], Failure> {
        self.stream.write_all(request).await?;
        self.read_until(is_whole).await
    }

    /// Sends a request and gives the head of an answer that goes on.
    pub(super) async fn begin(&mut self, request: &[u8]) -> Result<String, Failure> {
        self.stream.write_all(request).await?;
        let read = self.read_until(|read| head_end(read).is_some()).await?;
        Ok(String::from_utf8_lossy(read).into_owned())
    }

    async fn read_until(&mut self, is_there: impl Fn(&[u8]) -> bool) -> Result<&[u8], Failure> {
        self.read.clear();
        while !is_there(&self.read) {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(format!("hung up after {:?}", String::from_utf8_lossy(&self.read)).into());
            }
        }
        Ok(&self.read)
    }

    /// Reads whatever comes, until there is nothing more.
    pub(super) async fn listen(mut self) {
        let mut part = [0; 1024];
        self.read = Vec::new();
        while matches!(self.stream.read(&mut part).await, Ok(1..)) {}
    }
}

/// Whether an answer has a result.
pub(super) fn has_result(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.1 200") && answer.windows(8).any(|window| window == b"\"result\"")
}
