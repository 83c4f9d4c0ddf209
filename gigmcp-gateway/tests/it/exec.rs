//! `exec`: a prefix before the command in a client's configuration, and nothing else changes.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::{
    gateway::{Installation, copy_gateway, descendants, real_servers, wait_gone},
    internet::Internet,
    search,
};

/// The gateway's binary where anybody may run it, and a home for a user without rights.
struct Anywhere {
    directory: tempfile::TempDir,
}

impl Anywhere {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        copy_gateway(&directory.path().join("gigmcp-gateway"));
        let home = directory.path().join("home");
        fs::create_dir(&home).unwrap();
        std::os::unix::fs::chown(&home, Some(65534), Some(65534)).unwrap();
        Self { directory }
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// `exec` as user `nobody`, without any right.
    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        self.finish(&mut command);
        command
    }

    fn command_within(&self, internet: &Internet) -> Command {
        let mut command = internet.command("setpriv");
        self.finish(&mut command);
        command
    }

    fn finish(&self, command: &mut Command) {
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"])
            .arg(self.directory.path().join("gigmcp-gateway"))
            .arg("exec")
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.home())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
    }
}

fn finish(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // On a thread of its own, because the answer fills the other pipe meanwhile.
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    drop(writer.join());
    output
}

#[test]
fn bytes_pass_unchanged_and_the_exit_code_is_the_servers() {
    let anywhere = Anywhere::new();
    let mut command = anywhere.command();
    command.args(["--", "sh", "-c", "cat; echo to stderr >&2; exit 7"]);
    let input: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let output = finish(command, &input);
    assert_eq!(output.stdout, input, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(7));
    assert!(String::from_utf8_lossy(&output.stderr).contains("to stderr"));

    let mut missing = anywhere.command();
    missing.args(["--", "no-such-command"]);
    let output = finish(missing, b"");
    assert_eq!(output.status.code(), Some(127), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-command"));
    assert_eq!(output.stdout, b"");
}

#[test]
fn the_callers_environment_and_files_stay_outside() {
    let anywhere = Anywhere::new();
    fs::write(anywhere.home().join("private"), "private-content").unwrap();
    let script = "env; cat /proc/*/environ; ls -la /home /root /run /var/run 2>&1; cat /etc/shadow 2>&1; ls /";
    let mut command = anywhere.command();
    command.env("API_KEY", "the-real-value").env("OTHER", "other-value");
    command.args(["--secret", "API_KEY=api.example.com", "--", "sh", "-c", script]);
    let output = finish(command, b"");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("API_KEY="), "the server sees a variable of that name: {text}");
    for needle in ["the-real-value", "other-value", "private", "root:"] {
        assert!(!text.contains(needle), "{needle} is visible: {text}");
    }
    // The twin: the same script with nothing around it sees what there is to see.
    let outside = Command::new("sh").args(["-c", "env"]).env("API_KEY", "the-real-value").output().unwrap();
    assert!(search::holds(&outside.stdout, "the-real-value"));
}

