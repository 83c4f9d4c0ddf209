//! The key changes, and every secret stays readable.

use std::{
    fs,
    process::Stdio,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use serde_json::json;

use super::{check, database, error_of, sound, with_secrets};
use crate::{
    client::Session,
    gateway::{Installation, demo_server},
    internet::Internet,
};

/// Every row of the secrets and their ledger.
fn rows(installation: &Installation) -> Vec<(String, i64, Vec<u8>)> {
    let database = database(installation);
    let mut all = Vec::new();
    for query in [
        "SELECT server, version, sealed FROM secrets ORDER BY server",
        "SELECT 'ledger', counter, sealed FROM secret_ledger",
    ] {
        let mut statement = database.prepare(query).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        all.extend(rows.map(Result::unwrap));
    }
    all
}

#[test]
fn a_rotation_reseals_everything_and_touches_no_body() {
    let installation = with_secrets(3);
    let key = installation.data().join("master.key");
    let (before, before_key) = (rows(&installation), fs::read(&key).unwrap());
    let database_bytes = || fs::read(installation.data().join("gigmcp.db")).unwrap();
    let before_bytes = database_bytes();

    let dry = installation.json(&["key", "rotate", "--dry-run"], "");
    assert_eq!(dry, json!({"dry_run": true, "version": 2, "rewrap": 3, "secrets": 3, "unfinished": false}));
    assert_eq!(fs::read(&key).unwrap(), before_key, "a dry run changes no byte");
    assert_eq!(database_bytes(), before_bytes, "a dry run changes no byte");

    let output = installation.run(&["key", "rotate"], "");
    assert!(output.status.success(), "{}", error_of(&output));
    assert!(error_of(&output).contains("rewrapped 3 of 3 secrets"), "{}", error_of(&output));
    let after = rows(&installation);
    for (old, new) in before.iter().zip(&after).take(3) {
        assert_eq!((&old.0, old.1), (&new.0, new.1));
        assert_eq!(old.2[98..], new.2[98..], "the body is as it was");
        assert_ne!(old.2[..98], new.2[..98], "the wrap is new");
    }
    assert!(after[3].1 > before[3].1, "the ledger grew");
    sound(&installation, 3);

    // The old key alone opens nothing any more; the old key beside the new one is kept until it is dropped.
    let text = fs::read_to_string(&key).unwrap();
    assert_eq!(text.matches("\nretired 1 ").count(), 1);
    assert_eq!(installation.json(&["key", "drop-old"], "")["dropped"], 1);
    assert_eq!(fs::read_to_string(&key).unwrap().matches("\nretired ").count(), 0);
    sound(&installation, 3);
    fs::write(&key, before_key).unwrap();
    let (content, said) = check(&installation);
    assert!(!content && said["refused"].as_array().unwrap().len() == 3, "{said}");
}

#[test]
fn a_rotation_may_be_killed_at_any_time() {
    const SECRETS: usize = 100;
    let installation = with_secrets(1);
    // As many more as take some time, set in one process each would take minutes: one is sealed and the rest of the rows are
    // made of real ones, by setting them for the same server under other names.
    more_secrets(&installation, SECRETS);
    // The fastest of some: what else runs at the moment must not make it seem longer than those that are killed.
    let rotation = |_| {
        let clock = Instant::now();
        installation.json(&["key", "rotate"], "");
        clock.elapsed()
    };
    let mut whole = (0..5).map(rotation).min().unwrap();
    sound(&installation, SECRETS);
    let (mut killed, mut unfinished) = (0, 0);
    for round in 0..40_u32 {
        let mut command = installation.command();
        command.args(["key", "rotate"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // Spread over the whole of it, and never at the same place twice.
        let mut random = [0; 4];
        getrandom::fill(&mut random).unwrap();
        let part = f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX);
        let patience = whole.mul_f64((f64::from(round) + part) / 40.0);
        thread::sleep(patience);
        child.kill().unwrap();
        match child.wait().unwrap().success() {
            // What else ran when the others were measured does so no more.
            true => whole = patience,
            false => killed += 1,
        }
        sound(&installation, SECRETS);
        let (_, said) = check(&installation);
        unfinished += usize::from(said["keys"].as_object().unwrap().len() > 1);
    }
    assert!(killed >= 20, "only {killed} were killed before their end");
    assert!(unfinished > 0, "none was killed while secrets were rewrapped");
    installation.json(&["key", "rotate"], "");
    let dry = installation.json(&["key", "rotate", "--dry-run"], "");
    assert_eq!(dry["unfinished"], false);
    installation.json(&["key", "drop-old"], "");
    let (content, said) = check(&installation);
    assert!(content && said["keys"].as_object().unwrap().len() == 1, "{said}");
}

/// Sets secrets under names of their own until there are so many.
fn more_secrets(installation: &Installation, count: usize) {
    let slots: Vec<String> = (1..count).map(|at| format!("KEY_{at}=api.example.com")).collect();
    let mut add = vec!["server", "add", "many"];
    for slot in &slots {
        add.extend(["--secret", slot]);
    }
    installation.json(&[&add[..], &["--", "true"]].concat(), "");
    for at in 1..count {
        let output = installation.run(&["secret", "set", "many", &format!("KEY_{at}")], &format!("value-number-{at}"));
        assert!(output.status.success(), "{}", error_of(&output));
    }
}

#[test]
fn a_new_key_can_be_given_out_before_it_is_used() {
    let installation = with_secrets(2);
    let before = rows(&installation);
    let prepared = installation.json(&["key", "rotate", "--prepare"], "");
    assert_eq!((&prepared["version"], &prepared["behind"]), (&json!(2), &json!(2)));
    assert_eq!(rows(&installation), before);
    sound(&installation, 2);
    let output = installation.run(&["key", "drop-old"], "");
    assert!(error_of(&output).contains("2 of 2 secrets are not sealed with the active key"), "{}", error_of(&output));
    installation.json(&["secret", "set", "s1", "KEY"], "set-meanwhile");
    let rotated = installation.json(&["key", "rotate"], "");
    assert_eq!((&rotated["version"], &rotated["rewrapped"]), (&json!(2), &json!(1)), "it goes on with that key");
    assert_eq!(installation.json(&["key", "drop-old"], "")["dropped"], 1);
    sound(&installation, 2);
}

#[test]
fn two_rotations_at_a_time_lose_no_key() {
    let installation = with_secrets(4);
    for _ in 0..5 {
        let start =
            || installation.command().args(["key", "rotate"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn();
        let children = [start().unwrap(), start().unwrap(), start().unwrap()];
        let outputs = children.map(|child| child.wait_with_output().unwrap());
        assert!(outputs.iter().any(|output| output.status.success()));
        for output in outputs.iter().filter(|output| !output.status.success()) {
            assert!(error_of(output).contains("another command changes the master key file"), "{}", error_of(output));
        }
        sound(&installation, 4);
    }
}

#[test]
fn what_an_interrupted_replacement_left_is_removed() {
    let installation = with_secrets(1);
    let left = installation.data().join("master.key.new");
    fs::write(&left, "half a ke").unwrap();
    installation.json(&["key", "rotate"], "");
    assert!(!left.exists());
    sound(&installation, 1);
}

#[test]
fn nothing_is_begun_while_something_does_not_open() {
    let installation = with_secrets(2);
    database(&installation)
        .execute(
            "UPDATE secrets SET sealed = CAST(substr(sealed, 1, 180) || x'00' || substr(sealed, 182) AS BLOB) WHERE server = 's1'",
            [],
        )
        .unwrap();
    let key = fs::read(installation.data().join("master.key")).unwrap();
    let before = rows(&installation);
    let output = installation.run(&["key", "rotate"], "");
    let error = error_of(&output);
    assert!(
        !output.status.success() && error.contains("nothing was changed") && error.contains("KEY of s1"),
        "{error}"
    );
    assert_eq!(fs::read(installation.data().join("master.key")).unwrap(), key);
    assert_eq!(rows(&installation), before);
    installation.json(&["secret", "set", "s1", "KEY"], "set-once-more");
    installation.json(&["key", "rotate"], "");
    sound(&installation, 2);
}

#[test]
fn a_key_in_the_environment_is_rotated_in_a_file() {
    let installation = Installation::on_sqlite();
    let key = "5a".repeat(32);
    let with = |arguments: &[&str]| {
        let mut command = installation.command();
        command.args(arguments).env("GIG_MASTER_KEY", &key).stdin(Stdio::null()).output().unwrap()
    };
    installation.json(&["server", "add", "s0", "--secret", "KEY=api.example.com", "--", "true"], "");
    let value = installation.data().join("value");
    fs::write(&value, "value-number-0").unwrap();
    assert!(with(&["secret", "set", "s0", "KEY", "--file", value.to_str().unwrap()]).status.success());
    let error = error_of(&with(&["key", "rotate"]));
    assert!(error.contains("key create --from-environment"), "{error}");
    assert!(error_of(&with(&["key", "create"])).contains("--from-environment"));
    let output = with(&["key", "create", "--from-environment"]);
    assert!(output.status.success(), "{}", error_of(&output));
    for output in [&output.stdout, &output.stderr] {
        assert!(!String::from_utf8_lossy(output).contains(&key));
    }
    let error = error_of(&with(&["key", "create", "--from-environment"]));
    assert!(error.contains("exists already"), "{error}");
    installation.json(&["key", "rotate"], "");
    sound(&installation, 1);
}

#[test]
fn a_file_keeps_its_owner_when_root_rotates() {
    use std::os::unix::fs::{MetadataExt, chown};
    let installation = with_secrets(1);
    let key = installation.data().join("master.key");
    let named = installation.data().parent().unwrap().join("named.key");
    fs::rename(&key, &named).unwrap();
    chown(&named, Some(0), Some(65_534)).unwrap();
    let output = installation.command().args(["key", "rotate"]).env("GIG_MASTER_KEY_FILE", &named).output().unwrap();
    assert!(output.status.success(), "{}", error_of(&output));
    let found = fs::metadata(&named).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (0, 65_534, 0o600));
}

/// One request with the key through a server that runs, and whether the key arrived.
fn arrives(internet: &Internet, session: &Session, key: &str) -> bool {
    let before = internet.seen().len();
    session.call("first_fetch", &json!({"url": "https://api.example.com/"}));
    internet.seen()[before..].iter().any(|seen| seen.count(key) > 0)
}

/// Does this while the key is rotated again and again; it is told how often that was done.
fn while_rotating(installation: &Installation, work: impl FnOnce(&dyn Fn() -> usize)) {
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let (ended, rotations) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let _ends = Ends(&ended);
        let rotating = scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                let output = installation.run(&["key", "rotate"], "");
                assert!(output.status.success(), "{}", error_of(&output));
                rotations.fetch_add(1, Ordering::SeqCst);
            }
        });
        work(&|| {
            assert!(!rotating.is_finished(), "a rotation failed");
            rotations.load(Ordering::SeqCst)
        });
    });
}

