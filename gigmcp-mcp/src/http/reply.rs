//! HTTP responses.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::body::{Answer, ResponseBody};
use crate::message::{RequestId, RpcError, Verdict, write_response};

pub(super) fn empty(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// A refusal before there is any JSON-RPC to answer.
pub(super) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<ResponseBody> {
    with_body(status, "text/plain; charset=utf-8", text.into())
}

pub(super) fn json(status: StatusCode, text: Vec<u8>) -> Response<ResponseBody> {
    with_body(status, "application/json", text.into())
}

pub(super) fn answer(answer: Answer) -> Response<ResponseBody> {
    json(answer.status, answer.text)
}

pub(super) fn not_allowed(allowed: &'static str) -> Response<ResponseBody> {
    let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

pub(super) fn rpc_error(status: StatusCode, id: Option<&RequestId>, error: &RpcError) -> Response<ResponseBody> {
    json(status, write_response(id, &Verdict::Error(error.to_raw())))
}

fn with_body(status: StatusCode, media: &'static str, body: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(body));
    *response.status_mut() = status;
    let media = HeaderValue::from_static(media);
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response
}
