//! The server as a process, spoken to over its pipes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

fn exchange(input: &str) -> Vec<Value> {
    let mut server = Command::new(env!("CARGO_BIN_EXE_gigmcp-demo-echo"))
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    server.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = server.wait_with_output().unwrap();
    assert!(output.status.success(), "the end of the input is no failure");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_client_initializes_lists_and_calls() {
    let answers = exchange(concat!(
        r#"{"jsonrpc":"2.0","id":"a","method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#,
        "\n",
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        "\n\n",
        r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#,
        "\n",
        r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hé\n\u0000"}}}"#,
        "\n",
        r#"{"jsonrpc":"2.0","id":4,"method":"ping"}"#,
    ));
    assert_eq!(answers.len(), 4, "a notification has no answer");
    assert_eq!(answers[0]["id"], "a");
    assert_eq!(answers[0]["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(answers[1]["result"]["tools"][0]["name"], "echo");
    assert_eq!(answers[2]["result"]["content"], json!([{ "type": "text", "text": "hé\n\u{0}" }]));
    assert_eq!(answers[2]["result"]["structuredContent"], json!({ "text": "hé\n\u{0}" }));
    assert_eq!(answers[3]["result"], json!({}));
}

#[test]
fn odd_messages_are_answered_and_the_next_one_too() {
    for (case, line, path, expected) in [
        ("no JSON", "{", "/error/code", json!(-32700)),
        ("no message", "[]", "/error/code", json!(-32600)),
        ("unknown method", r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#, "/error/code", json!(-32601)),
        (
            "unknown tool",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}"#,
            "/error/code",
            json!(-32602),
        ),
        (
            "no text",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#,
            "/result/isError",
            json!(true),
        ),
        (
            "unknown revision",
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2026-07-28"}}"#,
            "/result/protocolVersion",
            json!("2025-11-25"),
        ),
    ] {
        let answers = exchange(&format!("{line}\n{}\n", r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#));
        assert_eq!(answers[0].pointer(path), Some(&expected), "{case}");
        assert_eq!(answers[1], json!({ "jsonrpc": "2.0", "id": 9, "result": {} }), "{case}");
    }
}
