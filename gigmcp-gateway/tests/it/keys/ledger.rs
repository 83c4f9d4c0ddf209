//! Somebody writes to the database: an older secret that is put back does not open.

use rusqlite::{Connection, types::Value};
use serde_json::json;

use super::{check, database, error_of, sound, with_secrets};
use crate::{
    client::Session,
    gateway::{Gateway, Installation, demo_server},
    internet::Internet,
};

/// Makes a database one of version 3 of the schema, which had no ledger.
const BEFORE_THE_LEDGER: &str = "DROP TABLE secret_ledger; DROP TABLE audit_heads; DROP TABLE audit_keys;
    ALTER TABLE audit DROP COLUMN calls; ALTER TABLE audit DROP COLUMN request; ALTER TABLE audit DROP COLUMN hash;
    ALTER TABLE audit DROP COLUMN definition; ALTER TABLE audit DROP COLUMN arguments;
    DROP TABLE pin_sets; DROP TABLE held_definitions; ALTER TABLE profiles DROP COLUMN settings;
    CREATE INDEX audit_by_time ON audit (at_ms);
    DROP TABLE manifests; CREATE TABLE manifests (server TEXT PRIMARY KEY);
    ALTER TABLE policies DROP COLUMN signer; ALTER TABLE policies DROP COLUMN signature;
    DROP TABLE catalogues; DROP TABLE programs; DROP TABLE idempotency_keys;
    DROP TABLE devices; ALTER TABLE users DROP COLUMN suspended_at;
    DROP TABLE holdings; ALTER TABLE users DROP COLUMN epoch; ALTER TABLE api_keys DROP COLUMN role;
    DROP TABLE identities; DROP TABLE provider_sessions; DROP TABLE identity_links; DROP TABLE taken_once;
    DROP INDEX users_by_email; DROP INDEX tokens_by_name; DROP TABLE recovery_codes; DROP TABLE invitations;
    ALTER TABLE users DROP COLUMN password; ALTER TABLE users DROP COLUMN totp_since; ALTER TABLE users DROP COLUMN totp_step;
    ALTER TABLE tokens DROP COLUMN name; ALTER TABLE tokens DROP COLUMN scope;
    ALTER TABLE tokens DROP COLUMN expires_at; ALTER TABLE tokens DROP COLUMN last_used_at;
    DELETE FROM refinery_schema_history WHERE version > 3";

/// All rows of a table.
struct Table {
    name: &'static str,
    rows: Vec<Vec<Value>>,
}

/// As somebody with a copy of the database has it.
fn copy(database: &Connection, name: &'static str) -> Table {
    let mut statement = database.prepare(&format!("SELECT * FROM {name}")).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect()).unwrap();
    Table { name, rows: rows.map(Result::unwrap).collect() }
}

/// Puts back rows as they were; those for which `keep` is false stay as they are.
fn put_back(database: &Connection, table: &Table, keep: impl Fn(&[Value]) -> bool) {
    for row in table.rows.iter().filter(|row| keep(row)) {
        let places = vec!["?"; row.len()].join(", ");
        let insert = format!("INSERT OR REPLACE INTO {} VALUES ({places})", table.name);
        database.execute(&insert, rusqlite::params_from_iter(row)).unwrap();
    }
}

fn is_of(server: &'static str) -> impl Fn(&[Value]) -> bool {
    move |row| row[1] == Value::Text(server.into())
}

/// Every command that would have to trust the secrets, and what it says.
fn refused(installation: &Installation, expected: &str) {
    let (content, said) = check(installation);
    assert!(!content && said["ledger"].as_str().is_some_and(|said| said.contains(expected)), "{said}");
    for arguments in
        [&["secret", "set", "s0", "KEY"][..], &["secret", "delete", "s0", "KEY"], &["server", "remove", "s0"]]
    {
        let output = installation.run(arguments, "a-value-that-is-new");
        assert!(!output.status.success() && error_of(&output).contains(expected), "{}", error_of(&output));
    }
    for arguments in [&["key", "rotate"][..], &["key", "drop-old"], &["serve"]] {
        let output = installation.run(arguments, "");
        assert!(!output.status.success() && error_of(&output).contains(expected), "{}", error_of(&output));
    }
}

#[test]
fn an_older_row_is_refused_and_an_older_database_is_not() {
    let installation = with_secrets(2);
    let database = database(&installation);
    let (old_secrets, old_ledger) = (copy(&database, "secrets"), copy(&database, "secret_ledger"));
    installation.json(&["secret", "set", "s0", "KEY"], "the-second-value");
    installation.json(&["secret", "set", "s1", "KEY"], "the-second-value");
    let (secrets, ledger) = (copy(&database, "secrets"), copy(&database, "secret_ledger"));
    sound(&installation, 2);
    let differs = "are not those of its ledger";
    let all = |_: &[Value]| true;

    put_back(&database, &old_secrets, is_of("s0"));
    refused(&installation, differs);
    put_back(&database, &old_secrets, all);
    refused(&installation, differs);
    put_back(&database, &secrets, all);
    sound(&installation, 2);

    put_back(&database, &old_ledger, all);
    refused(&installation, differs);
    put_back(&database, &old_secrets, is_of("s0"));
    refused(&installation, differs);
    // What cannot be told from a backup that was restored.
    put_back(&database, &old_secrets, all);
    sound(&installation, 2);
    put_back(&database, &secrets, all);
    put_back(&database, &ledger, all);
    sound(&installation, 2);
    installation.json(&["secret", "set", "s0", "KEY"], "the-third-value");
    sound(&installation, 2);
}

