//! The program, run as its users run it: from `keygen` to `verify`.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::MANIFEST;

/// A directory in which the program is run.
pub(crate) struct Desk(TempDir);

impl Desk {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn run(&self, line: &str) -> Output {
        self.run_with_input(line, b"")
    }

    fn run_with_input(&self, line: &str, input: &[u8]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_registryctl"))
            .args(line.split_whitespace())
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that refuses before it reads has closed its end.
        drop(child.stdin.take().unwrap().write_all(input));
        child.wait_with_output().unwrap()
    }

    /// What a command answers that is done.
    pub(crate) fn done(&self, line: &str) -> String {
        let output = self.run(line);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{line}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.done(&format!("{line} --json"))).unwrap()
    }

    /// What a command says that is not done, and its exit code.
    pub(crate) fn refused(&self, line: &str) -> (i32, String) {
        let output = self.run(line);
        assert_eq!(output.stdout, b"", "{line}");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// A new key: its public key and id.
    fn key(&self, name: &str) -> (String, String) {
        let made = self.json(&format!("keygen --output {name}"));
        (made["publicKey"].as_str().unwrap().into(), made["keyId"].as_str().unwrap().into())
    }

    pub(crate) fn manifest(&self, name: &str, version: &str, text: &str) {
        fs::create_dir_all(self.path(&format!("manifests/{name}"))).unwrap();
        fs::write(self.path(&format!("manifests/{name}/{version}.json")), text).unwrap();
    }

    pub(crate) fn notes(&self, version: &str) {
        self.manifest("acme-notes", version, &MANIFEST.replace("1.2.0", version));
    }

    /// Key files `r1`, `r2` (root) and `i1` (index), and a signed root.
    fn with_root() -> Self {
        let desk = Self::new();
        let [one, two, index] = ["r1", "r2", "i1"].map(|name| desk.key(name).0);
        desk.done(&format!(
            "root create --root-key {one} --root-key {two} --root-threshold 2 --index-key {index} --index-threshold 1 -o 1.json"
        ));
        desk.done("root sign 1.json --key r1 --key r2 -o 1.jsonl");
        desk
    }
}

#[test]
fn from_keygen_to_verify() {
    let desk = Desk::with_root();
    desk.notes("1.2.0");
    let yaml = gigmcp_registry::Manifest::from_json(MANIFEST.replace("acme-notes", "acme-mail").as_bytes()).unwrap();
    fs::create_dir(desk.path("manifests/acme-mail")).unwrap();
    fs::write(desk.path("manifests/acme-mail/1.2.0.yaml"), yaml.to_yaml()).unwrap();
    fs::write(desk.path("manifests/acme-mail/1.2.0.toolspec.yaml"), "a toolspec, which is no manifest").unwrap();
    let built = desk.json("build-index manifests --sequence 1 -o index.json");
    assert_eq!((&built["sequence"], &built["servers"], &built["versions"]), (&1.into(), &2.into(), &2.into()));
    desk.done("sign index.json --key i1 -o index.jsonl");
    let verified = desk.json("verify index.jsonl --root 1.jsonl");
    assert_eq!((&verified["trusted"], &verified["digest"]), (&true.into(), &built["digest"]));

    // A second index after the first, with a new version.
    desk.notes("1.3.0");
    desk.done("build-index manifests --previous index.jsonl -o index.json");
    desk.done("sign index.json --key i1 -o index2.jsonl");
    let second = desk.json("verify index2.jsonl --root 1.jsonl --previous index.jsonl");
    assert_eq!((&second["sequence"], &second["versions"]), (&2.into(), &3.into()));
    let (code, said) = desk.refused("verify index.jsonl --root 1.jsonl --previous index2.jsonl");
    assert!(code == 1 && said.contains("sequence 1, but 2 was seen before"), "{said}");

    // A library reader takes what the program made.
    let file = fs::read(desk.path("1.jsonl")).unwrap();
    let envelope = gigmcp_registry::Envelope::split(&file).unwrap();
    let root = gigmcp_registry::SignedRoot::pinned(envelope.document(), &envelope.signatures().unwrap()).unwrap();
    assert_eq!((root.root.threshold().get(), root.index.threshold().get()), (2, 1));
}

