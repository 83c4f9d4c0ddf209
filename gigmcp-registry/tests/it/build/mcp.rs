//! The least of a client: a server of an image, in the sandbox, over its standard input and output.

use std::path::Path;

use gigmcp_sandbox::{Network, Rootfs, Sandbox};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

pub(crate) struct Server {
    sandbox: Sandbox,
    stdin: gigmcp_sandbox::SandboxStdin,
    stdout: tokio::io::Lines<BufReader<gigmcp_sandbox::SandboxStdout>>,
    id: u64,
}

impl Server {
    /// Starts a program of an installed image, confined as the gateway would, and says hello.
    pub(crate) async fn start(rootfs: &Path, command: &[&str]) -> Self {
        let mut sandbox = Sandbox::builder(Rootfs::image(rootfs))
            .command(command.iter().copied())
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", "/tmp")
            .network(Network::none())
            .spawn()
            .await
            .unwrap();
        let (stdin, stdout) = sandbox.stdio().unwrap();
        let mut server = Self { sandbox, stdin, stdout: BufReader::new(stdout).lines(), id: 0 };
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
        let answer = server.call("initialize", hello).await;
        assert!(answer["serverInfo"]["name"].is_string(), "{answer}");
        server.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        server
    }

    pub(crate) async fn tools(&mut self) -> Vec<String> {
        let answer = self.call("tools/list", json!({})).await;
        answer["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) async fn tool(&mut self, name: &str, arguments: Value) -> String {
        let answer = self.call("tools/call", json!({"name": name, "arguments": arguments})).await;
        answer["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.id += 1;
        let id = self.id;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
        loop {
            let line = tokio::time::timeout(std::time::Duration::from_secs(60), self.stdout.next_line());
            let Ok(Ok(Some(line))) = line.await else {
                panic!("no answer to {method}: {:#?}", self.sandbox.stderr_tail());
            };
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == id {
                assert!(message["error"].is_null(), "{message}");
                return message["result"].clone();
            }
        }
    }

    async fn send(&mut self, message: &Value) {
        self.stdin.write_all(format!("{message}\n").as_bytes()).await.unwrap();
        self.stdin.flush().await.unwrap();
    }

    pub(crate) async fn end(mut self) {
        self.sandbox.kill().await;
    }
}
