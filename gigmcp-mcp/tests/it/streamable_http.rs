//! The endpoint for clients, over a real socket.

use std::{sync::Arc, time::Duration};

use gigmcp_mcp::{BoxFuture, Call, Outcome, RpcError, StreamableHttpLimits, Upstream};
use http::{Method, StatusCode};
use serde_json::{json, value::RawValue};
use tokio::sync::{Semaphore, mpsc};

use crate::serving::{Endpoint, initialize};

/// Answers with the parameters it got; `wait` first says that it waits, until let on.
struct Mirror {
    waiting: mpsc::UnboundedSender<&'static str>,
    let_on: Semaphore,
}

/// Says so when a call is given up.
struct Guard<'a>(&'a Mirror);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.waiting.send("ended").ok();
    }
}

impl Upstream for Mirror {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match &*call.method {
                "mirror" => Outcome::Complete(call.params.unwrap_or_else(|| RawValue::NULL.to_owned())),
                "wait" => {
                    let _guard = Guard(self);
                    self.waiting.send("waiting").ok();
                    self.let_on.acquire().await.unwrap().forget();
                    Outcome::Complete(RawValue::from_string(r#""done""#.to_owned()).unwrap())
                }
                _ => Outcome::refused(&RpcError::new(RpcError::METHOD_NOT_FOUND, "no")),
            }
        })
    }
}

async fn serve_with(limits: StreamableHttpLimits) -> (Endpoint, Arc<Mirror>, mpsc::UnboundedReceiver<&'static str>) {
    let (waiting, events) = mpsc::unbounded_channel();
    let mirror = Arc::new(Mirror { waiting, let_on: Semaphore::new(0) });
    let endpoint = Endpoint::serve(mirror.clone(), limits).await;
    (endpoint, mirror, events)
}

async fn serve() -> Endpoint {
    serve_with(StreamableHttpLimits::default()).await.0
}

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

#[tokio::test]
async fn the_revision_is_negotiated() {
    let endpoint = serve().await;
    for (asked, answered) in [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2024-11-05"),
        ("2026-07-28", "2025-11-25"),
        ("nonsense", "2025-11-25"),
    ] {
        let reply = endpoint.post(&[], &initialize(asked)).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(
            reply.json(),
            json!({"jsonrpc":"2.0","id":0,"result":{
                "protocolVersion": answered,
                "capabilities": {"tools": {"listChanged": false}},
                "serverInfo": {"name": "gig", "version": "1"},
            }})
        );
        assert!(reply.session().bytes().all(|byte| byte.is_ascii_graphic()));
    }
    let reply = endpoint.post(&[], r#"{"jsonrpc":"2.0","id":0,"method":"initialize"}"#).await;
    assert_eq!(reply.json()["error"]["code"], -32602);
}

#[tokio::test]
async fn requests_are_refused_for_their_headers_and_pass_without_the_fault() {
    let endpoint = serve().await;
    let session = endpoint.initialize("2025-11-25").await;
    let session = ("mcp-session-id", &*session);
    let long = format!("http://{}", "x".repeat(300));
    for (case, headers, status) in [
        ("nothing wrong", &[session][..], 200),
        ("revision named", &[session, ("mcp-protocol-version", "2025-11-25")], 200),
        ("another known revision", &[session, ("mcp-protocol-version", "2025-06-18")], 200),
        ("unknown revision", &[session, ("mcp-protocol-version", "1999-01-01")], 400),
        ("newer revision", &[session, ("mcp-protocol-version", "2026-07-28")], 400),
        ("no session", &[], 400),
        ("unknown session", &[("mcp-session-id", "x")], 404),
        ("session of another", &[session, ("x-principal", "two")], 404),
        ("foreign host", &[session, ("host", "evil.test")], 403),
        ("loopback host", &[session, ("host", "localhost:1")], 200),
        ("foreign origin", &[session, ("origin", "http://evil.test")], 403),
        ("long origin", &[session, ("origin", &long)], 403),
        ("local origin", &[session, ("origin", "http://localhost:3000")], 200),
        ("allowed origin", &[session, ("origin", "https://app.example.com")], 200),
        ("wants events only", &[session, ("accept", "text/event-stream")], 406),
        ("wants anything", &[session, ("accept", "*/*")], 200),
        ("wants nothing in particular", &[session, ("-accept", "")], 200),
        ("sends a form", &[session, ("content-type", "application/x-www-form-urlencoded")], 415),
        ("does not say what it sends", &[session, ("-content-type", "")], 415),
    ] {
        let reply = endpoint.post(headers, PING).await;
        assert_eq!(reply.status.as_u16(), status, "{case}: {}", reply.body);
        if status == 200 {
            assert_eq!(reply.json(), json!({"jsonrpc":"2.0","id":1,"result":{}}), "{case}");
        }
    }
}

#[tokio::test]
async fn bodies_are_refused_with_the_code_for_their_fault() {
    let limits = StreamableHttpLimits { max_body_bytes: 2000, ..StreamableHttpLimits::default() };
    let (endpoint, _mirror, _events) = serve_with(limits).await;
    let session = endpoint.initialize("2025-11-25").await;
    let fits = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"mirror","params":["{}"]}}"#, "x".repeat(1900));
    let large = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"mirror","params":["{}"]}}"#, "x".repeat(2000));
    for (case, body, status, code) in [
        ("fits", &*fits, 200, None),
        ("too large", &large, 413, None),
        ("cut off", r#"{"jsonrpc":"2.0","id":1"#, 400, Some(-32700)),
        ("empty", "", 400, Some(-32700)),
        ("a batch", r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, 400, Some(-32600)),
        ("not an object", "1", 400, Some(-32600)),
        ("method twice", r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"mirror"}"#, 400, Some(-32600)),
        ("id null", r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, 400, Some(-32600)),
        (
            "not offered",
            r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info"}}"#,
            200,
            Some(-32601),
        ),
        ("string id", r#"{"jsonrpc":"2.0","id":"x","method":"ping"}"#, 200, None),
    ] {
        let reply = endpoint.post(&[("mcp-session-id", &session)], body).await;
        assert_eq!(reply.status.as_u16(), status, "{case}: {}", reply.body);
        if let Some(code) = code {
            let answer = reply.json();
            assert_eq!(answer["error"]["code"], code, "{case}");
            assert_eq!(answer["id"].is_null(), status == 400, "{case}");
            // It says where, and not what stands there.
            let message = answer["error"]["message"].as_str().unwrap();
            assert_eq!(message.contains(" at line 1 column "), code == -32700, "{case}: {message}");
        }
    }
    let reply = endpoint.send(Method::POST, &[("mcp-session-id", &session)], &b"{\"\xff\":1}"[..]).await;
    assert_eq!(reply.json()["error"]["code"], -32700);
}

#[tokio::test]
async fn notifications_and_responses_are_accepted_without_an_answer() {
    let endpoint = serve().await;
    let session = endpoint.initialize("2025-11-25").await;
    for body in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/whatever","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":5,"result":{}}"#,
    ] {
        let reply = endpoint.post(&[("mcp-session-id", &session)], body).await;
        assert_eq!((reply.status.as_u16(), &*reply.body), (202, ""));
        assert_eq!(endpoint.post(&[], body).await.status, 400, "not without a session");
    }
}

