//! The program, over its pipes.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::{
    origin::{Answer, Origin},
    pack::{HOST, Pack},
};

/// The engine, copied beside its sidecars.
struct Bundle {
    directory: tempfile::TempDir,
}

impl Bundle {
    fn new(engine: &Path, pack: &Pack) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // By another process: while this one has it open for writing, a child that another test starts has it too.
        let copied = Command::new("cp").arg(engine).arg(directory.path().join("server")).status().unwrap();
        assert!(copied.success());
        fs::write(directory.path().join("manifest.yaml"), pack.manifest_text()).unwrap();
        fs::write(directory.path().join("toolspec.yaml"), pack.toolspec_text()).unwrap();
        Self { directory }
    }

    fn command(&self, environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(self.directory.path().join("server"));
        command.env_clear().envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

struct Running {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("an answer expected: {line:?}"))
    }

    fn ask(&mut self, id: u64, method: &str, params: &Value) -> Value {
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        let answer = self.hear();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }
}

/// A proxy that connects everybody who asks for our host with the origin.
async fn proxy(origin: std::net::SocketAddr) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                if !head.starts_with(&format!("CONNECT {HOST}:443 HTTP/1.1\r\n")) {
                    client.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await.unwrap();
                    return;
                }
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut upstream = TcpStream::connect(origin).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await; // either may hang up
            });
        }
    });
    format!("http://{address}")
}

async fn speaks(engine: &Path) {
    let origin = Origin::start(&[HOST]).await;
    let pack = Pack::tool("GET", "/x", "params: [{name: q, in: query, type: string}]")
        .manifest("displayName: Acme Notes\ncredentials: [{id: key, type: api_key, provider: acme, inject: {header: X-Key, format: \"{token}\"}}]\n");
    let bundle = Bundle::new(engine, &pack);
    let roots = bundle.directory.path().join("roots.pem");
    fs::write(&roots, &origin.roots).unwrap();
    let proxy = proxy(origin.address).await;
    let environment =
        [("SSL_CERT_FILE", roots.to_str().unwrap()), ("HTTPS_PROXY", &proxy), ("GIG_PLACEHOLDER", "p-0123456789")];
    origin.will_answer([Answer::json(200, &json!({"n": 1}))]);
    let mut running = Running::start(bundle.command(&environment));
    let talk = tokio::task::spawn_blocking(move || {
        for (asked, spoken) in [
            ("2025-11-25", "2025-11-25"),
            ("2025-06-18", "2025-06-18"),
            ("2024-11-05", "2024-11-05"),
            ("1999-01-01", "2025-11-25"),
        ] {
            let params =
                json!({ "protocolVersion": asked, "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
            let result = running.ask(1, "initialize", &params)["result"].take();
            assert_eq!(result["protocolVersion"], spoken);
            assert_eq!(
                result["serverInfo"],
                json!({ "name": "acme-notes", "version": "1.2.0", "title": "Acme Notes" })
            );
            assert_eq!(result["capabilities"], json!({ "tools": {} }));
        }
        running.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        assert_eq!(running.ask(2, "ping", &json!({}))["result"], json!({}));
        assert_eq!(running.ask(3, "tools/list", &json!({}))["result"]["tools"][0]["name"], "call");
        let answer = running.ask(4, "tools/call", &json!({ "name": "call", "arguments": { "q": "a&b" } }));
        assert_eq!(answer["result"]["content"][0]["text"], r#"{"n":1}"#, "{answer}");
        assert_eq!(running.ask(5, "tools/call", &json!({ "name": "nobody" }))["error"]["code"], -32602);
        assert_eq!(running.ask(6, "resources/list", &json!({}))["error"]["code"], -32601);
        writeln!(running.child.stdin.as_mut().unwrap(), "{{").unwrap();
        assert_eq!(running.hear()["error"]["code"], -32700);
        let idle = resident_bytes(running.child.id());
        drop(running.child.stdin.take());
        assert!(running.child.wait().unwrap().success());
        idle
    });
    let idle = talk.await.unwrap();
    assert!(idle < 24 << 20, "{idle} bytes");
    let seen = origin.seen();
    assert_eq!((seen.len(), seen[0].target.as_str(), seen[0].header("x-key")), (1, "/x?q=a%26b", "p-0123456789"));
}

fn resident_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn the_program_speaks_mcp_over_its_pipes() {
    speaks(Path::new(env!("CARGO_BIN_EXE_gigmcp-toolpack"))).await;
}

#[tokio::test]
async fn the_static_program_does_the_same_and_needs_no_loader() {
    let directory =
        std::env::var_os("TEST_DEMO_SERVERS").expect("run the tests by ./dev test: TEST_DEMO_SERVERS is not set");
    let engine = PathBuf::from(directory).join("gigmcp-toolpack");
    let program = fs::read(&engine).unwrap();
    // PT_INTERP would name a loader, which an image of three files does not have.
    assert!(
        !program.windows(11).any(|window| window == b"/ld-linux-x" || window == b"/ld-linux-a"),
        "it is linked dynamically"
    );
    assert!(program.len() < 12 << 20, "{} bytes", program.len());
    speaks(&engine).await;
}

#[tokio::test]
async fn a_cancelled_call_gets_no_answer_and_keeps_nobody_waiting() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = Origin::start(&[HOST]).await;
    let bundle = Bundle::new(Path::new(env!("CARGO_BIN_EXE_gigmcp-toolpack")), &Pack::tool("GET", "/x", ""));
    let roots = bundle.directory.path().join("roots.pem");
    fs::write(&roots, &origin.roots).unwrap();
    let proxy = format!("http://{}", silent.local_addr().unwrap());
    let mut running =
        Running::start(bundle.command(&[("SSL_CERT_FILE", roots.to_str().unwrap()), ("HTTPS_PROXY", &proxy)]));
    let talk = tokio::task::spawn_blocking(move || {
        let call =
            |id: &str| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "call" } });
        running.say(&call("a"));
        assert_eq!(running.ask(1, "ping", &json!({}))["result"], json!({}), "a call that hangs holds nobody up");
        let cancelled =
            |id: &str| json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } });
        running.say(&cancelled("a"));
        // What ended beside a cancelled call has ended: its id can be used again.
        for _ in 0..3 {
            for id in [1, 2, 3] {
                running.say(&call("b"));
                assert_eq!(running.ask(id, "ping", &json!({}))["result"], json!({}));
                running.say(&cancelled("b"));
            }
        }
        drop(running.child.stdin.take());
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut running.output, &mut rest).unwrap();
        assert_eq!(rest, "");
        assert!(running.child.wait().unwrap().success());
    });
    talk.await.unwrap();
    drop(silent);
}

