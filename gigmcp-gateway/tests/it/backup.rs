//! A backup of what runs, and another machine that goes on with it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
};

use serde_json::json;

use crate::{
    client::Session,
    gateway::{Installation, demo_server},
    internet::Internet,
    postgres::Postgres,
    search,
};

const KEY: &str = "sk-the-real-value-that-no-backup-holds";

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn both() -> [Installation; 2] {
    [Installation::on_sqlite(), Installation::on(Postgres::shared().database())]
}

/// A server with a secret in a profile; gives the profile's token.
fn fill(installation: &Installation) -> String {
    let fetch = demo_server("gigmcp-demo-fetch");
    let add = ["server", "add", "fetch", "--binary", fetch.to_str().unwrap(), "--secret", "API_KEY=api.example.com"];
    installation.json(&add, "");
    installation.json(&["secret", "set", "fetch", "API_KEY"], KEY);
    installation.profile("work", &["fetch"])
}

#[test]
fn another_machine_goes_on_with_a_backup_if_it_has_the_key() {
    let internet = Internet::new();
    for from in both() {
        let token = fill(&from);
        let gateway = from.serve(&internet, &[]);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("backup");
        let path = file.to_str().unwrap();
        let told = from.json(&["backup", path], "");
        assert_eq!(told["rows"]["secrets"], 1, "{told}");
        assert_eq!(told["executables"].as_array().unwrap().len(), 1, "{told}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = fs::read(&file).unwrap();
        for needle in [KEY.to_owned(), token.clone(), fs::read_to_string(from.data().join("master.key")).unwrap()] {
            assert!(!search::holds(&bytes, needle.trim()), "{needle} is in the backup");
        }
        assert!(search::holds(&bytes, "api.example.com"), "the search finds what is there");
        drop(gateway);

        for to in both() {
            fs::create_dir(to.data()).unwrap();
            fs::set_permissions(to.data(), fs::Permissions::from_mode(0o700)).unwrap();
            let without = to.run(&["restore", path], "");
            assert_eq!(without.status.code(), Some(1), "{}", error(&without));
            assert!(
                error(&without).contains("everything was restored, but its secrets cannot be used yet"),
                "{}",
                error(&without)
            );
            assert!(error(&without).contains("master.key is missing"), "{}", error(&without));
            assert_eq!(to.json(&["secret", "list"], "")[0]["name"], "API_KEY", "it is there");

            fs::copy(from.data().join("master.key"), to.data().join("master.key")).unwrap();
            let refused = to.run(&["restore", path], "");
            assert!(error(&refused).contains("--replace"), "{}", error(&refused));
            let unasked = to.run(&["restore", path, "--replace"], "");
            assert!(!unasked.status.success() && error(&unasked).contains("--yes"), "{}", error(&unasked));
            let told = to.json(&["restore", path, "--replace", "--yes"], "");
            assert_eq!((&told["secrets_open"], &told["executables"]), (&json!(true), &json!(1)), "{told}");

            let before = internet.seen().len();
            let _gateway = to.serve(&internet, &[]);
            let session = Session::open(&internet, "/mcp/p/work", &token);
            session.call("fetch_fetch", &json!({"url": "https://api.example.com/"}));
            let seen = internet.seen();
            assert!(seen.len() == before + 1 && seen[before].count(KEY) == 1, "{seen:?}");
        }
    }
}

/// Also where no secret tells that the key is another one.
#[test]
fn without_the_key_of_the_audit_trail_a_restore_says_so() {
    let internet = Internet::new();
    let from = Installation::on_sqlite();
    let token = from.profile("work", &[]);
    let gateway = from.serve(&internet, &[]);
    Session::open(&internet, "/mcp/p/work", &token).call("no_tool", &json!({}));
    drop(gateway);
    let file = from.data().join("backup");
    let path = file.to_str().unwrap();
    from.json(&["backup", path], "");

    let to = Installation::on_sqlite();
    fs::create_dir(to.data()).unwrap();
    fs::set_permissions(to.data(), fs::Permissions::from_mode(0o700)).unwrap();
    let without = to.run(&["restore", path], "");
    assert!(error(&without).contains("what signs the audit trail"), "{}", error(&without));
    assert_eq!(without.status.code(), Some(1));
    assert!(!to.data().join("master.key").exists(), "none is made");
    to.json(&["key", "create"], "");
    let other = to.run(&["restore", path, "--replace", "--yes"], "");
    assert!(error(&other).contains("does not open what signed the audit trail"), "{}", error(&other));
    fs::copy(from.data().join("master.key"), to.data().join("master.key")).unwrap();
    to.json(&["restore", path, "--replace", "--yes"], ""); // twin
}

#[test]
fn a_backup_is_there_whole_or_not_at_all_and_overwrites_nothing() {
    for installation in both() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("backup");
        let path = file.to_str().unwrap();
        let nothing = installation.run(&["backup", path], "");
        assert!(error(&nothing).contains("there is no database"), "{}", error(&nothing));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
        fill(&installation);

        fs::write(&file, "somebody's").unwrap();
        let refused = installation.run(&["backup", path], "");
        assert!(error(&refused).contains("--force"), "{}", error(&refused));
        assert_eq!(fs::read(&file).unwrap(), b"somebody's");
        installation.json(&["backup", path, "--force"], ""); // twin
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

        let full = installation.command().args(["backup", "-"]).stdout(fs::File::create("/dev/full").unwrap()).output();
        let full = full.unwrap();
        assert!(!full.status.success() && error(&full).contains("cannot be written"), "{}", error(&full));

        let mut damaged = fs::read(&file).unwrap();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        fs::write(&file, damaged).unwrap();
        let other = Installation::on_sqlite();
        let refused = other.run(&["restore", path], "");
        assert!(
            error(&refused).contains("damaged") && error(&refused).contains("nothing was restored"),
            "{}",
            error(&refused)
        );
        assert!(!other.data().join("gigmcp.db").exists(), "and nothing was made");
    }
}

