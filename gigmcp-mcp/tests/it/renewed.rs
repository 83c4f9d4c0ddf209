//! What a client shows is renewed: its sessions end, and what is told of no call goes on being its owner's.

use std::sync::Arc;

use gigmcp_mcp::{Aggregator, Principal, StreamableHttpLimits, Upstream};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use crate::{
    played::{Reply, Stage, result},
    serving::{endpoint_of, initialize},
};

#[tokio::test]
async fn lines_of_no_call_go_on_after_a_renewal_and_not_to_another_owner() {
    for (case, owner, passes) in [("renewed", "laptop", true), ("twin: another one", "phone", false)] {
        let stage = Stage::new(r#""capabilities":{"tools":{},"logging":{}}"#, |method, _| match method {
            "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
            "tools/call" | "logging/setLevel" => result("{}"),
            _ => Reply::Never,
        });
        let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
        let endpoint = endpoint_of(StreamableHttpLimits::default());
        let sent = async |principal: &Principal, session: &str, body: String| {
            let request = Request::post("/mcp").header("mcp-session-id", session).body(Full::from(body)).unwrap();
            endpoint.handle(principal, &aggregator, with_usual_headers(request)).await
        };
        let call =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "srv_do" } }).to_string();
        let mut sessions = Vec::new();
        let shown = [Principal::new("token 1").owned_by("laptop"), Principal::new("token 2").owned_by(owner)];
        for principal in &shown {
            let answer = sent(principal, "", initialize("2025-11-25")).await;
            let session = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
            assert_eq!(sent(principal, &session, call.clone()).await.status(), 200, "{case}");
            sessions.push(session);
        }
        assert_eq!(sent(&shown[1], &sessions[0], call).await.status(), 404, "its sessions end: {case}");
        let mut events = aggregator.events().unwrap();
        stage.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#);
        stage.say(r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"1"}}"#);
        let first = events.recv().await.unwrap();
        assert_eq!(first.owner().map(|owner| &**owner), passes.then_some("laptop"), "{case}: {}", first.method);
        let get = Request::get("/mcp").header("mcp-session-id", &sessions[1]).body(Full::default()).unwrap();
        let mut heard = endpoint.handle(&shown[1], &aggregator, with_usual_headers(get)).await;
        stage.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":2}}"#);
        stage.say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
        if passes {
            assert!(next(&mut heard).await["params"]["data"] == 2, "{case}");
        }
    }
}

#[tokio::test]
async fn a_session_that_goes_on_in_another_aggregator_asks_there_as_who_it_is() {
    let capabilities = r#""capabilities":{"tools":{},"resources":{"subscribe":true},"logging":{}}"#;
    let mut stage = Stage::new(capabilities, |method, _| match method {
        "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
        "resources/list" => result(r#"{"resources":[{"uri":"a:1","name":"a"}]}"#),
        "resources/templates/list" => result(r#"{"resourceTemplates":[]}"#),
        "tools/call" | "resources/subscribe" | "logging/setLevel" => result("{}"),
        _ => Reply::Never,
    });
    let endpoint = endpoint_of(StreamableHttpLimits::default());
    let principal = Principal::new("one");
    let aggregator = || Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
    let (before, after) = (aggregator(), aggregator());
    let sent = async |aggregator: &Arc<Aggregator>, session: &str, body: &Value| {
        let request = Request::post("/mcp").header("mcp-session-id", session);
        let request = request.body(Full::from(body.to_string())).unwrap();
        endpoint.handle(&principal, aggregator, with_usual_headers(request)).await
    };
    let answer = sent(&before, "", &serde_json::from_str(&initialize("2025-11-25")).unwrap()).await;
    let session = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let request = |method: &str, params| json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let subscribe = request("resources/subscribe", json!({ "uri": "a:1" }));
    assert_eq!(sent(&before, &session, &subscribe).await.status(), 200);
    stage.heard(&["resources/subscribe"]).await;
    let call = request("tools/call", json!({ "name": "srv_do" }));
    assert_eq!(sent(&after, &session, &call).await.status(), 200);
    stage.heard(&["resources/subscribe"]).await;
    let mut events = after.events().unwrap();
    stage.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#);
    stage.say(r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"1"}}"#);
    let first = events.recv().await.unwrap();
    assert_eq!(first.owner().map(|owner| &**owner), Some("one"), "{}", first.method);
}

fn with_usual_headers(mut request: Request<Full<bytes::Bytes>>) -> Request<Full<bytes::Bytes>> {
    for (name, value) in
        [("host", "localhost"), ("accept", "application/json, text/event-stream"), ("content-type", "application/json")]
    {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    if request.headers()["mcp-session-id"].is_empty() {
        request.headers_mut().remove("mcp-session-id");
    }
    request
}

/// The next message on a stream.
async fn next(stream: &mut Response<gigmcp_mcp::ResponseBody>) -> Value {
    let frame = stream.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    let text = String::from_utf8(frame.to_vec()).unwrap();
    serde_json::from_str(text.trim().trim_start_matches("event: message\ndata: ")).unwrap()
}
