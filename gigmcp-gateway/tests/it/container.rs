//! The image and the compose file that are shipped, in a real engine, by the real compose: from the first start to the last call.

mod engine;
mod image;
mod installation;
mod origin;
mod refused;

use std::{fs, path::Path, thread};

use serde_json::{Value, json};

use self::{
    engine::{Engine, output},
    installation::Installation,
    origin::{HELD, Origin},
};
use crate::{
    client::{Answer, Session},
    install::{fetch, image as server_image},
    internet::Internet,
    registry::Registry,
};

const KEY: &str = "the-real-value-of-the-key";
const PASSWORD: &str = "Apollo 11 1202 alarm";

/// A registry with the server `fetch`, which may reach one host.
fn registry() -> Registry {
    let mut registry = Registry::new(7);
    let image = server_image("gigmcp-demo-fetch", &[]);
    image.write(&registry.layouts());
    registry.publish(&[&fetch("1.0.0", &image, &["api.example.com"])]);
    registry
}

#[test]
fn somebody_follows_the_quick_start_and_uses_it() {
    let (origin, internet) = Origin::start();
    let (engine, registry) = (Engine::start(&internet), registry());
    let installation = Installation::new(&engine);
    installation.make_key();
    installation.configure(&internet, &registry);
    installation.up();
    assert_eq!(installation.inspect()["State"]["Health"]["Status"], "healthy");

    become_administrator(&installation);
    let token = install(&installation);
    calls_are_held_to_the_rules(&internet, &origin, &token);
    assert_eq!(installation.run(&["server", "list"], "").status.code(), Some(0));
    nobody_in_it_has_rights(&engine);
    its_sandboxes_are_whole(&installation);
    only_its_data_is_written(&installation);

    // As after a new image: the container is another one, the volume is the same.
    let before = installation.inspect()["Id"].clone();
    assert!(output(&mut installation.compose(&["down"]), "").status.success());
    installation.up();
    assert_ne!(installation.inspect()["Id"], before);
    assert!(!installation.log().contains("gigi_"), "there is an administrator");
    assert!(called(&internet, &token, "api.example.com", "/").text().starts_with("HTTP 200"));
    a_stop_waits_for_calls(&installation, &internet, &origin, &token);
}

/// By the code in the log, as the log says.
fn become_administrator(installation: &Installation<'_>) {
    let log = installation.log();
    let code = log.split_whitespace().find(|word| word.starts_with("gigi_")).unwrap_or_else(|| panic!("{log}"));
    let accept =
        || installation.run(&["user", "accept", "--email", "root@example.com"], &format!("{code}\n{PASSWORD}\n"));
    let made = accept();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(!accept().status.success(), "once");
}

/// Installs the server, gives it its key, and makes a token.
fn install(installation: &Installation<'_>) -> String {
    let shown = installation.json(&["catalog", "show", "fetch"], "");
    let accept = shown["entitlements"]["accept"].as_str().unwrap();
    let token = installation.json(&["profile", "create", "work"], "")["token"].as_str().unwrap().to_owned();
    installation.json(&["server", "install", "fetch", "--profile", "work", "--accept", accept], "");
    installation.json(&["secret", "set", "fetch", "api-key"], KEY);
    token
}

fn called(internet: &Internet, token: &str, host: &str, path: &str) -> Answer {
    let session = Session::open(internet, "/mcp/p/work", token);
    session.call("fetch_fetch", &json!({"url": format!("https://{host}{path}")}))
}

fn calls_are_held_to_the_rules(internet: &Internet, origin: &Origin, token: &str) {
    let answer = called(internet, token, "other.example.com", "/");
    assert_eq!((answer.json()["result"]["isError"].clone(), origin.shown()), (json!(true), vec![]), "{answer:?}");
    let answer = called(internet, token, "api.example.com", "/");
    assert!(answer.text().starts_with("HTTP 200"), "twin: {answer:?}");
    assert_eq!(origin.shown(), [format!("Bearer {KEY}")]);
}

