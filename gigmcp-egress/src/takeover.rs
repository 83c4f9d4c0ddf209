use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::grant::BoxFuture;

/// A connection of whatever kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Travels in the extensions of a response that ends HTTP on its connection (`101`, or the `200` to `CONNECT`): what happens
/// on the connection once the head has been sent. Bytes that came early are not lost, the stream gives them first.
#[derive(Clone)]
pub(crate) struct Takeover(Arc<Mutex<Option<Begin>>>);

type Begin = Box<dyn FnOnce(Box<dyn Stream>) -> BoxFuture<'static, ()> + Send>;

impl Takeover {
    pub(crate) fn new(begin: impl FnOnce(Box<dyn Stream>) -> BoxFuture<'static, ()> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(begin)))))
    }

    /// Runs on this stream to its end; a second call does nothing.
    pub(crate) async fn begin(self, stream: Box<dyn Stream>) {
        let begin = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(begin) = begin {
            begin(stream).await;
        }
    }
}

impl fmt::Debug for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Takeover").finish_non_exhaustive()
    }
}
