//! The body of a response: whole, or a stream of events.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep},
};

use super::{
    polling::{Line, Reader, Told},
    shares::{Taken, Unread},
};
use crate::message::{RequestId, RpcError, Verdict, write_response};

/// The body of an answer of [`StreamableHttp`](crate::StreamableHttp): one text, or events as they happen.
#[derive(Debug)]
pub struct ResponseBody(Inner);

#[derive(Debug)]
enum Inner {
    Whole(Bytes),
    Events(Box<Events>),
}

impl ResponseBody {
    /// A body of these bytes.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Inner::Whole(bytes.into()))
    }

    /// How long it is, if it is one text.
    pub(super) fn whole_bytes(&self) -> Option<usize> {
        match &self.0 {
            Inner::Whole(bytes) => Some(bytes.len()),
            Inner::Events(_) => None,
        }
    }

    /// The same, which takes this for as long as anybody has its bytes: whoever writes them to a connection keeps them until they
    /// are read.
    pub(super) fn taking(self, room: Taken) -> Self {
        match self.0 {
            Inner::Whole(bytes) => Self(Inner::Whole(counted(bytes, Some(room)))),
            events @ Inner::Events(_) => Self(events),
        }
    }
}

struct Counted {
    bytes: Bytes,
    _room: Taken,
}

/// Bytes that take this for as long as anybody has them.
fn counted(bytes: Bytes, room: Option<Taken>) -> Bytes {
    match room {
        Some(room) => Bytes::from_owner(Counted { bytes, _room: room }),
        None => bytes,
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match &mut self.get_mut().0 {
            Inner::Whole(bytes) if bytes.is_empty() => None,
            Inner::Whole(bytes) => Some(std::mem::take(bytes)),
            Inner::Events(events) => std::task::ready!(events.poll(context)),
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Inner::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Events(_) => SizeHint::default(),
        }
    }
}

/// One thing on its way to a client.
#[derive(Debug)]
pub(super) enum Part {
    /// A message before the last.
    Event(Vec<u8>),
    /// The last: the answer.
    Last(Answer),
}

/// The answer to a request. It comes whole, with its status, if nothing came before it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) text: Vec<u8>,
}

/// One thing on its way, with the room that it takes until it is read.
pub(super) type Sent = (Part, Option<Taken>);

/// The way to one client's stream. Bounded in messages and bytes, of a call also by what its principal has not read elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    sender: mpsc::Sender<Sent>,
    queued: Arc<AtomicUsize>,
    max_bytes: usize,
    unread: Option<Unread>,
    presence: Arc<Presence>,
}

/// The other end.
#[derive(Debug)]
pub(super) struct Received {
    receiver: mpsc::Receiver<Sent>,
    queued: Arc<AtomicUsize>,
    presence: Arc<Presence>,
}

/// Whether the client is there, and what hears for it while it is not.
#[derive(Debug, Default)]
struct Presence {
    away: AtomicBool,
    line: OnceLock<Weak<Line>>,
}

/// A new stream, of a call of whom this is unread.
pub(super) fn stream_of_call(unread: Unread) -> (Parts, Received) {
    stream_of(MAX_QUEUED_BYTES, Some(unread))
}

/// A new stream of what belongs to no call. A client may have hundreds of them.
pub(super) fn stream_of_events() -> (Parts, Received) {
    stream_of(MAX_QUEUED_EVENT_BYTES, None)
}

/// One that takes nothing of anybody's share.
#[cfg(any(fuzzing, test))]
pub(super) fn stream() -> (Parts, Received) {
    stream_of(MAX_QUEUED_BYTES, None)
}

/// The way to nobody.
pub(super) fn no_stream() -> Parts {
    stream_of(0, None).0
}

fn stream_of(max_bytes: usize, unread: Option<Unread>) -> (Parts, Received) {
    let (sender, receiver) = mpsc::channel(MAX_QUEUED);
    let queued = Arc::new(AtomicUsize::new(0));
    let presence = Arc::<Presence>::default();
    let received = Received { receiver, queued: Arc::clone(&queued), presence: Arc::clone(&presence) };
    (Parts { sender, queued, max_bytes, unread, presence }, received)
}

