//! What a server says of a task, asked or not, is judged like the answer to a call.

use std::sync::Arc;

use gigmcp_mcp::{Misfit, ServerPolicy, StreamableHttpLimits, Upstream};
use http::Method;
use serde_json::{Value, json};

use crate::{
    seams::{TASKS, ask, asking, listen, needs, next, one, samplings, server, task},
    serving::Endpoint,
};

fn form(field: &str) -> Value {
    let schema = json!({ "type": "object", "properties": { field: { "type": "string" } } });
    json!({ "method": "elicitation/create", "params": { "message": "?", "requestedSchema": schema } })
}

#[tokio::test]
async fn the_questions_of_a_task_are_judged_like_those_of_a_call() {
    let all = json!({ "elicitation": {}, "sampling": {} });
    let some = json!({ "elicitation": {} });
    let dirty = json!({ "a\u{200b}": form("name") });
    for (case, declares, requests, refused) in [
        ("twin", &all, json!({ "k": form("name") }), None),
        ("a password", &all, json!({ "k": form("password") }), Some("cannot ask for a secret")),
        ("as many samplings as a call may ask for", &all, samplings(4), None),
        ("more", &all, samplings(5), Some("too many samplings")),
        ("one of our keys", &all, json!({ "gigmcp-flow-1": form("name") }), Some("one of ours")),
        ("a key that nobody sees", &all, dirty, Some("not to be seen")),
        ("twin: declared", &all, samplings(1), None),
        ("not declared", &some, samplings(1), Some("Missing required client capability")),
    ] {
        let stage = server();
        let aggregator = one(&stage, |_| {}).await;
        let id = task(&aggregator, "one", &needs(&requests)).await;
        let got = asking(&aggregator, ("one", declares), ("tasks/get", json!({ "taskId": id })), None).await;
        match refused {
            None => assert!(got["inputRequests"].is_object(), "{case}: {got}"),
            Some(reason) => {
                let text = got["error"]["message"].as_str().unwrap_or_else(|| panic!("{case}: {got}"));
                assert!(text.contains(reason), "{case}: {text}");
            }
        }
    }
    let stage = server();
    let aggregator = one(&stage, |_| {}).await;
    let context = json!({ "k": { "method": "sampling/createMessage", "params": { "includeContext": "allServers" } } });
    let id = task(&aggregator, "one", &needs(&context)).await;
    let got = ask(&aggregator, "one", "tasks/get", json!({ "taskId": id })).await;
    let params = &got["inputRequests"]["k"]["params"];
    assert!(params.get("includeContext").is_none() && params["_meta"]["gigmcp/server"] == "srv", "{got}");
}

#[tokio::test]
async fn a_task_asks_for_no_more_samplings_in_all_its_life_than_a_call_may() {
    let mut stage = server();
    let aggregator = one(&stage, |_| {}).await;
    let mut events = aggregator.events().unwrap();
    let id = task(&aggregator, "one", &needs(&samplings(3))).await;
    let get = json!({ "taskId": id });
    for _ in 0..3 {
        let got = ask(&aggregator, "one", "tasks/get", get.clone()).await;
        assert!(got["inputRequests"].is_object(), "twin: the same may be told again: {got}");
    }
    listen(&aggregator, &mut stage, "one", &id).await;
    let asks = |n: usize| json!({ format!("n{n}"): { "method": "sampling/createMessage", "params": {} } });
    for n in 0..2 {
        stage.say(notice(&needs(&asks(n))));
    }
    stage.say(notice(&json!({ "status": "working" })));
    assert!(next(&mut events).await["inputRequests"]["n0"].is_object(), "twin: the fourth");
    assert_eq!(next(&mut events).await["status"], "working", "the fifth is not told");
}

fn notice(told: &Value) -> String {
    let mut params = told.clone();
    params["taskId"] = json!("1");
    json!({ "jsonrpc": "2.0", "method": "notifications/tasks", "params": params }).to_string()
}

#[tokio::test]
async fn what_is_told_of_a_task_without_being_asked_is_judged_too() {
    let mut stage = server();
    let aggregator = one(&stage, |policy| policy.structured_content = Misfit::Refused).await;
    let mut events = aggregator.events().unwrap();
    let id = task(&aggregator, "one", &json!({})).await;
    // Two streams of the same owner, to which the same is told once.
    listen(&aggregator, &mut stage, "one", &id).await;
    listen(&aggregator, &mut stage, "one", &id).await;
    stage.say(notice(&needs(&json!({ "k": form("password") }))));
    stage.say(notice(&needs(&json!({ "k": form("name") }))));
    let lie = json!({ "content": [], "structuredContent": { "m": 1 } });
    stage.say(notice(&json!({ "status": "completed", "result": lie })));
    let told = next(&mut events).await;
    assert_eq!(
        told["inputRequests"]["k"]["params"]["message"], "srv: ?",
        "twin, and nothing of the one before: {told}"
    );
    let told = next(&mut events).await;
    assert_eq!((&told["status"], &told["result"]["isError"]), (&json!("completed"), &json!(true)), "{told}");
}