#[test]
fn rows_that_are_taken_away_or_brought_back_are_noticed() {
    let installation = with_secrets(3);
    let database = database(&installation);
    let old = copy(&database, "secrets");
    installation.json(&["secret", "delete", "s2", "KEY"], "");
    sound(&installation, 2);
    put_back(&database, &old, is_of("s2"));
    refused(&installation, "are not those of its ledger");
    database.execute("DELETE FROM secrets WHERE server = 's2'", []).unwrap();
    sound(&installation, 2);
    database.execute("DELETE FROM secrets WHERE server = 's1'", []).unwrap();
    refused(&installation, "are not those of its ledger");
    put_back(&database, &old, is_of("s1"));
    sound(&installation, 2);

    // Set, deleted and set again: the first and the third have one version, and are not the same.
    let first = copy(&database, "secrets");
    installation.json(&["secret", "delete", "s0", "KEY"], "");
    assert_eq!(installation.json(&["secret", "set", "s0", "KEY"], "another-value")["version"], 1);
    let third = copy(&database, "secrets");
    put_back(&database, &first, is_of("s0"));
    refused(&installation, "are not those of its ledger");
    put_back(&database, &third, is_of("s0"));
    sound(&installation, 2);
    installation.json(&["server", "remove", "s0"], "");
    sound(&installation, 1);
    put_back(&database, &third, is_of("s0"));
    let (content, said) = check(&installation);
    assert!(!content, "{said}");
}

#[test]
fn a_ledger_that_is_gone_or_another_is_no_ledger() {
    let installation = with_secrets(2);
    let database = database(&installation);
    let ledger = copy(&database, "secret_ledger");
    let all = |_: &[Value]| true;
    for (case, edit, expected) in [
        ("taken away", "DELETE FROM secret_ledger", "no ledger of them"),
        ("made to look like an older version's", BEFORE_THE_LEDGER, "no ledger of them"),
        ("another counter", "UPDATE secret_ledger SET counter = counter + 1", "does not open with this master key"),
        (
            "a counter that nothing is behind",
            "UPDATE secret_ledger SET counter = 9223372036854775807",
            "does not open with this master key",
        ),
        ("a counter below zero", "UPDATE secret_ledger SET counter = -counter", "does not open with this master key"),
        (
            "another's seal",
            "UPDATE secret_ledger SET sealed = (SELECT sealed FROM secrets LIMIT 1)",
            "does not open with this master key",
        ),
        ("nothing", "UPDATE secret_ledger SET sealed = x''", "does not open with this master key"),
    ] {
        database.execute_batch(edit).unwrap();
        let (content, said) = check(&installation);
        assert!(!content && said["ledger"].as_str().unwrap().contains(expected), "{case}: {said}");
        refused(&installation, expected);
        put_back(&database, &ledger, all);
        sound(&installation, 2);
    }
}

#[test]
fn an_older_schema_is_accepted_by_its_owner_only() {
    let installation = with_secrets(2);
    let database = database(&installation);
    let old = copy(&database, "secrets");
    installation.json(&["secret", "set", "s0", "KEY"], "the-second-value");
    // As version 2 of the schema left it; one that an attacker made looks the same.
    database.execute_batch(BEFORE_THE_LEDGER).unwrap();
    refused(&installation, "no ledger of them");
    let listed = installation.json(&["secret", "accept"], "");
    assert_eq!((&listed[0]["server"], &listed[0]["version"]), (&json!("s0"), &json!(2)), "what is to be accepted");
    refused(&installation, "no ledger of them");
    assert_eq!(installation.json(&["secret", "accept", "--yes"], "")["accepted"], 2);
    sound(&installation, 2);
    assert_eq!(installation.json(&["secret", "accept", "--yes"], "")["accepted"], 0, "once");
    put_back(&database, &old, is_of("s0"));
    refused(&installation, "are not those of its ledger");
    // Another key accepts nothing.
    let output = installation
        .command()
        .args(["secret", "accept", "--yes"])
        .env("GIG_MASTER_KEY", "ab".repeat(32))
        .output()
        .unwrap();
    assert!(error_of(&output).contains("no stored secret opens with this master key"), "{}", error_of(&output));
}

