//! What programs speak is found out by processes that are thrown away, and kept; a process that serves hears nothing else.

use rusqlite::Connection;
use serde_json::json;

use crate::{
    client::Session,
    gateway::{Installation, demo_server},
    internet::Internet,
};

const ODD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/odd");

fn add(installation: &Installation, name: &str, words: &str) {
    let command = format!("python3 {ODD}/odd.py {words}");
    installation.json(&["server", "add", name, "--command", &command, "--read-only", ODD], "");
}

fn add_fixture(installation: &Installation, name: &str, mode: &str) {
    let binary = demo_server("gigmcp-demo-conformance");
    installation.json(&["server", "add", name, "--binary", binary.to_str().unwrap(), "--", mode], "");
}

/// What is known of the programs of all servers.
fn known(installation: &Installation) -> Vec<(String, Option<String>, i64)> {
    let database = Connection::open(installation.data().join("gigmcp.db")).unwrap();
    let query = "SELECT server, era, interactive FROM programs ORDER BY server";
    let mut query = database.prepare(query).unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn of(server: &str, era: &str) -> (String, Option<String>, i64) {
    (server.to_owned(), Some(era.to_owned()), 0)
}

#[test]
fn what_a_new_server_speaks_is_known_before_anybody_calls_it() {
    let (internet, installation) = (Internet::new(), Installation::on_sqlite());
    installation.json(&["key", "create"], "");
    for mode in ["dual", "legacy", "modern"] {
        add_fixture(&installation, mode, mode);
    }
    add(&installation, "strict", "strict");
    add(&installation, "late", "late 3"); // longer than the other answer is waited for by itself
    let found = [
        of("dual", "modern"), // one that knows both is told the newer
        of("late", "legacy"),
        of("legacy", "legacy"),
        of("modern", "modern"),
        of("strict", "legacy"),
    ];
    assert_eq!(known(&installation), found);
    let token = installation.profile("work", &["dual", "late", "legacy", "modern", "strict"]);
    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    for name in ["dual", "legacy", "modern"] {
        let answer = session.call(&format!("{name}_simple_text"), &json!({}));
        assert!(answer.text().contains("simple text"), "{name}: {answer:?}");
    }
    for name in ["strict", "late"] {
        assert_eq!(session.call(&format!("{name}_good"), &json!({})).text(), "fine", "{name}");
    }
    let instances = installation.json(&["server", "instances"], "");
    let serving = instances.as_array().unwrap().iter().filter(|one| one["profile"] == "work").count();
    assert_eq!(serving, 5, "each was told what it speaks at once: {instances}");
    assert_eq!(known(&installation), found, "and nothing else was found out");
    drop(gateway);
}

#[test]
fn a_server_that_could_not_be_asked_before_is_asked_beside_the_one_that_serves() {
    let (internet, installation) = (Internet::new(), Installation::on_sqlite());
    // Without a key nothing runs.
    add_fixture(&installation, "dual", "dual");
    assert_eq!(known(&installation), []);
    let token = installation.profile("work", &["dual"]);
    let mut gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    assert!(session.call("dual_simple_text", &json!({})).text().contains("simple text"));
    gateway.wait_for("it speaks MCP without a handshake");
    assert_eq!(known(&installation), [of("dual", "modern")]);
    assert!(session.call("dual_simple_text", &json!({})).text().contains("simple text"), "what serves was not touched");
    assert!(gateway.interrupt().success());
    let _gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    assert!(session.call("dual_simple_text", &json!({})).text().contains("simple text"));
}

#[test]
fn what_is_known_wrongly_is_found_out_once_and_nothing_is_left_of_that() {
    let (internet, installation) = (Internet::new(), Installation::on_sqlite());
    installation.json(&["key", "create"], "");
    add(&installation, "strict", "strict");
    add_fixture(&installation, "modern", "modern");
    let database = Connection::open(installation.data().join("gigmcp.db")).unwrap();
    let turned = "UPDATE programs SET era = CASE era WHEN 'modern' THEN 'legacy' ELSE 'modern' END";
    assert_eq!(database.execute(turned, ()).unwrap(), 2);
    let token = installation.profile("work", &["modern", "strict"]);
    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    assert_eq!(session.call("strict_good", &json!({})).text(), "fine");
    assert!(session.call("modern_simple_text", &json!({})).text().contains("simple text"));
    assert_eq!(known(&installation), [of("modern", "modern"), of("strict", "legacy")]);
    let running = gateway.descendants().len();
    assert!(running <= 6, "two sandboxes, each a monitor, a PID 1 and a server: {running}");
}

#[test]
fn that_a_server_asks_its_clients_something_is_kept() {
    let (internet, installation) = (Internet::new(), Installation::on_sqlite());
    installation.json(&["key", "create"], "");
    add(&installation, "asks", "asks");
    add(&installation, "quiet", "good");
    let token = installation.profile("work", &["asks", "quiet"]);
    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    assert_eq!(session.call("asks_good", &json!({})).text(), "refused", "this client cannot be asked");
    assert_eq!(session.call("quiet_good", &json!({})).text(), "fine");
    gateway.wait_for("it asks its clients something");
    let asking: Vec<_> = known(&installation).into_iter().map(|(server, _, asks)| (server, asks)).collect();
    assert_eq!(asking, [("asks".to_owned(), 1), ("quiet".to_owned(), 0)]);
}