#[test]
fn a_backup_goes_through_a_pipe() {
    for (from, to) in both().into_iter().zip(both()) {
        fill(&from);
        fs::create_dir(to.data()).unwrap();
        fs::copy(from.data().join("master.key"), to.data().join("master.key")).unwrap();
        let mut backup = from.command();
        let mut backup = backup.args(["backup", "-"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut restore: Command = to.command();
        let output = restore.args(["restore", "-"]).stdin(backup.stdout.take().unwrap()).output().unwrap();
        assert!(backup.wait().unwrap().success() && output.status.success(), "{}", error(&output));
        assert_eq!(to.json(&["server", "list"], ""), from.json(&["server", "list"], ""));
    }
}

/// Somebody at a terminal sees how far it is; a program that reads the document reads nothing else.
#[test]
fn a_backup_and_a_restore_show_how_far_they_are_and_only_to_who_looks() {
    let (from, to) = (Installation::on_sqlite(), Installation::on_sqlite());
    fill(&from);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup");
    let at_terminal = |installation: &Installation, words: &str| {
        let line =
            format!("{} --json {words} 2>&1 >{}", crate::gateway::GATEWAY, directory.path().join("document").display());
        let mut command = Command::new("script");
        installation.settings(&mut command);
        let output =
            command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).stdin(Stdio::null()).output();
        let document = fs::read(directory.path().join("document")).unwrap();
        (String::from_utf8_lossy(&output.unwrap().stdout).into_owned(), document)
    };
    for (installation, words, shown) in
        [(&from, "backup", "MiB"), (&to, "restore", "MiB"), (&to, "restore --replace --yes", "rows")]
    {
        let (seen, document) = at_terminal(installation, &format!("{words} {}", file.display()));
        assert!(seen.contains("\r\u{1b}[K") && seen.contains(shown), "{words}: {seen:?}");
        let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
        assert!(document["rows"].is_object(), "{words}: {document}");
    }
    let quiet = from.run(&["--json", "backup", file.to_str().unwrap(), "--force"], ""); // twin
    assert!(quiet.status.success() && quiet.stderr.is_empty(), "{}", error(&quiet));
}
