//! The audit trail of a gateway elsewhere: exported with every filter, followed, and verified here.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use serde_json::Value;

use super::{SCOPES, World, run};

#[test]
fn a_trail_is_verified_here_with_what_was_kept_here() {
    let world = World::new();
    let key = world.key("all", SCOPES);
    let kept = world.json(&key, &["audit", "verify"], "");
    let (head, signer) = (kept["head"].as_str().unwrap(), kept["keys"][0].as_str().unwrap());
    let found = world.json(&key, &["audit", "verify", "--head", head, "--key", signer], "");
    assert_eq!((&found["kept"], &found["trusted_keys"]), (&Value::Bool(true), &Value::Bool(true)), "{found}");
    let found = world.json(&key, &["audit", "verify", "--head", head], "");
    assert_eq!((&found["kept"], &found["trusted_keys"]), (&Value::Bool(true), &Value::Bool(false)), "{found}");

    let (place, hash) = head.split_once(':').unwrap();
    let wrong = format!("{place}:{}{}", if hash.starts_with('0') { '1' } else { '0' }, &hash[1..]);
    for (case, words, expected) in [
        ("another head", ["audit", "verify", "--head", &wrong], "whose head you gave"),
        (
            "a head that is yet to come",
            ["audit", "verify", "--head", &format!("99999:{hash}")],
            "newest rows are missing",
        ),
        ("another key", ["audit", "verify", "--key", OTHER_KEY], "for which nobody vouches"),
    ] {
        let told = world.refused(&key, &words).to_string();
        assert!(told.contains(expected), "{case}: {told}");
    }
}

#[test]
fn an_export_has_every_filter_and_a_file_is_checked_without_the_gateway() {
    let world = World::new();
    let key = world.key("all", SCOPES);
    let there = |words: &[&str]| String::from_utf8(world.installation.run(words, "").stdout).unwrap();
    for words in [
        &["audit", "export", "--kind", "server"][..],
        &["audit", "export", "--kind", "server", "--server", "notes"],
        &["audit", "export", "--server", "none"],
        &["audit", "export", "--alarms"],
        &["audit", "export", "--instance", "none"],
        &["audit", "export", "--call", "none"],
        &["audit", "export", "--request", "none"],
        &["audit", "export", "--owner", "local", "--since", "2020-01-31T00:00:00Z"],
    ] {
        assert_eq!(world.text(&key, words), there(words), "{words:?}");
    }
    assert!(world.text(&key, &["audit", "export", "--kind", "server"]).lines().count() > 1, "something is found");
    let file = world.elsewhere.path().join("trail");
    fs::write(&file, world.text(&key, &["audit", "export"])).unwrap();
    let path = file.to_str().unwrap();
    let checked = world.json(&key, &["audit", "verify", "--file", path], "");
    assert!(checked["rows"].as_u64().unwrap() > 3, "{checked}");
    let text = fs::read_to_string(&file).unwrap().replacen("adds notes", "adds motes", 1);
    fs::write(&file, text).unwrap();
    let told = world.refused(&key, &["audit", "verify", "--file", path]).to_string();
    assert!(told.contains("it was changed"), "{told}");
}

#[test]
fn an_export_that_is_followed_can_be_verified_up_to_where_it_was_ended() {
    let world = World::new();
    let key = world.key("all", SCOPES);
    let mut command = world.command();
    command.args(["--url", &format!("http://{}", world.address), "--api-key-file"]).arg(&key);
    let mut child = command.args(["audit", "export", "--follow"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut text = String::new();
    let mut until = |wanted: &dyn Fn(&str) -> bool| loop {
        let line = lines.next().expect("it goes on");
        text += &(line.clone() + "\n");
        if wanted(&line) {
            return text.clone();
        }
    };
    until(&|line| line.contains("makes the key all") || line.contains("\"kind\":\"api-key\""));
    world.installation.json(&["user", "invite", "later@example.com"], "");
    until(&|line| line.contains("later@example.com"));
    // What signs that row comes after it.
    let text = until(&|line| line.starts_with("{\"statement\""));
    child.kill().unwrap();
    child.wait().unwrap();
    let file = world.elsewhere.path().join("followed");
    fs::write(&file, &text).unwrap();
    let checked = run(world.command().args(["--json", "audit", "verify", "--file"]).arg(&file), "");
    assert!(checked.status.success(), "{}\n{text}", String::from_utf8_lossy(&checked.stderr));
    let found: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(found["unsigned"], 0, "{found}");
}

/// A point of the curve, whose secret key nobody has here.
const OTHER_KEY: &str = "5866666666666666666666666666666666666666666666666666666666666666";
