//! MCP clients for people, without a model and without an internet: they must say that they are connected.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    gateway::{Gateway, Installation, demo_server, real_servers},
    internet::Internet,
};

/// A gateway, and a person's home.
struct World {
    internet: Internet,
    home: tempfile::TempDir,
    token: String,
    _installation: Installation,
    _gateway: Gateway,
}

impl World {
    fn new() -> Self {
        let (internet, installation) = (Internet::new(), Installation::new());
        let echo = demo_server("gigmcp-demo-echo");
        installation.json(&["server", "add", "echo", "--binary", echo.to_str().unwrap()], "");
        let token = installation.profile("work", &["echo"]);
        let gateway = installation.serve(&internet, &[]);
        let home = tempfile::tempdir().unwrap();
        Self { internet, home, token, _installation: installation, _gateway: gateway }
    }

    /// A program of Node's, in the home and with nothing else of this machine's environment.
    fn command(&self, program: &str) -> Command {
        let directory = std::env::var_os("TEST_COMMAND_LINE");
        let directory = directory.expect("run the tests by ./dev test: TEST_COMMAND_LINE is not set");
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
        let node = real_servers().join(format!("node/node_modules/node-linux-{arch}/bin"));
        let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", node.display());
        let mut command = self.internet.command(node.join("node"));
        command.arg(std::path::Path::new(&directory).join("node_modules").join(program));
        command.env_clear().env("PATH", path).env("HOME", self.home.path()).current_dir(self.home.path());
        command.stdin(Stdio::null());
        command
    }

    fn said(&self, program: &str, words: &[&str]) -> String {
        let output = self.command(program).args(words).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// A token of nobody.
    fn wrong(&self) -> String {
        self.token.chars().rev().collect()
    }
}

#[test]
fn claude_code_reports_the_server_as_connected() {
    let world = World::new();
    for (name, token) in [("right", world.token.clone()), ("wrong", world.wrong())] {
        let header = format!("Authorization: Bearer {token}");
        let added = world.said(CLAUDE, &["mcp", "add", "--transport", "http", name, URL, "--header", &header]);
        assert!(added.contains("Added HTTP MCP server"), "{added}");
    }
    let listed = world.said(CLAUDE, &["mcp", "list"]);
    let line = |name: &str| listed.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{listed}"));
    assert!(line("right").ends_with("Connected"), "{listed}");
    assert!(!line("wrong").contains("Connected"), "{listed}");
}

#[test]
fn gemini_reports_the_server_as_connected() {
    let world = World::new();
    let server = |token: &str| json!({ "httpUrl": URL, "headers": { "Authorization": format!("Bearer {token}") } });
    let servers = json!({ "right": server(&world.token), "wrong": server(&world.wrong()) });
    let settings = json!({ "security": { "folderTrust": { "enabled": false } }, "mcpServers": servers });
    fs::create_dir(world.home.path().join(".gemini")).unwrap();
    fs::write(world.home.path().join(".gemini/settings.json"), settings.to_string()).unwrap();
    let listed = world.said(GEMINI, &["mcp", "list"]);
    let line = |name: &str| listed.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{listed}"));
    assert!(line("right").ends_with("- Connected"), "{listed}");
    assert!(!line("wrong").ends_with("- Connected"), "{listed}");
}

/// Its list does not connect; the process that editors start does.
#[test]
fn codex_finds_the_tools_of_the_server() {
    let world = World::new();
    for (name, variable) in [("right", "RIGHT"), ("wrong", "WRONG")] {
        let added = world.said(CODEX, &["mcp", "add", name, "--url", URL, "--bearer-token-env-var", variable]);
        assert!(added.contains("Added global MCP server"), "{added}");
    }
    let mut codex = world
        .command(CODEX)
        .arg("app-server")
        .envs([("RIGHT", &world.token), ("WRONG", &world.wrong())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = codex.stdin.take().unwrap();
    let info = json!({ "name": "test", "title": "test", "version": "1" });
    for message in [
        json!({ "id": 1, "method": "initialize", "params": { "clientInfo": info } }),
        json!({ "method": "initialized" }),
        json!({ "id": 2, "method": "mcpServerStatus/list", "params": {} }),
    ] {
        writeln!(stdin, "{message}").unwrap();
    }
    let lines = BufReader::new(codex.stdout.take().unwrap()).lines();
    let mut messages = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let status = messages.find(|message| message["id"] == 2).unwrap();
    drop(codex.kill());
    drop(codex.wait());
    let servers = status["result"]["data"].as_array().unwrap_or_else(|| panic!("{status}"));
    let server = |name: &str| servers.iter().find(|server| server["name"] == name).unwrap();
    assert_eq!(server("right")["tools"]["echo_echo"]["name"], "echo_echo", "{status}");
    assert_eq!(server("wrong")["tools"], json!({}), "{status}");
}

const URL: &str = "http://127.0.0.1:8080/mcp/p/work";
const CLAUDE: &str = "@anthropic-ai/claude-code/cli-wrapper.cjs";
const CODEX: &str = "@openai/codex/bin/codex.js";
const GEMINI: &str = "@google/gemini-cli/bundle/gemini.js";
