use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::EXPECT;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;

use crate::body::{Body, BoxError, full};
use crate::http2::front::Front;
use crate::http2::head::{self, Unfit};
use crate::http2::receive::ReceivedBody;
use crate::http2::send::{SendBodyError, end_to_end, send_body};
use crate::http2::stall::{Clock, Stall};

/// How a stream ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// By us, with an answer or the lack of one.
    Answered,
    /// By the client, before the answer had ended.
    GivenUp,
}

/// Serves one stream to its end. Dropping the future resets the stream.
pub(crate) async fn serve(front: Arc<Front>, request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Outcome {
    let clock = Clock::start();
    let stall = Stall::new(clock.clone(), front.limits().idle_deadline);
    let mut stream = Stream { front, respond, clock, stall };
    let (parts, body) = request.into_parts();
    let ended = match stream.answer(parts, body).await {
        Ok(answer) => stream.send(answer).await,
        Err(ended) => Err(ended),
    };
    match ended {
        Ok(()) => Outcome::Answered,
        Err(Ended::ByUs(reason)) => {
            stream.respond.send_reset(reason);
            Outcome::Answered
        }
        Err(Ended::ByClient) => Outcome::GivenUp,
    }
}

struct Stream {
    front: Arc<Front>,
    respond: SendResponse<Bytes>,
    clock: Clock,
    stall: Stall,
}

enum Ended {
    ByUs(Reason),
    ByClient,
}

impl Stream {
    /// The answer to the request, unless the client gives up or stalls before there is one.
    async fn answer(&mut self, mut parts: http::request::Parts, body: RecvStream) -> Result<Response<Body>, Ended> {
        if let Err(unfit) = head::check(&mut parts, &self.front.destination, self.front.limits()) {
            let (Unfit::Malformed(refusal) | Unfit::Refused(refusal)) = unfit;
            let answer = self.front.refuse(&parts.method, &parts.uri, refusal).await;
            return match unfit {
                Unfit::Malformed(_) => Err(Ended::ByUs(Reason::PROTOCOL_ERROR)),
                Unfit::Refused(_) => Ok(answer),
            };
        }
        let ((wanted, mut wants_body), mut told) = (oneshot::channel(), false);
        let body = if body.is_end_stream() {
            full(Bytes::new())
        } else {
            let body = ReceivedBody::new(body, self.clock.clone());
            let body = if parts.headers.contains_key(EXPECT) { body.telling(wanted) } else { body };
            body.map_err(BoxError::from).boxed_unsync()
        };
        let front = Arc::clone(&self.front);
        let mut answer = std::pin::pin!(front.call(Request::from_parts(parts, body)));
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return Ok(answer),
                _ = poll_fn(|cx| self.respond.poll_reset(cx)) => return Err(Ended::ByClient),
                () = self.stall.wait() => return Err(Ended::ByUs(Reason::CANCEL)),
                Ok(()) = &mut wants_body, if !told => {
                    told = true;
                    let mut informed = Response::new(());
                    *informed.status_mut() = StatusCode::CONTINUE;
                    // The client may have given up, which the next turn tells.
                    let _ = self.respond.send_informational(informed);
                }
            }
        }
    }

    async fn send(&mut self, answer: Response<Body>) -> Result<(), Ended> {
        let (mut parts, body) = answer.into_parts();
        if parts.status.is_informational() {
            // There is no such thing as a change of protocol on a stream.
            return Err(Ended::ByUs(Reason::INTERNAL_ERROR));
        }
        parts.headers = end_to_end(parts.headers);
        parts.version = http::Version::HTTP_2;
        parts.extensions.clear();
        let ended = body.is_end_stream();
        let stream = self.respond.send_response(Response::from_parts(parts, ()), ended);
        let mut stream = stream.map_err(|_| Ended::ByClient)?;
        if ended {
            return Ok(());
        }
        self.clock.touch();
        tokio::select! {
            sent = send_body(body, &mut stream, &self.clock) => sent.map_err(|error| match error {
                // As over HTTP/1.1, where the connection ends in the middle of the body.
                SendBodyError::Body(_) => Ended::ByUs(Reason::INTERNAL_ERROR),
                SendBodyError::Closed(_) | SendBodyError::Stream(_) => Ended::ByClient,
            }),
            () = self.stall.wait() => Err(Ended::ByUs(Reason::CANCEL)),
        }
    }
}
