//! What a server asks for in a call is counted over all its rounds.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use gigmcp_mcp::StreamableHttpLimits;
use serde_json::{Value, json};

use crate::{
    played::{Reply, Stage, result},
    seams::{TASKS, needs, one, samplings},
    serving::Endpoint,
};

/// What the endpoint answers to `one`, who can be asked for everything.
pub(crate) async fn post(endpoint: &Endpoint, method: &str, mut params: Value) -> (u16, Value) {
    let name = params["taskId"].as_str().or(params["name"].as_str()).unwrap_or_default().to_owned();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {
            "elicitation": {}, "sampling": {}, "roots": {}, "extensions": { TASKS: {} },
        },
    });
    let body = json!({ "jsonrpc": "2.0", "id": "r", "method": method, "params": params }).to_string();
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", method), ("mcp-name", &name)];
    let reply = endpoint.post(&headers, &body).await;
    (reply.status.as_u16(), reply.json())
}

/// A server that asks for something at each attempt, as its script says: how many samplings, or a form; then it answers.
fn asker(rounds: Vec<Option<usize>>, state: Option<&'static str>) -> (Stage, Arc<AtomicU64>) {
    let round = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&round);
    let capabilities = json!({ "tools": {}, "extensions": { TASKS: {} } });
    let stage = Stage::modern(&format!(r#""capabilities":{capabilities}"#), move |method, _| match method {
        "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
        "tools/call" => {
            let round = usize::try_from(counted.fetch_add(1, Ordering::SeqCst)).unwrap();
            let requests = match rounds.get(round % rounds.len().max(1)) {
                Some(Some(count)) => samplings(*count),
                Some(None) => json!({ "k": { "method": "elicitation/create", "params": { "message": "?" } } }),
                None => return result(r#"{"content":[]}"#),
            };
            let mut asks = json!({ "resultType": "input_required", "inputRequests": requests });
            if let Some(state) = state {
                asks["requestState"] = json!(state);
            }
            result(asks.to_string())
        }
        _ => Reply::Never,
    });
    (stage, round)
}

/// Goes on with a call for as long as its server asks; how often it has asked, and what came then.
async fn rounds(endpoint: &Endpoint, most: usize) -> (usize, Value) {
    let mut params = json!({ "name": "srv_do" });
    for round in 0..most {
        let (_, got) = post(endpoint, "tools/call", params.clone()).await;
        if got["result"]["resultType"] != "input_required" {
            return (round, got);
        }
        params["requestState"] = got["result"]["requestState"].clone();
        params["inputResponses"] = json!({});
    }
    (most, Value::Null)
}

#[tokio::test]
async fn a_call_asks_for_few_samplings_at_all_its_attempts_together() {
    for state in [Some("own"), None] {
        for (case, script, asked) in [
            ("as many as it may", vec![Some(2), Some(2), None], 64),
            ("twin: one attempt", vec![Some(4), None, None], 64),
            ("more, in small parts", vec![Some(2), Some(2), Some(1)], 2),
            ("more, with something between", vec![Some(3), None, Some(2)], 2),
        ] {
            // What comes after the script is the script again, so those that may go on are stopped by it.
            let most = if asked == 64 { script.len() } else { asked + 1 };
            let (stage, _) = asker(script, state);
            let aggregator = one(&stage, |_| {}).await;
            let endpoint = Endpoint::serve(aggregator, StreamableHttpLimits::default()).await;
            let (round, got) = rounds(&endpoint, most).await;
            let refused = got["error"]["message"].as_str().is_some_and(|text| text.contains("too many samplings"));
            assert_eq!((round, refused), (asked.min(most), asked != 64), "{case}, {state:?}: {got}");
        }
    }
}

#[tokio::test]
async fn a_server_does_not_ask_the_same_client_for_ever() {
    let (stage, _) = asker(vec![None], None);
    let endpoint = Endpoint::serve(one(&stage, |_| {}).await, StreamableHttpLimits::default()).await;
    let (round, got) = rounds(&endpoint, 100).await;
    assert_eq!((round, &got["error"]["message"]), (32, &json!("the server asks again and again")));
    let (round, got) = rounds(&endpoint, 32).await;
    assert_eq!((round, got), (32, Value::Null), "twin: another call begins anew");
}

