//! The audit trail as an operator sees it: joined by ids, verified, exported, and found out when somebody changed it.

use std::fs;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    client::Session,
    gateway::{Installation, demo_server},
    internet::Internet,
};

/// Runs `audit` and gives whether it succeeded, and what it printed.
fn audit(installation: &Installation, arguments: &[&str]) -> (bool, String) {
    let output = installation.run(&[&["audit"], arguments].concat(), "");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// The line that begins with a word, without it.
fn told<'a>(text: &'a str, word: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(word)).unwrap_or_else(|| panic!("no {word:?} in {text}"))
}

#[test]
fn what_a_tool_call_led_to_is_joined_with_it_and_whoever_changes_it_is_found_out() {
    let (internet, installation) = (Internet::new(), Installation::on_sqlite());
    let fetch = demo_server("gigmcp-demo-fetch");
    let add = ["server", "add", "fetch", "--binary", fetch.to_str().unwrap(), "--secret", "API_KEY=api.example.com"];
    installation.json(&add, "");
    installation.json(&["secret", "set", "fetch", "API_KEY"], "a-key-of-some-length");
    let token = installation.profile("work", &["fetch"]);
    let mut gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    session.call("fetch_fetch", &json!({"url": "https://api.example.com/one"}));
    session.call("fetch_fetch", &json!({"url": "https://api.example.com/two"}));

    let rows = installation.json(&["audit"], "");
    let rows = rows.as_array().unwrap();
    let calls: Vec<&Value> = rows.iter().filter(|row| row["kind"] == "tool").map(|row| &row["calls"]).collect();
    assert!(calls.len() == 2 && calls[0] != calls[1], "{rows:#?}");
    let of_call: Vec<&Value> = rows.iter().filter(|row| row["calls"] == *calls[0]).collect();
    let kinds = of_call.iter().map(|row| row["kind"].as_str().unwrap()).filter(|kind| *kind != "dns");
    // The request's row is written when its answer has ended, and the tool may have answered by then.
    let mut kinds: Vec<&str> = kinds.collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["credential", "request", "tool"], "{rows:#?}");
    let request = of_call.iter().find(|row| row["kind"] == "request").unwrap();
    let credential = of_call.iter().find(|row| row["kind"] == "credential").unwrap();
    assert_eq!((&request["request"], &request["instance"]), (&credential["request"], &credential["instance"]));
    let tool = of_call.iter().find(|row| row["kind"] == "tool").unwrap();
    assert_eq!(tool["instance"], request["instance"], "{of_call:#?}");

    gateway.interrupt();
    let (sound, text) = audit(&installation, &["verify"]);
    assert!(sound, "{text}");
    let (head, key) = (told(&text, "head ").to_owned(), told(&text, "key ").to_owned());
    assert!(audit(&installation, &["verify", "--head", &head, "--key", &key]).0);
    let call = calls[0].as_str().unwrap();
    let exported = installation.run(&["audit", "export", "--call", call], "");
    assert_eq!(String::from_utf8(exported.stdout).unwrap().lines().count(), 1 + of_call.len());
    let file = installation.data().join("trail.jsonl");
    fs::write(&file, installation.run(&["audit", "export"], "").stdout).unwrap();
    let from_file = ["verify", "--file", file.to_str().unwrap(), "--head", &head];
    assert!(audit(&installation, &[&from_file[..], &["--key", &key]].concat()).0);

    let database = Connection::open(installation.data().join("gigmcp.db")).unwrap();
    let id = request["id"].as_i64().unwrap();
    database.execute("UPDATE audit SET subject = 'GET elsewhere.example.com:443/' WHERE id = ?1", [id]).unwrap();
    let (sound, text) = audit(&installation, &["verify"]);
    assert!(!sound && text.contains(&format!("row {id}: it was changed")), "{text}");
    fs::write(&file, installation.run(&["audit", "export"], "").stdout).unwrap();
    let (sound, text) = audit(&installation, &from_file);
    assert!(!sound && text.contains(&format!("row {id}: it was changed")), "{text}");
    database.execute("DELETE FROM audit", []).unwrap();
    database.execute("DELETE FROM audit_heads WHERE kind = 'head'", []).unwrap();
    let (sound, text) = audit(&installation, &["verify", "--head", &head]);
    assert!(!sound && text.contains("the newest rows are missing"), "{text}");
    assert!(audit(&installation, &["verify"]).0, "who kept no head cannot know");
}

/// Who only looks makes neither a database nor a key.
#[test]
fn where_there_is_no_database_nothing_is_shown_and_nothing_made() {
    let installation = Installation::on_sqlite();
    for arguments in [&["audit"][..], &["audit", "verify"], &["audit", "export"], &["key", "check"]] {
        let output = installation.run(arguments, "");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains("there is no database"), "{arguments:?}: {text}");
        for name in ["gigmcp.db", "master.key"] {
            assert!(!installation.data().join(name).exists(), "{arguments:?} made {name}");
        }
    }
    installation.json(&["server", "list"], "");
    assert!(audit(&installation, &["verify"]).0, "twin: there is one");
}

#[test]
fn a_trail_that_nobody_signed_yet_is_not_said_to_be_changed() {
    let (internet, installation) = (Internet::new(), Installation::on_sqlite());
    installation.profile("work", &[]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trail");
    let export = |installation: &Installation| {
        fs::write(&file, installation.run(&["audit", "export"], "").stdout).unwrap();
        audit(installation, &["verify", "--file", file.to_str().unwrap()])
    };
    for (right, told) in [audit(&installation, &["verify"]), export(&installation)] {
        assert!(
            !right
                && told.contains("nothing of the audit trail is signed")
                && !told.contains("the audit trail was changed"),
            "{told}"
        );
    }
    assert!(!installation.data().join("master.key").exists(), "whoever only looks makes no key");
    let (right, told) = audit(&installation, &["verify", "--head", &format!("1:{}", "0".repeat(64))]);
    assert!(!right && told.contains("was changed"), "whoever kept a head knows that somebody signed it: {told}");

    drop(installation.serve(&internet, &[]));
    for (right, told) in [audit(&installation, &["verify"]), export(&installation)] {
        assert!(right, "twin: {told}");
    }
    let database = Connection::open(installation.data().join("gigmcp.db")).unwrap();
    database.execute("DELETE FROM audit_heads WHERE kind = 'head'", []).unwrap();
    let (right, told) = audit(&installation, &["verify"]);
    assert!(!right && told.contains("is not signed yet") && told.contains("taken away"), "{told}");
    database.execute("DELETE FROM audit_heads", []).unwrap();
    let (right, told) = audit(&installation, &["verify"]);
    assert!(!right && told.contains("was changed"), "there is a key that signed it: {told}");
}
