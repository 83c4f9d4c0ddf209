//! Answers.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde::Serialize;

use super::Body;

/// An answer: a document, and headers beside it.
pub(crate) struct Reply<T> {
    pub(crate) document: T,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

impl<T> Reply<T> {
    /// A document, with nothing beside it.
    pub(crate) fn of(document: T) -> Self {
        Self { document, headers: Vec::new() }
    }

    /// One more header.
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// A document as a whole response.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_vec(document).expect("documents of the API are JSON");
    let mut response = whole(status, text);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// These bytes as a whole response.
pub(crate) fn whole(status: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
