//! The real key is never where the server is: planted, used, and looked for everywhere.

use std::fs;

use serde_json::json;

use crate::{
    client::Session,
    gateway::{Gateway, Installation, demo_server, real_servers},
    internet::Internet,
    search,
};

/// The real key: unlike anything else on this machine.
fn sentinel() -> String {
    format!("sk-sentinel-{}", unique())
}

fn unique() -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).unwrap();
    hex::encode(random)
}

/// One server that uses a key it does not hold.
struct Case {
    /// Arguments of `server add` after the name.
    source: Vec<String>,
    /// The exposed tool that makes one request to a URL with the key.
    tool: &'static str,
    /// What the server's process is called.
    process: &'static str,
}

#[test]
fn the_static_fetch_server_never_holds_the_key() {
    let binary = demo_server("gigmcp-demo-fetch");
    let source = vec!["--binary".to_owned(), binary.to_str().unwrap().to_owned()];
    holds_nothing(&Case { source, tool: "subject_fetch", process: "server" });
}

#[test]
fn the_static_fetch_server_through_a_proxy_never_holds_the_key() {
    let binary = demo_server("gigmcp-demo-fetch");
    let mut source = vec!["--binary".to_owned(), binary.to_str().unwrap().to_owned()];
    for variable in ["FETCH_USE_PROXY=1", "HTTPS_PROXY=http://127.0.0.1:3128"] {
        source.extend(["--env".to_owned(), variable.to_owned()]);
    }
    holds_nothing(&Case { source, tool: "subject_fetch", process: "server" });
}

#[test]
fn a_python_server_with_requests_never_holds_the_key() {
    let real = real_servers();
    let command = format!("{}/python/bin/python {}/fetch.py", real.display(), real.display());
    let source = vec!["--command".to_owned(), command, "--read-only".to_owned(), real.to_str().unwrap().to_owned()];
    holds_nothing(&Case { source, tool: "subject_fetch", process: "python" });
}

#[test]
fn a_node_server_with_axios_never_holds_the_key() {
    let real = real_servers();
    let command = format!("node {}/node/fetch.mjs", real.display());
    let source = vec!["--command".to_owned(), command, "--read-only".to_owned(), real.to_str().unwrap().to_owned()];
    holds_nothing(&Case { source, tool: "subject_fetch", process: "node" });
}

fn holds_nothing(case: &Case) {
    let (key, decoy) = (sentinel(), format!("decoy-{}", unique()));
    let internet = Internet::new();
    // What is in the database is in files of the data directory then.
    let installation = Installation::on_sqlite();
    let decoy_variable = format!("DECOY={decoy}");
    let decoy_argument = format!("--decoy={decoy}");
    let mut add = vec!["server", "add", "subject", "--secret", "API_KEY=api.example.com", "--env", &decoy_variable];
    add.extend(case.source.iter().map(String::as_str));
    add.extend(["--", &decoy_argument]);
    installation.json(&add, "");
    installation.json(&["secret", "set", "subject", "API_KEY"], &format!("{key}\n"));
    let token = installation.profile("work", &["subject"]);
    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);

    let answer = session.call(case.tool, &json!({"url": format!("https://api.example.com/v1/{decoy}")}));
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let seen = internet.seen();
    assert_eq!(seen.len(), 1, "one call is one request: {seen:?}\n{text}");
    assert_eq!(seen[0].count(&key), 1, "the origin gets the real key exactly once: {:?}", seen[0]);

    // A decoy for what the log and the audit trail say: a name that is refused.
    session.call(case.tool, &json!({"url": format!("https://{decoy}.example.com/")}));
    assert_eq!(internet.seen().len(), 1, "the decoy's host was not reached");
    let pid = server_process(&gateway, case.process);
    let placeholder = environment(pid, "API_KEY");
    let echoes = text.matches(&format!("Bearer {placeholder}")).count();
    assert!(text.contains("x-echo-authorization") && echoes >= 2, "header and body came back: {text}");
    assert_eq!(echoes, text.matches("Bearer ").count(), "each echo holds the placeholder: {text}");
    let inside = |needle: &str| search::in_sandbox(pid, needle);
    assert_eq!(inside(&key), Vec::<String>::new(), "inside the sandbox");
    let audit = installation.json(&["audit", "--limit", "100"], "").to_string();
    let places = [("the client's answer", text), ("the gateway's log", gateway.log()), ("the audit trail", audit)];
    for (place, content) in &places {
        assert!(!search::holds(content.as_bytes(), &key), "the key is in {place}: {content}");
        // The same search finds what was planted on purpose, or it would prove nothing.
        assert!(search::holds(content.as_bytes(), &decoy), "the decoy is not found in {place}: {content}");
    }
    let found = inside(&decoy);
    for place in ["environ", "cmdline", "memory"] {
        assert!(found.iter().any(|found| found.starts_with(place)), "the decoy is in {place}: {found:?}");
    }
    let found = inside("BEGIN CERTIFICATE");
    assert!(found.iter().any(|found| found.starts_with("file")), "a file known to be there is found: {found:?}");
    let in_files = |needle: &str| installation.files().iter().any(|(_, bytes)| search::holds(bytes, needle));
    assert!(!in_files(&key), "the key lies in the data directory");
    assert!(in_files(&decoy), "the decoy is in the database's audit rows");
    // What the gateway's own process shows to others is searched too; its memory must hold the key for a moment.
    for name in ["environ", "cmdline"] {
        let bytes = fs::read(format!("/proc/{}/{name}", gateway.pid())).unwrap();
        assert!(!search::holds(&bytes, &key), "the key is in the gateway's {name}");
    }
}

/// A variable of a process's environment.
fn environment(pid: u32, name: &str) -> String {
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    let value = environment.split('\0').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.unwrap().to_owned()
}

/// The process of the server itself, among everything below the gateway.
fn server_process(gateway: &Gateway, name: &str) -> u32 {
    gateway.wait_for("it speaks"); // the process that found that out has ended
    let processes = gateway.descendants();
    let named: Vec<u32> = processes
        .iter()
        .copied()
        .filter(|pid| {
            let executable = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            executable.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name))
        })
        .collect();
    assert_eq!(named.len(), 1, "one {name} below the gateway, of {processes:?}");
    named[0]
}
