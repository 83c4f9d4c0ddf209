//! With a session.

use serde_json::{Value, json};

use crate::client::{Client, check_contents, check_lists};

#[test]
fn everything_of_the_revisions_with_a_session() {
    for mode in ["legacy", "dual"] {
        let mut client = Client::legacy(mode);
        check_lists(&mut client);
        check_contents(&mut client);
        assert_eq!(client.request("ping", json!({}))["result"], json!({}));
        let unknown = client.request("resources/read", json!({ "uri": "test://nobody" }));
        assert_eq!(unknown["error"]["code"], -32002);
        assert_eq!(unknown["error"]["data"]["uri"], "test://nobody");
        client.end();
    }
}

#[test]
fn a_session_begins_with_initialize() {
    let mut client = Client::start("legacy");
    assert_eq!(client.request("server/discover", json!({}))["error"]["code"], -32601);
    assert_eq!(client.request("tools/list", json!({}))["error"]["code"], -32600);
    for (asked, expected) in
        [("2025-03-26", "2025-03-26"), ("2026-07-28", "2025-11-25"), ("2024-11-05", "2024-11-05"), ("?", "2025-11-25")]
    {
        let mut client = Client::start("legacy");
        let answer = client.request("initialize", json!({ "protocolVersion": asked, "capabilities": {} }));
        assert_eq!(answer["result"]["protocolVersion"], expected, "{asked}");
    }
    client.initialize(&json!({}));
    assert!(client.request("tools/list", json!({}))["result"]["tools"].is_array());
    // The server that knows both is bound by its first message.
    let mut client = Client::legacy("dual");
    assert_eq!(client.request("server/discover", json!({}))["error"]["code"], -32600);
}

#[test]
fn log_messages_have_the_level_that_was_set() {
    let mut client = Client::legacy("legacy");
    client.call("tool_with_logging", json!({}));
    assert_eq!(client.told("notifications/message").len(), 3, "{:?}", client.heard);
    assert_eq!(client.request("logging/setLevel", json!({ "level": "warning" }))["result"], json!({}));
    client.call("tool_with_logging", json!({}));
    assert_eq!(client.told("notifications/message").len(), 3);
    assert_eq!(client.request("logging/setLevel", json!({ "level": "loud" }))["error"]["code"], -32602);
}

#[test]
fn progress_is_told_to_whoever_gave_a_token() {
    let mut client = Client::legacy("legacy");
    client.call("tool_with_progress", json!({}));
    assert!(client.heard.is_empty(), "{:?}", client.heard);
    client.request("tools/call", json!({ "name": "tool_with_progress", "_meta": { "progressToken": "token" } }));
    let told = client.told("notifications/progress");
    assert_eq!(told.iter().map(|params| params["progress"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 50, 100]);
    assert!(told.iter().all(|params| params["progressToken"] == "token"));
}

#[test]
fn the_server_asks_and_waits() {
    let mut client = Client::legacy("legacy");
    let roots = json!({ "roots": [{ "uri": "file:///somewhere" }] });
    let sampled = json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "Paris" } });
    let form = |content: Value| json!({ "action": "accept", "content": content });
    for (tool, arguments, rounds, expected) in [
        (
            "sampling",
            json!({ "prompt": "p" }),
            vec![("sampling/createMessage", sampled.clone())],
            "LLM response: Paris",
        ),
        ("elicitation", json!({ "message": "m" }), vec![("elicitation/create", form(json!({})))], "User response: "),
        (
            "input_required_result_elicitation",
            json!({}),
            vec![("elicitation/create", form(json!({ "name": "A" })))],
            "Hello, A!",
        ),
        ("input_required_result_list_roots", json!({}), vec![("roots/list", roots)], "file:///somewhere"),
        (
            "input_required_result_request_state",
            json!({}),
            vec![("elicitation/create", form(json!({ "ok": true })))],
            "state-ok",
        ),
        (
            "input_required_result_multi_round",
            json!({}),
            vec![
                ("elicitation/create", form(json!({ "name": "A" }))),
                ("elicitation/create", form(json!({ "color": "blue" }))),
            ],
            "likes \"blue\"",
        ),
        ("missing_capability", json!({}), vec![("sampling/createMessage", sampled)], "Paris"),
    ] {
        let id = client.begin("tools/call", json!({ "name": tool, "arguments": arguments }));
        for (method, result) in rounds {
            let request = client.asked(method);
            client.reply(&request, result);
        }
        let answer = client.answer(id);
        assert!(answer["result"]["content"][0]["text"].as_str().unwrap().contains(expected), "{tool}: {answer}");
    }
}

#[test]
fn questions_have_the_keys_of_the_suite_as_ids_and_no_id_is_used_twice_at_a_time() {
    let mut client = Client::legacy("legacy");
    let name = "input_required_result_elicitation";
    let first = client.begin("tools/call", json!({ "name": name }));
    let asked_first = client.asked("elicitation/create");
    assert_eq!(asked_first["id"], "user_name");
    let second = client.begin("tools/call", json!({ "name": name }));
    let asked_second = client.asked("elicitation/create");
    assert_ne!(asked_second["id"], "user_name");
    client.reply(&asked_second, json!({ "action": "accept", "content": { "name": "second" } }));
    assert_eq!(client.answer(second)["result"]["content"][0]["text"], "Hello, second!");
    client.reply(&asked_first, json!({ "action": "decline" }));
    assert_eq!(client.answer(first)["result"]["content"][0]["text"], "Hello, decline!");
    client.begin("tools/call", json!({ "name": name }));
    assert_eq!(client.asked("elicitation/create")["id"], "user_name");
}

