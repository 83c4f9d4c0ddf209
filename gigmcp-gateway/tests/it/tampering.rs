//! Somebody edits the database without the master key: what was sealed for one place does not open in another.

use rusqlite::Connection;
use serde_json::json;

use crate::{
    client::Session,
    gateway::{Installation, demo_server},
    internet::Internet,
};

const KEY: &str = "sk-the-real-value-of-the-first-server";

#[test]
fn a_secret_opens_only_where_it_was_set() {
    let edits = [
        ("the row moved to another server", "UPDATE secrets SET server = 'second'", "second"),
        ("the row moved to another name", "UPDATE secrets SET name = 'OTHER_KEY'", "third"),
        (
            "the row moved to another owner",
            "INSERT INTO users (id, issuer, subject, display_name, role, created_at)
                 VALUES ('mallory', 'local', 'mallory', 'mallory', 'user', 1);
             UPDATE secrets SET owner = 'mallory'",
            "first",
        ),
        ("the version changed", "UPDATE secrets SET version = version + 1", "first"),
        (
            "the host changed where it is declared",
            "UPDATE servers SET spec = replace(spec, 'api.example.com', 'evil.test')",
            "first",
        ),
        (
            "the host changed as if its owner had agreed",
            "INSERT INTO policies (server, spec, created_at) SELECT name, spec, 1 FROM servers WHERE name = 'first';
             UPDATE policies SET spec = replace(spec, 'api.example.com', 'evil.test');
             UPDATE servers SET spec = replace(spec, 'api.example.com', 'evil.test'),
                 revision = (SELECT max(revision) FROM policies) WHERE name = 'first';
             UPDATE consents SET revision = (SELECT max(revision) FROM policies) WHERE server = 'first'",
            "first",
        ),
        (
            "the host changed everywhere",
            "UPDATE servers SET spec = replace(spec, 'api.example.com', 'evil.test');
             UPDATE policies SET spec = replace(spec, 'api.example.com', 'evil.test');
             UPDATE secrets SET policy = 'evil.test'",
            "first",
        ),
        (
            "a byte of the seal changed",
            "UPDATE secrets SET sealed = CAST(substr(sealed, 1, 180) || x'00' || substr(sealed, 182) AS BLOB)",
            "first",
        ),
    ];
    let internet = Internet::new();
    for (case, edit, server) in edits {
        let installation = Installation::on_sqlite();
        let fetch = demo_server("gigmcp-demo-fetch");
        for (name, variable) in [("first", "API_KEY"), ("second", "API_KEY"), ("third", "OTHER_KEY")] {
            let slot = format!("{variable}=api.example.com");
            installation.json(&["server", "add", name, "--binary", fetch.to_str().unwrap(), "--secret", &slot], "");
        }
        installation.json(&["secret", "set", "first", "API_KEY"], KEY);
        let token = installation.profile("work", &["first", "second", "third"]);
        let _gateway = installation.serve(&internet, &[]);
        let session = Session::open(&internet, "/mcp/p/work", &token);
        let before = internet.seen().len();
        session.call("first_fetch", &json!({"url": "https://api.example.com/"}));
        assert_eq!(internet.seen().len(), before + 1, "{case}: twin, before the edit");
        assert_eq!(internet.seen()[before].count(KEY), 1);

        let database = Connection::open(installation.data().join("gigmcp.db")).unwrap();
        database.execute_batch(edit).unwrap();
        for host in ["api.example.com", "evil.test"] {
            session.call(&format!("{server}_fetch"), &json!({"url": format!("https://{host}/")}));
        }
        let leaked = internet.seen()[before + 1..].iter().any(|seen| seen.count(KEY) > 0);
        assert!(!leaked, "{case}");
    }
}
