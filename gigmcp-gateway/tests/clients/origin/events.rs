//! Server-sent events, of which each waits for the test.

use bytes::Bytes;
use http::{Response, header};
use hyper::body::Frame;
use std::sync::Arc;
use tokio::sync::mpsc;

use super::{Body, Origin, Seen, streamed};

/// As many events as the query says. Before each but the first, the origin waits to be told that the one before was seen.
pub(super) fn answer(origin: &Arc<Origin>, seen: &Seen) -> Response<Body> {
    let count: usize = seen.target.split_once('?').unwrap().1.parse().unwrap();
    let authorization = seen.headers[header::AUTHORIZATION].to_str().unwrap().to_owned();
    let (send, pieces) = mpsc::channel(1);
    let origin = Arc::clone(origin);
    tokio::spawn(async move {
        for number in 0..count {
            if number > 0 {
                origin.hold().await;
            }
            let event = format!("event: said\ndata: event {number} {authorization}\n\n");
            if send.send(Frame::data(Bytes::from(event))).await.is_err() {
                return;
            }
        }
    });
    let mut answer = Response::new(streamed(pieces));
    answer.headers_mut().insert(header::CONTENT_TYPE, "text/event-stream".parse().unwrap());
    answer
}