impl Parts {
    /// Sends a message if there is room; whether there was. A client that does not read loses it.
    pub(super) fn offer(&self, message: Vec<u8>) -> bool {
        let bytes = message.len();
        let Ok(room) = self.room(|unread| unread.told(bytes)) else { return false };
        if self.queued.fetch_add(bytes, Ordering::AcqRel) > self.max_bytes {
            self.queued.fetch_sub(bytes, Ordering::AcqRel);
            return false;
        }
        let sent = self.sender.try_send((Part::Event(message), room)).is_ok();
        if !sent {
            self.queued.fetch_sub(bytes, Ordering::AcqRel);
        }
        self.hear();
        sent
    }

    /// Sends what must not be lost, waiting until there are not too many messages; whether the client listens and has not left too
    /// much unread.
    pub(super) async fn ask(&self, message: Vec<u8>) -> bool {
        match self.room(|unread| unread.told(message.len())) {
            Ok(room) => self.send((Part::Event(message), room)).await,
            Err(NoRoom) => false,
        }
    }

    /// Sends the answer to this request, or that there is no room for it beside others.
    pub(super) async fn answer(&self, id: &RequestId, status: StatusCode, verdict: &Verdict) {
        let text = write_response(Some(id), verdict);
        let (answer, room) = match self.room(|unread| unread.answer(text.len())) {
            Ok(room) => (Answer { status, text }, room),
            Err(NoRoom) => {
                let text = write_response(Some(id), &Verdict::refused(&answers_unread()));
                (Answer { status: StatusCode::TOO_MANY_REQUESTS, text }, None)
            }
        };
        self.send((Part::Last(answer), room)).await;
    }

    pub(super) async fn send(&self, sent: Sent) -> bool {
        self.queued.fetch_add(sent.0.bytes(), Ordering::AcqRel);
        let sent = self.sender.send(sent).await.is_ok();
        self.hear();
        sent
    }

    fn room(&self, take: impl FnOnce(&Unread) -> Option<Taken>) -> Result<Option<Taken>, NoRoom> {
        self.unread.as_ref().map(|unread| take(unread).ok_or(NoRoom)).transpose()
    }

    /// What was sent while the client is away does not wait for it in the queue.
    fn hear(&self) {
        // Either this sees that the client has gone, or whoever says so sees what was sent.
        fence(Ordering::SeqCst);
        if self.presence.away.load(Ordering::Acquire)
            && let Some(line) = self.presence.line.get().and_then(Weak::upgrade)
        {
            line.hear();
        }
    }

    /// Whether both lead to the same client's stream.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.sender.same_channel(&other.sender)
    }

    /// Whether nobody listens any more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether nobody listens now, although somebody may come back.
    pub(super) fn is_unheard(&self) -> bool {
        self.is_closed() || self.presence.away.load(Ordering::Acquire)
    }

    /// Waits until nobody listens any more.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }
}

/// The client has not read so much that there is no room for more.
struct NoRoom;

/// What becomes of an answer then.
pub(super) fn answers_unread() -> RpcError {
    let text = "there is no room for the answer beside others that this client has not read yet; read them first";
    RpcError::new(RpcError::INTERNAL_ERROR, text).with_data(&serde_json::json!({ "code": "answers-unread" }))
}

impl Part {
    fn bytes(&self) -> usize {
        match self {
            Self::Event(text) | Self::Last(Answer { text, .. }) => text.len(),
        }
    }
}

impl Received {
    pub(super) async fn next(&mut self) -> Option<Part> {
        let (part, _) = self.receiver.recv().await?;
        self.queued.fetch_sub(part.bytes(), Ordering::AcqRel);
        Some(part)
    }

    /// Names what hears for the client while it is away.
    pub(super) fn belongs_to(&self, line: Weak<Line>) {
        // There is one at most.
        let _ = self.presence.line.set(line);
    }

