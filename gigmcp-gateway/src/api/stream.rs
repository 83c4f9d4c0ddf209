//! Answers that are written while they are read.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::Body;

/// A part of an answer, or what cuts it off.
pub(super) type Chunk = io::Result<Bytes>;

/// An answer that `write` writes, a few parts ahead of whoever reads it. Ends when that does.
pub(super) fn response<W>(media_type: &'static str, write: impl FnOnce(mpsc::Sender<Chunk>) -> W) -> Response<Body>
where
    W: Future<Output = ()> + Send + 'static,
{
    let (chunks, read) = mpsc::channel(AHEAD);
    tokio::spawn(write(chunks));
    let mut response = Response::new(Written(read).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

struct Written(mpsc::Receiver<Chunk>);

impl http_body::Body for Written {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

const AHEAD: usize = 2;