#[tokio::test]
async fn other_methods_are_not_allowed_and_delete_ends_the_session() {
    let endpoint = serve().await;
    let session = endpoint.initialize("2025-11-25").await;
    let session = [("mcp-session-id", &*session)];
    let any = "GET, HEAD, POST, DELETE";
    // What never says anything by itself has nothing to be listened to.
    let none = "POST, DELETE";
    for (method, allowed) in [(Method::GET, none), (Method::HEAD, none), (Method::PUT, any), (Method::OPTIONS, any)] {
        let reply = endpoint.send(method, &session, "").await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(reply.headers["allow"], allowed);
    }
    let other = [session[0], ("x-principal", "two")];
    assert_eq!(endpoint.send(Method::DELETE, &other, "").await.status, 404);
    assert_eq!(endpoint.send(Method::DELETE, &[], "").await.status, 400);
    assert_eq!(endpoint.post(&session, PING).await.status, 200);
    assert_eq!(endpoint.send(Method::DELETE, &session, "").await.status, 204);
    assert_eq!(endpoint.post(&session, PING).await.status, 404);
    assert_eq!(endpoint.send(Method::DELETE, &session, "").await.status, 404);
}

#[tokio::test]
async fn a_handshake_is_answered_whatever_the_header_says() {
    let endpoint = serve().await;
    let reply = endpoint.post(&[("mcp-protocol-version", "2026-07-28")], &initialize("2025-11-25")).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn batches_belong_to_one_revision() {
    let endpoint = serve().await;
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"mirror","params":{"n":1e400}},{"jsonrpc":"2.0","method":"n"},{"jsonrpc":"2.0","id":2,"method":"initialize"},{"x":1},{"jsonrpc":"2.0","id":"three","method":"ping"}]"#;
    let session = endpoint.initialize("2025-03-26").await;
    let reply = endpoint.post(&[("mcp-session-id", &session)], batch).await;
    assert_eq!(reply.status, 200);
    for part in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"n":1e400}}"#,
        r#"{"jsonrpc":"2.0","id":"three","result":{}}"#,
        r#""id":2,"error":{"code":-32600"#,
        r#""id":null,"error":{"code":-32600"#,
    ] {
        assert!(reply.body.contains(part), "{part} in {}", reply.body);
    }
    let quiet = endpoint.post(&[("mcp-session-id", &session)], r#"[{"jsonrpc":"2.0","method":"n"}]"#).await;
    assert_eq!(quiet.status, 202);
    let none = endpoint.post(&[("mcp-session-id", &session)], "[]").await;
    assert!(none.status == 400 && none.body.contains("a batch has one to 64 messages"), "{}", none.body);
    let later = endpoint.initialize("2025-06-18").await;
    for headers in [("mcp-session-id", &*later), ("mcp-protocol-version", "2026-07-28")] {
        let reply = endpoint.post(&[headers], batch).await;
        assert!(reply.status == 400 && reply.body.contains("has no batches; send each"), "{headers:?}: {}", reply.body);
    }
}

