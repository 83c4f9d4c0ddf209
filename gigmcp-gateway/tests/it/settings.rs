//! Settings: what is in force, where it came from, and what is wrong.

use std::fs;

use serde_json::{Value, json};

use crate::gateway::Installation;

#[test]
fn what_is_in_force_is_shown_with_where_it_came_from_and_without_secrets() {
    let installation = Installation::on_sqlite();
    let directory = tempfile::tempdir().unwrap();
    let (bearer, wrap) = (directory.path().join("bearer"), directory.path().join("master-key-wrap"));
    fs::write(&bearer, SECRETS[0]).unwrap();
    fs::write(&wrap, SECRETS[1]).unwrap();
    let run = |form: &[&str]| {
        let output = installation
            .command()
            .args(form)
            .args(["config", "--listen", "127.0.0.1:0", "--bearer-token-file"])
            .arg(&bearer)
            .env("GIG_AUDIT_DAYS", "30")
            .env("GIG_REGISTRY_URL", format!("https://me:{}@registry.example/", SECRETS[2]))
            .env("GIG_DATABASE_URL", format!("postgres://me:{}@127.0.0.1/gig", SECRETS[3]))
            .env("CREDENTIALS_DIRECTORY", directory.path())
            .output()
            .unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{text}");
        for secret in SECRETS {
            assert!(!text.contains(&secret[..4]), "{secret} is shown: {text}");
        }
        text
    };
    let shown: Value = serde_json::from_str(&run(&["--json"])).unwrap();
    let of = |name: &str| shown.as_array().unwrap().iter().find(|entry| entry["setting"] == name).unwrap().clone();
    let entry = |name: &str, value: Value, source: &str| {
        assert_eq!((&of(name)["value"], &of(name)["source"]), (&value, &json!(source)), "{name}");
    };
    entry("GIG_LISTEN", json!("127.0.0.1:0"), "flag");
    entry("GIG_AUDIT_DAYS", json!("30"), "variable");
    entry("GIG_REGISTRY_URL", json!("https://...@registry.example/"), "variable");
    entry("GIG_MAX_SERVERS", json!("128"), "default");
    entry("GIG_LOG", json!("info"), "default");
    entry("GIG_DATA_DIR", json!(installation.data()), "variable");
    entry("GIG_PUBLIC_URL", Value::Null, "unset");
    entry("GIG_DATABASE_URL", Value::Null, "variable");
    entry("GIG_BEARER_TOKEN", Value::Null, "file");
    entry("GIG_MASTER_KEY_WRAP", Value::Null, "credential");
    assert_eq!(of("GIG_BEARER_TOKEN")["file"], json!(bearer));
    assert_eq!(of("GIG_MASTER_KEY_WRAP")["file"], json!(wrap));
    assert_eq!((&of("GIG_MASTER_KEY")["source"], &of("GIG_MASTER_KEY")["secret"]), (&json!("default"), &json!(true)));
    let text = run(&[]);
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("GIG_DATABASE_URL ").contains("(hidden)") && line("GIG_LISTEN ").ends_with("flag"), "{text}");
    assert!(!installation.data().exists(), "who only looks makes nothing");
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let installation = Installation::on_sqlite();
    let check = |variables: &[(&str, &str)]| {
        let output = installation.command().args(["--json", "config", "check"]).envs(variables.to_vec()).output();
        let output = output.unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.success(), told["errors"].as_array().unwrap().clone())
    };
    assert_eq!(check(&[("GIG_LISTEN", "127.0.0.1:0"), ("GIG_ALLOWED_HOSTS", "a.example,b.example")]), (true, vec![]));
    for (variables, expected) in [
        (
            &[("GIG_LISTN", "x"), ("GIG_LISTEN", ":8080"), ("GIG_AUDIT_DAYS", "never"), ("GIG_PROXY_PORT", "8081")][..],
            &[
                "did you mean GIG_LISTEN?",
                "GIG_PROXY_PORT has no meaning here",
                "GIG_AUDIT_DAYS is `never`",
                "0.0.0.0:8080",
            ][..],
        ),
        (
            &[("GIG_BEARER_TOKEN", "short"), ("GIG_MASTER_KEY", "12345"), ("GIG_PROXY_PORT", "8081")],
            &["GIG_PROXY_PORT", "GIG_BEARER_TOKEN must be", "64 hexadecimal digits"],
        ),
    ] {
        let (good, told) = check(variables);
        assert!(!good && told.len() == expected.len(), "{told:?}");
        for part in expected {
            assert!(told.iter().any(|told| told["error"].as_str().unwrap().contains(part)), "{part}: {told:?}");
        }
    }
    let text = installation.command().args(["config", "check"]).env("GIG_LISTN", "x").output().unwrap();
    assert!(String::from_utf8(text.stdout).unwrap().contains("did you mean GIG_LISTEN?"));
}

