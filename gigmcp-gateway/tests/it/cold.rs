//! Servers that do not run: their lists are there, calls start them, and what nobody uses ends.

use std::{fs, thread};

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::{
    client::{Answer, Session, post, send},
    gateway::{Gateway, Installation, demo_server, wait_gone},
    internet::Internet,
};

/// What clients can see of a profile without calling anything, to the byte.
fn seen(session: &Session<'_>) -> Vec<String> {
    let lists = ["tools/list", "prompts/list", "resources/list", "resources/templates/list"];
    lists.map(|method| session.request(method, &json!({})).json()["result"].to_string()).to_vec()
}

/// A request of a client of the newest revision.
fn modern(token: &str, method: &str, name: Option<&str>, mut params: Value) -> Request<Bytes> {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    });
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let mut request = post("/mcp/p/work", Some(token), body.to_string());
    request.headers_mut().insert("mcp-protocol-version", "2026-07-28".parse().unwrap());
    request.headers_mut().insert("mcp-method", method.parse().unwrap());
    name.into_iter().for_each(|name| drop(request.headers_mut().insert("mcp-name", name.parse().unwrap())));
    request
}

fn add_test_server(installation: &Installation, name: &str, mode: &str) {
    let binary = demo_server("gigmcp-demo-conformance");
    installation.json(&["server", "add", name, "--binary", binary.to_str().unwrap(), "--", mode], "");
}

fn add_odd(installation: &Installation, name: &str, words: &str, more: &[&str]) {
    let odd = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/odd");
    let command = format!("python3 {odd}/odd.py {words}");
    installation.json(&[&["server", "add", name, "--command", &command, "--read-only", odd], more].concat(), "");
}

/// The processes that there are, and no others that end by themselves.
fn settled(gateway: &Gateway) -> Vec<u32> {
    gateway.wait_for("it speaks");
    gateway.descendants()
}

#[test]
fn after_a_restart_of_the_gateway_everything_is_listed_and_no_process_runs() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let echo = demo_server("gigmcp-demo-echo");
    installation.json(&["server", "add", "echo", "--binary", echo.to_str().unwrap()], "");
    add_test_server(&installation, "test", "legacy");
    let token = installation.profile("work", &["echo", "test"]);
    let discover = || modern(&token, "server/discover", None, json!({}));
    let mut first = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    let before = (seen(&session), send(&internet, discover()).json()["result"]["capabilities"].clone());
    assert!(before.0[0].contains("echo_echo") && before.0[0].contains("test_simple_text"), "{before:?}");
    assert!(before.0[1].contains("test_simple_prompt") && before.0[2].contains("static"), "{before:?}");
    assert_eq!(before.1["prompts"]["listChanged"], true);
    assert!(first.interrupt().success());

    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    let after = (seen(&session), send(&internet, discover()).json()["result"]["capabilities"].clone());
    assert_eq!(after, before);
    assert_eq!(session.call("echo_nothing", &json!({})).json()["error"]["code"], -32602, "nor for what there is not");
    assert_eq!(gateway.descendants(), Vec::<u32>::new(), "no process runs");
    assert_eq!(session.call("echo_echo", &json!({"text": "warm"})).text(), "warm");
    let running = gateway.descendants();
    assert!(!running.is_empty(), "twin: a call starts one");
    assert_eq!(seen(&session), before.0);

    // A server that is another one now is not listed as it was.
    installation.json(&["server", "remove", "echo"], "");
    add_odd(&installation, "echo", "good", &["--profile", "work"]);
    let tools = session.tools();
    assert!(tools.contains(&"echo_good".to_owned()) && !tools.contains(&"echo_echo".to_owned()), "{tools:?}");
}

