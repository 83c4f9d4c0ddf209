//! One run of the suite: a gateway of its own, the fixture in one of its modes, every set of requirements.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tokio::{net::TcpListener, process::Command, time::timeout};

use crate::{
    gateway::{Gateway, Installation, demo_server, real_servers},
    internet::Internet,
    results::Results,
    shim,
};

/// What the fixture speaks.
pub(crate) const MODES: [&str; 3] = ["legacy", "modern", "dual"];
/// The revisions whose requirements, frozen at their release, are run; each on its own wire.
pub(crate) const REQUIREMENTS: [&str; 2] = ["2025-11-25", "2026-07-28"];
/// Older revisions, of which the suite has no requirements: all it has for them is run.
pub(crate) const OLDER: [&str; 2] = ["2025-06-18", "2025-03-26"];

/// Scenarios of an extension that no set of requirements names; the suite runs them by their names only.
pub(crate) const BY_NAME: [&str; 3] =
    ["sep-2640-skills-directory", "sep-2640-skills-enumeration", "sep-2640-skills-manifest"];
/// Scenarios in which the suite gives an answer less than a second, and then goes on without it: on a machine that does something
/// else they can fail for that. They, and no others, are run again, at most twice. The page says so.
const HURRIED: [&str; 2] = ["server-stateless", "tools-call-with-logging"];

/// Tools of scenarios that are not required: their names in the suite have no server's in front, so they are aliases.
const JOBS: [&str; 8] = [
    "greet",
    "slow_compute",
    "failing_job",
    "protocol_error_job",
    "confirm_delete",
    "multi_input",
    "json_schema_2020_12_tool",
    "tool_with_task",
];

/// Runs the suite against a gateway with the fixture, called `test` for the names, and the noisy server.
pub(crate) fn run(mode: &'static str, writes: bool) -> Vec<Results> {
    let (internet, installation) = (Internet::new(), Installation::new());
    let fixture = demo_server("gigmcp-demo-conformance");
    let add = |name: &str, words: &[&str]| {
        let binary =
            ["server", "add", name, "--binary", fixture.to_str().unwrap(), "--sampling", "--client-roots", "--"];
        installation.json(&[&binary, words].concat(), "");
    };
    add("test", &[mode, "skills"]);
    add("noisy", &["noisy"]);
    add("jobs", &["jobs"]);
    let servers = ["test", "noisy", "jobs"];
    let token = installation.profile("conformance", &servers);
    for name in servers {
        // Some scenarios are about lists that change.
        installation.json(&["profile", "set", "conformance", "--server", name, "definitions=follow"], "");
    }
    let named = |tool: &str| if tool == "tool_with_task" { format!("test_{tool}") } else { String::from(tool) };
    let aliases: Value = JOBS.iter().map(|tool| (named(tool), Value::from(*tool))).collect();
    installation.json(&["profile", "set", "conformance", "--server", "jobs", &format!("aliases={aliases}")], "");
    let gateway = installation.serve(&internet, &[("GIG_STREAM_SECONDS", "1")]);
    let all = REQUIREMENTS.into_iter().chain(OLDER);
    all.map(|revision| against(&internet, &gateway, &token, revision, mode, writes)).collect()
}

fn against(
    internet: &Internet,
    gateway: &Gateway,
    token: &str,
    requirements: &'static str,
    mode: &'static str,
    writes: bool,
) -> Results {
    let output = tempfile::tempdir().unwrap();
    let suite = |output: &Path, words: &[&str]| {
        play(internet, token, &[words, &["--output-dir", output.to_str().unwrap()]].concat())
    };
    let set = match REQUIREMENTS.contains(&requirements) {
        true => &["--requirements", requirements][..],
        false => &["--suite", "all", "--spec-version", requirements],
    };
    let said = suite(output.path(), set);
    let alone =
        |output: &Path, name: &str| suite(output, &["--scenario", name, "--spec-version", requirements, "--force"]);
    if REQUIREMENTS.contains(&requirements) {
        BY_NAME.iter().for_each(|name| drop(alone(output.path(), name)));
    }
    let mut results = Results::read(output.path(), &suite_directory(), requirements, mode);
    for name in HURRIED {
        for again in 1..=2 {
            let Some(failed) = results.scenarios.get(name).filter(|scenario| !scenario.passes()) else { break };
            eprintln!("{requirements}, {mode}: {name} failed and is run again ({again} of 2): {:?}", failed.failed);
            let output = tempfile::tempdir().unwrap();
            alone(output.path(), name);
            results.again(output.path());
        }
    }
    let expected = fs::read_to_string(Results::expected_path(requirements, mode)).unwrap_or_default();
    let summary = said.find("=== SUMMARY").map_or(&*said, |start| &said[start..]);
    assert!(
        writes || results.expected_failures() == expected,
        "{requirements}, {mode}: what fails is not what is listed\n{summary}\n{}\n{}",
        results.failures(),
        gateway.log()
    );
    results
}

/// Runs the suite once. What it found is in its output directory; this is what it said.
fn play(internet: &Internet, token: &str, words: &[&str]) -> String {
    let (token, words) = (token.to_owned(), words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
    internet.near(move || async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp/p/conformance", listener.local_addr().unwrap());
        let shim = tokio::spawn(shim::serve(listener, GATEWAY, token));
        let mut suite = Command::new(node());
        suite.arg(program()).args(["server", "--url", &url]).args(words).env("NO_COLOR", "1").kill_on_drop(true);
        let output = timeout(PATIENCE, suite.output()).await.expect("the suite ends").unwrap();
        shim.abort();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    })
}

/// The directory of the suite, as `./dev test` gives it.
fn suite_directory() -> PathBuf {
    let directory = std::env::var_os("TEST_CONFORMANCE");
    let directory = directory.expect("run the tests by ./dev test: TEST_CONFORMANCE is not set");
    Path::new(&directory).join("node_modules/@modelcontextprotocol/conformance")
}

fn program() -> PathBuf {
    suite_directory().join("dist/index.js")
}

/// Node of the system may be older than the suite needs.
fn node() -> PathBuf {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    real_servers().join(format!("node/node_modules/node-linux-{arch}/bin/node"))
}

/// Where the gateway listens inside the tests' internet.
const GATEWAY: &str = "127.0.0.1:8080";
/// Far beyond a suite whose every scenario runs into its own limit.
const PATIENCE: Duration = Duration::from_secs(1800);