#[test]
fn without_its_sidecars_or_roots_the_program_says_what_is_missing() {
    let engine = Path::new(env!("CARGO_BIN_EXE_gigmcp-toolpack"));
    let roots = "/etc/ssl/certs/ca-certificates.crt";
    for (case, remove, environment, argument, told) in [
        (
            "no manifest",
            Some("manifest.yaml"),
            ("SSL_CERT_FILE", roots),
            None,
            "manifest.yaml has to be beside the engine",
        ),
        (
            "no toolspec",
            Some("toolspec.yaml"),
            ("SSL_CERT_FILE", roots),
            None,
            "toolspec.yaml has to be beside the engine",
        ),
        (
            "no roots",
            None,
            ("SSL_CERT_FILE", "/nonexistent.pem"),
            None,
            "/nonexistent.pem should hold the certificates to trust",
        ),
        ("no certificates", None, ("SSL_CERT_FILE", "/dev/null"), None, "no certificate in PEM"),
        ("an odd proxy", None, ("HTTPS_PROXY", "socks5://x:1"), None, "is not the address of a proxy"),
        ("an argument", None, ("SSL_CERT_FILE", roots), Some("--help"), "the engine has no arguments"),
        ("nothing wrong", None, ("SSL_CERT_FILE", roots), None, ""),
    ] {
        let bundle = Bundle::new(engine, &Pack::tool("GET", "/x", ""));
        if let Some(name) = remove {
            fs::remove_file(bundle.directory.path().join(name)).unwrap();
        }
        let mut command = bundle.command(&[environment]);
        command.args(argument).stdin(Stdio::null());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), told.is_empty(), "{case}: {said}");
        assert!(said.contains(told) && said.lines().count() <= 1, "{case}: {said}");
    }
}
