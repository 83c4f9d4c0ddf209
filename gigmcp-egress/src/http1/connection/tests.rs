#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

use std::sync::{Arc, Mutex};

use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use super::*;
use crate::answer;
use crate::body::full;
use crate::refusal::RefusedBody;

/// Answers with what was understood.
async fn echo(request: Result<Request<Body>, Refusal>) -> Response<Body> {
    let request = match request {
        Ok(request) => request,
        Err(refusal) => return answer::refusal(refusal),
    };
    let (parts, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body,
        Err(error) => return answer::refusal(error.downcast_ref::<RefusedBody>().unwrap().0),
    };
    let trailers = body.trailers().map(|trailers| format!("{trailers:?}")).unwrap_or_default();
    let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    Response::new(full(format!("[{} {} {body}{trailers}]", parts.method, parts.uri)))
}

/// A connection and what serves it.
fn connect<S, F>(hole: usize, limits: Limits, service: S) -> (DuplexStream, tokio::task::JoinHandle<()>)
where
    S: FnMut(Result<Request<Body>, Refusal>) -> F + Send + 'static,
    F: Future<Output = Response<Body>> + Send,
{
    let (near, far) = duplex(hole);
    (near, tokio::spawn(async move { serve(far, &limits, service).await }))
}

async fn send(stream: &mut DuplexStream, text: impl AsRef<[u8]>) {
    // The other side may have ended already.
    let _ = stream.write_all(text.as_ref()).await;
}

async fn until(stream: &mut DuplexStream, end: &str) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(end.as_bytes()) {
        match stream.read_u8().await {
            Ok(byte) => seen.push(byte),
            Err(_) => panic!("ended after {:?}", String::from_utf8_lossy(&seen)),
        }
    }
    String::from_utf8(seen).unwrap()
}

async fn rest(stream: &mut DuplexStream) -> String {
    let mut seen = String::new();
    stream.read_to_string(&mut seen).await.unwrap();
    seen
}

