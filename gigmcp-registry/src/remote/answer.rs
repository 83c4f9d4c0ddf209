//! An answer whose content is still to come.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::url::Url;
use super::{RemoteError, Timeouts};

pub(super) struct Answer {
    pub(super) url: Url,
    pub(super) status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
    _driver: JoinSet<()>,
}

impl Answer {
    pub(super) fn new(url: Url, response: http::Response<Incoming>, driver: JoinSet<()>) -> Self {
        let (head, body) = response.into_parts();
        Self { url, status: head.status, headers: head.headers, body, _driver: driver }
    }

    pub(super) fn host(&self) -> String {
        self.url.host.to_string()
    }

    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn headers(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
    }

    /// What went wrong, if this is not what was asked for.
    pub(super) fn refusal(&self) -> RemoteError {
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RemoteError::Unauthorized { host: self.host() },
            status => RemoteError::Status { host: self.host(), status: status.as_u16() },
        }
    }

    pub(super) fn content(self, timeouts: &Timeouts, bytes: u64) -> Content {
        let end = Instant::now() + timeouts.whole(bytes);
        Content { answer: self, idle: timeouts.idle, end }
    }

    /// The whole content, or nothing if there is more than `limit`.
    pub(super) async fn small(self, timeouts: &Timeouts, limit: u64) -> Result<Option<Vec<u8>>, RemoteError> {
        let mut content = self.content(timeouts, limit);
        let mut whole = Vec::new();
        while let Some(piece) = content.piece().await? {
            if (whole.len() + piece.len()) as u64 > limit {
                return Ok(None);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(Some(whole))
    }
}

/// Content piece by piece, each in time, and all of it in time.
pub(super) struct Content {
    answer: Answer,
    idle: Duration,
    end: Instant,
}

impl Content {
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, RemoteError> {
        let host = self.answer.host();
        loop {
            let until = self.end.min(Instant::now() + self.idle);
            let Ok(frame) = timeout_at(until, self.answer.body.frame()).await else {
                return Err(RemoteError::TimedOut { host, what: "send its content" });
            };
            // A piece that is there does not wait, however late it is.
            if Instant::now() >= self.end {
                return Err(RemoteError::TimedOut { host, what: "send its content" });
            }
            match frame {
                None => return Ok(None),
                Some(Err(source)) => return Err(RemoteError::Http { host, source }),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }
}
