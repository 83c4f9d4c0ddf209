//! What a gateway elsewhere refuses, and what is not asked of one.

use std::fs;

use serde_json::json;

use super::{SCOPES, World, run};

/// The key, what is asked, and what is said to it.
type Row<'a> = (&'a str, &'a std::path::PathBuf, &'a [&'a str], &'a str, &'a str);

#[test]
fn who_may_not_is_told_the_code_and_what_to_do() {
    let world = World::new();
    let all = world.key("all", SCOPES);
    let reads = world.key("reads", "servers:read");
    let ended = world.key("ended", SCOPES);
    world.installation.json(&["api-key", "revoke", "ended"], "");
    let wrong = world.elsewhere.path().join("wrong");
    fs::write(&wrong, "gigk_0000000000000000000000000000000000000000000").unwrap();
    world.json(&reads, &["server", "list"], ""); // twins
    world.json(&all, &["user", "list"], "");
    let rows: &[Row<'_>] = &[
        ("a wrong key", &wrong, &["server", "list"], "unauthenticated", "api-key create"),
        ("one that ended", &ended, &["server", "list"], "unauthenticated", "api-key create"),
        ("a scope that is missing", &reads, &["user", "list"], "forbidden", "scopes"),
        ("to read is not to write", &reads, &["server", "remove", "notes"], "forbidden", "scopes"),
        ("what runs tools", &all, &["profile", "create", "more"], "forbidden", "on the machine of the gateway"),
        ("what runs tools", &all, &["token", "create", "work", "phone"], "forbidden", "on the machine of the gateway"),
        ("what proves", &all, &["api-key", "create", "x", "--scopes", "servers:read"], "forbidden", "signed in"),
        ("what is not there", &all, &["server", "remove", "none"], "not_found", "no such thing as /servers/none"),
        (
            "what is not there",
            &all,
            &["registry", "logout", "ghcr.io"],
            "not_found",
            "no such thing as /registries/ghcr.io",
        ),
        ("what is not there", &all, &["profile", "add", "work", "none"], "not_found", "not shown"),
        ("what is wrong", &all, &["profile", "set", "work", "max_servers=no"], "unacceptable", "max_servers"),
    ];
    for (case, key, words, code, text) in rows {
        let told = world.refused(key, words);
        assert_eq!(told["code"], json!(code), "{case}: {told}");
        let error = told["error"].as_str().unwrap();
        assert!(error.contains(text) && error.contains(code), "{case}: {error}");
    }
    assert_eq!(world.installation.json(&["server", "list"], "").as_array().unwrap().len(), 1);
}

#[test]
fn what_has_no_route_is_done_nowhere() {
    let world = World::new();
    let key = world.key("all", SCOPES);
    let file = world.elsewhere.path().join("backup");
    let file = file.to_str().unwrap();
    for (words, reason) in [
        (&["serve"][..], "about this machine"),
        (&["demo"], "about this machine"),
        (&["health"], "about this machine"),
        (&["exec", "--", "true"], "about this machine"),
        (&["secret", "set", "exec", "KEY=api.example.com"], "about this machine"),
        (&["doctor", "--runtimes"], "in a sandbox there"),
        (&["server", "add", "x", "--", "true"], "nobody reviewed"),
        (&["server", "install", "x", "--profile", "work"], "the owner of the profile agrees"),
        (&["catalog", "show", NAME_BY_DIGEST], "by name and version"),
        (&["user", "setup"], "first administrator"),
        (&["secret", "accept", "--yes"], "changed in the database"),
        (&["secret", "delete", "--all"], "changed in the database"),
        (&["key", "create"], "master key"),
        (&["key", "wrap"], "master key"),
        (&["key", "rotate"], "master key"),
        (&["key", "drop-old"], "master key"),
        (&["key", "export-recovery", "--show-the-keys"], "master key"),
        (&["key", "import-recovery"], "master key"),
        (&["backup", file], "whole database"),
        (&["restore", file], "whole database"),
    ] {
        let told = world.refused(&key, words);
        let error = told["error"].as_str().unwrap();
        assert!(error.contains("is not done over the network: ") && error.contains(reason), "{words:?}: {error}");
    }
    assert!(!std::path::Path::new(file).exists());
    // Twins: those that are about no gateway.
    for words in [&["config"][..], &["config", "check"], &["completions", "bash"]] {
        assert!(world.remotely(&key, words, "").status.success(), "{words:?}");
    }
}

#[test]
fn half_an_address_is_none() {
    let world = World::new();
    let key = world.key("all", SCOPES);
    let url = format!("http://{}", world.address);
    let said = |variables: &[(&str, &str)]| {
        let output = run(world.command().args(["server", "list"]).envs(variables.to_vec()), "");
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let path = key.to_str().unwrap();
    let text = fs::read_to_string(&key).unwrap();
    assert!(said(&[("GIG_URL", url.as_str()), ("GIG_API_KEY_FILE", path)]).0, "twin");
    assert!(said(&[("GIG_URL", url.as_str()), ("GIG_API_KEY", text.trim())]).0, "twin");
    for (case, variables, expected) in [
        ("no key", &[("GIG_URL", url.as_str())][..], "GIG_API_KEY_FILE"),
        ("no address", &[("GIG_API_KEY_FILE", path)], "no GIG_URL"),
        ("no address", &[("GIG_CA_FILE", "/etc/hosts")], "no GIG_URL"),
        ("two keys", &[("GIG_URL", url.as_str()), ("GIG_API_KEY_FILE", path), ("GIG_API_KEY", "x")], "both set"),
        ("not without TLS", &[("GIG_URL", "http://gig.example.com"), ("GIG_API_KEY_FILE", path)], "http:// is for"),
        ("two words", &[("GIG_URL", url.as_str()), ("GIG_API_KEY", "a b")], "one word"),
        (
            "nobody is there",
            &[("GIG_URL", "http://127.0.0.1:1"), ("GIG_API_KEY_FILE", path)],
            "no gateway answers at 127.0.0.1:1",
        ),
        (
            "authorities that cannot be read, and are not needed",
            &[("GIG_URL", url.as_str()), ("GIG_API_KEY_FILE", path), ("GIG_CA_FILE", "/none")],
            "/none, which GIG_CA_FILE names, cannot be read",
        ),
    ] {
        let (succeeded, error) = said(variables);
        assert!(!succeeded && error.contains(expected), "{case}: {error}");
    }
    assert!(!world.here().exists(), "nothing was done here");
}

const NAME_BY_DIGEST: &str = "echo@sha256:0000000000000000000000000000000000000000000000000000000000000000";
