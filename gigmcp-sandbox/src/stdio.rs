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

/// What is written here the server reads from its standard input. Shutting it down, or dropping it, is end of file; what is
/// written after that is [`BrokenPipe`](io::ErrorKind::BrokenPipe).
#[derive(Debug)]
pub struct SandboxStdin(Option<pipe::Sender>);

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
        pipe::Sender::from_owned_fd(end).map(|pipe| Self(Some(pipe)))
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
        match &mut self.0 {
            Some(pipe) => Pin::new(pipe).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Some(pipe) => Pin::new(pipe).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Writes to a pipe are not buffered here, so closing it loses nothing.
        self.0 = None;
        Poll::Ready(Ok(()))
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

    #[tokio::test]
    async fn shutting_down_is_end_of_file() {
        use std::io::Read as _;
        use tokio::io::AsyncWriteExt as _;

        let (mut reader, writer) = io::pipe().expect("descriptors");
        let mut stdin = SandboxStdin::new(writer.into()).expect("a pipe");
        stdin.write_all(b"all").await.expect("room");
        stdin.shutdown().await.expect("it is open");
        let mut all = String::new();
        reader.read_to_string(&mut all).expect("it ends");
        assert_eq!(all, "all");
        assert_eq!(stdin.write_all(b"more").await.expect_err("it is closed").kind(), io::ErrorKind::BrokenPipe);
    }
}