    /// Says that the client has gone, or is there again.
    pub(super) fn set_away(&self, away: bool) {
        self.presence.away.store(away, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    pub(super) fn is_away(&self) -> bool {
        self.presence.away.load(Ordering::Acquire)
    }

    /// What waits already; nothing also at the end.
    pub(super) fn waiting(&mut self) -> Option<Part> {
        let (part, _) = self.receiver.try_recv().ok()?;
        self.queued.fetch_sub(part.bytes(), Ordering::AcqRel);
        Some(part)
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Sent>> {
        let sent = std::task::ready!(self.receiver.poll_recv(context));
        if let Some((part, _)) = &sent {
            self.queued.fetch_sub(part.bytes(), Ordering::AcqRel);
        }
        Poll::Ready(sent)
    }

    /// The rest of the stream as the body of a response, after what was taken from it already.
    pub(super) fn into_response(self, first: Vec<u8>, keep_alive: Duration) -> Response<ResponseBody> {
        let first = Some(first).filter(|first| !first.is_empty()).map(|first| event(&first));
        Source::Once(self).into_response(first.into_iter().collect(), keep_alive)
    }
}

/// The rest of a stream that a client can come back to, as the body of a response; it begins with the id to come back with.
pub(super) fn resumable(mut reader: Reader, first: Option<Vec<u8>>, keep_alive: Duration) -> Response<ResponseBody> {
    let primer = Bytes::from(format!("id: {}\nretry: {}\ndata: \n\n", reader.primer(), RETRY.as_millis()));
    let first = first.map(|first| numbered(&reader.first(first)));
    Source::Kept(reader).into_response(std::iter::once(primer).chain(first).collect(), keep_alive)
}

/// Where messages come from.
#[derive(Debug)]
enum Source {
    Once(Received),
    Kept(Reader),
}

impl Source {
    /// The next event, and whether it is the last.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<(Bytes, bool)>> {
        Poll::Ready(match self {
            Self::Once(received) => std::task::ready!(received.poll(context)).map(|(part, room)| match part {
                Part::Event(text) => (counted(event(&text), room), false),
                Part::Last(Answer { text, .. }) => (counted(event(&text), room), true),
            }),
            Self::Kept(reader) => std::task::ready!(reader.poll(context)).map(|mut told| {
                let room = told.room.take();
                (counted(numbered(&told), room), false)
            }),
        })
    }

    fn into_response(self, first: VecDeque<Bytes>, keep_alive: Duration) -> Response<ResponseBody> {
        let events = Events { first, source: Some(self), keep_alive, quiet: Box::pin(sleep(keep_alive)) };
        head_of_stream().map(|_| ResponseBody(Inner::Events(Box::new(events))))
    }
}

/// A response that is a stream, without one.
pub(super) fn head_of_stream() -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(Bytes::new()));
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[derive(Debug)]
struct Events {
    first: VecDeque<Bytes>,
    source: Option<Source>,
    keep_alive: Duration,
    quiet: Pin<Box<Sleep>>,
}

impl Events {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.pop_front() {
            return Poll::Ready(Some(first));
        }
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        if let Poll::Ready(part) = source.poll(context) {
            self.quiet.as_mut().reset(Instant::now() + self.keep_alive);
            if part.as_ref().is_none_or(|(_, last)| *last) {
                self.source = None;
            }
            return Poll::Ready(part.map(|(event, _)| event));
        }
        std::task::ready!(self.quiet.as_mut().poll(context));
        self.quiet.as_mut().reset(Instant::now() + self.keep_alive);
        // Registers for the next one.
        let _ = self.quiet.as_mut().poll(context);
        Poll::Ready(Some(Bytes::from_static(b": still here\n\n")))
    }
}

