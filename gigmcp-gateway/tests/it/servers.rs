//! Servers that nobody here wrote, and clients that nobody here wrote.

use std::process::Output;

use serde_json::{Value, json};

use crate::{
    client::Session,
    gateway::{Installation, demo_server, real_servers},
    internet::Internet,
};

fn python(module: &str) -> String {
    format!("{}/python/bin/python -m {module}", real_servers().display())
}

#[test]
fn real_servers_from_npm_and_pypi_answer_through_the_gateway() {
    let internet = Internet::new();
    let installation = Installation::new();
    let real = real_servers();
    let everything = format!(
        "node {}/node/node_modules/@modelcontextprotocol/server-everything/dist/index.js stdio",
        real.display()
    );
    let readable = real.to_str().unwrap();
    for (name, command, extra) in [
        ("everything", everything, &[][..]),
        ("time", python("mcp_server_time --local-timezone UTC"), &[]),
        ("fetch", python("mcp_server_fetch --ignore-robots-txt"), &["--allow", "api.example.com"]),
    ] {
        installation
            .json(&[&["server", "add", name, "--command", &command, "--read-only", readable], extra].concat(), "");
    }
    let token = installation.profile("work", &["everything", "time", "fetch"]);
    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);

    let tools = session.tools();
    for expected in ["everything_echo", "everything_get-sum", "time_convert_time", "fetch_fetch"] {
        assert!(tools.iter().any(|tool| tool == expected), "{expected} in {tools:?}\n{}", gateway.log());
    }
    let sum = session.call("everything_get-sum", &json!({"a": 2, "b": 40}));
    assert!(sum.text().contains("42"), "{sum:?}");
    // It can only be called as a task, which hardly any client can do: here it is called like any other.
    let research = session.call("everything_simulate-research-query", &json!({"topic": "bees"}));
    assert!(research.text().contains("bees"), "{research:?}");
    let time = json!({"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"});
    let time = session.call("time_convert_time", &time);
    assert!(time.text().contains("21:00"), "{time:?}");
    let fetched = session.call("fetch_fetch", &json!({"url": "https://api.example.com/page", "raw": true}));
    assert!(internet.seen().iter().any(|seen| seen.target == "/page"), "{fetched:?}");
    assert!(fetched.text().contains("user-agent"), "the origin's echo came back: {fetched:?}");
    // The twin: the same server, the same tool, a host that was not allowed.
    let before = internet.seen().len();
    let refused = session.call("fetch_fetch", &json!({"url": "https://other.example.com/page", "raw": true}));
    assert!(refused.json()["result"]["isError"] == true || refused.json().get("error").is_some(), "{refused:?}");
    assert_eq!(internet.seen().len(), before, "nothing reached the host that was not allowed");
    assert!(!internet.asked.lock().unwrap().iter().any(|name| name == "other.example.com"), "not even a question left");
}

#[test]
fn official_client_libraries_call_a_tool() {
    let internet = Internet::new();
    let installation = Installation::new();
    let echo = demo_server("gigmcp-demo-echo");
    installation.json(&["server", "add", "echo", "--binary", echo.to_str().unwrap()], "");
    let token = installation.profile("work", &["echo"]);
    let _gateway = installation.serve(&internet, &[]);
    let real = real_servers();
    let url = "http://127.0.0.1:8080/mcp/p/work";
    let python =
        internet.command(real.join("python/bin/python")).arg(real.join("client.py")).args([url, &token]).output();
    let node = internet.command("node").arg(real.join("node/client.mjs")).args([url, &token]).output();
    let second = |mode: &str| {
        let mut client = internet.command("node");
        client.arg(real.join("node/client_v2.mjs")).args([url, &token, mode]).output().unwrap()
    };
    for (client, output) in [
        ("python", python.unwrap()),
        ("typescript", node.unwrap()),
        ("typescript, second generation", second("legacy")),
        ("the same, which tries the newest revision first", second("auto")),
    ] {
        let answer = answer_of(&output);
        assert_eq!(answer["tools"], json!(["echo_echo"]), "{client}");
        assert_eq!(answer["text"], "hello from outside", "{client}");
    }
}

fn answer_of(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim())
        .unwrap_or_else(|error| panic!("{error}: {text}\n{}", String::from_utf8_lossy(&output.stderr)))
}
