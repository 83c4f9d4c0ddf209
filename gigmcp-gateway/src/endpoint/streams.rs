//! Answers that go on for long end when the token they were asked for with opens nothing any more.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
};

use bytes::Bytes;
use gigmcp_mcp::ResponseBody;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::watch;

use super::Mount;
use crate::api;

/// What goes on, by what it was asked for with.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<Open>);

/// By mount and hash of the token.
type Open = HashMap<(Mount, String), Weak<watch::Sender<()>>>;

/// A body, and what ends it before its time.
pub(crate) struct Until {
    body: Kind,
    revoked: Option<Revoked>,
}

enum Kind {
    Mcp(ResponseBody),
    Api(api::Body),
}

/// Ready when the last sender is told to end; each stream keeps the sender alive.
struct Revoked {
    told: Pin<Box<dyn Future<Output = ()> + Send>>,
    _kept: Arc<watch::Sender<()>>,
}

impl Until {
    /// One that ends by itself.
    pub(super) fn always(body: ResponseBody) -> Self {
        Self { body: Kind::Mcp(body), revoked: None }
    }

    /// One of the API, which sees to that itself.
    pub(super) fn api(body: api::Body) -> Self {
        Self { body: Kind::Api(body), revoked: None }
    }
}

impl Streams {
    /// Keeps an eye on an answer that goes on for long. What comes whole needs none.
    pub(super) fn watch(&self, answer: Response<ResponseBody>, mount: Mount, hash: String) -> Response<Until> {
        answer.map(|body| match body.size_hint().exact() {
            Some(_) => Until::always(body),
            None => Until { body: Kind::Mcp(body), revoked: Some(self.revoked(mount, hash)) },
        })
    }

    fn revoked(&self, mount: Mount, hash: String) -> Revoked {
        let mut open = self.open();
        let known = open.get(&(mount.clone(), hash.clone())).and_then(Weak::upgrade);
        let kept = known.unwrap_or_else(|| {
            let sender = Arc::new(watch::Sender::new(()));
            open.insert((mount, hash), Arc::downgrade(&sender));
            sender
        });
        let mut told = kept.subscribe();
        let told = Box::pin(async move { drop(told.changed().await) });
        Revoked { told, _kept: kept }
    }

    /// What goes on now.
    pub(super) fn under_way(&self) -> Vec<(Mount, String)> {
        let mut open = self.open();
        open.retain(|_, sender| sender.strong_count() > 0);
        open.keys().cloned().collect()
    }

    /// Ends all that goes on by that token.
    pub(super) fn end(&self, key: &(Mount, String)) {
        if let Some(sender) = self.open().remove(key).and_then(|sender| sender.upgrade()) {
            sender.send_replace(());
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for Until {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if let Some(revoked) = &mut this.revoked
            && revoked.told.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(None);
        }
        match &mut this.body {
            Kind::Mcp(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Kind::Api(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Kind::Mcp(body) => body.is_end_stream(),
            Kind::Api(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Kind::Mcp(body) => body.size_hint(),
            Kind::Api(body) => body.size_hint(),
        }
    }
}
