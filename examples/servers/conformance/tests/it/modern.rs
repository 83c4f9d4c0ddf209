//! Stateless.

use serde_json::{Value, json};

use crate::client::{Client, all, check_contents, check_lists, meta};

const EVERY: [&str; 2] = ["modern", "dual"];

#[test]
fn everything_of_the_stateless_revision() {
    for mode in EVERY {
        let mut client = Client::modern(mode);
        check_lists(&mut client);
        check_contents(&mut client);
        for (method, params) in [
            ("server/discover", json!({})),
            ("tools/list", json!({})),
            ("prompts/list", json!({})),
            ("resources/list", json!({})),
            ("resources/templates/list", json!({})),
            ("resources/read", json!({ "uri": "test://static-text" })),
        ] {
            let result = &client.request(method, params)["result"];
            assert!(result["ttlMs"].is_u64() && result["cacheScope"] == "public", "{method}: {result}");
            assert!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"].is_string(), "{method}: {result}");
        }
        let unknown = client.request("resources/read", json!({ "uri": "test://nobody" }));
        assert_eq!(unknown["error"]["code"], -32602);
        assert_eq!(unknown["error"]["data"]["uri"], "test://nobody");
        for method in ["ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "nobody/knows"] {
            assert_eq!(client.request(method, json!({}))["error"]["code"], -32601, "{method}");
        }
        client.end();
    }
}

#[test]
fn every_request_says_who_it_is_from() {
    let mut client = Client::modern("modern");
    for missing in ["io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities"] {
        let mut meta = meta(&json!({}));
        meta.as_object_mut().unwrap().remove(missing);
        assert_eq!(client.request("tools/list", json!({ "_meta": meta }))["error"]["code"], -32602, "{missing}");
    }
    let mut other = meta(&json!({}));
    other["io.modelcontextprotocol/protocolVersion"] = json!("1900-01-01");
    let answer = client.request("tools/list", json!({ "_meta": other }));
    assert_eq!(answer["error"]["code"], -32022);
    assert_eq!(answer["error"]["data"], json!({ "supported": ["2026-07-28"], "requested": "1900-01-01" }));
    assert!(client.request("tools/list", json!({}))["result"]["tools"].is_array());
}

#[test]
fn initialize_is_answered_with_what_is_supported() {
    let mut client = Client::modern("modern");
    assert_eq!(client.initialize(&json!({}))["error"]["code"], -32022);
    // The server that knows both is bound by its first message.
    let mut client = Client::modern("dual");
    assert!(client.request("server/discover", json!({}))["result"]["supportedVersions"].as_array().unwrap().len() > 1);
    assert_eq!(client.initialize(&json!({}))["error"]["code"], -32022);
}

/// Answers to questions of each method.
fn answers(requests: &Value) -> Value {
    let answered = requests.as_object().unwrap().iter().map(|(key, request)| {
        let answer = match request["method"].as_str().unwrap() {
            "elicitation/create" => json!({ "action": "accept", "content": { "name": "A", "color": "b", "ok": true } }),
            "sampling/createMessage" => {
                json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "P" } })
            }
            "roots/list" => json!({ "roots": [] }),
            other => panic!("{other}"),
        };
        (key.clone(), answer)
    });
    Value::Object(answered.collect())
}

#[test]
fn questions_are_answered_with_the_next_call() {
    let mut client = Client::modern("modern");
    for (tool, keys, has_state) in [
        ("input_required_result_elicitation", &[&["user_name"][..]][..], false),
        ("input_required_result_sampling", &[&["capital_question"]], false),
        ("input_required_result_list_roots", &[&["client_roots"]], false),
        ("input_required_result_request_state", &[&["confirm"]], true),
        ("input_required_result_tampered_state", &[&["confirm"]], true),
        ("input_required_result_multiple_inputs", &[&["user_name", "greeting", "client_roots"]], true),
        ("input_required_result_multi_round", &[&["step1"], &["step2"]], true),
        ("streaming_elicitation", &[&["user_name"]], false),
        ("elicitation_sep1330_enums", &[&["form"]], false),
    ] {
        let mut params = json!({ "name": tool, "arguments": {} });
        let mut states = Vec::new();
        for keys in keys {
            let result = client.request("tools/call", params.clone())["result"].clone();
            assert_eq!(result["resultType"], "input_required", "{tool}");
            let requests = &result["inputRequests"];
            assert_eq!(requests.as_object().unwrap().keys().collect::<Vec<_>>(), *keys, "{tool}");
            assert_eq!(result["requestState"].is_string(), has_state, "{tool}");
            params["inputResponses"] = answers(requests);
            if has_state {
                params["requestState"] = result["requestState"].clone();
                states.push(result["requestState"].clone());
            }
        }
        states.dedup();
        assert_eq!(states.len(), if has_state { keys.len() } else { 0 }, "every round has a state of its own");
        let complete = client.request("tools/call", params.clone());
        assert_eq!(complete["result"]["resultType"], "complete", "{tool}: {complete}");
        if has_state {
            params["requestState"] = json!(format!("{}x", params["requestState"].as_str().unwrap()));
            assert_eq!(client.request("tools/call", params.clone())["error"]["code"], -32602, "{tool}");
            params.as_object_mut().unwrap().remove("requestState");
            let again = client.request("tools/call", params);
            assert_eq!(again["result"]["resultType"], "input_required", "{tool}: answers without a state");
        }
    }
}