#[test]
fn any_changed_byte_of_a_published_file_is_refused() {
    let desk = Desk::with_root();
    desk.notes("1.2.0");
    desk.done("build-index manifests --sequence 1 -o index.json");
    desk.done("sign index.json --key i1 -o index.jsonl");
    let good = fs::read(desk.path("index.jsonl")).unwrap();
    for at in (0..good.len()).step_by(97) {
        let mut bytes = good.clone();
        bytes[at] ^= 4;
        fs::write(desk.path("changed.jsonl"), bytes).unwrap();
        let (code, said) = desk.refused("verify changed.jsonl --root 1.jsonl");
        assert!(code == 1 || code == 3, "byte {at}: {said}");
    }
    fs::write(desk.path("changed.jsonl"), &good).unwrap();
    desk.done("verify changed.jsonl --root 1.jsonl");
}

#[test]
fn keys_are_rotated() {
    let desk = Desk::with_root();
    desk.notes("1.2.0");
    desk.done("build-index manifests --sequence 1 -o index.json");
    let ids: Vec<String> = desk.json("root verify 1.jsonl")["root"]["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["keyId"].as_str().unwrap().into())
        .collect();
    let (public, id) = desk.key("r3");
    let (index_public, _) = desk.key("i2");
    let old_index = desk.json("root verify 1.jsonl")["index"]["keys"][0]["keyId"].as_str().unwrap().to_owned();
    // A third root key and another index key, in two steps: one version.
    desk.done(&format!("root add-key 1.jsonl --role root --key {public} -o 2.json"));
    desk.done(&format!("root rotate 2.json --role index --old {old_index} --new {index_public} -o 2.json"));
    desk.done("root sign 2.json --key r1 -o 2.jsonl");
    let (code, said) = desk.refused("root verify 1.jsonl 2.jsonl");
    assert!(code == 1 && said.contains("not signed by the keys of the one before"), "{said}");
    desk.done("root sign 2.jsonl --key r3"); // its own threshold, but not that of the one before
    assert_eq!(desk.refused("root verify 1.jsonl 2.jsonl").0, 1);
    desk.done("root sign 2.jsonl --key r2");
    let two = desk.json("root verify 1.jsonl 2.jsonl");
    assert_eq!((&two["version"], two["root"]["keys"].as_array().unwrap().len()), (&2.into(), 3));
    assert_eq!(desk.refused("root verify 2.jsonl 1.jsonl").0, 1, "backwards");

    // One root key goes, all must sign from now on.
    desk.done(&format!("root remove-key 2.jsonl --role root --key {} -o 3.json", ids[0]));
    let three = desk.json("root threshold 3.json --role root --threshold 2 -o 3.json");
    assert_eq!((&three["version"], &three["root"]["threshold"]), (&3.into(), &2.into()));
    desk.done("root sign 3.json --key r1 --key r2 --key r3 -o 3.jsonl");
    desk.done("root verify 1.jsonl 2.jsonl 3.jsonl");

    desk.done("sign index.json --key i1 -o old.jsonl");
    desk.done("sign index.json --key i2 -o new.jsonl");
    for (file, roots, trusted) in [
        ("old.jsonl", "--root 1.jsonl", true),
        ("new.jsonl", "--root 1.jsonl", false),
        ("old.jsonl", "--root 1.jsonl --root 2.jsonl", false),
        ("new.jsonl", "--root 1.jsonl --root 2.jsonl --root 3.jsonl", true),
    ] {
        let code = desk.run(&format!("verify {file} {roots}")).status.code();
        assert_eq!(code, Some(if trusted { 0 } else { 1 }), "{file} {roots}");
    }
    let (code, said) = desk.refused(&format!("root remove-key 3.jsonl --role index --key {id} -o 4.json"));
    assert!(code == 3 && said.contains("has no key") && said.contains("root verify"), "{said}");
    let (code, said) = desk.refused("root threshold 3.jsonl --role root --threshold 9 -o 4.json");
    assert!(code == 3 && said.contains("9 of 2 keys can never sign"), "{said}");
}

#[test]
fn time_is_looked_at() {
    let desk = Desk::with_root();
    desk.notes("1.2.0");
    desk.done("build-index manifests --sequence 1 --generated 2029-01-01T00:00:00Z --lifetime 10d -o index.json");
    desk.done("sign index.json --key i1 -o index.jsonl");
    desk.done("root rotate 1.jsonl --expires 2029-06-01T00:00:00Z -o 2.json");
    desk.done("root sign 2.json --key r1 --key r2 -o 2.jsonl");
    for (at, code, expected) in [
        ("2028-12-31T00:00:00Z", 1, "clock is behind"),
        ("2029-01-05T00:00:00Z", 0, ""),
        ("2029-01-11T00:00:00Z", 1, "the index has expired"),
        ("2029-06-01T00:00:00Z", 1, "the root, version 2, has expired"),
    ] {
        let output = desk.run(&format!("verify index.jsonl --root 1.jsonl --root 2.jsonl --at {at}"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && said.contains(expected), "{at}: {said}");
    }
}

#[test]
fn keys_stay_secret() {
    let desk = Desk::new();
    let made = desk.done("keygen --output key");
    let text = fs::read_to_string(desk.path("key")).unwrap();
    let seed = text.lines().last().unwrap().strip_prefix("seed ").unwrap();
    assert!(!made.contains(seed) && seed.len() == 64);
    assert_eq!(fs::metadata(desk.path("key")).unwrap().permissions().mode() & 0o7777, 0o600);
    let (code, said) = desk.refused("keygen --output key");
    assert!(code == 3 && said.contains("is there already") && said.contains("never written over"), "{said}");
    assert_eq!(fs::read_to_string(desk.path("key")).unwrap(), text);
    symlink("elsewhere", desk.path("link")).unwrap();
    assert_eq!(desk.refused("keygen --output link").0, 3);
    assert!(!desk.path("elsewhere").exists());

    desk.notes("1.2.0");
    desk.done("build-index manifests --sequence 1 -o index.json");
    let mut said = desk.done("sign index.json --key key -o index.jsonl");
    said.push_str(&desk.done("sign index.json --key key -o index.jsonl --json"));
    let from_input = desk.run_with_input("sign index.json --key - -o other.jsonl", text.as_bytes());
    assert!(from_input.status.success());
    assert_eq!(fs::read(desk.path("index.jsonl")).unwrap(), fs::read(desk.path("other.jsonl")).unwrap());
    said.push_str(&String::from_utf8(from_input.stdout).unwrap());
    assert!(!said.contains(seed));

    symlink("key", desk.path("key-link")).unwrap();
    fs::create_dir(desk.path("directory")).unwrap();
    fs::write(desk.path("damaged"), text.replace("seed ", "seed 0")).unwrap();
    fs::set_permissions(desk.path("damaged"), Permissions::from_mode(0o600)).unwrap();
    for (mode, file, expected) in [
        (0o640, "key", "chmod 600 key"),
        (0o604, "key", "its mode is 604"),
        (0o600, "key-link", "cannot be read"),
        (0o600, "directory", "not a regular file"),
        (0o600, "damaged", "a damaged one"),
        (0o600, "missing", "cannot be read"),
        (0o600, "-", "no signing key"),
    ] {
        fs::set_permissions(desk.path("key"), Permissions::from_mode(mode)).unwrap();
        let (code, said) = desk.refused(&format!("sign index.json --key {file} -o refused.jsonl"));
        assert!(code == 3 && said.contains(expected) && !said.contains(&seed[1..]), "{file} {mode:o}: {said}");
        assert!(!desk.path("refused.jsonl").exists());
    }
}

#[test]
fn only_what_readers_take_is_signed() {
    let desk = Desk::with_root();
    desk.notes("1.2.0");
    desk.done("build-index manifests --sequence 1 -o index.json");
    let good = fs::read_to_string(desk.path("index.json")).unwrap();
    for (case, text, expected) in [
        ("a blank", good.replacen(':', ": ", 1), "canonical"),
        ("a newline", format!("{good}\n"), "canonical"),
        ("a fault", good.replace("\"latest\":\"1.2.0\"", "\"latest\":\"1.2.1\""), "is no index"),
        ("a root", fs::read_to_string(desk.path("1.json")).unwrap(), "is no index"),
    ] {
        fs::write(desk.path("bad.json"), text).unwrap();
        let (code, said) = desk.refused("sign bad.json --key i1 -o bad.jsonl");
        assert!(code == 3 && said.contains(expected), "{case}: {said}");
    }
    let (code, said) = desk.refused("root sign index.json --key r1 -o bad.jsonl");
    assert!(code == 3 && said.contains("is no root"), "{said}");
    let (code, said) = desk.refused("sign index.json --key i1");
    assert!(code == 3 && said.contains("--output"), "{said}");
}

#[test]
fn a_directory_of_manifests_is_checked_whole() {
    let desk = Desk::new();
    desk.manifest("acme-notes", "1.2.0", &MANIFEST.replace("\"sealed\"", "\"open\""));
    desk.manifest("acme-mail", "1.2.0", MANIFEST);
    let (code, said) = desk.refused("build-index manifests --sequence 1 -o index.json");
    assert!(code == 3 && said.contains("acme-notes/1.2.0.json is no manifest"), "{said}");
    assert!(said.contains("acme-mail/1.2.0.json holds the manifest of acme-notes 1.2.0"), "{said}");
    let (_, json) = desk.refused("build-index manifests --sequence 1 -o index.json --json");
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["others"].as_array().unwrap().len(), 1);
    assert!(!desk.path("index.json").exists());

    fs::remove_dir_all(desk.path("manifests")).unwrap();
    desk.notes("1.2.0");
    desk.done("build-index manifests --sequence 1 -o index.json");
    symlink("1.2.0.json", desk.path("manifests/acme-notes/1.3.0.json")).unwrap();
    let (code, said) = desk.refused("build-index manifests --sequence 2 -o other.json");
    assert!(code == 3 && said.contains("is a symbolic link"), "{said}");
    fs::remove_file(desk.path("manifests/acme-notes/1.3.0.json")).unwrap();

    desk.manifest("acme-notes", "1.2.0", &MANIFEST.replace("sha256:01", "sha256:02"));
    let (code, said) = desk.refused("build-index manifests --previous index.json -o other.json");
    assert!(code == 1 && said.contains("another image under the same version: acme-notes 1.2.0"), "{said}");
    let (code, said) = desk.refused("build-index manifests --previous index.json --sequence 1 -o other.json");
    assert!(code == 3 && said.contains("does not follow 1"), "{said}");
    assert_eq!(desk.refused("build-index empty --sequence 1 -o other.json").0, 3);
    assert_eq!(desk.refused("build-index manifests -o other.json").0, 2, "no sequence");
    // The same manifests give the same bytes.
    desk.done("build-index manifests --sequence 1 --generated 2029-01-01T00:00:00Z -o one.json");
    desk.done("build-index manifests --sequence 1 --generated 2029-01-01T00:00:00Z -o two.json");
    assert_eq!(fs::read(desk.path("one.json")).unwrap(), fs::read(desk.path("two.json")).unwrap());
}

#[test]
fn differences_are_shown() {
    let desk = Desk::new();
    fs::write(desk.path("one.json"), MANIFEST).unwrap();
    fs::write(
        desk.path("two.json"),
        MANIFEST.replace("api.acme-notes", "api.evil").replace("Acme Notes", "Acme\u{202e}"),
    )
    .unwrap();
    assert_eq!(desk.done("diff one.json one.json"), "");
    let output = desk.run("diff one.json two.json");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        said,
        concat!(
            "- entitlements.egress[api.acme-notes.example]: \"api.acme-notes.example\"\n",
            "+ entitlements.egress[api.evil.example]: \"api.evil.example\"\n",
            "~ displayName: \"Acme Notes\" -> \"Acme\\u{202e}\"\n",
        )
    );
    let value: Value = serde_json::from_slice(&desk.run("diff one.json two.json --json").stdout).unwrap();
    assert_eq!(value["changes"][2]["bearing"], "presentation");
    assert_ne!(value["before"]["runtimeHash"], value["after"]["runtimeHash"]);

    desk.notes("1.2.0");
    desk.done("build-index manifests --sequence 1 --generated 2029-01-01T00:00:00Z -o a.json");
    desk.notes("1.3.0");
    desk.done("build-index manifests --previous a.json --generated 2029-01-01T00:00:00Z -o b.json");
    let said = String::from_utf8(desk.run("diff a.json b.json").stdout).unwrap();
    let expected = "~ sequence: 1 -> 2\n+ acme-notes 1.3.0, compared with 1.2.0\n  ~ version: \"1.2.0\" -> \"1.3.0\"\n";
    assert!(said.starts_with(expected), "{said}");
    assert_eq!(desk.refused("diff a.json one.json").0, 3);
}

