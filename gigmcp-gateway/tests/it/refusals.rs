//! Bad input of every kind: one clear error, and the rest keeps working.

use std::{net::TcpListener, path::Path};

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use crate::{
    client::{ADDRESS, Answer, Session, post, send, send_head},
    gateway::{Gateway, Installation, demo_server},
    internet::Internet,
};

fn with_echo() -> (Internet, Installation, String) {
    let installation = Installation::new();
    let echo = demo_server("gigmcp-demo-echo");
    installation.json(&["server", "add", "echo", "--binary", echo.to_str().unwrap()], "");
    let token = installation.profile("work", &["echo"]);
    (Internet::new(), installation, token)
}

const PATH: &str = "/mcp/p/work";

#[test]
fn a_wrong_token_a_missing_one_and_a_strange_profile_get_the_same_answer() {
    let (internet, installation, token) = with_echo();
    installation.profile("other", &[]);
    let _gateway = installation.serve(&internet, &[]);
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let wrong = token.replace("gig_", "gig_A");
    let answers: Vec<Answer> = [
        (PATH, Some(wrong.as_str())),
        (PATH, None),
        ("/mcp/p/nowhere", Some(token.as_str())),
        ("/mcp/p/other", Some(token.as_str())),
    ]
    .into_iter()
    .map(|(path, token)| send(&internet, post(path, token, ping)))
    .collect();
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        assert_eq!(answer.body, answers[0].body, "one text for all");
    }
    Session::open(&internet, PATH, &token); // twin: the right token
    // Nothing but the endpoints of profiles is there, as long as GIG_BEARER_TOKEN is not set.
    for path in ["/", "/mcp"] {
        assert_eq!(send(&internet, post(path, Some(&token), ping)).status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[test]
fn the_transitional_mounts_open_with_their_own_token_only() {
    let (internet, installation, token) = with_echo();
    installation.profile("default", &["echo"]);
    let _gateway = installation.serve(&internet, &[("GIG_BEARER_TOKEN", "a-long-transitional-token")]);
    for path in ["/", "/mcp"] {
        let session = Session::open(&internet, path, "a-long-transitional-token");
        assert_eq!(session.tools(), ["echo_echo"]);
        let refused = send(&internet, post(path, Some(&token), r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#));
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    }
}

#[test]
fn a_session_belongs_to_the_token_that_opened_it() {
    let (internet, installation, token) = with_echo();
    let _gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, PATH, &token);
    assert_eq!(session.request("ping", &json!({})).status, StatusCode::OK); // twin
    let renewed = installation.json(&["profile", "token", "work"], "")["token"].as_str().unwrap().to_owned();
    assert_eq!(session.request("ping", &json!({})).status, StatusCode::UNAUTHORIZED, "the old token ended at once");
    let stolen = Session::open(&internet, PATH, &renewed).with_id_of(&session);
    assert_eq!(stolen.request("ping", &json!({})).status, StatusCode::NOT_FOUND);
}

#[test]
fn malformed_messages_get_json_rpc_errors() {
    let (internet, installation, token) = with_echo();
    let _gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, PATH, &token);
    let malformed = send(&internet, post(PATH, Some(&token), r#"{"jsonrpc":"2.0","id":1,"method":"#));
    assert_eq!((malformed.status, &malformed.json()["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(-32700)));
    let not_text = send(&internet, post(PATH, Some(&token), Bytes::from_static(b"\xff\xfe")));
    assert_eq!(not_text.json()["error"]["code"], -32700);
    let unknown = session.call("echo_nothing", &json!({}));
    assert_eq!(unknown.json()["error"]["code"], -32602, "{unknown:?}");
    assert!(unknown.json()["error"]["message"].as_str().unwrap().contains("echo_nothing"));
    let method = session.request("no/such/method", &json!({}));
    assert_eq!(method.json()["error"]["code"], -32601);
    let mut large = post(PATH, Some(&token), "{");
    large.headers_mut().insert("content-length", "33554432".parse().unwrap());
    assert_eq!(send_head(&internet, large), "HTTP/1.1 413 Payload Too Large");
    let mut foreign = post(PATH, Some(&token), r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    foreign.headers_mut().insert("origin", "https://evil.test".parse().unwrap());
    assert_eq!(send(&internet, foreign).status, StatusCode::FORBIDDEN);
    let mut rebound = post(PATH, Some(&token), r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    rebound.headers_mut().insert("host", "evil.test".parse().unwrap());
    assert_eq!(send(&internet, rebound).status, StatusCode::FORBIDDEN);
    assert_eq!(session.call("echo_echo", &json!({"text": "still here"})).text(), "still here"); // twin
}

#[test]
fn odd_servers_hurt_nobody_but_themselves() {
    let (internet, installation, _) = with_echo();
    let odd = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/odd");
    for mode in ["silent", "dies", "huge", "bytes", "odd-tool"] {
        let command = format!("python3 {}/odd.py {mode}", odd.display());
        let readable = odd.to_str().unwrap();
        installation.json(&["server", "add", mode, "--command", &command, "--read-only", readable], "");
    }
    let token = installation.profile("all", &["echo", "silent", "dies", "huge", "bytes", "odd-tool"]);
    let gateway = installation.serve(&internet, &[("GIG_START_TIMEOUT", "3")]);
    let session = Session::open(&internet, "/mcp/p/all", &token);

    let tools = session.tools();
    // Of the three odd tools one is offered: that it takes any object is what having no schema must mean.
    for (server, expected) in [("echo", 1), ("silent", 0), ("dies", 2), ("huge", 2), ("bytes", 2), ("odd-tool", 3)] {
        let found = tools.iter().filter(|tool| tool.starts_with(&format!("{server}_"))).count();
        assert_eq!(found, expected, "{server} in {tools:?}\n{}", gateway.log());
    }
    let silent = session.call("silent_anything", &json!({})).json();
    let message = silent["error"]["message"].as_str().unwrap();
    assert!(message.contains("silent") && message.contains("initialize"), "the stage is named: {message}");
    assert!(message.contains("I will never answer"), "the last words are there, without escape sequences: {message}");

    let died = session.call("dies_odd", &json!({})).json();
    assert_eq!(died["error"]["data"]["code"], "server-exited", "{died}");
    assert_eq!(session.call("dies_good", &json!({})).text(), "fine", "it was started again");

    let before = resident_kib(gateway.pid());
    let huge = session.call("huge_odd", &json!({})).json();
    assert_eq!(huge["error"]["data"]["code"], "server-answer-too-long", "{huge}");
    let grown = resident_kib(gateway.pid()).saturating_sub(before);
    assert!(grown < 128 << 10, "a line of 1 GiB took {grown} KiB");

    // What a model or a server wrote cannot forge lines or steer the terminal of who reads the audit trail.
    session.call("x\n2026 INFO forged\u{1b}[2J", &json!({}));
    let audit = installation.run(&["audit"], "");
    let text = String::from_utf8(audit.stdout).unwrap();
    assert!(text.contains("forged") && !text.contains('\u{1b}') && !text.contains("\n2026 INFO"), "{text}");
    assert_eq!(session.call("bytes_odd", &json!({})).text(), "after", "a line that is not text is passed over");
    assert_eq!(session.call("echo_echo", &json!({"text": "still here"})).text(), "still here");
}

#[test]
fn a_client_is_told_why_the_server_of_a_call_under_way_was_ended() {
    let (internet, installation, _) = with_echo();
    let odd = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/odd");
    let readable = odd.to_str().unwrap();
    for (name, more) in [("forbidden", &[][..]), ("slow", &["--wall-time", "8"]), ("dies", &[])] {
        let command = format!("python3 {}/odd.py {name}", odd.display());
        let add = ["server", "add", name, "--command", &command, "--read-only", readable, "--seccomp", "python"];
        installation.json(&[&add[..], more].concat(), "");
    }
    let token = installation.profile("all", &["forbidden", "slow", "dies"]);
    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/all", &token);
    for (server, code, text) in [
        ("forbidden", "server-forbidden-call", "made a forbidden system call and was ended"),
        ("slow", "server-wall-time", "ran longer than allowed and was ended"),
        ("dies", "server-exited", "the server exited before it answered, and may have done what was asked"), // the twin: its own end
    ] {
        let failed = session.call(&format!("{server}_odd"), &json!({})).json();
        assert_eq!(failed["error"]["data"]["code"], code, "{failed}\n{}", gateway.log());
        assert_eq!(failed["error"]["data"]["stage"], "call", "{failed}");
        assert!(failed["error"]["message"].as_str().unwrap().contains(text), "{failed}");
    }
}

#[test]
fn a_call_that_no_server_makes_is_refused_logged_once_and_audited_once() {
    let (internet, installation, _) = with_echo();
    let odd = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/odd");
    let (command, odd) = (format!("python3 {}/odd.py namespaces", odd.display()), odd.to_str().unwrap());
    for name in ["trips", "behaves"] {
        installation.json(&["server", "add", name, "--command", &command, "--read-only", odd], "");
    }
    let token = installation.profile("all", &["trips", "behaves"]);
    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/all", &token);
    assert_eq!(session.call("behaves_good", &json!({})).text(), "fine"); // the twin: another tool of the same program
    let said = session.call("trips_odd", &json!({})).text();
    assert_eq!(said, "refused with 1", "EPERM\n{}", gateway.log());

    let told = |log: &str, server: &str| {
        let about =
            |line: &&str| line.contains("made the system call unshare") && line.contains(&format!("server={server}"));
        log.lines().filter(about).map(str::to_owned).collect::<Vec<_>>()
    };
    let first = told(&gateway.wait_for("made the system call unshare"), "trips");
    assert!(first.len() == 1 && first[0].contains("WARN"), "once for all of them: {first:?}");
    // At its end the others are told, as a number; of the twin there is nothing to tell.
    installation.json(&["profile", "remove", "all", "trips"], "");
    let log = gateway.wait_for("was ended from outside");
    assert_eq!((told(&log, "trips").len(), told(&log, "behaves").len()), (2, 0), "{log}");
    let audit = installation.json(&["audit"], "");
    let rows: Vec<_> = audit.as_array().unwrap().iter().filter(|row| row["kind"] == "tripwire").collect();
    let [row] = rows[..] else { panic!("one row for a thousand calls: {audit}") };
    for (field, expected) in
        [("server", "trips"), ("profile", "all"), ("owner", "local"), ("subject", "unshare"), ("verdict", "refused")]
    {
        assert_eq!(row[field], expected, "{field}: {row}");
    }
    assert_eq!(row["alarm"], true, "{row}");
    assert!(row["instance"].as_str().unwrap().starts_with("trips-"), "{row}");
}

#[test]
fn a_client_is_told_that_a_server_had_too_little_memory() {
    let (internet, installation, _) = with_echo();
    let odd = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/odd");
    let (command, odd) = (format!("python3 {}/odd.py hungry", odd.display()), odd.to_str().unwrap());
    for (name, memory) in [("little", "64M"), ("enough", "512M")] {
        let add = ["server", "add", name, "--command", &command, "--read-only", odd, "--memory", memory];
        installation.json(&add, "");
    }
    let token = installation.profile("all", &["little", "enough"]);
    let gateway = installation.serve_with_control_groups(&internet);
    let session = Session::open(&internet, "/mcp/p/all", &token);
    let refused = session.call("little_good", &json!({})).json();
    assert_eq!(refused["error"]["data"]["code"], "server-out-of-memory", "{refused}\n{}", gateway.log());
    assert!(refused["error"]["message"].as_str().unwrap().contains("more memory than allowed"), "{refused}");
    let log = gateway.wait_for("used more memory than allowed and was ended (--memory)");
    let told = log.lines().find(|line| line.contains("more memory than allowed and was ended (--memory)")).unwrap();
    assert!(told.contains("WARN") && told.contains("little"), "{told}");
    assert_eq!(session.call("enough_good", &json!({})).text(), "fine"); // twin
}

#[test]
fn a_taken_port_is_named_with_the_fix() {
    let installation = Installation::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = installation.run(&["serve", "--listen", &address], "");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(error.contains(&address) && error.contains("GIG_LISTEN"), "{error}");
    let internet = Internet::new();
    let _twin: Gateway = installation.serve(&internet, &[("GIG_LISTEN", ADDRESS)]);
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
