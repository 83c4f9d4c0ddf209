//! MCP servers that nobody here wrote, each under the profile of its language.

use std::path::PathBuf;

use gigmcp_sandbox::{Exit, Layer, Network, OnTripwire, Profile, Rootfs, Sandbox, SandboxBuilder};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::internet::Internet;
use crate::left_out::has_root;

/// The directory of servers at pinned versions, as `./dev test` gives it.
fn installed() -> PathBuf {
    std::env::var_os("TEST_REAL_SERVERS").expect("run the tests by ./dev test: TEST_REAL_SERVERS is not set").into()
}

/// Node 24, which Debian does not have yet.
pub(crate) fn node_24() -> PathBuf {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    installed().join(format!("node/node_modules/node-linux-{arch}/bin/node"))
}

fn node_server(name: &str, node: &str) -> Vec<String> {
    let script = installed().join("node/node_modules/@modelcontextprotocol").join(name).join("dist/index.js");
    vec![node.to_owned(), script.to_str().unwrap().to_owned()]
}

fn python_server(name: &str) -> Vec<String> {
    vec![installed().join("python/bin").join(name).to_str().unwrap().to_owned()]
}

fn builder(command: &[String], profile: Profile) -> SandboxBuilder {
    Sandbox::builder(Rootfs::host_tools())
        .command(command)
        .read_only(installed())
        .env("HOME", "/tmp")
        .env("PATH", "/usr/bin:/bin")
        .env("GIT_AUTHOR_NAME", "Somebody")
        .env("GIT_AUTHOR_EMAIL", "somebody@example.test")
        .env("GIT_COMMITTER_NAME", "Somebody")
        .env("GIT_COMMITTER_EMAIL", "somebody@example.test")
        .network(Network::handoff())
        .profile(profile)
        .require(Layer::Seccomp)
        .on_tripwire(OnTripwire::Kill)
}

/// Initialises a server, lists its tools and calls one after the other; returns what was answered.
async fn talk(builder: SandboxBuilder, calls: &[&str]) -> String {
    let mut sandbox = builder.spawn().await.unwrap();
    let _internet = Internet::serve(&mut sandbox);
    let (mut stdin, stdout) = sandbox.stdio().unwrap();
    let mut lines = BufReader::new(stdout).lines();
    let initialize = r#""initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"test","version":"1"}}"#;
    let calls = calls.iter().map(|call| format!(r#""tools/call","params":{call}"#));
    let requests = [initialize.to_owned(), r#""tools/list","params":{}"#.to_owned()].into_iter().chain(calls);
    let mut heard = String::new();
    for (id, request) in requests.enumerate() {
        let request = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{request}}}\n");
        stdin.write_all(request.as_bytes()).await.unwrap();
        // Notifications may come between.
        let answer = loop {
            let Some(line) = lines.next_line().await.unwrap() else {
                let exit = sandbox.wait().await;
                panic!("{exit:?} at {request}: {}", sandbox.stderr_tail().join("\n"));
            };
            if line.replace(' ', "").contains(&format!("\"id\":{id}")) && line.contains("\"result\"") {
                break line;
            }
        };
        assert!(!answer.replace(' ', "").contains("\"isError\":true"), "{request}: {answer}");
        heard += &answer;
        if id == 0 {
            stdin.write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n").await.unwrap();
        }
    }
    drop(stdin);
    while lines.next_line().await.unwrap().is_some() {}
    let exit = sandbox.wait().await;
    assert!(matches!(exit, Exit::Exited(0)), "{exit:?}: {}", sandbox.stderr_tail().join("\n"));
    heard
}

#[tokio::test]
async fn server_everything_and_server_filesystem_work_on_node_20_and_24() {
    if !has_root("they are installed for root") {
        return;
    }
    for node in ["/usr/bin/node", node_24().to_str().unwrap()] {
        let server = node_server("server-everything", node);
        let call = r#"{"name":"echo","arguments":{"message":"hello"}}"#;
        let heard = talk(builder(&server, Profile::Node), &[call]).await;
        assert!(heard.contains("get-sum") && heard.contains("Echo: hello"), "{node}: {heard}");

        let mut server = node_server("server-filesystem", node);
        server.push("/tmp".to_owned());
        let calls = [
            r#"{"name":"write_file","arguments":{"path":"/tmp/file","content":"kept"}}"#,
            r#"{"name":"read_text_file","arguments":{"path":"/tmp/file"}}"#,
            r#"{"name":"search_files","arguments":{"path":"/tmp","pattern":"fil*"}}"#,
        ];
        let heard = talk(builder(&server, Profile::Node), &calls).await;
        assert!(heard.contains("directory_tree") && heard.contains("kept"), "{node}: {heard}");
    }
}

#[tokio::test]
async fn mcp_server_time_works() {
    if !has_root("they are installed for root") {
        return;
    }
    let mut server = python_server("mcp-server-time");
    server.extend(["--local-timezone", "UTC"].map(str::to_owned));
    let call = r#"{"name":"get_current_time","arguments":{"timezone":"Europe/Paris"}}"#;
    let heard = talk(builder(&server, Profile::Python), &[call]).await;
    assert!(heard.contains("convert_time") && heard.contains("day_of_week"), "{heard}");
}

#[tokio::test]
async fn mcp_server_fetch_works() {
    if !has_root("they are installed for root") {
        return;
    }
    let server = python_server("mcp-server-fetch");
    let call = r#"{"name":"fetch","arguments":{"url":"http://example.test/"}}"#;
    let heard = talk(builder(&server, Profile::Python), &[call]).await;
    assert!(heard.contains("ours"), "{heard}");
}

#[tokio::test]
async fn mcp_server_git_works_with_git_as_its_child() {
    if !has_root("they are installed for root") {
        return;
    }
    let server = &python_server("mcp-server-git")[0];
    let script = format!("git init -q /tmp/repository && echo text > /tmp/repository/file && exec {server} \"$@\"");
    let command = ["/bin/sh", "-c", &script, "sh", "--repository", "/tmp/repository"].map(str::to_owned);
    let calls = [
        r#"{"name":"git_add","arguments":{"repo_path":"/tmp/repository","files":["file"]}}"#,
        r#"{"name":"git_commit","arguments":{"repo_path":"/tmp/repository","message":"the first"}}"#,
        r#"{"name":"git_log","arguments":{"repo_path":"/tmp/repository"}}"#,
    ];
    let heard = talk(builder(&command, Profile::Python), &calls).await;
    assert!(heard.contains("git_diff_staged") && heard.contains("Message: the first"), "{heard}");
}