/// Looked at from outside. The server of the calls before is still there.
fn nobody_in_it_has_rights(engine: &Engine) {
    let processes = engine.inside();
    assert!(processes.len() >= 3, "the gateway, PID 1 of a sandbox and its server: {processes:?}");
    for pid in processes {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        // The bootstrap may still do what its namespaces allow; outside of these it has nothing either.
        for set in ["CapBnd", "CapAmb"] {
            assert_eq!(field(set), ["0000000000000000"], "{set} of {pid}: {status}");
        }
        assert!(field("Uid").iter().chain(&field("Gid")).all(|id| id != "0"), "{pid}: {status}");
        assert_eq!((field("NoNewPrivs"), field("Seccomp")), (vec!["1".to_owned()], vec!["2".to_owned()]), "{pid}");
        assert!(!field("State")[0].starts_with('Z'), "{pid} is a zombie");
    }
}

/// By the gateway's own report, which it makes by trying.
fn its_sandboxes_are_whole(installation: &Installation<'_>) {
    let report = installation.json(&["doctor"], "");
    let layers = report["layers"].as_array().unwrap();
    let lacking =
        layers.iter().filter(|layer| layer["level"] != "full").map(|layer| &layer["layer"]).collect::<Vec<_>>();
    // What Docker keeps for itself: see deploy/README.md.
    assert_eq!((&report["ready"], lacking), (&json!(true), vec![&json!("cgroup limits")]), "{report}");
}

fn only_its_data_is_written(installation: &Installation<'_>) {
    let found = installation.run(&["backup", "/usr/backup"], "");
    let error = String::from_utf8_lossy(&found.stderr).into_owned();
    assert!(!found.status.success() && error.contains("Read-only file system"), "{error}");
    installation.json(&["backup", "/data/backup"], ""); // twin
    let container = installation.inspect();
    let mounts = container["Mounts"].as_array().unwrap().iter();
    let writable = mounts.filter(|mount| mount["RW"] == true).map(|mount| &mount["Destination"]);
    assert_eq!(writable.collect::<Vec<_>>(), ["/data"]);
}

/// A call is in flight while the engine says that it is time.
fn a_stop_waits_for_calls(installation: &Installation<'_>, internet: &Internet, origin: &Origin, token: &str) {
    thread::scope(|scope| {
        let call = scope.spawn(|| called(internet, token, "api.example.com", HELD));
        origin.wait_for_held();
        let stop = scope.spawn(|| output(&mut installation.compose(&["stop"]), ""));
        wait_for_log(installation, "stopping: waiting for calls in flight");
        origin.let_go();
        assert!(call.join().unwrap().text().ends_with("answered"));
        assert!(stop.join().unwrap().status.success());
    });
    let state: Value = installation.inspect()["State"].clone();
    assert_eq!((&state["ExitCode"], &state["OOMKilled"]), (&json!(0), &json!(false)), "{state}");
}

/// The engine's own reader of logs ends with the line, or with the container.
fn wait_for_log(installation: &Installation<'_>, line: &str) {
    let mut logs = installation.compose(&["logs", "--follow", "--no-log-prefix", "--no-color", "gateway"]);
    let mut logs = logs.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let reader = std::io::BufReader::new(logs.stdout.take().unwrap());
    let found = std::io::BufRead::lines(reader).any(|said| said.unwrap().contains(line));
    drop(logs.kill());
    drop(logs.wait());
    assert!(found, "{line:?} was not printed: {}", installation.log());
}

#[test]
fn the_files_for_other_hosts_name_settings_that_are() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let known = output(std::process::Command::new(crate::gateway::GATEWAY).arg("help"), "");
    let known = String::from_utf8(known.stdout).unwrap();
    for name in ["docker-compose.yml", "docker/Dockerfile", "kubernetes/gigmcp.yaml", "systemd/gigmcp-gateway.service"]
    {
        let text = fs::read_to_string(deploy.join(name)).unwrap();
        let words =
            text.split(|letter: char| !letter.is_ascii_uppercase() && letter != '_' && !letter.is_ascii_digit());
        let settings = words.filter(|word| word.starts_with("GIG_")).collect::<Vec<_>>();
        assert!(!settings.is_empty(), "{name}");
        for setting in settings {
            assert!(known.contains(&format!("[env: {setting}=")), "{name} has {setting}, which is no setting");
        }
    }
}
