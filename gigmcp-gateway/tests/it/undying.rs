//! A server that ignores the end of its input and every signal that can be ignored, with a child that is in another session:
//! whatever ends the gateway ends both.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::{
    client::Session,
    gateway::{GATEWAY, Installation, descendants, wait_gone},
    internet::Internet,
};

const ODD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/odd");
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;

fn signal(child: u32, signal: Signal) {
    kill_process(Pid::from_raw(child.cast_signed()).unwrap(), signal).unwrap();
}

/// Speaks the first words with a server over its pipes.
fn speak(child: &mut Child) {
    writeln!(child.stdin.as_mut().unwrap(), "{INITIALIZE}").unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("serverInfo"), "{line}");
}

#[test]
fn a_server_that_ignores_its_end_is_gone_with_the_gateway_whatever_ends_it() {
    let (internet, installation) = (Internet::new(), Installation::new());
    let command = format!("python3 {ODD}/odd.py undying");
    installation.json(&["server", "add", "undying", "--command", &command, "--read-only", ODD], "");
    let token = installation.profile("work", &["undying"]);
    for by in [Signal::KILL, Signal::ABORT, Signal::QUIT, Signal::TERM] {
        let mut gateway = installation.serve(&internet, &[]);
        let session = Session::open(&internet, "/mcp/p/work", &token);
        assert_eq!(session.call("undying_good", &json!({})).text(), "fine");
        if by == Signal::KILL {
            gateway.wait_for("it speaks"); // what found that out, the first time, has ended
        }
        let processes = gateway.descendants();
        let servers = processes.iter().filter(|pid| is_undying(**pid)).count();
        assert_eq!(servers, 2, "the server and its child, among {processes:?}");
        signal(gateway.pid(), by);
        gateway.wait();
        assert_eq!(wait_gone(&processes), Vec::<u32>::new(), "after {by:?}");
    }
}

#[test]
fn the_same_is_so_for_one_behind_exec() {
    for by in [Signal::KILL, Signal::ABORT] {
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new("env");
        command
            .args(["--default-signal", GATEWAY, "exec", "--read-only", ODD, "--", "python3"])
            .arg(format!("{ODD}/odd.py"))
            .arg("undying");
        command.env("HOME", home.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        speak(&mut child);
        let processes = descendants(child.id());
        assert_eq!(processes.iter().filter(|pid| is_undying(**pid)).count(), 2, "{processes:?}");
        signal(child.id(), by);
        child.wait().unwrap();
        assert_eq!(wait_gone(&processes), Vec::<u32>::new(), "after {by:?}");
    }
}

/// The twin: with nothing around it, it goes on after its input has ended, and so does its child after it.
#[test]
fn nothing_else_ends_it() {
    let mut command = Command::new("python3");
    command.arg(format!("{ODD}/odd.py")).arg("undying");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    speak(&mut child);
    let below = descendants(child.id());
    signal(child.id(), Signal::TERM);
    drop(child.stdin.take());
    let mut said = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "it goes on\n", "it ignores both");
    let killed: ExitStatus = {
        child.kill().unwrap();
        child.wait().unwrap()
    };
    assert!(!killed.success());
    assert_eq!(below.len(), 1);
    assert!(is_undying(below[0]), "its child is not told");
    signal(below[0], Signal::KILL);
}

fn is_undying(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(b"\0undying\0"))
}