#[test]
fn a_running_gateway_follows_a_rotation() {
    let installation = Installation::on_sqlite();
    let internet = Internet::new();
    let fetch = demo_server("gigmcp-demo-fetch");
    let add = ["server", "add", "first", "--binary", fetch.to_str().unwrap(), "--secret", "API_KEY=api.example.com"];
    installation.json(&add, "");
    installation.json(&["secret", "set", "first", "API_KEY"], "sk-the-first-value");
    let token = installation.profile("work", &["first"]);
    let gateway = installation.serve(&internet, &[]);
    let session = Session::open(&internet, "/mcp/p/work", &token);
    assert!(arrives(&internet, &session, "sk-the-first-value"));
    for round in 0..3 {
        installation.json(&["key", "rotate"], "");
        assert!(arrives(&internet, &session, "sk-the-first-value"), "{round}: {}", gateway.log());
        installation.json(&["key", "drop-old"], "");
        assert!(arrives(&internet, &session, "sk-the-first-value"), "{round}: {}", gateway.log());
    }
    assert_eq!(gateway.log().matches("read the master key file again").count(), 3, "once for each rotation");
    installation.json(&["secret", "set", "first", "API_KEY"], "sk-the-second-value");
    assert!(arrives(&internet, &session, "sk-the-second-value"), "{}", gateway.log());
    // A rotation goes on all the time, and no request lacks its key.
    while_rotating(&installation, |rotations| {
        let mut calls = 0;
        while calls < 20 || rotations() < 5 {
            assert!(arrives(&internet, &session, "sk-the-second-value"), "{}", gateway.log());
            calls += 1;
        }
    });
}

#[test]
fn what_is_set_during_a_rotation_is_not_lost() {
    let installation = with_secrets(1);
    more_secrets(&installation, 30);
    while_rotating(&installation, |rotations| {
        let mut version = 1;
        while version <= 5 || rotations() < 10 {
            version += 1;
            let set = installation.json(&["secret", "set", "s0", "KEY"], &format!("value-of-version-{version}"));
            assert_eq!(set["version"], version);
        }
    });
    sound(&installation, 30);
    installation.json(&["key", "rotate"], "");
    installation.json(&["key", "drop-old"], "");
    sound(&installation, 30);
}