#[tokio::test]
async fn a_server_that_only_has_a_state_does_not_let_its_client_come_back_for_ever() {
    for says in [json!({ "requestState": "own" }), json!({ "requestState": "own", "inputRequests": {} })] {
        let mut says = says;
        says["resultType"] = json!("input_required");
        for comes_to_an_end in [false, true] {
            let (says, attempts) = (says.to_string(), AtomicU64::new(0));
            let stage = Stage::modern(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
                "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
                "tools/call" if comes_to_an_end && attempts.fetch_add(1, Ordering::SeqCst) == 32 => {
                    result(r#"{"content":[]}"#)
                }
                "tools/call" => result(&says),
                _ => Reply::Never,
            });
            let endpoint = Endpoint::serve(one(&stage, |_| {}).await, StreamableHttpLimits::default()).await;
            let (round, got) = rounds(&endpoint, 100).await;
            assert_eq!(round, 32, "{got}");
            assert_eq!(got["error"]["message"] == "the server asks again and again", !comes_to_an_end, "{got}");
            assert_eq!(got["result"]["content"].is_array(), comes_to_an_end, "twin: {got}");
        }
    }
}

#[tokio::test]
async fn who_asks_for_input_says_for_what_or_has_a_state() {
    let asks = json!({ "k": { "method": "elicitation/create", "params": { "message": "?" } } });
    for (case, mut says, passes) in [
        ("neither", json!({}), false),
        ("twin: what is asked", json!({ "inputRequests": asks }), true),
        ("twin: a state", json!({ "requestState": "own" }), true),
    ] {
        says["resultType"] = json!("input_required");
        let stage = Stage::modern(r#""capabilities":{"tools":{}}"#, move |method, _| match method {
            "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
            "tools/call" => result(says.to_string()),
            _ => Reply::Never,
        });
        let endpoint = Endpoint::serve(one(&stage, |_| {}).await, StreamableHttpLimits::default()).await;
        let (_, got) = post(&endpoint, "tools/call", json!({ "name": "srv_do" })).await;
        assert_eq!(got["result"]["requestState"].is_string(), passes, "{case}: {got}");
        assert_eq!(got["error"]["message"] == "the server asks for input in a malformed way", !passes, "{case}: {got}");
    }
}

#[tokio::test]
async fn a_state_of_ours_is_of_nobody_else_and_the_servers_own_reaches_it_as_it_was() {
    for state in [Some("own"), None] {
        let (mut stage, _) = asker(vec![None], state);
        let endpoint = Endpoint::serve(one(&stage, |_| {}).await, StreamableHttpLimits::default()).await;
        let (_, got) = post(&endpoint, "tools/call", json!({ "name": "srv_do" })).await;
        let given = got["result"]["requestState"].clone();
        assert!(given.is_string() && given != json!(state), "{got}");
        stage.heard_so_far(&[]);
        post(&endpoint, "tools/call", json!({ "name": "srv_do", "requestState": given })).await;
        let heard: Value = serde_json::from_str(&stage.heard_so_far(&["tools/call"])[0].1).unwrap();
        assert_eq!(heard.get("requestState"), state.map(|state| json!(state)).as_ref(), "{heard}");
        let other = json!({ "name": "srv_do", "arguments": { "x": 1 }, "requestState": given });
        let (_, got) = post(&endpoint, "tools/call", other).await;
        assert_eq!(got["error"]["code"], -32602, "of another call: {got}");
    }
}

#[tokio::test]
async fn a_call_and_its_task_ask_for_no_more_than_a_call_may() {
    for (asks, passes) in [(1, true), (2, false)] {
        let attempts = AtomicU64::new(0);
        let capabilities = json!({ "tools": {}, "extensions": { TASKS: {} } });
        let stage = Stage::modern(&format!(r#""capabilities":{capabilities}"#), move |method, _| match method {
            "tools/list" => result(r#"{"tools":[{"name":"do","inputSchema":{"type":"object"}}]}"#),
            "tools/call" if attempts.fetch_add(1, Ordering::SeqCst) == 0 => {
                result(json!({ "resultType": "input_required", "inputRequests": samplings(3) }).to_string())
            }
            "tools/call" => result(r#"{"resultType":"task","taskId":"1","status":"working","ttlMs":null}"#),
            "tasks/get" => {
                let mut told = needs(&samplings(asks));
                told["taskId"] = json!("1");
                result(told.to_string())
            }
            _ => Reply::Never,
        });
        let endpoint = Endpoint::serve(one(&stage, |_| {}).await, StreamableHttpLimits::default()).await;
        let (round, made) = rounds(&endpoint, 2).await;
        assert_eq!(round, 1, "{made}");
        let (_, got) = post(&endpoint, "tasks/get", json!({ "taskId": made["result"]["taskId"] })).await;
        assert_eq!(got["result"]["inputRequests"].is_object(), passes, "{asks}: {got}");
    }
}
