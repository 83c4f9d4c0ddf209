use super::{
    raw::{CONTINUATION, END_HEADERS, END_STREAM, GET, HEADERS, RST_STREAM, WAIT, begin, frame, is_answered},
    *,
};

fn request(id: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, id, block)
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).expect("short");
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

#[tokio::test]
async fn requests_that_are_made_only_to_be_given_up_end_the_connection() {
    let limits = Limits { max_abandoned: 50, ..Limits::default() };
    let running = Running::new(limits, &[], None).await;
    let mut stream = begin(&running).await;
    let mut ended = false;
    for id in (1..20_001).step_by(2) {
        let both = [request(id, &WAIT), frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())].concat();
        if stream.write_all(&both).await.is_err() {
            ended = true;
            break;
        }
        tokio::task::yield_now().await;
    }
    // What was written last may lie in buffers of the system.
    ended |= !is_answered(&mut stream, 20_003).await;
    assert!(ended);
    let asked = running.asked_for("/wait");
    assert!(asked < 1000, "{asked} of 10,000 got through");
    assert!(is_answered_on_a_new_one(&running).await, "twin: others are served");
}

async fn is_answered_on_a_new_one(running: &Running) -> bool {
    let mut stream = begin(running).await;
    stream.write_all(&request(1, &GET)).await.expect("it is read");
    is_answered(&mut stream, 1).await
}

#[tokio::test]
async fn who_gives_up_slowly_is_ended_too_and_who_rarely_does_is_not() {
    for (rarely, fits) in [(true, true), (false, false)] {
        let limits = Limits { max_abandoned: 20, ..Limits::default() };
        let running = Running::new(limits, &[], None).await;
        let mut stream = begin(&running).await;
        let mut id = 1;
        let mut ended = false;
        'all: for _ in 0..40 {
            if stream.write_all(&request(id, &WAIT)).await.is_err() {
                ended = true;
                break;
            }
            let asked = tokio::time::timeout(Duration::from_secs(5), running.echo.asked.notified()).await;
            if asked.is_err() {
                ended = true;
                break;
            }
            let reset = frame(RST_STREAM, 0, id, &8_u32.to_be_bytes());
            stream.write_all(&reset).await.expect("it is read");
            id += 2;
            for _ in 0..if rarely { 2 } else { 0 } {
                stream.write_all(&request(id, &GET)).await.expect("it is read");
                if !is_answered(&mut stream, id).await {
                    ended = true;
                    break 'all;
                }
                id += 2;
            }
        }
        assert_eq!(ended, !fits);
        assert_eq!(running.counts().contains("reason=\"abused\"} 1\n"), !fits, "{}", running.counts());
    }
}

#[tokio::test]
async fn a_head_without_end_ends_the_connection() {
    let running = Running::plain().await;
    let mut stream = begin(&running).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, &GET)).await.expect("it is read");
    let more: Vec<u8> = (0..60).flat_map(|number| literal(&format!("x-{number}"), &"y".repeat(100))).collect();
    let mut sent = 0;
    while sent < 64 << 20 && stream.write_all(&frame(CONTINUATION, 0, 1, &more)).await.is_ok() {
        sent += more.len();
    }
    assert!(sent < 64 << 20, "the connection ended");
    // Twin: a head in two frames.
    let mut stream = begin(&running).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, &GET)).await.expect("it is read");
    stream.write_all(&frame(CONTINUATION, END_HEADERS, 1, &literal("x", "y"))).await.expect("it is read");
    assert!(is_answered(&mut stream, 1).await);
}

#[tokio::test]
async fn heads_and_streams_are_bounded() {
    let limits = Limits { max_streams: 3, max_fields: 10, max_head_bytes: 9000, ..Limits::default() };
    let running = Running::new(limits, &[], None).await;
    for (case, fields, length, fits) in [("twin", 8, 100, true), ("large", 90, 100, false)] {
        let more: Vec<u8> =
            (0..fields).flat_map(|number| literal(&format!("x-{number}"), &"y".repeat(length))).collect();
        let mut stream = begin(&running).await;
        stream.write_all(&request(1, &[&GET[..], &more].concat())).await.expect("it is read");
        assert!(is_answered(&mut stream, 1).await, "{case}");
        assert_eq!(running.asked_for("/"), 1, "{case}: only the twin got through ({fits})");
    }
    let mut stream = begin(&running).await;
    for id in [1, 3, 5] {
        stream.write_all(&request(id, &WAIT)).await.expect("it is read");
        running.echo.asked.notified().await;
    }
    stream.write_all(&request(7, &GET)).await.expect("it is read");
    assert!(!is_answered(&mut stream, 7).await, "one too many");
    for _ in 0..3 {
        running.echo.go.notify_one();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_request_of_http2_is_for_one_host() {
    let running = Running::plain().await;
    for (case, more, reached) in [
        ("twin", literal("host", "a"), 1),
        ("they differ", literal("host", "b"), 0),
        ("two", [literal("host", "a"), literal("host", "a")].concat(), 0),
    ] {
        running.echo.seen.lock().expect("nobody panicked").clear();
        let mut stream = begin(&running).await;
        stream.write_all(&request(1, &[&GET[..], &more].concat())).await.expect("it is read");
        is_answered(&mut stream, 1).await;
        assert_eq!(running.asked_for("/"), reached, "{case}");
    }
    // What belongs to one connection only is not for HTTP/2 (RFC 9113, section 8.2.2).
    running.echo.seen.lock().expect("nobody panicked").clear();
    let mut stream = begin(&running).await;
    let block = [&GET[..], &literal("transfer-encoding", "chunked")].concat();
    stream.write_all(&request(1, &block)).await.expect("it is read");
    assert!(!is_answered(&mut stream, 1).await);
    assert_eq!(running.asked_for("/"), 0);
}

#[tokio::test]
async fn head_is_answered_without_the_body() {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let running = Running::plain().await;
    let stream = TokioIo::new(running.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    for (method, length) in [(http::Method::HEAD, 0), (http::Method::GET, 64 << 20)] {
        let request = Request::builder().method(method).uri("http://a/large");
        let request = request.body(http_body_util::Empty::<Bytes>::new()).expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes().len(), length);
    }
}
