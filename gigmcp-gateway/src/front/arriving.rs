//! The body of a request on its way in. While it is waited for, its connection knows.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::vitals::Awaited;

/// A body, of which perhaps not all has come.
#[derive(Debug)]
pub(crate) struct Arriving {
    body: Incoming,
    awaited: Awaited,
}

impl Arriving {
    pub(super) fn new(body: Incoming, awaited: Awaited) -> Self {
        Self { body, awaited }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        match &polled {
            Poll::Pending => this.awaited.begin(),
            // Another byte is not the end: whoever sends one now and then is waited for all the same.
            Poll::Ready(Some(Ok(_))) if !this.body.is_end_stream() => {}
            Poll::Ready(_) => this.awaited.end(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
