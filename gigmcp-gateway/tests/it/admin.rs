//! Administration by command line: what each command answers, and what it says of bad input.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use serde_json::json;

use crate::gateway::{Installation, copy_gateway, demo_server};

#[test]
fn servers_profiles_and_secrets_are_kept() {
    let installation = Installation::new();
    let echo = demo_server("gigmcp-demo-echo");
    installation.json(&["server", "add", "echo", "--binary", echo.to_str().unwrap()], "");
    let command = ["server", "add", "notes", "--command", "node '/srv/my notes.js'", "--allow", "*.example.com"];
    installation.json(&[&command[..], &["--secret", "API_KEY=api.example.com"]].concat(), "");
    let servers = installation.json(&["server", "list"], "");
    assert_eq!(servers[1]["spec"]["command"], json!(["node", "/srv/my notes.js"]));

    assert_eq!(installation.json(&["secret", "set", "notes", "API_KEY"], "first-value\n")["version"], 1);
    assert_eq!(installation.json(&["secret", "set", "notes", "API_KEY"], "second-value\n")["version"], 2);
    let listed = installation.json(&["secret", "list"], "");
    assert_eq!(listed[0]["host"], "api.example.com");
    for (path, bytes) in installation.files() {
        for value in ["first-value", "second-value"] {
            assert!(!crate::search::holds(&bytes, value), "{value} lies open in {}", path.display());
        }
    }

    let token = installation.profile("work", &["echo", "notes"]);
    assert!(token.starts_with("gig_") && token.len() == 47, "{token}");
    for (path, bytes) in installation.files() {
        assert!(!crate::search::holds(&bytes, &token), "the token lies open in {}", path.display());
    }
    installation.json(&["server", "remove", "notes"], "");
    assert_eq!(installation.json(&["profile", "list"], "")[0]["servers"], json!(["echo"]));
    assert_eq!(installation.json(&["secret", "list"], ""), json!([]), "a removed server's secrets go with it");
    installation.json(&["profile", "delete", "work"], "");
    assert_eq!(installation.json(&["profile", "list"], ""), json!([]));
}

#[test]
fn the_data_directory_is_private() {
    let installation = Installation::on_sqlite();
    installation.json(&["server", "add", "x", "--secret", "KEY=api.example.com", "--", "true"], "");
    installation.json(&["secret", "set", "x", "KEY"], "a-value-of-some-length");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&installation.data()), 0o700);
    for name in ["gigmcp.db", "master.key"] {
        assert_eq!(mode(&installation.data().join(name)), 0o600, "{name}");
    }
}

#[test]
fn bad_input_is_named_with_the_fix() {
    let installation = Installation::new();
    let add = ["server", "add", "echo", "--secret", "KEY=api.example.com", "--", "true"];
    installation.json(&add, ""); // twin of what follows
    let dynamic = "/bin/sh";
    let data = installation.data();
    let data = data.to_str().unwrap();
    for (arguments, input, expected) in [
        (&add[..], "", &["server `echo` already exists"][..]),
        (&["server", "remove", "eco"], "", &["there is no server `eco`", "there are: echo"]),
        (&["server", "add", "no_good", "--", "true"], "", &["no_good"]),
        (&["server", "add", "a", "--allow", "*", "--", "true"], "", &["`*`"]),
        (&["server", "add", "a", "--allow", "*.com", "--", "true"], "", &["`*.com`"]),
        (&["server", "add", "a", "--allow", "10.0.0.1", "--", "true"], "", &["`10.0.0.1`"]),
        (&["server", "add", "a", "--secret", "KEY", "--", "true"], "", &["`KEY` is not ENV=HOST"]),
        (&["server", "add", "a", "--env", "LD_PRELOAD=/x", "--", "true"], "", &["LD_PRELOAD", "loader"]),
        (&["server", "add", "a"], "", &["needs a command"]),
        (&["server", "add", "a", "--command", "node 'x"], "", &["quote is not closed"]),
        (&["server", "add", "a", "--binary", dynamic], "", &[dynamic, "dynamically linked"]),
        (&["server", "add", "a", "--read-only", "relative", "--", "true"], "", &["--read-only relative"]),
        (&["server", "add", "a", "--read-only", "/etc", "--", "true"], "", &["--read-only /etc"]),
        (&["server", "add", "a", "--read-only", data, "--", "true"], "", &["which is the gateway's own"]),
        (&["server", "add", "a", "--profile", "none", "--", "true"], "", &["there is no profile `none`"]),
        (&["profile", "create", "Work"], "", &["`Work` is not a profile name"]),
        (&["profile", "create", "work", "--server", "nothing"], "", &["there is no server `nothing`"]),
        (&["profile", "token", "work"], "", &["there is no profile `work`"]),
        (&["secret", "set", "echo", "OTHER"], "value-of-length", &["declares no secret `OTHER`", "KEY"]),
        (&["secret", "set", "echo", "KEY"], "", &["the value is empty"]),
        (&["secret", "set", "echo", "KEY"], "two\nlines-of-text\n", &["line break"]),
        (&["secret", "set", "echo", "KEY"], "short", &["shorter than 8 bytes"]),
        (&["secret", "set", "echo", "KEY", "--file", "/nonexistent"], "", &["/nonexistent"]),
        (&["secret", "delete", "echo", "KEY"], "", &["there is no secret `KEY`"]),
    ] {
        let output = installation.run(arguments, input);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?} was accepted");
        for part in expected {
            assert!(error.contains(part), "{arguments:?}: {part:?} is not in {error}");
        }
    }
    // Nothing of what was refused is left behind.
    assert_eq!(installation.json(&["server", "list"], "").as_array().unwrap().len(), 1);
    assert_eq!(installation.json(&["profile", "list"], ""), json!([]));
}