#[test]
fn a_real_server_uses_the_callers_key_without_holding_it() {
    let internet = Internet::new();
    let anywhere = Anywhere::new();
    let real = anywhere.directory.path().join("real");
    let copied = Command::new("cp").arg("-r").arg(real_servers()).arg(&real).status().unwrap();
    assert!(copied.success());
    let mut command = anywhere.command_within(&internet);
    let authority = anywhere.directory.path().join("authority.pem");
    fs::copy(&internet.authority, &authority).unwrap();
    command.env("API_KEY", "sk-the-real-value-of-exec").env("GIG_UPSTREAM_EXTRA_ROOTS", &authority);
    command.args(["--secret", "API_KEY=api.example.com", "--read-only"]).arg(&real);
    command.args(["--", "node"]).arg(real.join("node/fetch.mjs"));
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut call = |message: Value| {
        writeln!(stdin, "{message}").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    };
    let initialized = call(json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
    }}));
    assert_eq!(initialized["result"]["serverInfo"]["name"], "fetch", "{initialized}");
    let answer = call(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
        "name": "fetch", "arguments": {"url": "https://api.example.com/exec"},
    }}));
    assert!(!answer.to_string().contains("sk-the-real-value-of-exec"), "{answer}");
    let seen = internet.seen();
    assert_eq!(seen.len(), 1, "{answer}");
    assert_eq!(seen[0].count("sk-the-real-value-of-exec"), 1);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn npx_fetches_a_package_through_the_proxy_and_runs_it() {
    let internet = Internet::new();
    let anywhere = Anywhere::new();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tiny");
    let packed = Command::new("npm").args(["pack", source, "--silent"]).current_dir(anywhere.directory.path()).output();
    assert!(packed.unwrap().status.success());
    let tarball = fs::read(anywhere.directory.path().join("tiny-server-1.0.0.tgz")).unwrap();
    let archive = "https://registry.npmjs.org/tiny-server/-/tiny-server-1.0.0.tgz";
    let version = json!({"name": "tiny-server", "version": "1.0.0", "bin": {"tiny-server": "index.js"},
        "dist": {"tarball": archive}});
    let package = json!({"name": "tiny-server", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}});
    internet.publish("/tiny-server", package.to_string());
    internet.publish("/tiny-server/-/tiny-server-1.0.0.tgz", tarball);

    let authority = anywhere.directory.path().join("authority.pem");
    fs::copy(&internet.authority, &authority).unwrap();
    let mut command = anywhere.command_within(&internet);
    command.env("API_KEY", "sk-the-real-value-of-npx").env("GIG_UPSTREAM_EXTRA_ROOTS", &authority);
    command.args([
        "--allow",
        "api.example.com",
        "--secret",
        "API_KEY=api.example.com",
        "--",
        "npx",
        "-y",
        "tiny-server",
    ]);
    let output = finish(command, b"{\"id\":7}\n");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer: Value = serde_json::from_str(text.trim())
        .unwrap_or_else(|error| panic!("{error}: {text:?} {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(answer["id"], 7);
    assert!(answer["holds"].as_str().unwrap().starts_with("sk-"), "{answer}");
    assert!(!text.contains("the-real-value"), "{text}");
    assert_eq!(output.status.code(), Some(0));
    assert!(internet.seen().iter().all(|seen| seen.count("the-real-value") == 0), "the registry never gets the key");
    // The launcher's registry may be read from, not written to.
    assert!(internet.seen().iter().all(|seen| seen.body.is_empty()), "{:?}", internet.seen());
}

#[test]
fn several_first_starts_at_once_share_one_key() {
    let installation = Installation::new();
    let start = || {
        let mut command = installation.command();
        command.args(["exec", "--", "true"]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let started: Vec<_> = (0..6).map(|_| start()).collect();
    for child in started {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn signals_and_a_lost_reader_end_the_server_with_the_usual_codes() {
    let installation = Installation::new();
    let start = || {
        let mut command = installation.command();
        command.args(["exec", "--", "sh", "-c", "echo ready; exec sleep 3600"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        (child, stdout)
    };
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let (mut child, _stdout) = start();
        let below = descendants(child.id());
        kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal:?}");
        assert_eq!(wait_gone(&below), Vec::<u32>::new(), "{signal:?}");
    }
    // A client that was killed: nobody reads any more, and the server says nothing.
    let (mut child, stdout) = start();
    let below = descendants(child.id());
    drop(stdout);
    assert_eq!(child.wait().unwrap().code(), Some(141));
    assert_eq!(wait_gone(&below), Vec::<u32>::new());
}

#[test]
fn a_stored_secret_serves_when_the_environment_has_none() {
    let installation = Installation::new();
    let run = |extra: &[&str]| {
        let mut command = installation.command();
        command.args(["exec", "--secret", "API_KEY=api.example.com", "--", "sh", "-c", "echo $API_KEY"]);
        command.args(extra).stdin(Stdio::null());
        command.output().unwrap()
    };
    let refused = run(&[]);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(125));
    assert!(error.contains("secret set exec API_KEY=api.example.com"), "the fix is named: {error}");
    installation
        .json(&["secret", "set", "exec", "API_KEY=api.example.com"], "sk-stored-real-value-of-usual-length-0123456789");
    let output = run(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with("sk-") && !text.contains("stored-real"), "a placeholder of the same shape: {text}");
    assert_eq!(text.trim().len(), "sk-stored-real-value-of-usual-length-0123456789".len());
}

#[test]
fn a_server_that_a_limit_ended_does_not_end_in_silence() {
    let installation = Installation::new();
    let run = |memory: &str| {
        let hungry = "head -c 100M /dev/zero | tail -c 100M | wc -c";
        let output = installation.run(&["exec", "--memory", memory, "--", "sh", "-c", hungry], "");
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, _, said) = run("32M");
    assert_eq!(code, Some(125), "{said}");
    // The shell may find time to say a word of its own.
    let ours: Vec<_> = said.lines().filter(|line| *line != "Killed").collect();
    assert_eq!(ours, ["gigmcp: the server used more memory than allowed and was ended (--memory)"]);
    // The twin: with enough of it there is nothing to say.
    assert_eq!(run("512M"), (Some(0), format!("{}\n", 100 << 20), String::new()));
}

#[test]
fn a_signal_and_a_call_that_no_server_makes_are_told_once() {
    let installation = Installation::new();
    let run = |script: &str| {
        let output = installation.run(&["exec", "--", "sh", "-c", script], "");
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run("kill -KILL $$"), (Some(137), "gigmcp: the server was ended by signal 9\n".to_owned()));
    let (code, said) = run("for i in 1 2 3; do unshare --user true 2>&1; done; exit 3");
    assert_eq!((code, said.matches("gigmcp: the server made the system call unshare").count()), (Some(3), 1), "{said}");
    assert_eq!(said.lines().count(), 1, "its own exit is told by its code: {said}");
    let audit = installation.json(&["audit"], "");
    let alarms = audit.as_array().unwrap().iter().filter(|row| row["alarm"] == true);
    let alarms: Vec<_> =
        alarms.map(|row| (row["kind"].as_str(), row["server"].as_str(), row["subject"].as_str())).collect();
    assert_eq!(alarms, [(Some("tripwire"), Some("exec"), Some("unshare"))], "{audit}");
}

#[test]
fn a_server_sees_a_machine_as_large_as_its_limits() {
    let installation = Installation::new();
    let script = "grep MemTotal /proc/meminfo; grep -c ^processor /proc/cpuinfo";
    let run = |cpus: &str| {
        let output = installation.run(&["exec", "--memory", "96M", "--cpus", cpus, "--", "sh", "-c", script], "");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run("1"), "MemTotal:          98304 kB\n1\n");
    // The twin: on a machine that has two, more than one is shown when more is allowed.
    let own = thread::available_parallelism().unwrap().get().min(2);
    assert_eq!(run("2"), format!("MemTotal:          98304 kB\n{own}\n"));
}

/// When the last row of a server that ended can be written.
enum Database {
    Free,
    /// Another program writes until `exec` was seen to wait for it.
    HeldForAWhile,
    /// Another program does not stop.
    Held,
}

#[test]
fn exec_ends_when_what_its_server_did_last_is_recorded() {
    let (happened, origin) = mpsc::channel();
    // Never answers, and tells when a request came and when its connection is gone.
    let internet = Internet::serving(&[], move |mut stream| {
        let happened = happened.clone();
        async move {
            let mut buffer = [0; 4096];
            if matches!(stream.read(&mut buffer).await, Ok(1..)) {
                happened.send("came").unwrap();
                while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
                happened.send("gone").unwrap();
            }
        }
    });
    for (database, recorded) in [(Database::Free, true), (Database::HeldForAWhile, true), (Database::Held, false)] {
        let installation = Installation::on_sqlite();
        let mut command = installation.command_within(&internet);
        command.args(["exec", "--allow", "api.example.com", "--", "sh", "-c"]);
        command.arg("curl -s https://api.example.com/last & read line").stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        assert_eq!(origin.recv(), Ok("came"));
        let other = Connection::open(installation.data().join("gigmcp.db")).unwrap();
        if !matches!(database, Database::Free) {
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
        }
        let since = Instant::now();
        drop(child.stdin.take());
        assert_eq!(origin.recv(), Ok("gone"), "the server ended, and its connections with it");
        let (end, ended) = mpsc::channel();
        thread::spawn(move || end.send(child.wait()));
        // It waits for the database for five seconds.
        if matches!(database, Database::HeldForAWhile) {
            assert!(ended.recv_timeout(Duration::from_millis(100)).is_err(), "it waits");
            other.execute_batch("ROLLBACK").unwrap();
        }
        ended.recv_timeout(Duration::from_secs(60)).expect("it does not wait for ever").unwrap();
        assert!(recorded || since.elapsed() > Duration::from_secs(1), "it waits");
        drop(other);
        let audit = installation.json(&["audit"], "");
        let last = audit.as_array().unwrap().iter().find(|row| row["kind"] == "request");
        assert_eq!(last.is_some(), recorded, "{audit}");
        if let Some(last) = last {
            let told = ["server", "subject", "verdict"].map(|name| last[name].as_str().unwrap());
            assert_eq!(told, ["exec", "GET api.example.com:443/last", "aborted"]);
            assert_eq!(last["policy_version"], 0, "the rules stood on the command line");
        }
    }
}
