//! Starting, stopping and being killed: nothing is left behind, nothing runs as root.

use std::{fs, process::Command};

use rusqlite::Connection;
use serde_json::json;

use crate::{
    client::Session,
    gateway::{Gateway, Installation, catalog, demo_server, wait_gone},
    internet::Internet,
};

fn demo(installation: &Installation, internet: &Internet) -> Gateway {
    Gateway::start(&mut demo_command(installation, internet))
}

fn demo_command(installation: &Installation, internet: &Internet) -> Command {
    let catalog = catalog();
    let mut command: Command = internet.command(crate::gateway::GATEWAY);
    installation.settings(&mut command);
    command.env("GIG_REGISTRY_URL", catalog.join("site"));
    command.env("GIG_REGISTRY_ROOT", catalog.join("root/1.jsonl")).env("GIG_IMAGE_LAYOUTS", catalog.join("images"));
    command.arg("demo");
    command
}

/// The token in the block that `demo` prints.
fn printed_token(gateway: &Gateway) -> String {
    let log = gateway.wait_for("Ctrl-C ends everything");
    let line = log.lines().find(|line| line.trim_start().starts_with("token ")).unwrap();
    line.split_whitespace().last().unwrap().to_owned()
}

#[test]
fn the_demo_prints_what_works_and_a_second_start_reuses_its_data() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let mut first = demo(&installation, &internet);
    let token = printed_token(&first);
    let log = first.log();
    assert!(log.contains("claude mcp add --transport http gig http://127.0.0.1:8080/mcp/p/demo"), "{log}");
    assert!(log.contains("\"mcpServers\""), "{log}");
    // The curl of the block, as a person would paste it.
    let curl = &log[log.find("  endpoint=").unwrap()..];
    let curl = &curl[..curl.find("\n\n").unwrap()];
    let output = internet.command("bash").args(["-c", curl]).output().unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    assert!(answer.contains("\"hello\""), "{answer} {}", String::from_utf8_lossy(&output.stderr));
    let session = Session::open(&internet, "/mcp/p/demo", &token);
    assert_eq!(session.tools(), ["demo-echo_echo", "demo-fetch_fetch"]);
    session.call("demo-fetch_fetch", &json!({"url": "https://api.example.com/"}));
    let processes = first.descendants();
    assert!(processes.len() >= 4, "two sandboxes run: {processes:?}");
    assert!(first.interrupt().success());
    assert_eq!(wait_gone(&processes), Vec::<u32>::new(), "after Ctrl-C");

    let second = demo(&installation, &internet);
    assert_eq!(printed_token(&second), token);
    Session::open(&internet, "/mcp/p/demo", &token);
}

#[test]
fn the_demo_leaves_somebodys_own_server_alone() {
    let (internet, installation) = (Internet::new(), Installation::new());
    installation.json(&["server", "add", "demo-echo", "--command", "my-own echo"], "");
    let output = demo_command(&installation, &internet).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("`demo-echo` that did not come from an index"), "{error}");
    let kept = installation.json(&["server", "list"], "");
    assert_eq!(kept[0]["spec"]["command"], json!(["my-own", "echo"]));
}

#[test]
fn no_process_of_a_sandbox_is_root_and_none_survives_a_killed_gateway() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let echo = demo_server("gigmcp-demo-echo");
    installation.json(&["server", "add", "echo", "--binary", echo.to_str().unwrap()], "");
    let odd = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/odd");
    let leaves_something = format!("setsid sleep 3600 & exec python3 {odd}/odd.py good");
    installation.json(&["server", "add", "sleeper", "--read-only", odd, "--", "sh", "-c", &leaves_something], "");
    let token = installation.profile("work", &["echo", "sleeper"]);
    let mut gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    assert_eq!(session.call("echo_echo", &json!({"text": "warm"})).text(), "warm");
    assert_eq!(session.call("sleeper_good", &json!({})).text(), "fine");
    // What makes a sandbox is root until it is made; from here on, none is being made.
    for name in ["echo", "sleeper"] {
        gateway.wait_for_line(&["it speaks", &format!("server={name}")]);
    }
    let processes = gateway.descendants();
    let is_root = |pid: &&u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let uids = status.lines().find(|line| line.starts_with("Uid:")).unwrap_or_default();
        uids.split_whitespace().skip(1).any(|uid| uid == "0")
    };
    assert_eq!(processes.iter().filter(is_root).collect::<Vec<_>>(), Vec::<&u32>::new(), "root");
    assert!(processes.len() >= 3, "the monitor, PID 1 and the server: {processes:?}");
    gateway.kill();
    assert_eq!(wait_gone(&processes), Vec::<u32>::new(), "after kill -9 of the gateway");
}