#[test]
fn a_server_that_nobody_uses_ends_and_the_next_call_starts_it() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let echo = demo_server("gigmcp-demo-echo");
    for name in ["ends", "stays"] {
        installation.json(&["server", "add", name, "--binary", echo.to_str().unwrap()], "");
    }
    let token = installation.profile("work", &["stays"]);
    installation.json(&["profile", "set", "work", "--server", "stays", "idle_seconds=0"], "");
    let gateway = installation.serve(&internet, &[("GIG_IDLE_TIMEOUT", "2")]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    assert_eq!(session.call("stays_echo", &json!({"text": "warm"})).text(), "warm");
    let stays = settled(&gateway);
    installation.json(&["profile", "add", "work", "ends"], "");
    for round in 0..2 {
        assert_eq!(session.call("ends_echo", &json!({"text": "warm"})).text(), "warm", "round {round}");
        let ends: Vec<u32> = gateway.descendants().into_iter().filter(|pid| !stays.contains(pid)).collect();
        assert!(!ends.is_empty());
        assert_eq!(wait_gone(&ends), Vec::<u32>::new(), "round {round}");
        assert_eq!(session.tools(), ["ends_echo", "stays_echo"]);
    }
    let left = gateway.descendants();
    assert!(stays.iter().all(|pid| left.contains(pid)), "twin: what is to stay stays, {stays:?} in {left:?}");
    let log = gateway.wait_for("as nobody used it");
    let ends = log.lines().filter(|line| line.contains("server=ends") && line.contains("ended"));
    let unused = |line: &&str| line.contains("ended, as nobody used it; the next call starts it again");
    let told: Vec<_> = ends.collect();
    assert!((1..=2).contains(&told.len()) && told.iter().all(unused), "one line for each end, and true: {told:?}");
}

#[test]
fn there_are_no_more_processes_than_allowed_and_the_one_used_longest_ago_makes_room() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let echo = demo_server("gigmcp-demo-echo");
    for name in ["one", "two"] {
        installation.json(&["server", "add", name, "--binary", echo.to_str().unwrap()], "");
    }
    let token = installation.profile("work", &["one", "two"]);
    installation.json(&["profile", "set", "work", "max_servers=1"], "");
    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    assert_eq!(session.tools(), ["one_echo", "two_echo"], "both were started, one after the other");
    for round in 0..2 {
        for name in ["one", "two"] {
            assert_eq!(session.call(&format!("{name}_echo"), &json!({"text": name})).text(), name, "round {round}");
            let running = gateway.descendants().len();
            assert!((1..=3).contains(&running), "a monitor, a PID 1 and a server: {running}");
        }
    }
    // Twin: with room for both, both run on.
    installation.json(&["profile", "set", "work", "max_servers="], "");
    for name in ["one", "two"] {
        assert_eq!(session.call(&format!("{name}_echo"), &json!({"text": name})).text(), name);
    }
    assert!(gateway.descendants().len() >= 4);
    let refused = installation.run(&["profile", "set", "work", "max_servers=0"], "");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("max_servers"), "{refused:?}");
}

#[test]
fn two_starts_on_one_state_directory_are_one() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let state = installation.data().with_file_name("state-of-gated");
    fs::create_dir(&state).unwrap();
    add_odd(&installation, "gated", "gated", &["--state", state.to_str().unwrap()]);
    let token = installation.profile("work", &["gated"]);
    let gateway = installation.serve(&internet, &[]);
    let call = || {
        let session = Session::open(&internet, "/mcp/p/work", &token);
        session.call("gated_good", &json!({})).text()
    };
    thread::scope(|scope| {
        let before = scope.spawn(call);
        gateway.wait_for("stderr: at the gate");
        // From now on another aggregator serves the profile, and it needs the server too.
        installation.json(&["profile", "set", "work", "max_servers=9"], "");
        let after = scope.spawn(call);
        fs::write(state.join("data/open"), "").unwrap();
        assert_eq!((before.join().unwrap(), after.join().unwrap()), ("fine".to_owned(), "fine".to_owned()));
    });
    assert_eq!(fs::read_to_string(state.join("data/starts")).unwrap(), "started\n");
}

