//! The tools of a manifest are those that somebody agreed to.

use std::collections::BTreeMap;

use gigmcp_registry::Digest;
use serde_json::{Value, json, value::RawValue};

use crate::{
    client::Session,
    gateway::Installation,
    install::{Scene, image},
    internet::Internet,
    registry::{Registry, manifest},
};

/// What a client is shown, as it was written.
fn listed(session: &Session<'_>) -> Vec<Box<RawValue>> {
    let answer = session.request("tools/list", &json!({}));
    let answer: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&answer.body).unwrap();
    let result: BTreeMap<String, Box<RawValue>> = serde_json::from_str(answer["result"].get()).unwrap();
    serde_json::from_str(result["tools"].get()).unwrap()
}

#[test]
fn a_tool_that_the_manifest_does_not_name_or_names_otherwise_is_not_offered() {
    let internet = Internet::new();
    let mut scene = Scene { registry: Registry::new(7), installation: Installation::new() };
    let echo = image("gigmcp-demo-echo", &[]);
    echo.write(&scene.registry.layouts());
    let token = scene.installation.profile("work", &[]);
    let mut versions = Vec::new();
    let mut tools = |tools: Value| {
        let version = format!("1.{}.0", versions.len());
        versions.push(manifest("echo", &version, echo.digest, |document| document["tools"] = tools));
        scene.registry.publish(&versions.iter().collect::<Vec<_>>());
        scene.install("echo", &["--profile", "work"][..if versions.len() == 1 { 2 } else { 0 }]);
        let gateway = scene.serve(&internet);
        let session = Session::open(&internet, "/mcp/p/work", &token);
        let answer = session.call("echo_echo", &json!({"text": "hello"})).json();
        let seen = (listed(&session), answer["result"]["content"][0]["text"] == "hello", gateway.log());
        // Of what the server wrote, which is not all that clients are shown.
        let pins = scene.installation.json(&["pin", "list"], "");
        let pinned = pins.as_array().unwrap().iter().find(|pin| pin["name"] == "echo").map(|pin| pin["digest"].clone());
        (seen, pinned)
    };
    let ((_, called, _), definition) = tools(json!([{"name": "echo", "default": true}])); // twin
    assert!(called);
    let definition = definition.unwrap();
    for (case, said, expected) in [
        ("another", json!({"name": "other", "default": true}), false),
        (
            "with another text",
            json!({"name": "echo", "default": true, "definition": Digest::of(b"").to_string()}),
            false,
        ),
        ("twin: with its text", json!({"name": "echo", "default": true, "definition": definition}), true),
    ] {
        let ((listed, called, log), _) = tools(json!([said]));
        assert_eq!((listed.len() == 1, called), (expected, expected), "{case}: {listed:?}\n{log}");
        assert_eq!(log.contains("are not offered"), !expected, "{case}: {log}");
    }
}

#[test]
fn a_tool_that_the_manifest_leaves_off_is_off_until_the_owner_switches_it_on() {
    let internet = Internet::new();
    let mut scene = Scene { registry: Registry::new(7), installation: Installation::new() };
    let echo = image("gigmcp-demo-echo", &[]);
    echo.write(&scene.registry.layouts());
    let token = scene.installation.profile("work", &[]);
    let manifest = manifest("echo", "1.0.0", echo.digest, |document| {
        document["tools"] = json!([{"name": "echo", "default": false}])
    });
    scene.registry.publish(&[&manifest]);
    scene.install("echo", &["--profile", "work"]);
    for on in [false, true] {
        if on {
            let set = ["profile", "set", "work", "--server", "echo", "enabled_tools=echo"];
            scene.installation.json(&set, "");
        }
        let gateway = scene.serve(&internet);
        let session = Session::open(&internet, "/mcp/p/work", &token);
        let answer = session.call("echo_echo", &json!({"text": "hello"})).json();
        let is_off = answer["error"]["data"]["code"] == "tool-disabled";
        assert_eq!((listed(&session).len(), is_off), (usize::from(on), !on), "{answer}\n{}", gateway.log());
        assert_eq!(answer["result"]["content"][0]["text"] == "hello", on, "{answer}");
    }
}
