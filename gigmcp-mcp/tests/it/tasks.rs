//! Work that goes on after the answer, for clients that can follow it and for those that cannot.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use gigmcp_mcp::{Aggregator, Call, Outcome, StreamableHttpLimits, Upstream};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    played::{Reply, Stage, result},
    seam::{Client, note, raw},
    serving::{self, Endpoint},
};

const TASKS: &str = "io.modelcontextprotocol/tasks";
const TOOLS: &str = r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#;

/// A server that makes a task of every call, if the client can follow one.
fn server() -> Stage {
    let capabilities = json!({ "tools": {}, "extensions": { TASKS: {}, "com.example/odd": { "x": 1.5 } } });
    Stage::modern(&format!(r#""capabilities":{capabilities}"#), |method, params| {
        let params: Value = serde_json::from_str(params).unwrap_or_default();
        match method {
            "tools/list" => result(TOOLS),
            "tools/call" => result(
                r#"{"resultType":"task","taskId":"own-7","status":"working","createdAt":"t","lastUpdatedAt":"t","ttlMs":60000.5,"pollIntervalMs":10,"x":1.0}"#,
            ),
            "tasks/get" if params["taskId"] == "own-7" => result(
                r#"{"resultType":"complete","taskId":"own-7","status":"completed","createdAt":"t","lastUpdatedAt":"t","ttlMs":60000,"result":{"content":[{"type":"hologram"}]},"inputRequests":{"k":{"method":"elicitation/create","params":{"message":"Name?"}},"odd":{"method":"odd/ask"}}}"#,
            ),
            "tasks/update" | "tasks/cancel" if params["taskId"] == "own-7" => {
                result(json!({ "resultType": "complete", "heard": params["inputResponses"] }).to_string())
            }
            "com.example/odd/do" => result(json!({ "resultType": "complete", "did": params["x"] }).to_string()),
            "tasks/get" => Reply::Error(r#"{"code":-32602,"message":"no such task"}"#.to_owned()),
            _ => Reply::Never,
        }
    })
}

async fn serve() -> (Endpoint, Stage) {
    let stage = server();
    let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
    aggregator.tools().await;
    (Endpoint::serve(aggregator, StreamableHttpLimits::default()).await, stage)
}

fn body(method: &str, params: &Value, extensions: &Value) -> String {
    let mut params = params.clone();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": {}, "extensions": extensions },
    });
    json!({ "jsonrpc": "2.0", "id": "r", "method": method, "params": params }).to_string()
}

async fn post(endpoint: &Endpoint, who: &str, method: &str, params: Value, extensions: &Value) -> serving::Reply {
    let name = params["taskId"].as_str().or(params["name"].as_str()).unwrap_or_default().to_owned();
    let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method), ("x-principal", who)];
    if !name.is_empty() {
        headers.push(("mcp-name", &name));
    }
    endpoint.post(&headers, &body(method, &params, extensions)).await
}