#[test]
fn a_call_that_waits_for_its_client_outlives_a_change_of_the_profile() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let echo = demo_server("gigmcp-demo-echo");
    installation.json(&["server", "add", "echo", "--binary", echo.to_str().unwrap()], "");
    installation.json(&["server", "add", "goes", "--binary", echo.to_str().unwrap()], "");
    add_test_server(&installation, "test", "legacy");
    let token = installation.profile("work", &["test", "goes"]);
    let _gateway = installation.serve(&internet, &[]);
    let ask = |more: Value| -> Answer {
        let mut params = json!({"name": "test_elicitation", "arguments": {"message": "Who?"}});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        send(&internet, modern(&token, "tools/call", Some("test_elicitation"), params))
    };
    let asked = ask(json!({})).json()["result"].clone();
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    // Another aggregator serves the profile from now on, with a server more and one less.
    installation.json(&["profile", "add", "work", "echo"], "");
    installation.json(&["profile", "remove", "work", "goes"], "");
    let session = Session::open(&internet, "/mcp/p/work", &token);
    assert_eq!(session.call("echo_echo", &json!({"text": "new"})).text(), "new");
    assert_eq!(session.call("goes_echo", &json!({"text": "old"})).json()["error"]["code"], -32602);
    let keys: Vec<&String> = asked["inputRequests"].as_object().unwrap().keys().collect();
    let answers: serde_json::Map<_, _> = keys
        .into_iter()
        .map(|key| (key.clone(), json!({"action": "accept", "content": {"username": "ann", "email": "a@b.test"}})))
        .collect();
    let state = asked["requestState"].clone();
    let answered = ask(json!({"inputResponses": answers, "requestState": state}));
    assert!(answered.text().contains("accept"), "{answered:?}");
    // Twin: the state was good once.
    let again = ask(json!({"inputResponses": answers, "requestState": state}));
    assert_eq!(again.json()["error"]["code"], -32602, "{again:?}");
}

#[test]
fn who_listens_is_told_that_the_profile_is_another_one() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let echo = demo_server("gigmcp-demo-echo");
    for name in ["one", "two"] {
        installation.json(&["server", "add", name, "--binary", echo.to_str().unwrap()], "");
    }
    let token = installation.profile("work", &["one"]);
    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    session.call("one_echo", &json!({"text": "warm"}));
    let processes = settled(&gateway);
    let stream = thread::scope(|scope| {
        let filter = json!({"notifications": {"toolsListChanged": true}});
        let request = modern(&token, "subscriptions/listen", None, filter);
        let listening = scope.spawn(|| send(&internet, request));
        gateway.wait_for("a client listens");
        installation.json(&["profile", "add", "work", "two"], "");
        listening.join().unwrap()
    });
    let text = String::from_utf8(stream.body.to_vec()).unwrap();
    let methods = ["notifications/subscriptions/acknowledged", "notifications/tools/list_changed", "\"resultType\""];
    let places: Vec<_> =
        methods.iter().map(|part| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"))).collect();
    assert!(places.is_sorted(), "{text}");
    assert_eq!(session.tools(), ["one_echo", "two_echo"]);
    let left = gateway.descendants();
    assert!(processes.iter().all(|pid| left.contains(pid)), "what is not concerned runs on");
}

#[test]
fn a_gateway_that_stops_waits_for_no_client_that_thinks_or_listens() {
    let (internet, installation) = (Internet::new(), Installation::new());
    add_test_server(&installation, "test", "legacy");
    let token = installation.profile("work", &["test"]);
    let mut gateway = installation.serve(&internet, &[]);
    let params = json!({"name": "test_elicitation", "arguments": {"message": "Who?"}});
    let parked = send(&internet, modern(&token, "tools/call", Some("test_elicitation"), params));
    assert_eq!(parked.json()["result"]["resultType"], "input_required");
    let processes = gateway.descendants();
    let filter = json!({"notifications": {"toolsListChanged": true, "resourceSubscriptions": ["test://static-text"]}});
    let request = modern(&token, "subscriptions/listen", None, filter);
    let stream = thread::scope(|scope| {
        let listening = scope.spawn(|| send(&internet, request));
        gateway.wait_for("a client listens");
        let began = std::time::Instant::now();
        assert!(gateway.interrupt().success());
        assert!(began.elapsed().as_secs() < 25, "before what is waited for at most");
        listening.join().unwrap()
    });
    let text = String::from_utf8(stream.body.to_vec()).unwrap();
    assert!(text.contains("notifications/subscriptions/acknowledged") && text.contains("\"resultType\""), "{text}");
    assert_eq!(wait_gone(&processes), Vec::<u32>::new());
}
