//! The master key: where it may be, how it is changed, and what notices an older secret.

mod ledger;
mod recovery;
mod rotation;
mod sources;

use std::process::Output;

use rusqlite::Connection;
use serde_json::Value;

use crate::gateway::Installation;

/// An installation with so many secrets, of so many servers.
fn with_secrets(count: usize) -> Installation {
    let installation = Installation::on_sqlite();
    for at in 0..count {
        let server = format!("s{at}");
        installation.json(&["server", "add", &server, "--secret", "KEY=api.example.com", "--", "true"], "");
        installation.json(&["secret", "set", &server, "KEY"], &format!("value-number-{at}"));
    }
    installation
}

fn database(installation: &Installation) -> Connection {
    let database = Connection::open(installation.data().join("gigmcp.db")).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    database
}

fn error_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What `key check` says, and whether it is content.
fn check(installation: &Installation) -> (bool, Value) {
    let output = installation.run(&["--json", "key", "check"], "");
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

fn sound(installation: &Installation, secrets: usize) {
    let (content, said) = check(installation);
    assert!(content, "{said}");
    assert_eq!(said["secrets"], secrets, "{said}");
}
