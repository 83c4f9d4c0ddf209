//! Clients that take more than their share, and servers that answer a client of the newer era with what it must not see.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use gigmcp_mcp::{Aggregator, BoxFuture, Call, ClientId, Notification, Outcome, StreamableHttpLimits, Upstream};
use http::Method;
use serde_json::{Value, json};
use tokio::sync::{Notify, broadcast, mpsc};

use crate::{
    played::{Reply, Stage, result},
    seam::raw,
    serving::{Endpoint, initialize},
};

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}"#;

fn body(method: &str, rest: &str) -> String {
    let comma = if rest.is_empty() { "" } else { "," };
    format!(r#"{{"jsonrpc":"2.0","id":"r","method":"{method}","params":{{{rest}{comma}"_meta":{{{META}}}}}}}"#)
}

fn modern<'a>(method: &'a str, name: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method), ("mcp-name", name)]
}

/// Answers calls named `wait` when told to and every other at once, with an outcome of the test's choice.
struct Plain {
    outcome: Mutex<Outcome>,
    go: Notify,
    began: mpsc::UnboundedSender<()>,
    forgotten: AtomicUsize,
    events: broadcast::Sender<gigmcp_mcp::Event>,
}

impl Plain {
    fn new(outcome: Outcome) -> (Arc<Self>, mpsc::UnboundedReceiver<()>) {
        let (began, begun) = mpsc::unbounded_channel();
        let (outcome, events) = (Mutex::new(outcome), broadcast::Sender::new(16));
        let plain = Self { outcome, go: Notify::new(), began, forgotten: AtomicUsize::new(0), events };
        (Arc::new(plain), begun)
    }
}

impl Upstream for Plain {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            if call.params.as_ref().is_some_and(|params| params.get().contains(r#""wait""#)) {
                self.began.send(()).ok();
                self.go.notified().await;
            }
            self.outcome.lock().unwrap().clone()
        })
    }

    fn forget(&self, _: ClientId) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }

    fn events(&self) -> Option<broadcast::Receiver<gigmcp_mcp::Event>> {
        Some(self.events.subscribe())
    }
}