#[tokio::test]
async fn a_task_is_known_by_an_id_that_leads_its_owner_to_it_and_nobody_else() {
    let (endpoint, _stage) = serve().await;
    let follows = json!({ TASKS: {} });
    let created = post(&endpoint, "one", "tools/call", json!({ "name": "srv_do" }), &follows).await.json();
    let id = created["result"]["taskId"].as_str().unwrap().to_owned();
    assert!(id.starts_with("srv.") && !id.contains("own-7"), "{id}");
    assert_eq!((&created["result"]["resultType"], &created["result"]["status"]), (&json!("task"), &json!("working")));
    assert_eq!((&created["result"]["ttlMs"], &created["result"]["x"]), (&json!(60001), &json!(1.0)));

    let found = post(&endpoint, "one", "tasks/get", json!({ "taskId": id }), &follows).await;
    let found = found.json()["result"].clone();
    assert_eq!((&found["taskId"], &found["resultType"]), (&json!(id), &json!("complete")));
    assert_eq!(found["result"]["content"][0]["text"], r#"{"type":"hologram"}"#, "mended like any result");
    assert_eq!(
        found["inputRequests"],
        json!({ "k": { "method": "elicitation/create", "params": { "message": "srv: Name?" } } })
    );
    let updated = json!({ "taskId": id, "inputResponses": { "k": { "action": "accept" } } });
    let updated = post(&endpoint, "one", "tasks/update", updated, &follows).await.json();
    assert_eq!(updated["result"], json!({ "resultType": "complete", "heard": { "k": { "action": "accept" } } }));
    let cancelled = post(&endpoint, "one", "tasks/cancel", json!({ "taskId": id }), &follows).await.json();
    assert_eq!(cancelled["result"]["resultType"], "complete");

    let other = format!("other.{}", &id[4..]);
    let changed = format!("{}{}", &id[..id.len() - 1], if id.ends_with('A') { 'B' } else { 'A' });
    for (case, who, id) in [
        ("another's", "two", &*id),
        ("of another server", "one", &*other),
        ("changed", "one", &*changed),
        ("the server's own", "one", "own-7"),
        ("made up", "one", "srv.own-7"),
    ] {
        let refused = post(&endpoint, who, "tasks/get", json!({ "taskId": id }), &follows).await.json();
        assert_eq!(refused["error"]["code"], -32602, "{case}: {refused}");
    }
}

#[tokio::test]
async fn who_has_not_declared_an_extension_has_nothing_of_it() {
    let (endpoint, mut stage) = serve().await;
    for (method, params, needed) in [
        ("tasks/get", json!({ "taskId": "srv.x" }), TASKS),
        ("tasks/update", json!({ "taskId": "srv.x", "inputResponses": {} }), TASKS),
        ("tasks/cancel", json!({ "taskId": "srv.x" }), TASKS),
        ("com.example/odd/do", json!({ "x": 1 }), "com.example/odd"),
    ] {
        let refused = post(&endpoint, "one", method, params.clone(), &json!({})).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{method}");
        let error = refused.json()["error"].clone();
        assert_eq!(error["code"], -32021, "{method}");
        assert_eq!(error["data"], json!({ "requiredCapabilities": { "extensions": { needed: {} } } }));
    }
    assert!(stage.heard_so_far(&["tasks/get", "com.example/odd/do"]).is_empty());
    // A task that nobody can follow is no answer.
    let call = post(&endpoint, "one", "tools/call", json!({ "name": "srv_do" }), &json!({})).await.json();
    assert_eq!(call["error"]["data"]["code"], "server-protocol", "{call}");
    // The twins.
    let both = json!({ TASKS: {}, "com.example/odd": {} });
    let did = post(&endpoint, "one", "com.example/odd/do", json!({ "x": 1 }), &both).await.json();
    assert_eq!(did["result"], json!({ "resultType": "complete", "did": 1 }));
    for method in ["tasks/list", "tasks/result", "tasks/subscribe", "tasks/unsubscribe", "com.example/even/do", "odd"] {
        let refused = post(&endpoint, "one", method, json!({ "taskId": "srv.x" }), &both).await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["code"]),
            (StatusCode::NOT_FOUND, &json!(-32601)),
            "{method}"
        );
    }
    let offered = post(&endpoint, "one", "server/discover", json!({}), &json!({})).await.json();
    let extensions = &offered["result"]["capabilities"]["extensions"];
    assert_eq!(*extensions, json!({ TASKS: {}, "com.example/odd": { "x": 1.5 } }));
    // In the older era, tasks are something else.
    let older = endpoint.post(&[], &serving::initialize("2025-11-25")).await.json();
    assert_eq!(older["result"]["capabilities"]["extensions"], json!({ "com.example/odd": { "x": 1.5 } }));
}

#[tokio::test]
async fn what_happens_to_a_task_is_told_to_who_listens_to_it() {
    let (endpoint, mut stage) = serve().await;
    let follows = json!({ TASKS: {} });
    let created = post(&endpoint, "one", "tools/call", json!({ "name": "srv_do" }), &follows).await.json();
    let id = created["result"]["taskId"].as_str().unwrap().to_owned();
    let listen = async |who: &str| {
        let headers =
            [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen"), ("x-principal", who)];
        let filter = json!({ "notifications": { "taskIds": [id, "srv.nothing"] } });
        let mut stream = endpoint.open(Method::POST, &headers, body("subscriptions/listen", &filter, &follows)).await;
        let acknowledged: Value = serde_json::from_str(&stream.next().await.unwrap()).unwrap();
        (stream, acknowledged["params"]["notifications"].clone())
    };
    let (mut stream, accepted) = listen("one").await;
    assert_eq!(accepted, json!({ "taskIds": [id] }), "what leads nowhere is not accepted");
    let heard = stage.heard(&["subscriptions/listen"]).await.1;
    let heard: Value = serde_json::from_str(&heard).unwrap();
    assert_eq!(heard["notifications"], json!({ "taskIds": ["own-7"] }));
    let (_other, accepted) = listen("two").await;
    assert_eq!(accepted, json!({}), "nor what is another's");

    let told = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/tasks","params":{{"taskId":"{id}","status":"completed","_meta":{{"io.modelcontextprotocol/subscriptionId":9}}}}}}"#
        )
    };
    stage.say(told("own-8"));
    stage.say(told("own-7"));
    let event: Value = serde_json::from_str(&stream.next().await.unwrap()).unwrap();
    assert_eq!(event["method"], "notifications/tasks");
    assert_eq!((&event["params"]["taskId"], &event["params"]["status"]), (&json!(id), &json!("completed")));
    assert_eq!(event["params"]["_meta"], json!({ "io.modelcontextprotocol/subscriptionId": "r" }));
}