/// Everything that is answered to these pieces, sent one after the other.
async fn answers(hole: usize, pieces: &[&[u8]]) -> String {
    let (near, serving) = connect(hole, Limits::default(), echo);
    let (mut reading, mut writing) = tokio::io::split(near);
    let sending = async {
        for piece in pieces {
            let _ = writing.write_all(piece).await;
            // The runtime has one thread: the other side reads this piece before the next is there.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        }
    };
    let mut seen = String::new();
    let (_, read) = tokio::join!(sending, reading.read_to_string(&mut seen));
    read.unwrap();
    drop((reading, writing));
    serving.await.unwrap();
    seen
}

#[tokio::test]
async fn an_answer_does_not_depend_on_how_the_bytes_came() {
    let last = "GET /last HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\n";
    for (case, bytes, expected) in [
        ("one request", last.to_owned(), &["200 [GET /last ]"][..]),
        (
            "EGR-133 two requests",
            format!("GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\n{last}"),
            &["200 [GET /1 ]", "200 [GET /last ]"],
        ),
        (
            "EGR-128 one empty line between",
            format!("GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\n\r\n{last}"),
            &["200 [GET /1 ]", "200 [GET /last ]"],
        ),
        (
            "a length",
            format!("{post}Content-Length: 5\r\n\r\nhello{last}"),
            &["200 [POST / hello]", "200 [GET /last ]"],
        ),
        (
            "chunks",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n{last}"),
            &["200 [POST / hello]", "200 [GET /last ]"],
        ),
        (
            "trailers",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: b\r\n\r\n{last}"),
            &["200 [POST / {\"x-a\": \"b\"}]", "200 [GET /last ]"],
        ),
        ("HTTP/1.0", format!("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n{last}"), &["200 [GET / ]"]),
        ("EGR-112", format!("{post}Content-Length: 1\r\nContent-Length: 1\r\n\r\na{last}"), &["400 framing"]),
        ("EGR-118", format!("GET / HTTP/1.1\nHost: a.test\r\n\r\n{last}"), &["400 malformed"]),
        ("EGR-121", format!("{post}Transfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n{last}"), &["400 framing"]),
        ("EGR-122", format!("{post}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n{last}"), &["400 framing"]),
        ("EGR-114", format!("{post}Transfer-Encoding: gzip\r\n\r\n{last}"), &["501 transfer-coding"]),
        (
            "a refusal behind an answer",
            format!("GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\n\0{last}"),
            &["200 [GET /1 ]", "400 malformed"],
        ),
        (
            "EGR-065 CONNECT that is not granted",
            format!("CONNECT a.test:443 HTTP/1.1\r\n\r\n{last}"),
            &["200 [CONNECT a.test:443 ]"],
        ),
        (
            "EGR-162 upgrade that is not granted",
            format!("GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: x\r\n\r\n{last}"),
            &["200 [GET / ]"],
        ),
    ] {
        let whole = answers(1 << 16, &[bytes.as_bytes()]).await;
        let told: Vec<_> = whole.split("HTTP/1.1 ").skip(1).map(told).collect();
        assert_eq!(told, expected, "{case}: {whole}");
        let single: Vec<&[u8]> = bytes.as_bytes().chunks(1).collect();
        assert_eq!(answers(1 << 16, &single).await, whole, "{case}: byte by byte");
        assert_eq!(answers(1, &[bytes.as_bytes()]).await, whole, "{case}: through a hole of one byte");
        for at in 1..bytes.len() {
            let (one, two) = bytes.as_bytes().split_at(at);
            assert_eq!(answers(1 << 16, &[one, two]).await, whole, "{case}: split at {at}");
        }
    }
}

/// The status and the body of an answer, or its code.
fn told(answer: &str) -> String {
    let code = answer.split_once("x-gigmcp-refusal: ").map(|(_, code)| code.split("\r\n").next().unwrap());
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    format!("{} {}", &answer[..3], code.unwrap_or(body))
}

#[tokio::test]
async fn the_end_of_an_answer_is_told_by_us() {
    let trailers = || {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        trailers.insert("content-length", "1".parse().unwrap());
        Frame::trailers(trailers)
    };
    let data = |text: &'static str| Frame::data(Bytes::from_static(text.as_bytes()));
    let get = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let head = get.replace("GET", "HEAD");
    let old = get.replace("1.1", "1.0");
    let ok = "HTTP/1.1 200 OK\r\n";
    let close = "connection: close\r\n\r\n";
    for (case, request, status, length, frames, expected) in [
        ("length", get, 200, Some("2"), vec![data("ok")], Some(format!("{ok}content-length: 2\r\n{close}ok"))),
        ("chunks", get, 200, None, vec![data("ok"), data(""), data("!")], {
            Some(format!("{ok}transfer-encoding: chunked\r\n{close}2\r\nok\r\n1\r\n!\r\n0\r\n\r\n"))
        }),
        ("trailers", get, 200, None, vec![data("ok"), trailers()], {
            Some(format!("{ok}transfer-encoding: chunked\r\n{close}2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"))
        }),
        ("HTTP/1.0", &*old, 200, None, vec![data("ok"), trailers()], Some(format!("{ok}{close}ok"))),
        ("HEAD", &*head, 200, Some("2"), vec![data("ok")], Some(format!("{ok}content-length: 2\r\n{close}"))),
        ("204", get, 204, Some("0"), vec![], Some(format!("HTTP/1.1 204 No Content\r\n{close}"))),
        (
            "304",
            get,
            304,
            Some("9"),
            vec![],
            Some(format!("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n{close}")),
        ),
        ("a status without a reason", get, 299, Some("0"), vec![], {
            Some(format!("HTTP/1.1 299 \r\ncontent-length: 0\r\n{close}"))
        }),
        ("less than promised", get, 200, Some("3"), vec![data("ok")], None),
        ("more than promised", get, 200, Some("1"), vec![data("ok")], None),
        ("an interim answer", get, 103, None, vec![], None),
        ("a switch that nobody asked for", get, 101, None, vec![], None),
    ] {
        let (sender, body) = Frames::channel();
        frames.into_iter().for_each(|frame| sender.send(Ok(frame)).unwrap());
        drop(sender);
        let mut answer = Some(Response::new(body));
        let service = move |_| {
            let mut answer = answer.take().unwrap();
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            if let Some(length) = length {
                answer.headers_mut().insert("content-length", length.parse().unwrap());
            }
            // What speaks of another connection.
            answer.headers_mut().insert("transfer-encoding", "gzip".parse().unwrap());
            answer.headers_mut().insert("connection", "x-a".parse().unwrap());
            std::future::ready(answer)
        };
        let (mut near, serving) = connect(1 << 16, Limits::default(), service);
        send(&mut near, request).await;
        let seen = rest(&mut near).await;
        match expected {
            Some(expected) => assert_eq!(seen, expected, "{case}"),
            None => assert!(!seen.ends_with("ok") && !seen.ends_with("\r\n\r\n"), "{case}: {seen}"),
        }
        drop(near);
        serving.await.unwrap();
    }
}

/// A body whose frames come through a channel.
struct Frames(mpsc::UnboundedReceiver<Result<Frame<Bytes>, BoxError>>);

type Sender = mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>;

impl Frames {
    fn channel() -> (Sender, Body) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Self(receiver).boxed_unsync())
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx)
    }
}

