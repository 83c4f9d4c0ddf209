use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::body::BoxError;
use crate::refusal::{Refusal, RefusedBody};
use crate::request::BodyLength;

/// The way of a request body from its connection, which reads, to the layer, which may send it on from another task.
///
/// It holds one frame at most, and the connection reads only when the layer has asked: that is the back-pressure, and by
/// that the connection knows that the request was let through and the client may be told to continue.
pub(super) fn pipe(length: BodyLength) -> (Feed, RequestBody) {
    let slot = Arc::new(Mutex::new(Slot::default()));
    let left = match length {
        BodyLength::Known(length) => Some(length),
        BodyLength::Chunked => None,
    };
    (Feed(Arc::clone(&slot)), RequestBody { slot, left, over: left == Some(0) })
}

#[derive(Default)]
struct Slot {
    frame: Option<Result<Frame<Bytes>, BoxError>>,
    /// Nothing comes behind the frame.
    last: bool,
    wanted: bool,
    abandoned: bool,
    layer: Option<Waker>,
    connection: Option<Waker>,
}

/// The end of the connection. Dropped before the last frame, it ends the body in an error.
pub(super) struct Feed(Arc<Mutex<Slot>>);

/// What the layer wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Demand {
    /// The next frame.
    Frame,
    /// Nothing more: it dropped the body.
    Nothing,
}

impl Feed {
    /// Waits until the layer asks for a frame, or never will.
    pub(super) fn poll_demand(&self, cx: &mut Context<'_>) -> Poll<Demand> {
        let mut slot = lock(&self.0);
        if slot.abandoned {
            return Poll::Ready(Demand::Nothing);
        }
        if slot.wanted {
            return Poll::Ready(Demand::Frame);
        }
        wait(&mut slot.connection, cx);
        Poll::Pending
    }

    /// Answers a demand.
    pub(super) fn give(&self, frame: Frame<Bytes>) {
        self.put(Some(Ok(frame)), false);
    }

    /// Answers a demand for the last time.
    pub(super) fn finish(self, frame: Option<Frame<Bytes>>) {
        self.put(frame.map(Ok), true);
    }

    /// Ends the body because of what stood in it.
    pub(super) fn refuse(self, refusal: Refusal) {
        self.put(Some(Err(Box::new(RefusedBody(refusal)))), true);
    }

    fn put(&self, frame: Option<Result<Frame<Bytes>, BoxError>>, last: bool) {
        let mut slot = lock(&self.0);
        (slot.frame, slot.last, slot.wanted) = (frame, last, false);
        let layer = slot.layer.take();
        drop(slot);
        if let Some(layer) = layer {
            layer.wake();
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if !lock(&self.0).last {
            self.put(Some(Err(Box::new(Incomplete))), true);
        }
    }
}

/// The end of the layer.
pub(super) struct RequestBody {
    slot: Arc<Mutex<Slot>>,
    left: Option<u64>,
    over: bool,
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        let mut slot = lock(&this.slot);
        if let Some(frame) = slot.frame.take() {
            this.over = slot.last;
            let length = frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
            this.left = this.left.map(|left| left.saturating_sub(length as u64));
            return Poll::Ready(Some(frame));
        }
        if slot.last {
            this.over = true;
            return Poll::Ready(None);
        }
        wait(&mut slot.layer, cx);
        slot.wanted = true;
        let connection = slot.connection.take();
        drop(slot);
        if let Some(connection) = connection {
            connection.wake();
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let mut slot = lock(&self.slot);
        slot.abandoned = true;
        let connection = slot.connection.take();
        drop(slot);
        if let Some(connection) = connection {
            connection.wake();
        }
    }
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn wait(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the connection ended before the request body did")]
struct Incomplete;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn demand(feed: &Feed) -> Demand {
        std::future::poll_fn(|cx| feed.poll_demand(cx)).await
    }

    #[tokio::test]
    async fn frames_go_through_one_by_one_when_asked_for() {
        let (feed, mut body) = pipe(BodyLength::Known(2));
        let reading = tokio::spawn(async move {
            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(http_body::Body::size_hint(&body).exact(), Some(1));
            (first, body.collect().await.unwrap().to_bytes())
        });
        assert_eq!(demand(&feed).await, Demand::Frame);
        feed.give(Frame::data(Bytes::from_static(b"a")));
        assert_eq!(demand(&feed).await, Demand::Frame);
        feed.finish(Some(Frame::data(Bytes::from_static(b"b"))));
        assert_eq!(reading.await.unwrap(), (Bytes::from_static(b"a"), Bytes::from_static(b"b")));
    }

    #[tokio::test]
    async fn either_end_learns_that_the_other_is_gone() {
        let (feed, body) = pipe(BodyLength::Chunked);
        drop(body);
        assert_eq!(demand(&feed).await, Demand::Nothing);
        let (feed, mut body) = pipe(BodyLength::Chunked);
        drop(feed);
        assert!(body.frame().await.unwrap().unwrap_err().is::<Incomplete>());
        assert!(body.frame().await.is_none());
        let (feed, mut body) = pipe(BodyLength::Chunked);
        feed.refuse(Refusal::Framing);
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.downcast_ref::<RefusedBody>().map(|refused| refused.0), Some(Refusal::Framing));
    }
}