#[test]
fn servers_are_asked_to_end_when_the_gateway_stops_and_made_to_when_they_do_not() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let odd = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/odd");
    let state = |name: &str| installation.data().with_file_name(format!("state-of-{name}"));
    for name in ["polite", "deaf"] {
        fs::create_dir(state(name)).unwrap();
        let command = format!("python3 {odd}/odd.py {name}");
        let dir = state(name).display().to_string();
        installation.json(&["server", "add", name, "--command", &command, "--read-only", odd, "--state", &dir], "");
    }
    let token = installation.profile("work", &["polite", "deaf"]);
    let mut gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    for name in ["polite", "deaf"] {
        assert_eq!(session.call(&format!("{name}_good"), &json!({})).text(), "fine");
    }
    let processes = gateway.descendants();
    assert!(gateway.interrupt().success());
    assert_eq!(wait_gone(&processes), Vec::<u32>::new(), "those that do not listen either");
    assert_eq!(fs::read_to_string(state("polite").join("data/asked")).unwrap(), "15", "SIGTERM");
    assert!(!state("deaf").join("data/asked").exists());
    // What is ours is not given to a server to write to.
    let ours = installation.data().display().to_string();
    let refused = installation.run(&["server", "add", "thief", "--state", &ours, "--", "true"], "");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no server may see"), "{refused:?}");
}

#[test]
fn a_change_takes_effect_at_the_next_call() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let fetch = demo_server("gigmcp-demo-fetch");
    let add = ["server", "add", "fetch", "--binary", fetch.to_str().unwrap(), "--secret", "API_KEY=api.example.com"];
    installation.json(&add, "");
    installation.json(&["secret", "set", "fetch", "API_KEY"], "the-first-real-value");
    let token = installation.profile("work", &["fetch"]);
    let _gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    let url = json!({"url": "https://api.example.com/"});
    let sent = |session: &Session<'_>| {
        session.call("fetch_fetch", &url);
        internet.seen().last().map(|seen| seen.headers["authorization"].to_str().unwrap().to_owned())
    };
    assert_eq!(sent(&session).as_deref(), Some("Bearer the-first-real-value"));
    installation.json(&["secret", "set", "fetch", "API_KEY"], "the-second-real-value");
    assert_eq!(sent(&session).as_deref(), Some("Bearer the-second-real-value"), "without a restart");
    let requests = internet.seen().len();
    installation.json(&["secret", "delete", "fetch", "API_KEY"], "");
    session.call("fetch_fetch", &url);
    assert_eq!(internet.seen().len(), requests, "without its secret nothing leaves");
    installation.json(&["profile", "remove", "work", "fetch"], "");
    assert_eq!(session.tools(), Vec::<String>::new());
    assert_eq!(session.call("fetch_fetch", &url).json()["error"]["code"], -32602);
    assert_eq!(internet.seen().len(), requests);
}

