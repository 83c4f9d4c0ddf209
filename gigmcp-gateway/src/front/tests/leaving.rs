use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

#[tokio::test]
async fn a_call_in_flight_is_answered_and_no_other_is_taken() {
    let running = Running::plain().await;
    let (mut busy, mut idle) = (running.connect().await, running.connect().await);
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it is read");
    let mut first = [0];
    idle.read_exact(&mut first).await.expect("an answer");
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it is read");
    running.echo.asked.notified().await;
    let (echo, address) = (Arc::clone(&running.echo), running.address);
    let mut connections = running.leave().await;
    drop(read_all(&mut idle).await);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    echo.go.notify_one();
    let read = read_all(&mut busy).await;
    assert_eq!(statuses(&read), [200]);
    assert!(read.contains("connection: close\r\n") && read.contains("waited"), "{read}");
    while connections.join_next().await.is_some() {}
}

#[tokio::test]
async fn a_call_in_flight_of_http2_is_answered_and_no_other_is_taken() {
    let running = Running::plain().await;
    let stream = TokioIo::new(running.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let get = |path: &str| {
        let request = Request::get(format!("http://a{path}"));
        request.body(http_body_util::Empty::<Bytes>::new()).expect("a request")
    };
    let waiting = tokio::spawn(sender.send_request(get("/wait")));
    running.echo.asked.notified().await;
    let echo = Arc::clone(&running.echo);
    let mut connections = running.leave().await;
    // GOAWAY arrives; what is new is not taken.
    while sender.send_request(get("/new")).await.is_ok() {}
    echo.go.notify_one();
    let answer = waiting.await.expect("it was sent").expect("it is answered");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.into_body().collect().await.expect("it is whole").to_bytes(), "waited");
    while connections.join_next().await.is_some() {}
    drop(connection.await);
}
