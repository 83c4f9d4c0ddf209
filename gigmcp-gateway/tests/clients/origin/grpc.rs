//! gRPC over HTTP/2: one method that answers once and one that answers several times, each with what it was told.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Response, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use std::sync::Arc;
use tokio::sync::mpsc;

use super::{Body, Origin, Seen, streamed};

/// `Unary` repeats its message and what authorized it; `Stream` sends as many messages as the first byte of its message
/// says, and waits before each but the first until the test has seen the one before.
pub(super) async fn answer(origin: &Arc<Origin>, seen: &Seen, body: Incoming) -> Response<Body> {
    let asked = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let asked = asked.slice(asked.len().min(PREFIX)..);
    let authorization = seen.headers[header::AUTHORIZATION].to_str().unwrap().to_owned();
    let several = seen.target.ends_with("/Stream");
    let count = if several { asked[0] - b'0' } else { 1 };
    let (send, pieces) = mpsc::channel(1);
    let (origin, status) = (Arc::clone(origin), format!("done for {authorization}"));
    tokio::spawn(async move {
        for number in 0..count {
            if number > 0 {
                origin.hold().await;
            }
            // No blank or line end after it: a reader of text would wait for more.
            let said = format!("message {number} {} {authorization}", String::from_utf8_lossy(&asked));
            if send.send(Frame::data(message(said.as_bytes()))).await.is_err() {
                return;
            }
        }
        // A stream ends in an error, because clients show the message of no other status.
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", if several { FAILED_PRECONDITION } else { OK }.into());
        trailers.insert("grpc-message", status.parse().unwrap());
        // A client that went away does not read it.
        drop(send.send(Frame::trailers(trailers)).await);
    });
    let mut answer = Response::new(streamed(pieces));
    answer.headers_mut().insert(header::CONTENT_TYPE, "application/grpc".parse().unwrap());
    answer
}

fn message(payload: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX + payload.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(payload.len()).unwrap());
    framed.put(payload);
    framed.freeze()
}

/// Whether it is compressed, and its length.
const PREFIX: usize = 5;
const OK: u16 = 0;
const FAILED_PRECONDITION: u16 = 9;
