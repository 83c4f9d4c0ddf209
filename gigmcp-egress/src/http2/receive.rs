use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;

use crate::http2::stall::Clock;

/// A body that arrives over HTTP/2. The window opens again as the body is read, so a reader that is slow slows the sender.
pub(crate) struct ReceivedBody {
    stream: RecvStream,
    clock: Clock,
    /// Told when somebody wants the body: then a client that waits for `100 Continue` may send it.
    wanted: Option<oneshot::Sender<()>>,
    left: Left,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Left {
    Data,
    Trailers,
    Nothing,
}

impl ReceivedBody {
    pub(crate) fn new(stream: RecvStream, clock: Clock) -> Self {
        Self { stream, clock, wanted: None, left: Left::Data }
    }

    pub(crate) fn telling(mut self, wanted: oneshot::Sender<()>) -> Self {
        self.wanted = Some(wanted);
        self
    }
}

impl http_body::Body for ReceivedBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = self.get_mut();
        if let Some(wanted) = this.wanted.take() {
            // Nobody listens once the answer has come.
            let _ = wanted.send(());
        }
        while this.left == Left::Data {
            match ready!(this.stream.poll_data(cx)) {
                Some(chunk) => {
                    let chunk = chunk?;
                    this.clock.touch();
                    this.stream.flow_control().release_capacity(chunk.len())?;
                    if !chunk.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(chunk))));
                    }
                }
                None => this.left = Left::Trailers,
            }
        }
        if this.left == Left::Trailers {
            let trailers = ready!(this.stream.poll_trailers(cx))?;
            this.left = Left::Nothing;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.left == Left::Nothing || self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}