#[test]
fn the_state_of_one_tool_is_none_of_another() {
    let mut client = Client::modern("modern");
    let first = client.call("input_required_result_request_state", json!({}));
    let mut params = json!({ "name": "input_required_result_tampered_state" });
    params["requestState"] = first["result"]["requestState"].clone();
    params["inputResponses"] = answers(&first["result"]["inputRequests"]);
    assert_eq!(client.request("tools/call", params.clone())["error"]["code"], -32602);
    params["name"] = json!("input_required_result_request_state");
    assert_eq!(client.request("tools/call", params)["result"]["content"][0]["text"], "state-ok accept");
}

#[test]
fn answers_are_checked_and_what_is_missing_is_asked_again() {
    let mut client = Client::modern("modern");
    let name = "input_required_result_elicitation";
    let good = json!({ "action": "accept", "content": { "name": "A" } });
    let mut call = |answers: Value| client.request("tools/call", json!({ "name": name, "inputResponses": answers }));
    assert_eq!(call(json!({ "wrong_key": good }))["result"]["resultType"], "input_required");
    assert_eq!(call(json!({ "user_name": good, "more": good }))["result"]["resultType"], "complete");
    for bad in [json!({ "user_name": 12345 }), json!(null), json!([]), json!({ "user_name": {} })] {
        assert_eq!(call(bad.clone())["error"]["code"], -32602, "{bad}");
    }
    let prompt = client.request("prompts/get", json!({ "name": "input_required_result_prompt" }));
    let answers = answers(&prompt["result"]["inputRequests"]);
    let prompt = json!({ "name": "input_required_result_prompt", "inputResponses": answers });
    assert!(client.request("prompts/get", prompt)["result"]["messages"].is_array());
}

#[test]
fn only_what_was_declared_is_asked_for() {
    let mut client = Client::modern("modern");
    let none = json!({ "name": "missing_capability", "_meta": meta(&json!({})) });
    let answer = client.request("tools/call", none);
    assert_eq!(answer["error"]["code"], -32021);
    assert_eq!(answer["error"]["data"], json!({ "requiredCapabilities": { "sampling": {} } }));
    let sampling = meta(&json!({ "sampling": {} }));
    for name in ["missing_capability", "input_required_result_capabilities"] {
        let answer = client.request("tools/call", json!({ "name": name, "_meta": sampling }));
        assert_eq!(answer["result"]["inputRequests"]["capital_question"]["method"], "sampling/createMessage", "{name}");
        assert_eq!(answer["result"]["inputRequests"].as_object().unwrap().len(), 1, "{name}");
    }
}

#[test]
fn log_messages_and_progress_come_when_they_are_asked_for() {
    let mut client = Client::modern("modern");
    client.call("logging_tool", json!({}));
    client.call("tool_with_progress", json!({}));
    assert!(client.heard.is_empty(), "{:?}", client.heard);
    let mut asked = meta(&json!({}));
    asked["io.modelcontextprotocol/logLevel"] = json!("info");
    asked["progressToken"] = json!(7);
    client.request("tools/call", json!({ "name": "logging_tool", "_meta": asked }));
    client.request("tools/call", json!({ "name": "tool_with_progress", "_meta": asked }));
    assert_eq!(client.told("notifications/message").len(), 3);
    assert_eq!(client.told("notifications/progress").iter().filter(|params| params["progressToken"] == 7).count(), 3);
}

#[test]
fn streams_hear_what_they_asked_for() {
    let mut client = Client::modern("modern");
    let everything = json!({
        "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
        "resourceSubscriptions": ["test://watched-resource"],
    });
    let wide = client.begin("subscriptions/listen", json!({ "notifications": everything }));
    assert_eq!(client.next()["method"], "notifications/subscriptions/acknowledged");
    let narrow = client.begin("subscriptions/listen", json!({ "notifications": { "promptsListChanged": true } }));
    assert_eq!(client.next()["params"]["notifications"], json!({ "promptsListChanged": true }));
    let triggers = ["tool_change", "prompt_change", "resource_change", "resource_update"];
    for trigger in triggers {
        client.call(&format!("trigger_{trigger}"), json!({}));
    }
    let heard = |client: &Client, stream: u64| {
        let of_stream =
            |message: &&Value| message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == stream;
        client.heard.iter().filter(of_stream).count()
    };
    assert_eq!((heard(&client, wide), heard(&client, narrow)), (4, 1), "{:?}", client.heard);
    client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": wide } }));
    for trigger in triggers {
        client.call(&format!("trigger_{trigger}"), json!({}));
    }
    assert_eq!((heard(&client, wide), heard(&client, narrow)), (4, 2), "{:?}", client.heard);
    assert_eq!(client.request("subscriptions/listen", json!({}))["error"]["code"], -32602);
    assert_eq!(all(&mut client, "prompts/list", "prompts").len(), 5, "added and removed");
}