fn done() -> Outcome {
    Outcome::Complete(raw(r#"{"content":[]}"#))
}

const WAIT: &str = r#""name":"wait""#;

#[tokio::test]
async fn requests_under_way_are_bounded_per_principal_with_and_without_a_session() {
    let (plain, mut begun) = Plain::new(done());
    let limits = StreamableHttpLimits { max_in_flight_per_principal: 2, ..StreamableHttpLimits::default() };
    let endpoint = Arc::new(Endpoint::serve(plain.clone(), limits).await);
    let session = endpoint.initialize("2025-11-25").await;
    let wait = |session: Option<String>| {
        let endpoint = Arc::clone(&endpoint);
        tokio::spawn(async move {
            match session {
                Some(session) => {
                    let call = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{WAIT}}}}}"#);
                    endpoint.post(&[("mcp-session-id", &session)], &call).await
                }
                None => endpoint.post(&modern("tools/call", "wait"), &body("tools/call", WAIT)).await,
            }
        })
    };
    let (one, two) = (wait(None), wait(Some(session.clone())));
    begun.recv().await.unwrap();
    begun.recv().await.unwrap();
    for method in ["tools/call", "tools/list", "completion/complete", "server/discover"] {
        let refused = endpoint.post(&modern(method, "x"), &body(method, r#""name":"x""#)).await;
        assert_eq!(refused.status, 429, "{method}");
        assert_eq!(refused.json()["id"], "r");
    }
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}"#;
    assert_eq!(endpoint.post(&[("mcp-session-id", &session)], call).await.status, 429);
    assert_eq!(endpoint.post(&[], &initialize("2025-11-25")).await.status, 429);
    // Twins: another principal; what costs nothing, and what ends a call; and the same one later.
    let mut of_two = modern("tools/call", "x");
    of_two.push(("x-principal", "two"));
    assert_eq!(endpoint.post(&of_two, &body("tools/call", r#""name":"x""#)).await.status, 200);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9}}"#;
    assert_eq!(endpoint.post(&[("mcp-session-id", &session)], cancel).await.status, 202);
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(endpoint.post(&[("mcp-session-id", &session)], ping).await.status, 200);
    plain.go.notify_waiters();
    assert_eq!((one.await.unwrap().status.as_u16(), two.await.unwrap().status.as_u16()), (200, 200));
    assert_eq!(endpoint.post(&[("mcp-session-id", &session)], call).await.status, 200);
}

#[tokio::test]
async fn bytes_under_way_are_bounded_per_principal() {
    let (plain, mut begun) = Plain::new(done());
    let limits = StreamableHttpLimits { max_bytes_per_principal: 100_000, ..StreamableHttpLimits::default() };
    let endpoint = Arc::new(Endpoint::serve(plain.clone(), limits).await);
    let long = format!(r#"{WAIT},"x":"{}""#, "x".repeat(60_000));
    let first = {
        let (endpoint, long) = (Arc::clone(&endpoint), long.clone());
        tokio::spawn(async move { endpoint.post(&modern("tools/call", "wait"), &body("tools/call", &long)).await })
    };
    begun.recv().await.unwrap();
    let status = async |rest: &str| {
        endpoint.post(&modern("tools/call", "x"), &body("tools/call", &format!(r#""name":"x"{rest}"#))).await.status
    };
    let more = format!(r#","x":"{}""#, "x".repeat(60_000));
    assert_eq!(status(&more).await, 429);
    assert_eq!(status("").await, 200, "twin: a short one");
    plain.go.notify_waiters();
    assert_eq!(first.await.unwrap().status, 200);
    assert_eq!(status(&more).await, 200, "twin: later");
}

#[tokio::test]
async fn listeners_are_bounded_per_principal() {
    let (plain, _) = Plain::new(done());
    let limits = StreamableHttpLimits { max_listeners_per_principal: 2, ..StreamableHttpLimits::default() };
    let endpoint = Endpoint::serve(plain, limits).await;
    let listen = body("subscriptions/listen", r#""notifications":{"toolsListChanged":true}"#);
    let headers = modern("subscriptions/listen", "");
    let open = async |headers: &[(&str, &str)]| endpoint.open(Method::POST, headers, listen.clone()).await;
    let (first, _second) = (open(&headers).await, open(&headers).await);
    assert_eq!(open(&headers).await.status, 429);
    let of_two = [&headers[..], &[("x-principal", "two")]].concat();
    assert_eq!(open(&of_two).await.status, 200, "twin: another principal");
    drop(first);
    // It is noticed when the connection is.
    while open(&headers).await.status != 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_session_keeps_no_declaration_that_is_too_long() {
    let (plain, _) = Plain::new(done());
    let endpoint = Endpoint::serve(plain, StreamableHttpLimits::default()).await;
    for (length, accepted) in [(1 << 20, false), (10_000, true)] {
        let declared = format!(r#""capabilities":{{"experimental":{{"x":"{}"}}}}"#, "x".repeat(length));
        let reply = endpoint.post(&[], &initialize("2025-11-25").replace(r#""capabilities":{}"#, &declared)).await;
        assert_eq!(reply.headers.contains_key("mcp-session-id"), accepted);
        assert_eq!(reply.json()["error"]["code"] == -32602, !accepted);
    }
}

#[tokio::test]
async fn an_id_that_is_too_long_to_be_kept_is_refused() {
    let (plain, _) = Plain::new(done());
    let endpoint = Endpoint::serve(plain, StreamableHttpLimits::default()).await;
    for (length, status) in [(100_000, 400), (900, 200)] {
        let id = "x".repeat(length);
        let call = body("tools/call", r#""name":"x""#).replace(r#""id":"r""#, &format!(r#""id":"{id}""#));
        let reply = endpoint.post(&modern("tools/call", "x"), &call).await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.json()["error"]["code"] == -32600, status == 400);
    }
}

#[tokio::test]
async fn a_new_stream_of_a_session_ends_the_one_before() {
    let (plain, _) = Plain::new(done());
    let endpoint = Endpoint::serve(plain.clone(), StreamableHttpLimits::default()).await;
    let session = endpoint.initialize("2025-11-25").await;
    let headers = [("mcp-session-id", &*session)];
    let mut first = endpoint.open(Method::GET, &headers, "").await;
    let mut second = endpoint.open(Method::GET, &headers, "").await;
    let ended = tokio::time::timeout(std::time::Duration::from_secs(60), first.next()).await;
    assert_eq!(ended.expect("it ends, though nothing is told"), None);
    let changed = Notification { method: "notifications/tools/list_changed".into(), params: None };
    plain.events.send(changed.into()).unwrap();
    assert!(second.next().await.unwrap().contains("list_changed"));
}

#[tokio::test]
async fn a_servers_error_is_not_taken_for_one_of_the_endpoint() {
    for (code, status, shown) in [
        // A client would take its revision, or its headers, for refused, and turn its back on every other server.
        (-32022, 200, -32603),
        (-32020, 200, -32603),
        (-32021, 400, -32021), // of a server of this revision, it is meant for the client
        (-32000, 200, -32000),
    ] {
        let error = json!({ "code": code, "message": "m", "data": { "supported": ["2024-11-05"] } });
        let stage = Stage::new(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
            "tools/list" => result(r#"{"tools":[{"name":"x","inputSchema":{"type":"object"}}]}"#),
            _ => Reply::Error(error.to_string()),
        });
        let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
        let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
        let reply = endpoint.post(&modern("tools/call", "srv_x"), &body("tools/call", r#""name":"srv_x""#)).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["error"]["code"]), (status, &json!(shown)));
        assert_eq!(reply.json()["error"]["data"]["supported"].is_null(), shown == -32603);
    }
}

fn needs(method: &str, state: &str) -> Outcome {
    let requests = json!({ "k": { "method": method, "params": { "message": "?" } } });
    Outcome::InputRequired(raw(
        &json!({ "resultType": "input_required", "inputRequests": requests, "requestState": state }).to_string(),
    ))
}

#[tokio::test]
async fn a_client_is_not_asked_by_a_result_what_it_has_not_declared() {
    for (method, status) in [("sampling/createMessage", 400), ("elicitation/create", 200)] {
        let (plain, _) = Plain::new(needs(method, "s"));
        let endpoint = Endpoint::serve(plain, StreamableHttpLimits::default()).await;
        let reply = endpoint.post(&modern("tools/call", "x"), &body("tools/call", r#""name":"x""#)).await;
        assert_eq!(reply.status, status, "{}", reply.body);
        match status {
            400 => {
                let error = &reply.json()["error"];
                assert_eq!(error["code"], -32021);
                assert_eq!(error["data"]["requiredCapabilities"], json!({ "sampling": {} }));
            }
            _ => assert_eq!(reply.json()["result"]["inputRequests"]["k"]["method"], method),
        }
    }
}

#[tokio::test]
async fn a_state_that_no_client_could_give_back_is_not_given_out() {
    for (length, given) in [(1 << 20, false), (20_000, true)] {
        let (plain, _) = Plain::new(needs("elicitation/create", &"s".repeat(length)));
        let endpoint = Endpoint::serve(plain, StreamableHttpLimits::default()).await;
        let reply = endpoint.post(&modern("tools/call", "x"), &body("tools/call", r#""name":"x""#)).await;
        let state = reply.json()["result"]["requestState"].clone();
        assert_eq!(state.is_string(), given);
        if given {
            let rest = format!(r#""name":"x","requestState":{state},"inputResponses":{{"k":{{"action":"decline"}}}}"#);
            let again = endpoint.post(&modern("tools/call", "x"), &body("tools/call", &rest)).await;
            assert_eq!(again.json()["result"]["resultType"], "input_required", "it reached the server again");
        }
    }
}

#[tokio::test]
async fn a_uri_that_is_too_long_to_be_kept_is_not_subscribed_to() {
    let stage = Stage::new(r#""capabilities":{"tools":{},"resources":{"subscribe":true}}"#, |method, _| match method {
        "tools/list" => result(r#"{"tools":[]}"#),
        "resources/list" => result(r#"{"resources":[]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        "resources/subscribe" => result("{}"),
        _ => Reply::Never,
    });
    let aggregator = Aggregator::new(vec![stage.backend("srv")]).unwrap();
    let client = ClientId::new();
    let subscribe = async |uri: String| {
        let params = raw(&json!({ "uri": uri }).to_string());
        match aggregator.call(Call::new("resources/subscribe", Some(params)).of_client(client)).await {
            Outcome::Complete(_) => Ok(()),
            Outcome::Error(error) => {
                Err(serde_json::from_str::<Value>(error.get()).unwrap()["message"].as_str().unwrap().to_owned())
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(subscribe("x".repeat(100_000)).await.unwrap_err().contains("too long"));
    for number in 0..1024 {
        assert_eq!(subscribe(format!("a:{number}")).await, Ok(()), "twin");
    }
    assert!(subscribe("a:more".to_owned()).await.unwrap_err().contains("too many"));
    assert_eq!(subscribe("a:7".to_owned()).await, Ok(()), "it has that one");
}

#[tokio::test]
async fn a_subscription_that_was_given_up_does_not_stand_in_for_the_next() {
    let answers = Arc::new(AtomicUsize::new(0));
    let mut stage = Stage::new(r#""capabilities":{"tools":{},"resources":{"subscribe":true}}"#, {
        let answers = Arc::clone(&answers);
        move |method, _| match method {
            "tools/list" => result(r#"{"tools":[]}"#),
            "resources/list" => result(r#"{"resources":[]}"#),
            "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
            "resources/subscribe" if answers.load(Ordering::SeqCst) == 1 => result("{}"),
            _ => Reply::Never,
        }
    });
    let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
    let subscribe = || {
        let aggregator = Arc::clone(&aggregator);
        let call = Call::new("resources/subscribe", Some(raw(r#"{"uri":"a:1"}"#))).of_client(ClientId::new());
        tokio::spawn(async move { aggregator.call(call).await })
    };
    let first = subscribe();
    stage.heard(&["resources/subscribe"]).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    answers.store(1, Ordering::SeqCst);
    assert!(matches!(subscribe().await.unwrap(), Outcome::Complete(_)));
    assert_eq!(stage.heard_so_far(&["resources/subscribe"]).len(), 1, "the server was asked again");
    // Twin: one that holds stands in for others.
    assert!(matches!(subscribe().await.unwrap(), Outcome::Complete(_)));
    assert_eq!(stage.heard_so_far(&["resources/subscribe"]).len(), 0);
}
