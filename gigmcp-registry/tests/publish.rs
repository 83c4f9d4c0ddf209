//! The script `deploy/registry/publish`, from an index to a directory that is served.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const MANIFEST: &str = "\
schemaVersion: 2
name: notes
version: 1.0.0
source: {repo: github.com/initech/notes-mcp, tag: v1.0.0}
image:
  ref: ghcr.io/initech/notes-mcp
  digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  entrypoint: /app/server
tier: sealed
entitlements: {}
";

/// A registry's repository with a root that wants two of two keys.
struct Repository(TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().expect("a directory"));
        repository.write("manifests/notes/1.0.0.yaml", MANIFEST);
        let keys: Vec<_> = ["root", "one", "two"].iter().map(|name| repository.key(name)).collect();
        let create = format!(
            "root create --root-key {} --root-threshold 1 --index-key {} --index-key {} --index-threshold 2 -o 1.json",
            keys[0], keys[1], keys[2]
        );
        repository.write("root/README", "");
        for line in [create.as_str(), "root sign 1.json --key root.key -o root/1.jsonl"] {
            let output = repository.registryctl(line);
            assert!(output.status.success(), "{line}: {}", said(&output));
        }
        repository
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("inside")).expect("a directory");
        fs::write(path, text).expect("written");
    }

    /// A new key; its public half.
    fn key(&self, name: &str) -> String {
        let output = self.registryctl(&format!("keygen -o {name}.key"));
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().find_map(|line| line.strip_prefix("public key: ")).expect("a public key").into()
    }

    fn registryctl(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_registryctl"));
        command.args(line.split_whitespace()).current_dir(self.0.path()).output().expect("it runs")
    }

    fn publish(&self, line: &str, input: &[u8]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/registry/publish");
        let mut child = Command::new("bash")
            .arg(script)
            .args(line.split_whitespace())
            .env("REGISTRYCTL", env!("CARGO_BIN_EXE_registryctl"))
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bash");
        drop(child.stdin.take().expect("piped").write_all(input)); // it may not read
        child.wait_with_output().expect("it ends")
    }

    fn done(&self, line: &str) {
        let output = self.publish(line, b"");
        assert!(output.status.success(), "{line}: {}", said(&output));
    }

    fn sign(&self, name: &str) {
        let key = fs::read(self.path(&format!("{name}.key"))).expect("a key");
        let output = self.publish("sign", &key);
        assert!(output.status.success(), "{}", said(&output));
    }

    /// The sequence number that readers see; nothing if nothing is served.
    fn served(&self) -> Option<u64> {
        let text = fs::read_to_string(self.path("served/index.jsonl")).ok()?;
        let (_, document) = text.split_once('\n')?;
        serde_json::from_str::<serde_json::Value>(document).ok()?["sequence"].as_u64()
    }

    /// What is in the directory of the served one.
    fn directories(&self) -> usize {
        let names = fs::read_dir(self.0.path()).expect("listed").map(|entry| entry.expect("an entry").file_name());
        names.filter(|name| name.to_string_lossy().starts_with("served")).count()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn readers_see_an_index_once_enough_keys_have_signed_it() {
    let repository = Repository::new();
    repository.done("index");
    repository.sign("one");
    let refused = repository.publish("site served", b"");
    assert!(!refused.status.success() && said(&refused).contains("1 of the trusted keys have signed, 2 must"));
    assert_eq!((repository.served(), repository.directories()), (None, 0), "nothing is left of it");
    repository.sign("two");
    repository.done("site served");
    assert_eq!((repository.served(), repository.directories()), (Some(1), 2), "a link and what it leads to");

    // The next one follows, and takes the place of the one before in one step.
    fs::copy(repository.path("served/index.jsonl"), repository.path("out/previous.jsonl")).expect("copied");
    repository.done("index");
    for key in ["one", "two"] {
        repository.sign(key);
    }
    repository.done("site served");
    assert_eq!((repository.served(), repository.directories()), (Some(2), 2));
}

#[test]
fn a_changed_index_is_not_served() {
    let repository = Repository::new();
    repository.done("index");
    for key in ["one", "two"] {
        repository.sign(key);
    }
    let signed = fs::read_to_string(repository.path("out/index.jsonl")).expect("an index");
    fs::write(repository.path("out/index.jsonl"), signed.replace("initech", "initrode")).expect("written");
    assert!(!repository.publish("site served", b"").status.success());
    assert_eq!((repository.served(), repository.directories()), (None, 0));
    fs::write(repository.path("out/index.jsonl"), signed).expect("written");
    repository.done("site served");
    assert_eq!(repository.served(), Some(1));
}

#[test]
fn a_directory_that_cannot_be_switched_is_left_alone() {
    let repository = Repository::new();
    repository.done("index");
    for key in ["one", "two"] {
        repository.sign(key);
    }
    repository.write("served/mine", "");
    let refused = repository.publish("site served", b"");
    assert!(!refused.status.success() && said(&refused).contains("serve a link"), "{}", said(&refused));
    assert!(repository.path("served/mine").is_file());
    fs::remove_dir_all(repository.path("served")).expect("removed");
    repository.done("site served");
}

/// The last ones are what the others are without the fault: refused by what comes next.
#[test]
fn words_are_checked_before_anything_is_done() {
    let repository = Repository::new();
    for (line, expected) in [
        ("build ../notes/1.0.0", "is not NAME/VERSION"),
        ("build notes", "is not NAME/VERSION"),
        ("build notes/1.0.0;x", "is not NAME/VERSION"),
        ("build notes/1.0.1", "manifests/notes/1.0.1.yaml is missing"),
        ("build notes/1.0.0 notes/1.0.0", "build wants one word"),
        ("base ruby", "there is no base for ruby"),
        ("local served", "local wants a directory and keys"),
        ("publish", "there is no command publish"),
        ("build notes/1.0.0", "BINARIES: says where the static programs are"),
    ] {
        let refused = repository.publish(line, b"");
        assert!(!refused.status.success() && said(&refused).contains(expected), "{line}: {}", said(&refused));
    }
    assert!(!repository.path("out").exists());
    assert!(repository.publish("help", b"").status.success());
}