#[test]
fn bad_settings_stop_the_program_with_the_fix() {
    let installation = Installation::on_sqlite();
    installation.json(&["server", "add", "x", "--secret", "KEY=api.example.com", "--", "true"], "");
    installation.json(&["secret", "set", "x", "KEY"], "a-value-of-some-length");
    let key = installation.data().join("master.key");
    let value = installation.data().join("value");
    fs::write(&value, "another-value-of-some-length").unwrap();
    let with = |variables: &[(&str, &str)]| {
        let output = installation
            .command()
            .args(["secret", "set", "x", "KEY", "--file"])
            .arg(&value)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert!(with(&[]).0, "twin: without a bad setting");
    assert!(with(&[("GIG_AUDIT_DAYS", "0")]).0, "twin: for ever");
    assert!(
        with(&[("GIG_AUDIT_MAX_ROWS", "1000")]).0 && with(&[("GIG_AUDIT_MAX_ROWS", "0")]).0,
        "twin: a limit, and none"
    );
    assert!(with(&[("GIG_DB_PATH", "")]).0, "an empty variable counts as unset");
    for (variables, expected) in [
        (&[("GIG_LISTN", "x")][..], &["GIG_LISTN", "GIG_LISTEN"][..]),
        (&[("GIG_LISTEN", "nowhere")], &["GIG_LISTEN", "nowhere", "127.0.0.1:8080"]),
        (&[("GIG_MASTER_KEY", "12345")], &["64 hexadecimal digits"]),
        (&[("GIG_BEARER_TOKEN_FILE", "/nonexistent")], &["/nonexistent", "GIG_BEARER_TOKEN_FILE"]),
        (&[("GIG_SANDBOX_UIDS", "0-10")], &["GIG_SANDBOX_UIDS"]),
        (&[("GIG_AUDIT_DAYS", "-1")], &["GIG_AUDIT_DAYS", "-1"]),
        (&[("GIG_AUDIT_MAX_ROWS", "999")], &["GIG_AUDIT_MAX_ROWS", "1000 or more"]),
    ] {
        let (succeeded, error) = with(variables);
        assert!(!succeeded, "{variables:?} was accepted");
        for part in expected {
            assert!(error.contains(part), "{variables:?}: {part:?} is not in {error}");
        }
    }
    let other_key = "ab".repeat(32);
    let output = installation.command().arg("serve").env("GIG_MASTER_KEY", &other_key).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("no stored secret opens with this master key"), "{error}");
    let help = installation.command().arg("help").env("GIG_LISTN", "x").output().unwrap();
    assert!(help.status.success(), "help is there for somebody whose settings are wrong");
    std::os::unix::fs::chown(installation.data(), Some(65534), None).unwrap();
    for name in ["gigmcp.db", "gigmcp.db-wal", "gigmcp.db-shm", "value"] {
        // The two beside the database are there only while somebody uses it.
        drop(std::os::unix::fs::chown(installation.data().join(name), Some(65534), None));
    }
    let copy = copy_for_anybody();
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy.path().join("gigmcp-gateway"));
    nobody.args(["secret", "set", "x", "KEY", "--file"]).arg(&value).env("GIG_DATA_DIR", installation.data());
    fs::set_permissions(installation.data().parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let error = loop {
        let error = String::from_utf8(nobody.output().unwrap().stderr).unwrap();
        // Another test has forked while the copy was written, and has not yet become another program.
        if !error.contains("Text file busy") {
            break error;
        }
    };
    assert!(error.contains("cannot be read by uid 65534") && error.contains("chown"), "{error}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (succeeded, error) = with(&[]);
    assert!(!succeeded && error.contains("chmod 600"), "{error}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(with(&[]).0, "twin: the mode is right again");
    fs::write(&key, "not a key\n").unwrap();
    let (succeeded, error) = with(&[]);
    assert!(!succeeded && error.contains("master.key"), "{error}");
    fs::remove_file(&key).unwrap();
    let (succeeded, error) = with(&[]);
    assert!(!succeeded && error.contains("restore"), "a lost key is not replaced by a new one: {error}");
}

/// The gateway's binary where anybody may run it.
pub(crate) fn copy_for_anybody() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    copy_gateway(&directory.path().join("gigmcp-gateway"));
    directory
}

/// What a command says to somebody on a host that has no user namespace to spare.
fn said_without_namespaces(command: &str) -> String {
    let (copied, data) = (copy_for_anybody(), tempfile::tempdir().unwrap());
    std::os::unix::fs::chown(data.path(), Some(65534), Some(65534)).unwrap();
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$1\"";
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", "unshare", "--user", "--map-root-user"])
        .args(["sh", "-c", script])
        .arg(copied.path().join("gigmcp-gateway"))
        .arg(command)
        .env("GIG_DATA_DIR", data.path())
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!output.status.success(), "{command}: {said}");
    said
}

