//! Never silent.

use serde_json::{Value, json};

use crate::client::Client;

#[test]
fn the_noise_is_of_every_kind_and_calls_are_answered_all_the_same() {
    let mut client = Client::legacy("noisy");
    client.line(r#"{"jsonrpc":"2.0","id":50,"method":"tools/call","params":{"name":"quiet"}}"#);
    let (mut methods, mut no_messages, mut answers, mut longest) = (Vec::new(), 0, Vec::new(), 0);
    loop {
        let line = client.next_line();
        longest = longest.max(line.len());
        match serde_json::from_str::<Value>(&line) {
            Ok(message) if message["method"].is_string() => methods.push(message["method"].clone()),
            Ok(message) if message["id"] == 50 => {
                break assert_eq!(message["result"]["content"][0]["text"], "quiet answered");
            }
            Ok(message) if message.get("result").is_some() => answers.push(message),
            _ => no_messages += 1,
        }
    }
    for expected in [
        "notifications/message",
        "notifications/nobody/knows",
        "ping",
        "nobody/knows",
        "elicitation/create",
        "notifications/tools/list_changed",
    ] {
        assert!(methods.contains(&json!(expected)), "{expected} in {methods:?}");
    }
    assert!(no_messages >= 18 && answers.len() >= 6, "{no_messages} {answers:?}");
    // It comes by itself too.
    while longest < 2 << 20 {
        longest = longest.max(client.next_line().len());
    }
    assert!(longest < 16 << 20, "within what a reader must take");
    client.line(r#"{"jsonrpc":"2.0","id":51,"method":"tools/list"}"#);
    let listed = loop {
        match serde_json::from_str::<Value>(&client.next_line()) {
            Ok(message) if message["id"] == 51 => break message,
            _ => {}
        }
    };
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 10, "a page");
}
