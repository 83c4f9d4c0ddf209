//! HTTP responses.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use crate::message::{RequestId, RpcError, Verdict, write_response};

pub(super) fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// A refusal before there is any JSON-RPC to answer.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    with_body(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

pub(super) fn json(status: StatusCode, text: Vec<u8>) -> Response<Full<Bytes>> {
    with_body(status, "application/json", text.into())
}

pub(super) fn rpc_error(status: StatusCode, id: Option<&RequestId>, error: &RpcError) -> Response<Full<Bytes>> {
    json(status, write_response(id, &Verdict::Error(error.to_raw())))
}

fn with_body(status: StatusCode, media: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let media = HeaderValue::from_static(media);
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response
}
