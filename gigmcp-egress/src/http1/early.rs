use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// A stream of which some bytes have been read already; it gives them first.
pub(crate) struct EarlyBytes<T> {
    early: Bytes,
    stream: T,
}

impl<T> EarlyBytes<T> {
    pub(crate) fn new(early: Bytes, stream: T) -> Self {
        Self { early, stream }
    }
}

impl<T: AsyncRead + Unpin> EarlyBytes<T> {
    /// Waits for a byte and looks at it; `None` at the end of the stream. Cancel safe: nothing is lost.
    pub(crate) async fn first(&mut self) -> io::Result<Option<u8>> {
        if self.early.is_empty() {
            let mut first = [0];
            let length = self.stream.read(&mut first).await?;
            self.early = Bytes::copy_from_slice(&first[..length]);
        }
        Ok(self.early.first().copied())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for EarlyBytes<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.early.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let length = this.early.len().min(buf.remaining());
        buf.put_slice(&this.early[..length]);
        this.early.advance(length);
        if this.early.is_empty() {
            this.early = Bytes::new(); // gives the memory back
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for EarlyBytes<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn early_bytes_come_first_and_a_look_takes_none() {
        let (near, mut far) = duplex(16);
        far.write_all(b"def").await.unwrap();
        drop(far);
        let mut stream = EarlyBytes::new(Bytes::from_static(b"abc"), near);
        assert_eq!(stream.first().await.unwrap(), Some(b'a'));
        let mut three = [0; 3];
        stream.read_exact(&mut three).await.unwrap();
        assert_eq!(&three, b"abc");
        assert_eq!(stream.first().await.unwrap(), Some(b'd'));
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"def");
        assert_eq!(stream.first().await.unwrap(), None);
    }
}
