//! Where the key may be, and what may wrap it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use super::{error_of, with_secrets};
use crate::gateway::{Gateway, Installation};

/// The key service that the vault's own tests ask.
#[path = "../../../../gigmcp-vault/tests/it/transit/server.rs"]
#[allow(dead_code, reason = "the vault's tests use the rest of it")]
mod transit;

/// Where keys and passphrases lie that are not the gateway's own.
struct Elsewhere(tempfile::TempDir);

impl Elsewhere {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }
}

type Variables<'a> = [(&'a str, &'a Path)];

/// What a command says on standard error, if it does not succeed.
fn run(installation: &Installation, variables: &Variables<'_>, arguments: &[&str]) -> Result<String, String> {
    let mut command = installation.command();
    let output = command.args(arguments).envs(variables.iter().copied()).stdin(std::process::Stdio::null()).output();
    let output = output.unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(error_of(&output)),
    }
}

fn must(installation: &Installation, variables: &Variables<'_>, arguments: &[&str]) -> String {
    run(installation, variables, arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

fn refuses(installation: &Installation, variables: &Variables<'_>, expected: &[&str]) {
    // A check makes no database, and needs one.
    installation.json(&["server", "list"], "");
    let error = run(installation, variables, &["key", "check"]).unwrap_err();
    for expected in expected {
        assert!(error.contains(expected), "{expected:?}: {error}");
    }
    let error = run(installation, variables, &["serve"]).unwrap_err();
    assert!(error.contains(expected[0]), "{error}");
}

/// A whole life: a secret is set, the gateway starts, the key is rotated, the gateway starts again.
fn lives(installation: &Installation, variables: &Variables<'_>) {
    let add = ["server", "add", "s0", "--secret", "KEY=api.example.com", "--", "true"];
    if !must(installation, variables, &["server", "list"]).contains("s0") {
        must(installation, variables, &add);
    }
    let value = installation.data().join("value");
    fs::write(&value, "value-number-0").unwrap();
    must(installation, variables, &["secret", "set", "s0", "KEY", "--file", value.to_str().unwrap()]);
    serves(installation, variables);
    must(installation, variables, &["key", "rotate"]);
    must(installation, variables, &["key", "drop-old"]);
    must(installation, variables, &["key", "check"]);
    serves(installation, variables);
}

/// The real gateway starts, which it does only if every secret opens.
fn serves(installation: &Installation, variables: &Variables<'_>) {
    let mut command = installation.command();
    command.env("GIG_LISTEN", "127.0.0.1:0").envs(variables.iter().copied()).arg("serve");
    drop(Gateway::start(&mut command)); // waits until it listens
}

fn key_file(installation: &Installation) -> String {
    fs::read_to_string(installation.data().join("master.key")).unwrap()
}

#[test]
fn a_passphrase_wraps_the_key() {
    let (installation, elsewhere) = (Installation::new(), Elsewhere::new());
    let right = elsewhere.write("right", "correct horse battery\n", 0o400);
    let wrong = elsewhere.write("wrong", "correct horse batterz\n", 0o400);
    let file: &Variables<'_> = &[("GIG_MASTER_KEY_PASSPHRASE_FILE", &right)];
    lives(&installation, file);
    assert!(key_file(&installation).starts_with("gigmcp-vault-wrapped-keys 1\nwrapped-key argon2id "));
    must(&installation, &[("GIG_MASTER_KEY_PASSPHRASE", Path::new("correct horse battery"))], &["key", "check"]);
    must(&installation, &[], &["key", "check", "--master-key-passphrase-file", right.to_str().unwrap()]);
    refuses(&installation, &[("GIG_MASTER_KEY_PASSPHRASE_FILE", &wrong)], &["another key or passphrase wrapped it"]);
    refuses(&installation, &[], &["is wrapped; say what wrapped it", "GIG_MASTER_KEY_PASSPHRASE_FILE"]);
    let both: &Variables<'_> = &[file[0], ("GIG_MASTER_KEY_PASSPHRASE", Path::new("correct horse battery"))];
    refuses(&installation, both, &["GIG_MASTER_KEY_PASSPHRASE and GIG_MASTER_KEY_PASSPHRASE_FILE are both set"]);
    let short = elsewhere.write("short", "short", 0o400);
    refuses(&installation, &[("GIG_MASTER_KEY_PASSPHRASE_FILE", &short)], &["take a longer one", "at least 12 bytes"]);
    let open = elsewhere.write("open", "correct horse battery\n", 0o404);
    refuses(&installation, &[("GIG_MASTER_KEY_PASSPHRASE_FILE", &open)], &["cannot be read", "open to other users"]);
    let missing = elsewhere.0.path().join("missing");
    refuses(&installation, &[("GIG_MASTER_KEY_PASSPHRASE_FILE", &missing)], &["cannot be read", "missing"]);
    must(&installation, file, &["key", "check"]);
}

#[test]
fn a_key_wraps_the_key() {
    let (installation, elsewhere) = (Installation::new(), Elsewhere::new());
    let right = elsewhere.write("right", &format!("{}\n", "0a".repeat(32)), 0o400);
    let wrong = elsewhere.write("wrong", &"0b".repeat(32), 0o400);
    lives(&installation, &[("GIG_MASTER_KEY_WRAP_FILE", &right)]);
    assert!(key_file(&installation).starts_with("gigmcp-vault-wrapped-keys 1\nwrapped-key local "));
    refuses(&installation, &[("GIG_MASTER_KEY_WRAP_FILE", &wrong)], &["another key or passphrase wrapped it"]);
    let bad = elsewhere.write("bad", "0a0a", 0o400);
    refuses(
        &installation,
        &[("GIG_MASTER_KEY_WRAP_FILE", &bad)],
        &["GIG_MASTER_KEY_WRAP cannot wrap", "64 hex digits"],
    );
    let two: &Variables<'_> = &[("GIG_MASTER_KEY_WRAP_FILE", &right), ("GIG_MASTER_KEY_PASSPHRASE_FILE", &right)];
    refuses(&installation, two, &["more than one thing is to wrap"]);
    let pass: &Variables<'_> = &[("GIG_MASTER_KEY_PASSPHRASE_FILE", &right)];
    refuses(&installation, pass, &["was wrapped by `local`, not by `argon2id`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_service_wraps_the_key() {
    let (installation, elsewhere) = (Installation::new(), Elsewhere::new());
    let server = transit::Server::tls().await;
    let token = elsewhere.write("token", "s.right\n", 0o400);
    let ca = elsewhere.write("ca.pem", &server.root, 0o644);
    let url = PathBuf::from(format!("https://{}", server.address));
    let all: &Variables<'_> =
        &[("GIG_TRANSIT_URL", &url), ("GIG_TRANSIT_TOKEN_FILE", &token), ("GIG_TRANSIT_CA_FILE", &ca)];
    lives(&installation, all);
    assert!(key_file(&installation).contains("\nwrapped-key transit vault:v1:"));
    // The service's own key has a new version.
    server.state.lock().unwrap().latest = 2;
    must(&installation, all, &["key", "wrap"]);
    assert!(key_file(&installation).contains("\nwrapped-key transit vault:v2:"));
    let newer: &Variables<'_> = &[all, &[("GIG_TRANSIT_MIN_VERSION", Path::new("2"))][..]].concat();
    serves(&installation, newer);
    let newest: &Variables<'_> = &[all, &[("GIG_TRANSIT_MIN_VERSION", Path::new("3"))][..]].concat();
    refuses(&installation, newest, &["the minimum is 3"]);
    let wrong = elsewhere.write("wrong", "s.wrong", 0o400);
    let denied: &Variables<'_> = &[all[0], ("GIG_TRANSIT_TOKEN_FILE", &wrong), all[2]];
    refuses(&installation, denied, &["permission denied"]);
    refuses(&installation, &all[..2], &["certificate"]);
    refuses(&installation, &[all[0], all[2]], &["GIG_TRANSIT_URL needs a token"]);
    let plain = PathBuf::from("http://vault.test:8200");
    refuses(&installation, &[("GIG_TRANSIT_URL", &plain), all[1]], &["cannot be asked", "in the clear"]);
    let elsewhere_mounted: &Variables<'_> = &[all, &[("GIG_TRANSIT_MOUNT", Path::new("elsewhere"))][..]].concat();
    refuses(&installation, elsewhere_mounted, &["the key service answered 404"]);
    drop(server);
}

#[test]
fn a_credential_of_systemd_is_the_key_or_what_wraps_it() {
    let (maker, elsewhere) = (with_secrets(1), Elsewhere::new());
    let key = maker.data().join("master.key");
    fs::rename(&key, elsewhere.0.path().join("master-key")).unwrap();
    fs::set_permissions(elsewhere.0.path().join("master-key"), Permissions::from_mode(0o440)).unwrap();
    // The mask of the list by which systemd gives access stands at a group that is not ours.
    std::os::unix::fs::chown(elsewhere.0.path().join("master-key"), None, Some(65_533)).unwrap();
    let here: &Variables<'_> = &[("CREDENTIALS_DIRECTORY", elsewhere.0.path())];
    serves(&maker, here);
    must(&maker, here, &["key", "check"]);
    assert!(!key.exists(), "none was made");
    let named = elsewhere.0.path().join("master-key");
    must(&maker, &[here[0], ("GIG_MASTER_KEY_FILE", &named)], &["key", "check"]);
    let other = elsewhere.write("other", "x", 0o400);
    refuses(&maker, &[here[0], ("GIG_MASTER_KEY_FILE", &other)], &["GIG_MASTER_KEY_FILE is set, and systemd gave"]);
    let given = PathBuf::from("5a".repeat(32));
    refuses(&maker, &[here[0], ("GIG_MASTER_KEY", &given)], &["GIG_MASTER_KEY is set, and systemd gave"]);
    let error = run(&maker, here, &["key", "rotate"]).unwrap_err();
    assert!(error.contains("put there by systemd"), "{error}");
    refuses(&maker, &[], &["is missing, but the database holds secrets"]);

    let (installation, elsewhere) = (Installation::new(), Elsewhere::new());
    elsewhere.write("master-key-wrap", &"0a".repeat(32), 0o440);
    let here: &Variables<'_> = &[("CREDENTIALS_DIRECTORY", elsewhere.0.path())];
    lives(&installation, here);
    assert!(key_file(&installation).contains("\nwrapped-key local "), "what wraps it is the credential");
}

#[test]
fn a_key_that_kubernetes_mounts_is_taken() {
    let (maker, elsewhere) = (with_secrets(1), Elsewhere::new());
    let data = elsewhere.0.path().join("..2026_11_29");
    fs::create_dir(&data).unwrap();
    fs::rename(maker.data().join("master.key"), data.join("master-key")).unwrap();
    symlink("..2026_11_29", elsewhere.0.path().join("..data")).unwrap();
    symlink("..data/master-key", elsewhere.0.path().join("master-key")).unwrap();
    let path = elsewhere.0.path().join("master-key");
    let named: &Variables<'_> = &[("GIG_MASTER_KEY_FILE", &path)];
    for mode in [0o400, 0o440, 0o640] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        serves(&maker, named);
    }
    for mode in [0o444, 0o460, 0o604] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        refuses(&maker, named, &["cannot be used", "open to other users"]);
    }
    fs::set_permissions(&path, Permissions::from_mode(0o440)).unwrap();
    std::os::unix::fs::chown(&path, None, Some(65_533)).unwrap();
    refuses(&maker, named, &["cannot be used", "can be read by group 65533"]);
    std::os::unix::fs::chown(&path, None, Some(0)).unwrap();
    must(&maker, named, &["key", "check"]);
    let error = run(&maker, named, &["key", "rotate"]).unwrap_err();
    assert!(error.contains("is a symbolic link"), "{error}");

    // A pod's user is not root, and its group is one of the pod's.
    let copied = tempfile::tempdir().unwrap();
    let program = copied.path().join("gigmcp-gateway");
    crate::gateway::copy_gateway(&program);
    for directory in [copied.path(), elsewhere.0.path(), maker.data().parent().unwrap(), &data] {
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    }
    for found in fs::read_dir(maker.data()).unwrap() {
        std::os::unix::fs::chown(found.unwrap().path(), Some(65_534), None).unwrap();
    }
    std::os::unix::fs::chown(maker.data(), Some(65_534), None).unwrap();
    std::os::unix::fs::chown(&path, None, Some(65_533)).unwrap();
    let check = |groups: &str| {
        let mut pod = std::process::Command::new("setpriv");
        pod.args(["--reuid=65534", "--regid=65534", groups]).arg(&program).args(["key", "check"]);
        pod.env("GIG_DATA_DIR", maker.data()).env("GIG_MASTER_KEY_FILE", &path).output().unwrap()
    };
    let output = check("--groups=65533");
    assert!(output.status.success(), "{}", error_of(&output));
    assert!(error_of(&check("--clear-groups")).contains("cannot be read by uid 65534"));
}

#[test]
fn a_named_key_is_never_made_in_passing() {
    let (installation, elsewhere) = (Installation::new(), Elsewhere::new());
    let path = elsewhere.0.path().join("below/named.key");
    let named: &Variables<'_> = &[("GIG_MASTER_KEY_FILE", &path)];
    refuses(&installation, named, &["there is no master key file", "gigmcp-gateway key create", "below/named.key"]);
    assert!(!path.exists());
    let said = must(&installation, named, &["key", "create"]);
    assert!(said.contains("not wrapped"), "{said}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let made = fs::read(&path).unwrap();
    let error = run(&installation, named, &["key", "create"]).unwrap_err();
    assert!(error.contains("exists already"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), made);
    lives(&installation, named);
    // A new key beside secrets that another one sealed.
    fs::rename(&path, path.with_extension("away")).unwrap();
    let error = run(&installation, named, &["key", "create"]).unwrap_err();
    assert!(error.contains("is missing, but the database holds secrets"), "{error}");
    assert!(!path.exists());
    must(&installation, &[], &["key", "create", "--to", path.to_str().unwrap()]);
    let error = run(&installation, named, &["serve"]).unwrap_err();
    assert!(error.contains("no stored secret opens with this master key"), "{error}");
}

#[test]
fn a_plain_file_is_wrapped_when_asked() {
    let (installation, elsewhere) = (with_secrets(1), Elsewhere::new());
    let pass = elsewhere.write("pass", "correct horse battery", 0o400);
    let wrapped: &Variables<'_> = &[("GIG_MASTER_KEY_PASSPHRASE_FILE", &pass)];
    refuses(&installation, wrapped, &["is not wrapped", "gigmcp-gateway key wrap", "GIG_MASTER_KEY_PASSPHRASE"]);
    assert!(run(&installation, &[], &["key", "wrap"]).unwrap_err().contains("nothing is to wrap"));
    must(&installation, wrapped, &["key", "wrap"]);
    serves(&installation, wrapped);
    must(&installation, wrapped, &["key", "wrap"]);
    lives(&installation, wrapped);
    let given = PathBuf::from("5a".repeat(32));
    let both: &Variables<'_> = &[("GIG_MASTER_KEY", &given), wrapped[0]];
    refuses(&installation, both, &["there is no key file to wrap"]);
}
