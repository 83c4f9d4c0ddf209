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

/// What is done with the machine in one's hands is told too, although nobody could be kept from doing it in another way.
#[test]
fn what_is_done_with_the_key_and_with_everything_leaves_a_row() {
    let installation = Installation::on_sqlite();
    installation.profile("work", &[]);
    installation.json(&["key", "create"], "");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup");
    let file = file.to_str().unwrap();
    let mut before = 0;
    told(&installation, &mut before);
    let commands: [(&[&str], &str); 9] = [
        (&["key", "rotate", "--dry-run"], ""), // twin: nothing is done
        (&["key", "rotate", "--prepare"], "master-key: puts version 2 of the master key into its file, by"),
        (&["key", "rotate"], "master-key: rotates the master key to version "),
        (&["key", "drop-old"], "master-key: takes the old master keys out of the file, by"),
        (&["key", "export-recovery"], ""), // twin: it is refused
        (&["key", "export-recovery", "--show-the-keys"], "master-key: shows the master key for its recovery, by"),
        (&["images", "gc"], "server: removes images that nothing needs, by"),
        (&["backup", file], "backup: makes a backup of "),
        (&["restore", file, "--replace"], ""), // twin: it is refused
    ];
    for (command, expected) in commands {
        installation.run(command, "");
        let rows = told(&installation, &mut before);
        let right = match expected {
            "" => rows.is_empty(),
            expected => rows.len() == 1 && rows[0].starts_with(expected) && rows[0].contains("by the command line"),
        };
        assert!(right, "{command:?}: {rows:?}");
    }
    let rows = installation.json(&["audit", "list", "--limit", "1"], "");
    let ended = format!("{}:{}", rows[0]["id"], rows[0]["hash"].as_str().unwrap());
    installation.json(&["restore", file, "--replace", "--yes"], "");
    let rows = installation.json(&["audit", "list", "--limit", "1"], "");
    let last = rows[0]["subject"].as_str().unwrap();
    assert!(last.starts_with("restores a backup") && last.contains("by the command line"), "{last}");
    assert!(last.ends_with(&format!("; it replaces {ended}")), "the head that is gone is named: {last} {ended}");
    let other = Installation::on_sqlite();
    other.run(&["restore", file], "");
    let rows = other.json(&["audit", "list", "--limit", "1"], "");
    let last = rows[0]["subject"].as_str().unwrap();
    assert!(last.starts_with("restores a backup") && !last.contains("it replaces"), "{last}");
}