/// A service that gives this one answer.
fn answering(body: Body) -> impl FnMut(Result<Request<Body>, Refusal>) -> std::future::Ready<Response<Body>> + Send {
    let mut answer = Some(Response::new(body));
    move |_| std::future::ready(answer.take().unwrap())
}

#[tokio::test]
async fn an_event_leaves_at_once_and_a_broken_stream_does_not_end_well() {
    let get = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let (sender, body) = Frames::channel();
    let (mut near, serving) = connect(1 << 16, Limits::default(), answering(body));
    send(&mut near, get).await;
    until(&mut near, "\r\n\r\n").await;
    for event in ["data: one\n\n", "data: two\n\n"] {
        sender.send(Ok(Frame::data(event.into()))).unwrap();
        until(&mut near, &format!("b\r\n{event}\r\n")).await;
    }
    sender.send(Err("the upstream is gone".into())).unwrap();
    assert_eq!(rest(&mut near).await, "", "no last chunk");
    serving.await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_ends_what_is_under_way() {
    // While an answer is awaited, and while one is sent.
    let (started, mut starts) = mpsc::unbounded_channel();
    let (mut near, serving) = connect(1 << 16, Limits::default(), move |_| {
        started.send(()).unwrap();
        std::future::pending()
    });
    send(&mut near, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    starts.recv().await.unwrap();
    drop(near);
    serving.await.unwrap();
    assert!(starts.recv().await.is_none(), "the service is dropped");

    let (sender, body) = Frames::channel();
    let (mut near, serving) = connect(1 << 16, Limits::default(), answering(body));
    send(&mut near, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    until(&mut near, "\r\n\r\n").await;
    drop(near);
    serving.await.unwrap();
    assert!(sender.is_closed(), "and so is the answer");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_the_last() {
    let next = "GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for (case, framing, expects, keep) in [
        ("EGR-134 length", "Content-Length: 200", "", false),
        ("EGR-134 chunks", "Transfer-Encoding: chunked", "", false),
        ("EGR-134 length, with the body kept", "Content-Length: 200", "", true),
        ("EGR-130 expectation", "Content-Length: 200", "Expect: 100-continue\r\n", false),
        ("EGR-130 expectation, with the body kept", "Content-Length: 200", "Expect: 100-continue\r\n", true),
    ] {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let (mut near, serving) = connect(1 << 16, Limits::default(), move |request| {
            let request = request.unwrap();
            noted.lock().unwrap().push(request.uri().to_string());
            let kept = keep.then_some(request);
            async move {
                // The connection has its turn while this is decided.
                tokio::task::yield_now().await;
                drop(kept);
                tokio::task::yield_now().await;
                answer::refusal(Refusal::HostDenied)
            }
        });
        send(&mut near, format!("POST /1 HTTP/1.1\r\nHost: a.test\r\n{expects}{framing}\r\n\r\n{next}")).await;
        let seen = until(&mut near, "}}").await;
        assert!(seen.starts_with("HTTP/1.1 403 ") && seen.contains("connection: close\r\n"), "{case}: {seen}");
        send(&mut near, next.repeat(20)).await;
        assert_eq!(rest(&mut near).await, "", "{case}");
        drop(near);
        serving.await.unwrap();
        assert_eq!(*asked.lock().unwrap(), ["/1"], "{case}: the rest of a body is no request");
    }
}

#[tokio::test]
async fn a_client_is_told_to_continue_when_its_body_is_wanted() {
    let (mut near, _serving) = connect(1 << 16, Limits::default(), echo);
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n";
    send(&mut near, format!("{head}Expect: 100-continue\r\n\r\n")).await;
    assert_eq!(until(&mut near, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n", "G3");
    send(&mut near, "hello").await;
    assert!(until(&mut near, "[POST / hello]").await.starts_with("HTTP/1.1 200 OK\r\n"));
    send(&mut near, format!("{head}\r\nhello")).await;
    assert!(
        until(&mut near, "[POST / hello]").await.starts_with("HTTP/1.1 200 OK\r\n"),
        "once, and the connection lives"
    );
}

#[tokio::test]
async fn a_body_may_come_back_while_it_is_sent() {
    for expects in ["", "Expect: 100-continue\r\n"] {
        let mirror =
            |request: Result<Request<Body>, Refusal>| std::future::ready(Response::new(request.unwrap().into_body()));
        let (mut near, serving) = connect(1 << 16, Limits::default(), mirror);
        send(&mut near, format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n{expects}\r\nhel")).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\n";
        assert_eq!(until(&mut near, "hel").await, format!("{head}hel"), "no 100 within an answer");
        send(&mut near, "lo").await;
        assert_eq!(rest(&mut near).await, "lo");
        drop(near);
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn a_body_flows_only_as_it_is_read() {
    let (give, mut bodies) = mpsc::unbounded_channel();
    let (mut near, _serving) = connect(1 << 10, Limits::default(), move |request| {
        let (give, body) = (give.clone(), request.unwrap().into_body());
        async move {
            give.send(body).unwrap();
            std::future::pending().await
        }
    });
    send(&mut near, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n").await;
    let body = bodies.recv().await.unwrap();
    let sent = Arc::new(Mutex::new(0));
    let counting = Arc::clone(&sent);
    let writing = tokio::spawn(async move {
        while near.write_all(&[b'x'; 1000]).await.is_ok() {
            *counting.lock().unwrap() += 1000;
        }
    });
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(*sent.lock().unwrap() <= 8000, "what nobody reads stays outside: {}", *sent.lock().unwrap());
    let read = body.collect().await.unwrap().to_bytes();
    assert_eq!(read.len(), 1_000_000);
    writing.abort();
}

#[tokio::test]
async fn a_takeover_gets_what_came_early() {
    let (mut near, serving) = connect(1 << 16, Limits::default(), |_| {
        let mut answer = Response::new(full(""));
        answer.extensions_mut().insert(Takeover::new(|mut stream| {
            Box::pin(async move {
                let mut early = [0; 5];
                stream.read_exact(&mut early).await.unwrap();
                stream.write_all(&early).await.unwrap();
            })
        }));
        std::future::ready(answer)
    });
    send(&mut near, "CONNECT a.test:443 HTTP/1.1\r\n\r\nhello").await;
    assert_eq!(rest(&mut near).await, "HTTP/1.1 200 OK\r\n\r\nhello", "EGR-070");
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_head_has_its_time() {
    for (case, sent, expected) in [
        ("nothing", "", ""),
        ("an empty line", "\r\n", ""),
        ("EGR-208 half a head", "GET / HTTP/1.1\r\nHost:", "408 request-timeout"),
    ] {
        let (mut near, _serving) = connect(1 << 16, Limits::default(), echo);
        send(&mut near, sent).await;
        let seen = rest(&mut near).await;
        assert_eq!(
            if seen.is_empty() { seen } else { told(seen.strip_prefix("HTTP/1.1 ").unwrap()) },
            expected,
            "{case}"
        );
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_waited_for_forever() {
    tokio::time::pause();
    let (mut near, serving) = connect(1 << 16, Limits::default(), echo);
    send(&mut near, "\0").await;
    // It neither reads nor closes; the timer is all that is left.
    serving.await.unwrap();
    drop(near);
}

#[tokio::test]
async fn a_resting_connection_holds_no_buffer() {
    let (mut near, far) = duplex(1 << 16);
    let mut connection = Connection { io: far, buffer: BytesMut::with_capacity(1 << 12), output: Output::default() };
    send(&mut near, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let limits = Limits::default();
    assert!(connection.read_head(&limits).await.unwrap().is_some());
    connection.output.tail().put_slice(b"answer");
    poll_fn(|cx| connection.output.poll_drain(&mut connection.io, cx)).await.unwrap();
    {
        let mut waiting = pin!(connection.read_head(&limits));
        assert!(poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await);
    }
    assert_eq!((connection.buffer.capacity(), connection.output.tail().is_empty()), (0, true));
}
