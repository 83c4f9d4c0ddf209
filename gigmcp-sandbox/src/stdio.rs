//! The host's ends of the server's standard input and output.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[cfg(unix)]
mod pipe {
    pub(super) use tokio::net::unix::pipe::{Receiver, Sender};

    /// An end of a pipe.
    pub(crate) type End = std::os::fd::OwnedFd;
}
/// Where there are no such pipes there are no sandboxes either; these only make the types compile.
#[cfg(not(unix))]
mod pipe {
    pub(super) type Receiver = tokio::io::Empty;
    pub(super) type Sender = tokio::io::Sink;
    pub(crate) type End = std::convert::Infallible;
}

pub(crate) use pipe::End;

/// What is written here the server reads from its standard input. Dropping it is end of file.
#[derive(Debug)]
pub struct SandboxStdin(pipe::Sender);

/// What the server writes to its standard output. End of file comes when no process inside has
/// it open any more.
#[derive(Debug)]
pub struct SandboxStdout(pipe::Receiver);

/// Why there are no standard streams to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StdioError {
    /// They were taken before.
    #[error("the standard streams were taken before")]
    Taken,
    /// They are tokio's, and this is not in a tokio runtime. They can still be taken in one.
    #[error("standard streams need a tokio runtime")]
    NoRuntime,
    /// The runtime cannot wait for them: the host is short of memory, or this user waits for too much.
    #[error("registering the standard streams with the runtime")]
    Register {
        /// The cause.
        source: io::Error,
    },
}

impl SandboxStdin {
    #[cfg(unix)]
    pub(crate) fn new(end: End) -> io::Result<Self> {
        pipe::Sender::from_owned_fd(end).map(Self)
    }

    #[cfg(not(unix))]
    pub(crate) fn new(end: End) -> io::Result<Self> {
        match end {}
    }
}

impl SandboxStdout {
    #[cfg(unix)]
    pub(crate) fn new(end: End) -> io::Result<Self> {
        pipe::Receiver::from_owned_fd(end).map(Self)
    }

    #[cfg(not(unix))]
    pub(crate) fn new(end: End) -> io::Result<Self> {
        match end {}
    }
}

impl AsyncWrite for SandboxStdin {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl AsyncRead for SandboxStdout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_waited_for_is_an_error() {
        let (reader, writer) = io::pipe().expect("descriptors");
        assert!(SandboxStdin::new(reader.into()).is_err(), "not the end that is written to");
        assert!(SandboxStdin::new(writer.into()).is_ok(), "the twin");
    }
}