#[test]
fn a_form_arrives_as_it_is_written() {
    let mut client = Client::legacy("legacy");
    for (tool, file) in [
        ("elicitation_sep1034_defaults", include_str!("../../src/catalogue/sep1034.json")),
        ("elicitation_sep1330_enums", include_str!("../../src/catalogue/sep1330.json")),
    ] {
        let id = client.begin("tools/call", json!({ "name": tool }));
        let line = client.next_line();
        let schema: Value = serde_json::from_str(file).unwrap();
        assert!(line.contains(&schema.to_string()), "{line}");
        let request: Value = serde_json::from_str(&line).unwrap();
        client.reply(&request, json!({ "action": "accept", "content": { "name": "Jane" } }));
        assert_eq!(
            client.answer(id)["result"]["content"][0]["text"],
            r#"Elicitation completed: action=accept, content={"name":"Jane"}"#
        );
    }
}

#[test]
fn what_was_not_declared_or_is_refused_is_an_error_of_the_tool() {
    let mut client = Client::start("legacy");
    client.initialize(&json!({ "sampling": {} }));
    let refused = client.call("input_required_result_elicitation", json!({}));
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    // The twin that has an answer, because this tool takes what is declared.
    let id = client.begin("tools/call", json!({ "name": "input_required_result_capabilities" }));
    let request = client.asked("sampling/createMessage");
    let error = json!({ "code": -32601, "message": "no" });
    client.send(&json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }));
    assert_eq!(client.answer(id)["result"]["isError"], true);
}

#[test]
fn changes_are_told() {
    let mut client = Client::legacy("legacy");
    let before = crate::client::all(&mut client, "tools/list", "tools").len();
    client.call("trigger_tool_change", json!({}));
    assert_eq!(crate::client::all(&mut client, "tools/list", "tools").len(), before + 1);
    assert_eq!(client.call("extra", json!({}))["result"]["content"][0]["text"], "extra");
    client.call("trigger_prompt_change", json!({}));
    client.call("trigger_resource_change", json!({}));
    client.call("trigger_resource_update", json!({}));
    for list in ["tools", "prompts", "resources"] {
        assert_eq!(client.told(&format!("notifications/{list}/list_changed")).len(), 1, "{list}");
    }
    assert!(client.told("notifications/resources/updated").is_empty(), "nobody subscribed");
    let watched = json!({ "uri": "test://watched-resource" });
    assert_eq!(client.request("resources/subscribe", watched.clone())["result"], json!({}));
    client.call("trigger_resource_update", json!({}));
    assert_eq!(client.told("notifications/resources/updated"), [&watched]);
    client.request("resources/unsubscribe", watched);
    client.call("trigger_resource_update", json!({}));
    assert_eq!(client.told("notifications/resources/updated").len(), 1);
}

#[test]
fn a_cancelled_call_has_no_answer_and_the_next_one_has() {
    let mut client = Client::legacy("legacy");
    let id = client.begin("tools/call", json!({ "name": "input_required_result_elicitation" }));
    client.asked("elicitation/create");
    client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } }));
    client.call("tool_with_progress", json!({}));
    assert!(client.heard.is_empty(), "{:?}", client.heard);
}

#[test]
fn texts_arrive_byte_for_byte() {
    let mut client = Client::legacy("legacy");
    for (params, expected) in [
        (r#"{"name":"echo_arguments"}"#, "absent"),
        (r#"{"name":"echo_arguments","arguments":null}"#, "null"),
        (
            r#"{"name":"echo_arguments","arguments":{"n":1.50e+3,"b":  12345678901234567890123}}"#,
            r#"{"n":1.50e+3,"b":  12345678901234567890123}"#,
        ),
    ] {
        client.line(&format!(r#"{{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{params}}}"#));
        assert_eq!(client.answer(77)["result"]["content"][0]["text"], expected);
    }
    client.line(r#"{"jsonrpc":"2.0","id":78,"method":"tools/call","params":{"name":"odd_result"}}"#);
    let line = client.next_line();
    for kept in ["1.50e+3", "123456789012345678901234567890", r"\u0041\/\u00e9", "[0.10,", r#""number": 1.10"#] {
        assert!(line.contains(kept), "{kept} in {line}");
    }
}

#[test]
fn what_is_no_message_is_answered_and_the_next_one_too() {
    let mut client = Client::legacy("legacy");
    for (line, code) in [("{", -32700), ("[]", -32600), ("7", -32600), (r#"{"jsonrpc":"2.0"}"#, -32600)] {
        client.line(line);
        assert_eq!(client.next()["error"]["code"], code, "{line}");
        assert_eq!(client.request("ping", json!({}))["result"], json!({}));
    }
    let odd = json!({ "jsonrpc": "2.0", "id": 50, "method": "tools/list", "params": [] });
    client.send(&odd);
    assert_eq!(client.answer(50)["error"]["code"], -32602);
}
