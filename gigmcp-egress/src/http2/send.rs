use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use http_body::{Body as _, Frame};

use crate::body::{Body, BoxError};
use crate::http2::stall::Clock;
use crate::request::is_hop_by_hop;

/// Why a body was not sent to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendBodyError {
    /// The body itself failed; the stream is still open, and the other side must be told.
    #[error("the body ended early")]
    Body(#[source] BoxError),
    /// The other side does not want it, or the connection is gone.
    #[error("the stream was closed: {0}")]
    Closed(Reason),
    /// The connection is gone.
    #[error("the stream failed")]
    Stream(#[from] h2::Error),
}

/// Sends a body and its trailers, as fast as the other side opens its window. Dropping the future leaves the stream unended.
pub(crate) async fn send_body(
    mut body: Body,
    stream: &mut SendStream<Bytes>,
    clock: &Clock,
) -> Result<(), SendBodyError> {
    while let Some(frame) = next(&mut body, stream).await? {
        match frame.into_data() {
            Ok(chunk) => {
                let last = body.is_end_stream();
                send_chunk(chunk, last, stream, clock).await?;
                if last {
                    return Ok(());
                }
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                return Ok(stream.send_trailers(end_to_end(trailers))?);
            }
        }
    }
    Ok(stream.send_data(Bytes::new(), true)?)
}

/// The next frame of the body, or the news that nobody wants it.
async fn next(body: &mut Body, stream: &mut SendStream<Bytes>) -> Result<Option<Frame<Bytes>>, SendBodyError> {
    poll_fn(|cx| {
        if let Poll::Ready(reason) = stream.poll_reset(cx) {
            return Poll::Ready(Err(SendBodyError::Closed(reason?)));
        }
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        Poll::Ready(frame.transpose().map_err(SendBodyError::Body))
    })
    .await
}

async fn send_chunk(
    mut chunk: Bytes,
    last: bool,
    stream: &mut SendStream<Bytes>,
    clock: &Clock,
) -> Result<(), SendBodyError> {
    if chunk.is_empty() && last {
        return Ok(stream.send_data(chunk, true)?);
    }
    while !chunk.is_empty() {
        stream.reserve_capacity(chunk.len());
        let capacity = poll_fn(|cx| stream.poll_capacity(cx)).await;
        let capacity = capacity.ok_or(SendBodyError::Closed(Reason::CANCEL))??;
        let piece = chunk.split_to(capacity.min(chunk.len()));
        if piece.is_empty() {
            continue;
        }
        clock.touch();
        stream.send_data(piece, last && chunk.is_empty())?;
    }
    Ok(())
}

/// Without headers that mean something to one connection only; the library refuses to send those.
pub(crate) fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<_> = headers.keys().filter(|name| is_hop_by_hop(name.as_str())).cloned().collect();
    for name in named {
        headers.remove(name);
    }
    headers
}
