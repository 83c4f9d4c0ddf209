use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// Bytes on their way to a connection. Small ones are gathered, large ones go out from where they are.
#[derive(Debug, Default)]
pub(super) struct Output {
    queue: VecDeque<Bytes>,
    /// Behind the queue.
    tail: BytesMut,
    queued: usize,
    unflushed: bool,
}

impl Output {
    /// Whether more should wait until some of this is gone.
    pub(super) fn is_full(&self) -> bool {
        self.queued + self.tail.len() >= HIGH_WATER
    }

    /// Where small things are written.
    pub(super) fn tail(&mut self) -> &mut BytesMut {
        if self.tail.capacity() == 0 {
            self.tail.reserve(TYPICAL_BYTES);
        }
        &mut self.tail
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= COPIED_BYTES {
            return self.tail().put(bytes);
        }
        if !self.tail.is_empty() {
            self.queued += self.tail.len();
            self.queue.push_back(self.tail.split().freeze());
        }
        self.queued += bytes.len();
        self.queue.push_back(bytes);
    }

    /// Writes until nothing is left, and sees to it that it leaves.
    pub(super) fn poll_drain<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.queued + self.tail.len() > 0 {
            let written = ready!(self.poll_write(io, cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.advance(written);
        }
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Gives the memory back, if nothing is in it.
    pub(super) fn release(&mut self) {
        if self.queued + self.tail.len() == 0 {
            (self.queue, self.tail) = Default::default();
        }
    }

    fn poll_write<T: AsyncWrite + Unpin>(&self, io: &mut T, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let io = Pin::new(io);
        match self.queue.front() {
            None => io.poll_write(cx, &self.tail),
            Some(front) if !io.is_write_vectored() => io.poll_write(cx, front),
            Some(_) => {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let parts = self.queue.iter().map(|bytes| &bytes[..]).chain([&self.tail[..]]);
                let used = slices.iter_mut().zip(parts).map(|(slice, part)| *slice = IoSlice::new(part)).count();
                io.poll_write_vectored(cx, &slices[..used])
            }
        }
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(front) = self.queue.front_mut().filter(|_| written > 0) {
            let length = front.len().min(written);
            front.advance(length);
            (written, self.queued) = (written - length, self.queued - length);
            if front.is_empty() {
                self.queue.pop_front();
            }
        }
        self.tail.advance(written);
    }
}

/// Enough for several full TLS records at once.
const HIGH_WATER: usize = 64 << 10;
/// Below this, copying costs less than another slice.
const COPIED_BYTES: usize = 4 << 10;
const TYPICAL_BYTES: usize = 1 << 10;
const MAX_SLICES: usize = 8;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use tokio::io::{AsyncReadExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn everything_leaves_in_order_through_however_small_a_hole() {
        for hole in [1, 7, 5000, 1 << 20] {
            let (mut near, mut far) = duplex(hole);
            let mut output = Output::default();
            let large = Bytes::from(vec![b'x'; COPIED_BYTES + 1]);
            output.tail().put_slice(b"head");
            output.push(large.clone());
            output.push(Bytes::from_static(b"small"));
            output.push(large.clone());
            output.tail().put_slice(b"end");
            let expected = [b"head".as_slice(), &large, b"small", &large, b"end"].concat();
            let mut seen = vec![0; expected.len()];
            let reading = far.read_exact(&mut seen);
            let (drained, read) = tokio::join!(std::future::poll_fn(|cx| output.poll_drain(&mut near, cx)), reading);
            drained.unwrap();
            read.unwrap();
            assert_eq!(seen, expected, "{hole}");
        }
    }
}