#[test]
fn a_malformed_setting_ends_every_command_with_the_fix() {
    let installation = Installation::on_sqlite();
    let run = |variable: &str, value: &str| {
        let output = installation.command().args(["server", "list"]).env(variable, value).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    for (variable, good, bad, fix) in [
        (
            "GIG_ALLOWED_ORIGINS",
            "https://app.example.com",
            "https://app.example.com/",
            "write `https://app.example.com`",
        ),
        ("GIG_ALLOWED_ORIGINS", "https://app.example.com", "https://a.example,*", "no wildcard"),
        ("GIG_ALLOWED_HOSTS", "gig.example.com", "https://gig.example.com", "write `gig.example.com`"),
        ("GIG_ALLOWED_HOSTS", "gig.example.com", "*", "no wildcard"),
        ("GIG_LOG", "warn,gigmcp_egress=debug", "gigmcp-egress=debug", "with _ and ::"),
        ("GIG_LOG", "debug", "debgu", "did you mean debug?"),
        ("GIG_PUBLIC_URL", "https://gig.example.com", "https://gig.example.com/x", "without a path"),
        ("GIG_SESSION_TTL", "12h", "12", "30m, 168h or 90d"),
        ("GIG_SANDBOX_UIDS", "61184-65519", "0-10", "1000 or higher"),
        ("GIG_REGISTRY_PUBKEY", "", "00", "GIG_REGISTRY_ROOT"),
        ("GIG_DATABASE_CA", "", "/etc/hosts", "GIG_DATABASE_URL"),
    ] {
        let (succeeded, error) = run(variable, good);
        assert!(succeeded, "twin: {variable}={good}: {error}");
        let (succeeded, error) = run(variable, bad);
        assert!(!succeeded, "{variable}={bad}");
        assert!(error.contains(variable) && error.contains(fix), "{variable}={bad}: {error}");
    }
}

#[test]
fn every_secret_can_be_a_credential_of_systemd() {
    let installation = Installation::on_sqlite();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("bearer-token"), SECRETS[0]).unwrap();
    let run = |variables: &[(&str, &str)]| {
        let mut command = installation.command();
        command.args(["config", "check"]).env("CREDENTIALS_DIRECTORY", directory.path()).envs(variables.to_vec());
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    assert!(run(&[]).0); // twin
    let (good, told) = run(&[("GIG_BEARER_TOKEN", SECRETS[1])]);
    assert!(!good && told.contains("systemd gave the credential `bearer-token`"), "{told}");
    fs::write(directory.path().join("bearer-token"), "short").unwrap();
    let (good, told) = run(&[]);
    assert!(!good && told.contains("GIG_BEARER_TOKEN must be"), "it is read: {told}");
    fs::write(directory.path().join("bearer-token"), "\n").unwrap();
    let (good, told) = run(&[]);
    assert!(!good && told.contains("is empty"), "{told}");
}

const SECRETS: [&str; 4] = [
    "Xq7vbearer-token-of-a-test",
    "b00c1e5e9fb00c1e5e9fb00c1e5e9fb00c1e5e9fb00c1e5e9fb00c1e5e9fb00c",
    "Zw3kpassword",
    "Yj5hpassword",
];