#[test]
fn a_missing_kernel_feature_is_named_with_the_fix() {
    let said = said_without_namespaces("serve");
    assert!(said.contains("raise the limits of namespaces"), "{said}");
}

#[test]
fn doctor_reports_every_layer() {
    let installation = Installation::new();
    let output = installation.run(&["--json", "doctor"], "");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ready"], true, "{report}");
    let layers = report["layers"].as_array().unwrap();
    assert!(layers.len() >= 12, "{report}");
    for layer in layers.iter().filter(|layer| layer["level"] == "none") {
        assert!(!layer["why"].as_str().unwrap().is_empty() && !layer["fix"].as_str().unwrap().is_empty(), "{layer}");
    }
    // The twin: a host that has none to spare.
    let said = said_without_namespaces("doctor");
    assert!(said.contains("raise the limits of namespaces"), "{said}");
}

/// Keys and tokens may lie anywhere; nowhere may a server be shown them, whoever asks for it.
#[test]
fn no_server_is_shown_a_file_that_leads_to_a_key() {
    let installation = Installation::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let (ours, theirs) = (elsewhere.path().join("ours"), elsewhere.path().join("theirs"));
    for directory in [&ours, &theirs] {
        fs::create_dir(directory).unwrap();
    }
    let file = ours.join("file");
    fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(&ours, &link).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let add = |variable: &str, name: &str, shown: &std::path::Path| {
        let mut command = installation.command();
        command.args(["server", "add", name, "--read-only"]).arg(shown).args(["--", "true"]);
        command.env(variable, if variable == "CREDENTIALS_DIRECTORY" { link.clone() } else { link.join("file") });
        command.output().unwrap()
    };
    for (name, variable) in [
        ("a", "GIG_BEARER_TOKEN_FILE"),
        ("b", "CREDENTIALS_DIRECTORY"),
        ("c", "GIG_MASTER_KEY_FILE"),
        ("d", "GIG_MASTER_KEY_PASSPHRASE_FILE"),
        ("e", "GIG_MASTER_KEY_WRAP_FILE"),
    ] {
        for shown in [&file, &ours, &elsewhere.path().to_owned()] {
            let said = String::from_utf8(add(variable, name, shown).stderr).unwrap();
            assert!(said.contains("which is the gateway's own"), "{variable} {}: {said}", shown.display());
        }
        let output = add(variable, name, &theirs);
        assert!(output.status.success(), "{variable}, the twin: {}", String::from_utf8_lossy(&output.stderr));
    }
}