/// A server of the older era whose tool can only be called as a task.
fn older() -> Stage {
    let asked = AtomicUsize::new(0);
    Stage::new(r#""capabilities":{"tools":{},"tasks":{"requests":{"tools":{"call":{}}}}}"#, move |method, params| {
        let params: Value = serde_json::from_str(params).unwrap_or_default();
        match method {
            "tools/list" => result(
                r#"{"tools":[{"name":"slow","inputSchema":{"type":"object"},"execution":{"taskSupport":"required","x":1.0}},{"name":"do","inputSchema":{"type":"object"}}]}"#,
            ),
            "tools/call" if params["name"] == "do" => {
                result(json!({ "content": [], "task": params["task"] }).to_string())
            }
            "tools/call" if params.get("task").is_none() => {
                Reply::Error(r#"{"code":-32601,"message":"as a task only"}"#.to_owned())
            }
            "tools/call" => result(r#"{"task":{"taskId":"t","status":"working","ttl":1,"pollInterval":1}}"#),
            "tasks/get" => {
                let status = if asked.fetch_add(1, Ordering::SeqCst) < 2 { "working" } else { "completed" };
                result(
                    json!({ "taskId": "t", "status": status, "statusMessage": "half", "pollInterval": 1 }).to_string(),
                )
            }
            "tasks/result" => result(r#"{"content":[{"type":"text","text":"done"}]}"#),
            "tasks/cancel" => result("{}"),
            _ => Reply::Never,
        }
    })
}

#[tokio::test]
async fn a_tool_that_can_only_be_called_as_a_task_is_waited_for_inside_the_call() {
    let stage = older();
    let aggregator = Aggregator::new(vec![stage.backend("srv")]).unwrap();
    let listed = aggregator.tools().await.tools;
    assert_eq!(
        listed[0].definition.get(),
        r#"{"name":"srv_slow","inputSchema":{"type":"object"},"execution":{"taskSupport":"optional","x":1.0}}"#
    );
    let (sink, mut reached) = Client::connect();
    let params = raw(r#"{"name":"srv_slow","_meta":{"progressToken":"p"}}"#);
    let call = Call::new("tools/call", Some(params)).with_sink(sink);
    let Outcome::Complete(found) = aggregator.call(call).await else { panic!("a result") };
    assert_eq!(found.get(), r#"{"content":[{"type":"text","text":"done"}]}"#);
    for (step, message) in [(1, "working"), (2, "half"), (3, "half"), (4, "half")] {
        let (method, params) = note(&mut reached).await;
        let params: Value = serde_json::from_str(&params).unwrap();
        assert_eq!(method, "notifications/progress");
        assert_eq!(params, json!({ "progressToken": "p", "progress": step, "message": message }));
    }
    // The twin, which can be called like any other.
    let params = raw(r#"{"name":"srv_do"}"#);
    let Outcome::Complete(found) = aggregator.call(Call::new("tools/call", Some(params))).await else {
        panic!("a result");
    };
    assert_eq!(found.get(), r#"{"content":[],"task":null}"#, "no task was asked for");
}

#[tokio::test]
async fn a_task_that_nobody_waits_for_any_more_is_given_up() {
    let mut stage = Stage::new(r#""capabilities":{"tools":{}}"#, |method, _| match method {
        "tools/list" => result(TOOLS),
        // Unasked, as some do.
        "tools/call" => result(r#"{"task":{"taskId":"t","status":"working","pollInterval":1}}"#),
        "tasks/get" => result(r#"{"taskId":"t","status":"working","pollInterval":1}"#),
        _ => Reply::Never,
    });
    let aggregator = Arc::new(Aggregator::new(vec![stage.backend("srv")]).unwrap());
    aggregator.tools().await;
    let call = Call::new("tools/call", Some(raw(r#"{"name":"srv_do"}"#)));
    let calling = tokio::spawn({
        let aggregator = Arc::clone(&aggregator);
        async move { aggregator.call(call).await }
    });
    stage.heard(&["tasks/get"]).await;
    calling.abort();
    assert_eq!(stage.heard(&["tasks/cancel"]).await.1, r#"{"taskId":"t"}"#);
}
