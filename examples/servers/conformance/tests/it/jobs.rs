//! Tasks.

use serde_json::{Value, json};

use crate::client::{Client, all, meta};

fn with_tasks() -> Value {
    meta(&json!({ "elicitation": {}, "extensions": { "io.modelcontextprotocol/tasks": {} } }))
}

fn task(client: &mut Client, method: &str, mut params: Value) -> Value {
    params["_meta"] = with_tasks();
    client.request(method, params)
}

#[test]
fn a_prefix_leaves_the_tools_that_have_it() {
    for (prefix, expected) in [("slow", "compute"), ("failing", "job"), ("json", "schema_2020_12_tool")] {
        let mut client = Client::modern_with("jobs", prefix);
        let tools = all(&mut client, "tools/list", "tools");
        assert_eq!(tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect::<Vec<_>>(), [expected]);
    }
    let mut client = Client::modern_with("jobs", "slow");
    let created = task(&mut client, "tools/call", json!({ "name": "compute", "arguments": { "seconds": 0 } }));
    assert_eq!(created["result"]["resultType"], "task", "{created}");
    assert_eq!(all(&mut Client::modern("jobs"), "tools/list", "tools").len(), 8);
}

#[test]
fn a_task_is_followed_answered_and_cancelled() {
    let mut client = Client::modern("jobs");
    let mut begin = |name: &str, arguments: Value| {
        let created = task(&mut client, "tools/call", json!({ "name": name, "arguments": arguments }));
        created["result"]["taskId"].as_str().unwrap_or_else(|| panic!("{created}")).to_owned()
    };
    let (slow, failing) = (begin("slow_compute", json!({ "seconds": 60 })), begin("failing_job", json!({})));
    let (broken, asking) = (begin("protocol_error_job", json!({})), begin("multi_input", json!({})));
    let mut get = |id: &str| task(&mut client, "tasks/get", json!({ "taskId": id }))["result"].clone();
    assert_eq!(get(&slow)["status"], "working");
    assert_eq!(get(&failing)["result"]["isError"], true);
    assert_eq!(
        (get(&broken)["status"].clone(), get(&broken)["error"]["code"].clone()),
        (json!("failed"), json!(-32603))
    );
    assert_eq!(get(&asking)["inputRequests"].as_object().unwrap().len(), 2);
    let answer = json!({ "action": "accept", "content": { "name": "A" } });
    for key in ["first", "second"] {
        let answers = json!({ "taskId": asking, "inputResponses": { key: answer, "unknown": {} } });
        assert_eq!(task(&mut client, "tasks/update", answers)["result"]["resultType"], "complete");
    }
    for id in [&slow, &failing] {
        assert_eq!(task(&mut client, "tasks/cancel", json!({ "taskId": id }))["result"]["resultType"], "complete");
    }
    let mut get = |id: &str| task(&mut client, "tasks/get", json!({ "taskId": id }));
    assert_eq!(get(&asking)["result"]["status"], "completed");
    assert_eq!(get(&slow)["result"]["status"], "cancelled");
    assert_eq!(get(&failing)["result"]["status"], "completed", "what has ended stays as it is");
    assert_eq!(get("nobody")["error"]["code"], -32602);
}

#[test]
fn who_cannot_follow_a_task_gets_none() {
    let mut client = Client::modern("jobs");
    assert_eq!(client.call("slow_compute", json!({ "seconds": 0 }))["result"]["resultType"], "complete");
    for (method, params) in [("tasks/get", json!({ "taskId": "x" })), ("tools/call", json!({ "name": "failing_job" }))]
    {
        let error = client.request(method, params)["error"].clone();
        assert_eq!(error["code"], -32021, "{method}: {error}");
    }
}
