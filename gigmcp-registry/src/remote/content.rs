//! What requests carry.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::fs::File;
use tokio::io::{AsyncRead as _, ReadBuf};

pub(super) type Sent = BoxBody<Bytes, io::Error>;

pub(super) fn bytes(content: impl Into<Bytes>) -> Sent {
    Full::new(content.into()).map_err(|never| match never {}).boxed()
}

/// So many bytes of a file, in one request whose head says how many.
pub(super) fn file(file: std::fs::File, bytes: u64) -> Sent {
    Content { file: File::from_std(file), left: bytes, piece: vec![0; PIECE_BYTES] }.boxed()
}

struct Content {
    file: File,
    left: u64,
    piece: Vec<u8>,
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Self { file, left, piece } = &mut *self;
        if *left == 0 {
            return Poll::Ready(None);
        }
        let wanted = piece.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        let mut buffer = ReadBuf::new(&mut piece[..wanted]);
        ready!(Pin::new(file).poll_read(context, &mut buffer))?;
        let read = buffer.filled();
        if read.is_empty() {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        *left -= read.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(read)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

const PIECE_BYTES: usize = 256 << 10;