#[test]
fn without_secrets_there_is_nothing_to_accept() {
    let installation = with_secrets(1);
    let database = database(&installation);
    installation.json(&["secret", "delete", "s0", "KEY"], "");
    sound(&installation, 0);
    for edit in [
        "DELETE FROM secret_ledger",
        "UPDATE secret_ledger SET counter = 9223372036854775807",
        "UPDATE secret_ledger SET sealed = x'00'",
    ] {
        database.execute_batch(edit).unwrap();
        sound(&installation, 0);
        installation.json(&["secret", "set", "s0", "KEY"], "a-value-that-is-new");
        sound(&installation, 1);
        installation.json(&["secret", "delete", "s0", "KEY"], "");
    }
    // A lost key: all secrets go, and a new one begins.
    installation.json(&["secret", "set", "s0", "KEY"], "a-value-that-is-lost");
    std::fs::remove_file(installation.data().join("master.key")).unwrap();
    let output = installation.run(&["secret", "set", "s0", "KEY"], "a-value-that-is-new");
    assert!(error_of(&output).contains("secret delete --all"), "{}", error_of(&output));
    assert_eq!(installation.json(&["secret", "delete", "--all"], "")["deleted"], 1);
    installation.json(&["secret", "set", "s0", "KEY"], "a-value-that-is-new");
    sound(&installation, 1);
}

/// Whether the value arrives that a request of the server is to carry.
fn arrives(internet: &Internet, session: &Session, value: &str) -> bool {
    let before = internet.seen().len();
    session.call("first_fetch", &json!({"url": "https://api.example.com/"}));
    internet.seen()[before..].iter().any(|seen| seen.count(value) > 0)
}

fn serving() -> (Installation, String) {
    let installation = Installation::on_sqlite();
    let fetch = demo_server("gigmcp-demo-fetch");
    for name in ["first", "second"] {
        let slot = ["--secret", "API_KEY=api.example.com"];
        installation.json(&[&["server", "add", name, "--binary", fetch.to_str().unwrap()], &slot[..]].concat(), "");
        installation.json(&["secret", "set", name, "API_KEY"], "sk-the-first-value");
    }
    let token = installation.profile("work", &["first", "second"]);
    (installation, token)
}

#[test]
fn a_running_gateway_opens_the_newest_only() {
    const FIRST: &str = "sk-the-first-value";
    const SECOND: &str = "sk-the-second-value";
    let internet = Internet::new();
    let (installation, token) = serving();
    let database = database(&installation);
    let all = |_: &[Value]| true;
    let (old_secrets, old_ledger) = (copy(&database, "secrets"), copy(&database, "secret_ledger"));
    let gateway: Gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    assert!(arrives(&internet, &session, FIRST));
    installation.json(&["secret", "set", "first", "API_KEY"], SECOND);
    assert!(arrives(&internet, &session, SECOND));
    let (secrets, ledger) = (copy(&database, "secrets"), copy(&database, "secret_ledger"));

    let is_silent = |case: &str| {
        assert!(!arrives(&internet, &session, FIRST), "{case}");
        assert!(!arrives(&internet, &session, SECOND), "{case}");
    };
    put_back(&database, &old_secrets, is_of("first"));
    is_silent("an older row");
    gateway.wait_for("is not the one that was set last");
    put_back(&database, &secrets, all);
    assert!(arrives(&internet, &session, SECOND), "twin: the newest again");
    database.execute("DELETE FROM secrets WHERE server = 'first'", []).unwrap();
    is_silent("no row");
    put_back(&database, &secrets, all);
    assert!(arrives(&internet, &session, SECOND), "twin: the newest again");

    put_back(&database, &old_secrets, all);
    put_back(&database, &old_ledger, all);
    is_silent("an older database, while it runs");
    gateway.wait_for("secrets of earlier than what this process has seen");
    put_back(&database, &secrets, all);
    put_back(&database, &ledger, all);
    assert!(arrives(&internet, &session, SECOND), "twin: the newest again");

    // A backup is restored with the gateway stopped.
    drop(gateway);
    put_back(&database, &old_secrets, all);
    put_back(&database, &old_ledger, all);
    let _gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    assert!(arrives(&internet, &session, FIRST));
}

#[test]
fn an_older_key_does_not_bring_back_an_older_ledger() {
    let installation = with_secrets(2);
    let database = database(&installation);
    let old_ledger = copy(&database, "secret_ledger");
    let old_secrets = copy(&database, "secrets");
    installation.json(&["key", "rotate"], "");
    sound(&installation, 2);
    put_back(&database, &old_secrets, is_of("s0"));
    sound(&installation, 2);
    // The same secret under the old key: nothing older than what is there. Under an older ledger it is the backup.
    put_back(&database, &old_secrets, |_| true);
    put_back(&database, &old_ledger, |_| true);
    sound(&installation, 2);
    installation.json(&["key", "rotate"], "");
    installation.json(&["key", "drop-old"], "");
    put_back(&database, &old_ledger, |_| true);
    let (content, said) = check(&installation);
    assert!(!content && said["ledger"].as_str().unwrap().contains("does not open"), "{said}");
}
