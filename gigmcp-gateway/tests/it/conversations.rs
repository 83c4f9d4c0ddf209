//! Clients that nobody here wrote, of both eras, in conversation with servers of both eras.

use serde_json::{Value, json};

use crate::{
    gateway::{Installation, demo_server, real_servers},
    internet::Internet,
};

/// The fixture speaks one era, the client another or the same; what they say to each other is the same.
fn converse(server: &str) {
    let (internet, installation) = (Internet::new(), Installation::new());
    let fixture = demo_server("gigmcp-demo-conformance");
    let binary = ["server", "add", "test", "--binary", fixture.to_str().unwrap(), "--sampling", "--", server];
    installation.json(&binary, "");
    let token = installation.profile("work", &["test"]);
    let gateway = installation.serve(&internet, &[]);
    let real = real_servers();
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let node = real.join(format!("node/node_modules/node-linux-{arch}/bin/node"));
    for (client, program, script, mode, version) in [
        ("TypeScript, first generation", &node, "node/conversation.mjs", "first", OLDER),
        ("TypeScript, second generation", &node, "node/conversation.mjs", "legacy", OLDER),
        ("TypeScript, second generation, newest revision", &node, "node/conversation.mjs", "auto", NEWER),
        ("Python", &real.join("python/bin/python"), "conversation.py", "legacy", OLDER),
        ("Python, newest revision", &real.join("python/bin/python"), "conversation.py", "auto", NEWER),
    ] {
        let output = internet.command(program).arg(real.join(script)).args([URL, &token, mode]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let said: Value = serde_json::from_str(said.trim()).unwrap_or_else(|error| {
            panic!("{client}: {error}: {said}\n{}\n{}", String::from_utf8_lossy(&output.stderr), gateway.log())
        });
        assert!(said["tools"].as_u64() > Some(20), "{client}: {said}");
        for (what, expected) in [
            ("text", json!("This is a simple text response for testing.")),
            ("user", json!("Hello, Ada!")),
            ("capital", json!("Paris")),
            ("asked", json!(["test: What is your name?", "What is the capital of France?"])),
            ("progress", json!([0, 50, 100])),
            ("failed", json!(true)),
            ("prompt", json!("text")),
            ("resource", json!("test://static-text")),
            ("completion", json!(["paris", "park", "party"])),
            ("version", json!(version)),
        ] {
            let found = if what == "progress" { whole(&said[what]) } else { said[what].clone() };
            assert_eq!(found, expected, "{client}: {what}: {said}");
        }
        assert!(said["header"].as_str().unwrap().contains("süd"), "{client}: {said}");
    }
}

/// One of them makes floats of all numbers.
fn whole(numbers: &Value) -> Value {
    numbers.as_array().unwrap().iter().map(|number| json!(number.as_f64().unwrap() as u64)).collect()
}

#[test]
fn clients_of_both_eras_talk_to_a_server_with_sessions() {
    converse("legacy");
}

#[test]
fn clients_of_both_eras_talk_to_a_server_without_sessions() {
    converse("modern");
}

const URL: &str = "http://127.0.0.1:8080/mcp/p/work";
const OLDER: &str = "2025-11-25";
const NEWER: &str = "2026-07-28";