#[test]
fn a_server_taken_out_of_its_profile_ends_without_being_called() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let echo = demo_server("gigmcp-demo-echo");
    for name in ["stays", "goes"] {
        installation.json(&["server", "add", name, "--binary", echo.to_str().unwrap()], "");
    }
    let token = installation.profile("work", &["stays"]);
    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    session.call("stays_echo", &json!({"text": "warm"}));
    gateway.wait_for("it speaks"); // what found that out has ended
    let first = gateway.descendants();
    installation.json(&["profile", "add", "work", "goes"], "");
    session.call("goes_echo", &json!({"text": "warm"}));
    let second: Vec<u32> = gateway.descendants().into_iter().filter(|pid| !first.contains(pid)).collect();
    assert!(!second.is_empty());
    installation.json(&["profile", "remove", "work", "goes"], "");
    assert_eq!(wait_gone(&second), Vec::<u32>::new(), "the server that was taken out");
    let left = gateway.descendants();
    assert!(first.iter().all(|pid| left.contains(pid)), "twin: the other runs on, {first:?} in {left:?}");
}

#[test]
fn a_name_that_resolves_to_loopback_is_refused_and_audited() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let fetch = demo_server("gigmcp-demo-fetch");
    let hosts = ["--allow", "rebound.example.com", "--allow", "api.example.com"];
    let add = ["server", "add", "fetch", "--binary", fetch.to_str().unwrap(), "--env", "API_KEY=none"];
    installation.json(&[&add[..], &hosts].concat(), "");
    let token = installation.profile("work", &["fetch"]);
    let _gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    session.call("fetch_fetch", &json!({"url": "https://rebound.example.com/"}));
    let audit = installation.json(&["audit"], "");
    let rows = audit.as_array().unwrap();
    let rebound = rows.iter().find(|row| row["subject"] == "GET rebound.example.com:443/");
    assert!(rebound.is_some_and(|row| row["verdict"] == "address-class"), "{audit}");
    session.call("fetch_fetch", &json!({"url": "https://api.example.com/"})); // twin
    assert_eq!(internet.seen().len(), 1);
    let audit = installation.json(&["audit"], "");
    let allowed =
        audit.as_array().unwrap().iter().filter(|row| row["kind"] == "request" && row["verdict"] == "allowed");
    assert_eq!(allowed.clone().count(), 1, "one row a request: {audit}");
    // The row tells by which declaration it was decided, to people and to programs.
    let revision = installation.json(&["server", "list"], "")[0]["revision"].clone();
    assert_eq!(allowed.map(|row| &row["policy_version"]).collect::<Vec<_>>(), [&revision]);
    let shown = String::from_utf8(installation.run(&["audit"], "").stdout).unwrap();
    let row = shown.lines().find(|line| line.contains("api.example.com:443/")).unwrap();
    assert!(shown.contains("POLICY") && row.contains(&format!(" {revision} ")), "{shown}");
}

#[test]
fn audit_rows_are_deleted_when_they_are_old() {
    let (internet, installation) = (Internet::new(), Installation::on_sqlite());
    installation.json(&["profile", "list"], "");
    let database = Connection::open(installation.data().join("gigmcp.db")).unwrap();
    let row =
        "INSERT INTO audit (at_ms, kind, owner, profile, server, instance, subject, verdict, credentials, bytes_up,
               bytes_down, duration_us, alarm)
               VALUES ((unixepoch() - ?1 * 86400) * 1000, 'tool', '', '', '', '', ?2, 'allowed', '', 0, 0, 0, 0)";
    for (days, subject) in [(400, "older"), (91, "old"), (89, "young")] {
        database.execute(row, (days, subject)).unwrap();
    }
    let subjects = || {
        let audit = installation.json(&["audit"], "");
        let tools = audit.as_array().unwrap().iter().filter(|row| row["kind"] == "tool");
        tools.map(|row| row["subject"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let gateway = installation.serve(&internet, &[("GIG_AUDIT_DAYS", "100")]);
    gateway.wait_for("1 audit rows older than 100 days were deleted");
    assert_eq!(subjects(), ["old", "young"]);
    drop(gateway);
    let gateway = installation.serve(&internet, &[]);
    gateway.wait_for("1 audit rows older than 90 days were deleted");
    assert_eq!(subjects(), ["young"]);
}
