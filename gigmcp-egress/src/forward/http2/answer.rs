use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::body::BoxError;
use crate::forward::http2::Lease;
use crate::http2::receive::ReceivedBody;
use crate::http2::stall::Stall;

/// The body of an answer. Fails when nothing has moved for a while in either direction, and gives its place on the
/// connection back when it has ended.
pub(crate) struct StreamedAnswer {
    body: ReceivedBody,
    stall: Stall,
    unsent: Option<Unsent>,
    lease: Option<Lease>,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    Regular,
    Early,
}

impl StreamedAnswer {
    pub(crate) fn new(body: ReceivedBody, stall: Stall, unsent: Option<Unsent>) -> Self {
        Self { body, stall, unsent, lease: None }
    }

    pub(crate) fn holding(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self
    }

    pub(crate) fn end(&mut self, ending: Ending) {
        let sent = self.unsent.take().is_none_or(|unsent| unsent.0.is_finished());
        if let Some(lease) = self.lease.take()
            && !(ending == Ending::Regular && sent)
        {
            // Something was out of order; whatever comes next goes over another connection.
            lease.spoil();
        }
    }
}

impl http_body::Body for StreamedAnswer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if this.body.is_end_stream() {
                    this.end(Ending::Regular);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.end(Ending::Early);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                this.end(Ending::Regular);
                Poll::Ready(None)
            }
            Poll::Pending if this.stall.poll(cx).is_ready() => {
                this.end(Ending::Early);
                Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The rest of a request body, sent while its answer is read. Ends with the answer.
pub(crate) struct Unsent(JoinHandle<()>);

impl Unsent {
    pub(crate) fn new(sending: impl Future<Output = Result<(), BoxError>> + Send + 'static) -> Self {
        Self(tokio::spawn(async move { drop(sending.await) }))
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.0.abort();
    }
}