const WAIT: &str = r#"{"jsonrpc":"2.0","id":"w","method":"wait"}"#;

#[tokio::test]
async fn a_client_that_goes_away_does_not_end_its_call() {
    let (endpoint, mirror, mut events) = serve_with(StreamableHttpLimits::default()).await;
    let session = endpoint.initialize("2025-11-25").await;
    let headers = [("mcp-session-id", &*session)];
    tokio::select! {
        _ = endpoint.post(&headers, WAIT) => panic!("nothing lets it on"),
        event = events.recv() => assert_eq!(event, Some("waiting")),
    } // the connection is closed here
    endpoint.post(&headers, PING).await;
    assert!(events.try_recv().is_err(), "it was not given up");
    mirror.let_on.add_permits(1);
    assert_eq!(events.recv().await, Some("ended"));
}

#[tokio::test]
async fn a_cancelled_request_is_given_up_and_others_are_not() {
    let (endpoint, mirror, mut events) = serve_with(StreamableHttpLimits::default()).await;
    let session = endpoint.initialize("2025-11-25").await;
    let (other, headers) = (endpoint.initialize("2025-11-25").await, [("mcp-session-id", &*session)]);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"w"}}"#;
    let (reply, ()) = tokio::join!(endpoint.post(&headers, WAIT), async {
        assert_eq!(events.recv().await, Some("waiting"));
        // The same id in another session is another request.
        endpoint.post(&[("mcp-session-id", &other)], cancel).await;
        endpoint.post(&headers, &cancel.replace(r#""w""#, r#""v""#)).await;
        assert!(events.try_recv().is_err());
        endpoint.post(&headers, cancel).await;
        assert_eq!(events.recv().await, Some("ended"));
    });
    assert_eq!(reply.json()["error"]["code"], RpcError::REQUEST_CANCELLED);
    mirror.let_on.add_permits(1);
    assert_eq!(endpoint.post(&headers, WAIT).await.json()["result"], "done");
}

#[tokio::test]
async fn the_end_of_a_session_gives_up_what_is_under_way_in_it() {
    let (endpoint, _mirror, mut events) = serve_with(StreamableHttpLimits::default()).await;
    let session = endpoint.initialize("2025-11-25").await;
    let headers = [("mcp-session-id", &*session)];
    let (reply, ()) = tokio::join!(endpoint.post(&headers, WAIT), async {
        assert_eq!(events.recv().await, Some("waiting"));
        endpoint.send(Method::DELETE, &headers, "").await;
        assert_eq!(events.recv().await, Some("ended"));
    });
    assert_eq!(reply.json()["error"]["code"], RpcError::REQUEST_CANCELLED);
}

#[tokio::test]
async fn requests_under_way_are_bounded_per_session() {
    let limits = StreamableHttpLimits { max_in_flight_per_session: 1, ..StreamableHttpLimits::default() };
    let (endpoint, mirror, mut events) = serve_with(limits).await;
    let session = endpoint.initialize("2025-11-25").await;
    let headers = [("mcp-session-id", &*session)];
    let (first, ()) = tokio::join!(endpoint.post(&headers, WAIT), async {
        assert_eq!(events.recv().await, Some("waiting"));
        let second = r#"{"jsonrpc":"2.0","id":2,"method":"mirror"}"#;
        let refused = endpoint.post(&headers, second).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["id"]), (429, &json!(2)));
        assert_eq!(endpoint.post(&headers, PING).await.status, 200);
        mirror.let_on.add_permits(1);
        assert_eq!(events.recv().await, Some("ended"));
    });
    assert_eq!(first.json()["result"], "done");
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let limits = StreamableHttpLimits { body_timeout: Duration::from_millis(50), ..StreamableHttpLimits::default() };
    let (endpoint, _mirror, _events) = serve_with(limits).await;
    let mut stream = tokio::net::TcpStream::connect(endpoint.address).await.unwrap();
    let head =
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}