#[tokio::test]
async fn sessions_hear_nothing_of_tasks_and_streams_nothing_that_their_client_cannot_be_asked() {
    let mut stage = server();
    let aggregator = one(&stage, |_| {}).await;
    let endpoint = Endpoint::serve(Arc::clone(&aggregator) as _, StreamableHttpLimits::default()).await;
    let session = endpoint.initialize("2025-11-25").await;
    let headers = [("mcp-session-id", &*session)];
    let mut older = endpoint.open(Method::GET, &headers, "").await;
    let id = task(&aggregator, "one", &json!({})).await;
    let mut streams = Vec::new();
    for capabilities in [json!({ "elicitation": {} }), json!({})] {
        let mut declared = capabilities.clone();
        declared["extensions"] = json!({ TASKS: {} });
        let body = json!({ "jsonrpc": "2.0", "id": "r", "method": "subscriptions/listen", "params": {
            "notifications": { "taskIds": [id] },
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": declared,
            },
        } });
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")];
        let mut stream = endpoint.open(Method::POST, &headers, body.to_string()).await;
        assert!(stream.next().await.unwrap().contains("acknowledged"));
        stage.heard(&["subscriptions/listen"]).await;
        streams.push(stream);
    }
    stage.say(notice(&needs(&json!({ "k": form("name") }))));
    stage.say(notice(&json!({ "status": "working", "statusMessage": "private" })));
    stage.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"line"}}"#);
    let heard = older.next().await.unwrap();
    assert!(heard.contains("notifications/message") && heard.contains("line"), "the first it hears: {heard}");
    assert!(streams[0].next().await.unwrap().contains("inputRequests"), "twin: it can be asked");
    let heard = streams[1].next().await.unwrap();
    assert!(heard.contains("private") && !heard.contains("inputRequests"), "{heard}");
}

#[tokio::test]
async fn a_task_ends_with_its_process_whatever_the_next_one_calls_its_own() {
    let mut stage = server();
    let aggregator = one(&stage, |_| {}).await;
    let first = task(&aggregator, "one", &json!({ "status": "working" })).await;
    let got = ask(&aggregator, "one", "tasks/get", json!({ "taskId": first })).await;
    assert_eq!(got["status"], "working", "twin");
    listen(&aggregator, &mut stage, "one", &first).await;
    stage.stop();
    // The next process numbers its tasks anew.
    let second = task(&aggregator, "two", &json!({ "status": "completed", "result": { "content": [] } })).await;
    stage.heard_so_far(&[]);
    for method in ["tasks/get", "tasks/update", "tasks/cancel", "tasks/subscribe"] {
        let got = ask(&aggregator, "one", method, json!({ "taskId": first })).await;
        let text = got["error"]["message"].as_str().unwrap_or_default();
        assert!(text.contains("its server has ended"), "{method}: {got}");
    }
    assert_eq!(stage.heard_so_far(&["tasks/get", "tasks/update", "tasks/cancel", "subscriptions/listen"]), []);
    let mut events = aggregator.events().unwrap();
    stage.say(notice(&json!({ "status": "working", "statusMessage": "of two" })));
    listen(&aggregator, &mut stage, "two", &second).await;
    stage.say(notice(&json!({ "status": "completed" })));
    loop {
        let told = next(&mut events).await;
        assert_eq!(told["taskId"], json!(second), "nothing for the old id");
        if told["status"] == "completed" {
            break;
        }
    }
}

#[tokio::test]
async fn the_result_of_a_task_fits_what_the_tool_says_and_the_limits() {
    let stage = server();
    let change = |policy: &mut ServerPolicy| {
        policy.structured_content = Misfit::Refused;
        policy.limits.text_bytes = 10;
        policy.limits.result_bytes = 4_000;
    };
    let aggregator = one(&stage, change).await;
    for (case, inlined, expected) in [
        ("twin", json!({ "content": [], "structuredContent": { "n": 1 } }), "{\"n\":1}"),
        ("not what its schema says", json!({ "content": [], "structuredContent": { "m": 1 } }), "result-mismatch"),
        ("nothing", json!({ "content": [] }), "result-mismatch"),
        (
            "long text",
            json!({ "content": [{ "type": "text", "text": "x".repeat(20) }], "structuredContent": { "n": 1 } }),
            "10 bytes of text were left out",
        ),
        (
            "what cannot be cut",
            json!({ "content": [], "structuredContent": { "n": "x".repeat(5_000) } }),
            "server-answer-too-long",
        ),
    ] {
        let id = task(&aggregator, "one", &json!({ "status": "completed", "result": inlined })).await;
        let got = ask(&aggregator, "one", "tasks/get", json!({ "taskId": id })).await.to_string();
        assert!(got.contains(expected), "{case}: {got}");
    }
}

#[tokio::test]
async fn whoever_may_use_one_tool_may_not_read_what_its_task_points_at() {
    for only in [true, false] {
        let mut stage = server();
        let change = |policy: &mut ServerPolicy| policy.only = only.then(|| ["do".into()].into());
        let aggregator = one(&stage, change).await;
        let link = json!({ "content": [{ "type": "resource_link", "uri": "secret:1", "name": "s" }] });
        let id = task(&aggregator, "one", &json!({ "status": "completed", "result": link })).await;
        ask(&aggregator, "one", "tasks/get", json!({ "taskId": id })).await;
        let got = ask(&aggregator, "one", "resources/read", json!({ "uri": "secret:1" })).await;
        let heard = stage.heard_so_far(&["resources/read"]);
        assert_eq!((got["error"]["code"] == -32002, heard.is_empty()), (only, only), "{got}");
    }
}
