//! What the engine asks of a client of HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};

use crate::upstream::BoxFuture;

/// Sends one request over HTTPS. [`HttpsClient`](super::HttpsClient) is one; a program that embeds the engine may have its own.
pub trait HttpClient: Send + Sync {
    /// Sends a request, whose address is whole and begins with `https://`, and reads the answer up to `max_body_bytes`.
    ///
    /// Redirects are not followed, and nothing that may have had an effect is sent twice. Dropping the future gives the request up.
    fn send<'a>(
        &'a self,
        request: Request<Bytes>,
        max_body_bytes: usize,
    ) -> BoxFuture<'a, Result<HttpAnswer, HttpFailure>>;
}

/// What came back.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or its beginning.
    pub body: Bytes,
    /// Whether there is more of the body than was read.
    pub is_cut: bool,
}

/// Why there is no answer. The text is for models and names no more than the host.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpFailure {
    /// Nothing was sent: the name has no address, or nothing answers there.
    #[error("{host} cannot be reached: {why}; nothing was sent")]
    Unreachable {
        /// The host.
        host: String,
        /// Why, in words.
        why: String,
    },
    /// Nothing was sent: the host did not show that it is the one.
    #[error("{host} cannot be trusted: {why}; nothing was sent")]
    Untrusted {
        /// The host.
        host: String,
        /// Why, in words.
        why: String,
    },
    /// The connection broke; whether the request had an effect is unknown.
    #[error(
        "the connection to {host} broke before its answer was complete; whether the request had an effect is unknown"
    )]
    Broken {
        /// The host.
        host: String,
    },
    /// It took too long; whether the request had an effect is unknown.
    #[error("{host} did not answer within {} s; whether the request had an effect is unknown", after.as_secs_f32())]
    TimedOut {
        /// The host.
        host: String,
        /// How long was waited.
        after: Duration,
    },
}