#[test]
fn build_arguments_are_lines() {
    let desk = Desk::new();
    desk.notes("1.2.0");
    desk.notes("1.10.0");
    let lines = desk.done("build-args manifests/acme-notes/1.2.0.json");
    let expected = concat!(
        "SOURCE_REPO=github.com/example/acme-notes-mcp\nSOURCE_TAG=v1.2.0\nPACKAGE=cmd/server\n",
        "BUILDER=toolpack\nNAME=acme-notes\nVERSION=1.2.0\n"
    );
    assert_eq!(lines, expected);
    assert_eq!(desk.json("build-args manifests/acme-notes")["VERSION"], "1.10.0");
    desk.manifest("acme-notes", "1.2.0", &MANIFEST.replace("v1.2.0", "v1\\nBUILDER=x"));
    assert_eq!(desk.refused("build-args manifests/acme-notes/1.2.0.json").0, 3);
}

#[test]
fn the_original_s_index_is_verified_when_asked_for() {
    use ed25519_dalek::Signer;
    let desk = Desk::new();
    let text = format!(
        r#"{{"schemaVersion":1,"generated":"2029-01-01T00:00:00Z","servers":{{"acme-notes":{{"latest":"1.2.0","versions":{{"1.2.0":{MANIFEST}}}}}}}}}"#
    );
    let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    fs::write(desk.path("index.json"), &text).unwrap();
    fs::write(desk.path("index.json.sig"), hex::encode(key.sign(text.as_bytes()).to_bytes())).unwrap();
    let public = hex::encode(key.verifying_key().to_bytes());
    let line = format!(
        "danger-verify-original index.json --signature index.json.sig --key {public} --lifetime 30d --at 2029-01-05T00:00:00Z"
    );
    assert!(desk.done(&line).starts_with("trusted"));
    fs::write(desk.path("index.json"), text.replace("1.2.0", "1.2.1")).unwrap();
    assert_eq!(desk.refused(&line).0, 1);
}

#[test]
fn every_command_has_help() {
    let desk = Desk::new();
    for command in
        ["", "keygen", "build-index", "sign", "verify", "danger-verify-original", "root", "diff", "build-args"]
    {
        assert!(desk.done(&format!("{command} --help")).contains("Usage: registryctl"), "{command}");
    }
    assert!(desk.done("--help").contains("Exit codes: 0 done"));
    assert_eq!(desk.refused("sign index.json").0, 2, "no key");
    assert!(Path::new(env!("CARGO_BIN_EXE_registryctl")).is_file());
}

#[test]
fn a_wrong_command_line_is_told_in_the_form_that_is_asked_for() {
    let desk = Desk::new();
    for line in ["keygen --json", "--json nonsense", "diff a --json"] {
        let output = desk.run(line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        let told: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert!(!told["error"].as_str().unwrap().is_empty() && output.stdout.is_empty(), "{line}: {told}");
        let output = desk.run(&line.replace("--json", ""));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && text.starts_with("error: "), "{line}: {text}");
    }
    let help = desk.run("--json --help");
    assert!(help.status.success() && String::from_utf8(help.stdout).unwrap().contains("Usage: registryctl"));
}
