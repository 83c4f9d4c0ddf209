//! A profile whose tools stand behind a few, and tools that are switched off, without a restart of anything.

use serde_json::{Value, json};

use crate::{
    client::Session,
    gateway::{Installation, demo_server},
    install::{Scene, image},
    internet::Internet,
    registry::{Registry, manifest},
};

const FOUR: [&str; 4] = ["search_tools", "describe_tools", "call_tool", "call_read_only_tool"];

fn text(session: &Session<'_>, tool: &str, arguments: &Value) -> String {
    session.call(tool, arguments).text()
}

#[test]
fn a_model_finds_loads_and_calls_and_the_owner_changes_his_mind_meanwhile() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let echo = demo_server("gigmcp-demo-echo");
    installation.json(&["server", "add", "echo", "--binary", echo.to_str().unwrap()], "");
    let token = installation.profile("work", &["echo"]);
    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    assert_eq!(session.tools(), ["echo_echo"]);
    gateway.wait_for("it speaks"); // what found that out has ended
    let (running, argued) = (gateway.descendants(), json!({"text": "hello"}));

    installation.json(&["profile", "set", "work", "tools=meta"], "");
    assert_eq!(session.tools(), FOUR);
    let found = text(&session, "search_tools", &json!({"query": "say something back, an echo"}));
    assert!(found.contains("\necho_echo: "), "{found}");
    let loaded = text(&session, "describe_tools", &json!({"names": ["echo_echo"]}));
    let loaded: Value = serde_json::from_str(&loaded).unwrap();
    assert!(loaded["inputSchema"]["properties"]["text"].is_object(), "{loaded}");
    let through = session.call("call_tool", &json!({"name": "echo_echo", "arguments": argued})).json();
    assert_eq!(through["result"]["content"][0]["text"], "hello");
    assert_eq!(session.call("echo_echo", &argued).json(), through, "the direct call");
    let wrong = session.call("call_tool", &json!({"name": "echo", "arguments": argued})).json();
    assert_eq!(wrong["result"]["isError"], true);
    assert!(wrong["result"]["content"][0]["text"].as_str().unwrap().contains("echo_echo"), "{wrong}");
    let audit = installation.json(&["audit"], "");
    let subjects: Vec<&str> = audit.as_array().unwrap().iter().filter_map(|row| row["subject"].as_str()).collect();
    assert!(subjects.contains(&"search_tools") && !subjects.contains(&"call_tool"), "{audit}");
    assert!(subjects.iter().filter(|subject| **subject == "echo_echo").count() >= 2, "{audit}");

    installation.json(&["profile", "set", "work", "always=echo_echo"], "");
    assert_eq!(session.tools(), [&FOUR[..], &["echo_echo"]].concat());
    installation.json(&["profile", "set", "work", "tools=auto", "always="], "");
    assert_eq!(session.tools(), ["echo_echo"], "a short list");
    installation.json(&["profile", "set", "work", "max_listed_tools=0"], "");
    assert_eq!(session.tools(), FOUR);
    assert_eq!(gateway.descendants(), running, "the server went on running");
}

#[test]
fn a_tool_that_its_owner_switched_off_cannot_be_called() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let echo = demo_server("gigmcp-demo-echo");
    installation.json(&["server", "add", "echo", "--binary", echo.to_str().unwrap()], "");
    let token = installation.profile("work", &["echo"]);
    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    let called = || session.call("echo_echo", &json!({"text": "hello"})).json();
    assert_eq!(called()["result"]["content"][0]["text"], "hello", "twin");
    gateway.wait_for("it speaks"); // what found that out has ended
    let running = gateway.descendants();
    installation.json(&["profile", "set", "work", "--server", "echo", "disabled_tools=echo"], "");
    assert_eq!(session.tools(), [""; 0]);
    assert_eq!(
        (&called()["error"]["code"], &called()["error"]["data"]["code"]),
        (&json!(-32602), &json!("tool-disabled"))
    );
    let shown = installation.json(&["profile", "set", "work"], "");
    assert_eq!(shown, json!({"servers": {"echo": {"disabled_tools": ["echo"]}}}));
    installation.json(&["profile", "set", "work", "--server", "echo", "disabled_tools="], "");
    assert_eq!(called()["result"]["content"][0]["text"], "hello", "twin: switched on again");
    assert_eq!(gateway.descendants(), running, "the server went on running");
}

#[test]
fn what_the_lists_of_a_profile_cost_is_told() {
    let installation = Installation::new();
    let echo = demo_server("gigmcp-demo-echo");
    installation.json(&["server", "add", "echo", "--binary", echo.to_str().unwrap()], "");
    installation.json(&["server", "add", "broken", "--", "false"], "");
    installation.profile("work", &["broken", "echo"]);
    let report = installation.json(&["profile", "tokens", "work"], "");
    assert_eq!(
        (&report["servers"][0]["server"], &report["servers"][0]["tools"]),
        (&json!("echo"), &json!(1)),
        "{report}"
    );
    assert_eq!(report["direct"], report["servers"][0]["tokens"]);
    assert!(report["meta"].as_u64() > report["direct"].as_u64() && report["listed"] == "direct", "{report}");
    assert_eq!((report["missing"].as_array().unwrap().len(), &report["missing"][0]["server"]), (1, &json!("broken")));
    let printed = installation.run(&["profile", "tokens", "work"], "");
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.contains("clients of work see: direct") && printed.contains("not complete: broken: "), "{printed}");
}

#[test]
fn only_what_the_manifest_calls_read_only_is_called_as_such() {
    let internet = Internet::new();
    let mut scene = Scene { registry: Registry::new(7), installation: Installation::new() };
    let echo = image("gigmcp-demo-echo", &[]);
    echo.write(&scene.registry.layouts());
    let token = scene.installation.profile("work", &[]);
    scene.installation.json(&["profile", "set", "work", "tools=meta"], "");
    let mut versions = Vec::new();
    for (said, is_read_only) in [
        (json!([{"name": "echo", "default": true}]), false),
        (json!([{"name": "echo", "default": true, "readOnly": true}]), true),
    ] {
        let version = format!("1.{}.0", versions.len());
        versions.push(manifest("echo", &version, echo.digest, |document| document["tools"] = said));
        scene.registry.publish(&versions.iter().collect::<Vec<_>>());
        scene.install("echo", &["--profile", "work"][..if versions.len() == 1 { 2 } else { 0 }]);
        let gateway = scene.serve(&internet);
        let session = Session::open(&internet, "/mcp/p/work", &token);
        let found = text(&session, "search_tools", &json!({"query": "echo"}));
        assert_eq!(found.contains("echo_echo [read-only]"), is_read_only, "{found}\n{}", gateway.log());
        let call = |tool| session.call(tool, &json!({"name": "echo_echo", "arguments": {"text": "hello"}})).text();
        let refused = "echo_echo is not known to be read-only. If it is right to call it, use call_tool.";
        assert_eq!(call("call_read_only_tool"), if is_read_only { "hello" } else { refused });
        assert_eq!(call("call_tool"), "hello");
    }
}