/// One message as a server-sent event. Line ends between its tokens would end the event; inside strings JSON has none.
fn event(json: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(json.len() + 24);
    text.extend_from_slice(b"event: message\ndata: ");
    text.extend(json.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    text.extend_from_slice(b"\n\n");
    text.into()
}

fn numbered(told: &Told) -> Bytes {
    [format!("id: {}\n", told.id).as_bytes(), &event(&told.text)].concat().into()
}

/// How long a client is to wait before it comes back.
const RETRY: Duration = Duration::from_secs(1);
/// Messages that wait for a client to read them.
const MAX_QUEUED: usize = 64;
/// Bytes of them. One message may go beyond it.
const MAX_QUEUED_BYTES: usize = 4 << 20;
/// The same of what belongs to no call.
const MAX_QUEUED_EVENT_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use http_body_util::BodyExt;

    use super::*;
    use crate::http::{Principal, StreamableHttpLimits, shares::Shares};

    async fn next(response: &mut Response<ResponseBody>) -> Option<String> {
        let frame = response.body_mut().frame().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_has_its_events_in_order_and_signs_of_life_between_them() {
        let (parts, received) = stream();
        let mut response = received.into_response(b"{}".to_vec(), Duration::from_secs(15));
        assert_eq!(next(&mut response).await.unwrap(), "event: message\ndata: {}\n\n");
        for _ in 0..3 {
            let began = Instant::now();
            assert_eq!(next(&mut response).await.unwrap(), ": still here\n\n");
            assert_eq!(began.elapsed(), Duration::from_secs(15));
        }
        assert!(parts.offer(b"{\"a\":\n1,\r\n\"b\":2}".to_vec()));
        assert_eq!(next(&mut response).await.unwrap(), "event: message\ndata: {\"a\": 1,  \"b\":2}\n\n");
        let answer = Answer { status: StatusCode::OK, text: b"1".to_vec() };
        assert!(parts.send((Part::Last(answer), None)).await);
        assert_eq!(next(&mut response).await.unwrap(), "event: message\ndata: 1\n\n");
        assert_eq!(next(&mut response).await, None, "although the other end is still there");
        assert!(parts.is_closed());
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_loses_what_is_too_much() {
        let (parts, mut received) = stream();
        assert!((0..MAX_QUEUED).all(|_| parts.offer(vec![b'1'])));
        assert!(!parts.offer(vec![b'1']), "too many");
        received.next().await.unwrap();
        assert!(parts.offer(vec![b'1'; MAX_QUEUED_BYTES + 1]));
        received.next().await.unwrap();
        assert!(!parts.offer(vec![b'1']), "too much");
        while received.queued.load(Ordering::SeqCst) > 0 {
            received.next().await.unwrap();
        }
        assert!(parts.offer(vec![b'1']), "twin");
    }

    #[tokio::test]
    async fn a_stream_of_what_belongs_to_no_call_keeps_less() {
        let kept = |(parts, _received): &(Parts, Received)| {
            (0..MAX_QUEUED).filter(|_| parts.offer(vec![b'1'; 60 << 10])).count()
        };
        assert_eq!((kept(&stream_of_events()), kept(&stream())), (5, MAX_QUEUED), "twin: a call's");
    }

    #[tokio::test]
    async fn what_calls_of_one_principal_are_told_and_what_is_answered_is_bounded_until_it_is_read() {
        let limits = StreamableHttpLimits {
            max_waiting_answer_bytes_per_principal: 100_000,
            max_unread_answer_bytes_per_principal: 200_000,
            ..StreamableHttpLimits::default()
        };
        let shares = Shares::new(limits);
        let of_call = |principal: &str| stream_of_call(Unread::new(&shares, &Principal::new(principal)));
        let (one, mut two, other) = (of_call("one"), of_call("one"), of_call("other"));
        assert!(one.0.offer(vec![b'1'; 60_000]));
        assert!(!two.0.offer(vec![b'1'; 60_000]) && !two.0.ask(vec![b'1'; 60_000]).await, "in two streams");
        assert!(other.0.offer(vec![b'1'; 60_000]), "twin: another's");
        let mut response = one.1.into_response(Vec::new(), Duration::from_secs(15));
        let frame = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(!two.0.offer(vec![b'1'; 60_000]), "what a connection has taken and not written yet is not read");
        drop(frame);
        assert!(two.0.offer(vec![b'1'; 60_000]), "twin: now it is");
        two.1.next().await.unwrap();

        let verdict = |bytes| Verdict::Result(serde_json::value::to_raw_value(&"1".repeat(bytes)).unwrap());
        one.0.answer(&0.into(), StatusCode::OK, &verdict(150_000)).await;
        two.0.answer(&0.into(), StatusCode::OK, &verdict(150_000)).await;
        let Some(Part::Last(refused)) = two.1.next().await else { panic!() };
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(String::from_utf8(refused.text).unwrap().contains("answers-unread"));
        assert!(next(&mut response).await.unwrap().len() > 150_000);
        two.0.answer(&0.into(), StatusCode::OK, &verdict(150_000)).await;
        let Some(Part::Last(answer)) = two.1.next().await else { panic!() };
        assert_eq!(answer.status, StatusCode::OK, "twin: the other was read");
    }
}
