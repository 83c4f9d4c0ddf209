//! Whatever the command line changes is in the audit trail.

use serde_json::Value;

use crate::gateway::{Installation, demo_server};

/// The rows that came since there were `before`, as kind and subject.
fn told(installation: &Installation, before: &mut usize) -> Vec<String> {
    let rows = installation.json(&["audit", "list", "--limit", "1000"], "");
    let rows = rows.as_array().unwrap();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let new = rows[*before..].iter().map(|row| format!("{}: {}", text(row, "kind"), text(row, "subject")));
    let new =
        new.filter(|row| !["secret-use", "key", "credential: ledger"].iter().any(|own| row.starts_with(own))).collect();
    *before = rows.len();
    new
}

#[test]
fn each_command_that_changes_something_leaves_a_row() {
    let installation = Installation::new();
    let echo = demo_server("gigmcp-demo-echo");
    let echo = echo.to_str().unwrap();
    let mut before = 0;
    let commands: [(&[&str], &str, &[&str]); 14] = [
        (
            &["server", "add", "a", "--binary", echo, "--secret", "KEY=api.example.com"],
            "",
            &["server: adds a, which nobody reviewed"],
        ),
        (&["profile", "create", "work"], "", &["token: created default of work"]),
        (
            &["server", "add", "b", "--binary", echo, "--profile", "work"],
            "",
            &["profile: put b into work", "server: adds b, which nobody reviewed"],
        ),
        (&["profile", "add", "work", "a"], "", &["profile: put a into work"]),
        (&["profile", "set", "work", "tools=meta", "max_servers=3"], "", &["profile: said tools, max_servers of work"]),
        (&["profile", "set", "work", "--server", "a", "spares=1"], "", &["profile: said a.spares of work"]),
        (&["profile", "token", "work"], "", &["token: replaced default of work"]),
        (&["profile", "remove", "work", "b"], "", &["profile: took b out of work"]),
        (&["secret", "set", "a", "KEY"], "a-value-of-some-length", &["secret: sets KEY of a"]),
        (&["secret", "delete", "a", "KEY"], "", &["secret: deletes KEY of a"]),
        (&["secret", "delete", "--all"], "", &["secret: deletes all secrets"]),
        (&["pin", "reset", "a"], "", &["pin: by the command line: the next that is read is pinned"]),
        (&["server", "remove", "b"], "", &["removal: ", "server: removes b"]),
        (&["profile", "delete", "work"], "", &["profile: deleted work"]),
    ];
    for (command, input, expected) in commands {
        installation.json(command, input);
        let expected: Vec<String> = expected
            .iter()
            .map(|row| match row.starts_with("pin") || row.starts_with("removal") {
                true => (*row).to_owned(),
                false => format!("{row}, by the command line"),
            })
            .collect();
        assert_eq!(told(&installation, &mut before), expected, "{command:?}");
    }
    // Twin: what changes nothing, or is refused, leaves none.
    for command in [
        &["server", "list"][..],
        &["profile", "list"],
        &["profile", "delete", "none"],
        &["profile", "add", "none", "a"],
    ] {
        installation.run(command, "");
        assert_eq!(told(&installation, &mut before), Vec::<String>::new(), "{command:?}");
    }
}
