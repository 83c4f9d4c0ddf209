//! The database fails while the gateway runs: nothing leaves that could not be recorded, what is said is fit for whoever reads
//! it, and once the fault is gone all goes on by itself.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use http::StatusCode;
use rusqlite::Connection;
use serde_json::json;

use crate::{
    admin::copy_for_anybody,
    client::{ADDRESS, Session, post, send_to},
    gateway::{Gateway, Installation, demo_server},
    internet::Internet,
    postgres::{Postgres, Stop},
};

const PATH: &str = "/mcp/p/work";
const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// A server that fetches, and the token of its profile.
fn fill(installation: &Installation) -> String {
    let fetch = demo_server("gigmcp-demo-fetch");
    let add = ["server", "add", "fetch", "--binary", fetch.to_str().unwrap(), "--secret", "API_KEY=api.example.com"];
    installation.json(&add, "");
    installation.json(&["secret", "set", "fetch", "API_KEY"], "the-real-value");
    installation.profile("work", &["fetch"])
}

fn fetch(session: &Session<'_>) -> String {
    String::from_utf8_lossy(&session.call("fetch_fetch", &json!({"url": "https://api.example.com/"})).body).into_owned()
}

/// Fetches until something leaves again.
fn until_fetched(internet: &Internet, session: &Session<'_>) {
    let before = internet.seen().len();
    for _ in 0..600 {
        fetch(session);
        if internet.seen().len() > before {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("nothing leaves any more");
}

#[test]
fn nothing_leaves_while_another_program_holds_the_file() {
    let (internet, installation) = (Internet::new(), Installation::on_sqlite());
    let token = fill(&installation);
    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, PATH, &token);
    fetch(&session);
    assert_eq!(internet.seen().len(), 1, "twin");

    let other = Connection::open(installation.data().join("gigmcp.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let told = fetch(&session);
    assert_eq!(internet.seen().len(), 1, "nothing left: {told}");
    assert!(told.contains("audit-unavailable") && !told.contains("gigmcp.db") && !told.contains("locked"), "{told}");
    gateway.wait_for("another program keeps the database locked; end it");
    let refused = installation.run(&["secret", "set", "fetch", "API_KEY"], "another-value");
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && error.contains("another program keeps the database locked"), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    until_fetched(&internet, &session);
}

#[test]
fn a_file_or_directory_that_may_not_be_written_to_is_named() {
    let installation = Installation::on_sqlite();
    installation.json(&["server", "list"], "");
    let (data, copy) = (installation.data(), copy_for_anybody());
    fs::set_permissions(data.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let database = data.join("gigmcp.db");
    std::os::unix::fs::chown(&data, Some(65534), Some(65534)).unwrap();
    std::os::unix::fs::chown(&database, Some(65534), Some(65534)).unwrap();
    let list = || {
        let mut nobody = Command::new("setpriv");
        nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy.path().join("gigmcp-gateway"));
        let output = nobody.args(["server", "list"]).env("GIG_DATA_DIR", &data).current_dir("/").output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // What lies beside the database was root's.
    let (succeeded, error) = list();
    assert!(!succeeded && error.contains("-wal") && error.contains("check owner and mode"), "{error}");
    for entry in fs::read_dir(&data).unwrap() {
        std::os::unix::fs::chown(entry.unwrap().path(), Some(65534), Some(65534)).unwrap();
    }
    assert!(list().0, "twin: {}", list().1);
    let refused_with = |path: &Path, mode: u32, whole: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let (succeeded, error) = list();
        assert!(!succeeded, "{path:?}");
        assert!(error.contains("gigmcp.db") && error.contains("check owner and mode"), "{error}");
        fs::set_permissions(path, fs::Permissions::from_mode(whole)).unwrap();
        assert!(list().0, "twin: {}", list().1);
    };
    refused_with(&database, 0o400, 0o600);
    for entry in fs::read_dir(&data).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    refused_with(&data, 0o500, 0o700);
}

#[test]
fn nothing_leaves_while_postgres_is_down_and_all_goes_on_when_it_is_back() {
    let internet = Internet::new();
    let server = Postgres::start();
    let installation = Installation::on(server.database());
    let token = fill(&installation);
    let gateway: Gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, PATH, &token);
    fetch(&session);
    assert_eq!(internet.seen().len(), 1, "twin");
    for how in [Stop::Fast, Stop::Immediate] {
        let before = internet.seen().len();
        server.stop(how);
        let answer = send_to(&internet, ADDRESS, post(PATH, Some(&token), PING));
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "whoever it is cannot be told");
        assert_eq!(answer.body, "unavailable\n", "and no more is said");
        gateway.wait_for("no connection to PostgreSQL; is it running");
        assert_eq!(internet.seen().len(), before);
        server.resume();
        until_fetched(&internet, &Session::open(&internet, PATH, &token));
    }
    let error = {
        server.stop(Stop::Fast);
        let refused = installation.run(&["server", "list"], "");
        server.resume();
        assert!(!refused.status.success());
        String::from_utf8_lossy(&refused.stderr).into_owned()
    };
    assert!(error.contains("cannot be used") && error.contains("PostgreSQL"), "{error}");
}
