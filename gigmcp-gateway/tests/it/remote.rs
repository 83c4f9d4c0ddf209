//! The command line for a gateway elsewhere: the same answers as on its machine, and never anything here.

mod broken;
mod installs;
mod refused;
mod tls;
mod trail;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::gateway::{GATEWAY, Gateway, Installation};

const PASSWORD: &str = "Apollo 11 1202 alarm";
const SCOPES: &str = "servers:read,servers:write,profiles:read,profiles:write,credentials:read,credentials:write,\
                      users:read,users:write,audit:read,system:read";

/// A gateway that listens, and somebody elsewhere with a key.
struct World {
    installation: Installation,
    _gateway: Gateway,
    address: String,
    elsewhere: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let installation = Installation::new();
        let add = ["server", "add", "notes", "--secret", "API_KEY=api.example.com", "--", "true"];
        installation.json(&add, "");
        installation.profile("work", &["notes"]);
        Self::of(installation, &[])
    }

    /// A gateway with these settings, and an administrator.
    fn of(installation: Installation, settings: &[(&str, String)]) -> Self {
        let code = installation.json(&["user", "setup"], "")["code"].as_str().unwrap().to_owned();
        installation.json(&["user", "accept", "--email", "root@example.com"], &format!("{code}\n{PASSWORD}\n"));
        let (gateway, address) = serve(&installation, settings);
        Self { installation, _gateway: gateway, address, elsewhere: tempfile::tempdir().unwrap() }
    }

    /// The same after its gateway was stopped and started with these settings.
    fn restarted(self, settings: &[(&str, String)]) -> Self {
        let Self { installation, _gateway: gateway, elsewhere, .. } = self;
        drop(gateway);
        let (gateway, address) = serve(&installation, settings);
        Self { installation, _gateway: gateway, address, elsewhere }
    }

    /// A new key with these scopes, in a file.
    fn key(&self, name: &str, scopes: &str) -> PathBuf {
        let made = self.installation.json(&["api-key", "create", name, "--scopes", scopes], "");
        let path = self.elsewhere.path().join(name);
        fs::write(&path, format!("{}\n", made["key"].as_str().unwrap())).unwrap();
        path
    }

    /// The same as the README says it.
    fn key_by_redirection(&self, name: &str, scopes: &str) -> PathBuf {
        let output = self.installation.run(&["api-key", "create", name, "--scopes", scopes], "");
        let path = self.elsewhere.path().join(name);
        fs::write(&path, output.stdout).unwrap();
        path
    }

    /// A machine on which there is nothing of the gateway's.
    fn command(&self) -> Command {
        let mut command = Command::new(GATEWAY);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIG_")) {
            command.env_remove(name);
        }
        command.current_dir(self.elsewhere.path()).env("GIG_DATA_DIR", self.here());
        command
    }

    fn here(&self) -> PathBuf {
        self.elsewhere.path().join("data")
    }

    fn ask(&self, url: &str, key: &PathBuf, words: &[&str], input: &str) -> Output {
        let mut command = self.command();
        command.args(["--url", url, "--api-key-file"]).arg(key).args(words);
        run(&mut command, input)
    }

    /// Asks over plain HTTP on this machine; nothing is made here, whatever comes of it.
    fn remotely(&self, key: &PathBuf, words: &[&str], input: &str) -> Output {
        let output = self.ask(&format!("http://{}", self.address), key, words, input);
        assert!(!self.here().exists(), "{words:?} did something here");
        let secret = fs::read_to_string(key).unwrap();
        for bytes in [&output.stdout, &output.stderr] {
            assert!(!crate::search::holds(bytes, secret.trim()), "{words:?} shows the key");
        }
        output
    }

    fn json(&self, key: &PathBuf, words: &[&str], input: &str) -> Value {
        let output = self.remotely(key, &[&["--json"], words].concat(), input);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn text(&self, key: &PathBuf, words: &[&str]) -> String {
        let output = self.remotely(key, words, "");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What is said to whom is refused.
    fn refused(&self, key: &PathBuf, words: &[&str]) -> Value {
        let output = self.remotely(key, &[&["--json"], words].concat(), "some-input-of-some-length\n");
        assert!(!output.status.success(), "{words:?} was done: {}", String::from_utf8_lossy(&output.stdout));
        serde_json::from_slice(&output.stderr).unwrap()
    }
}

/// Starts a gateway, and gives where it listens.
fn serve(installation: &Installation, settings: &[(&str, String)]) -> (Gateway, String) {
    let mut command = installation.command();
    command.env("GIG_LISTEN", "127.0.0.1:0").envs(settings.iter().map(|(name, value)| (name, value)));
    let gateway = Gateway::start(command.arg("serve"));
    let log = gateway.log();
    let listening = log.split("listening on ").nth(1).unwrap().split_whitespace().next().unwrap();
    let address = listening.split_once("://").unwrap().1.to_owned();
    (gateway, address)
}

fn run(command: &mut Command, input: &str) -> Output {
    use std::io::Write;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Whoever is refused reads nothing.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

#[test]
fn a_list_is_the_same_as_on_the_machine_of_the_gateway() {
    let world = World::new();
    let key = world.key_by_redirection("all", SCOPES);
    world.installation.json(&["secret", "set", "notes", "API_KEY"], "a-value-of-some-length");
    world.installation.json(&["user", "invite", "ann@example.com"], "");
    for words in [
        &["server", "list"][..],
        &["server", "instances"],
        &["profile", "list"],
        &["profile", "set", "work"],
        &["token", "list", "work"],
        &["user", "list"],
        &["user", "invitations"],
        &["user", "sessions", "root@example.com"],
        &["user", "identities", "root@example.com"],
        &["secret", "list"],
        &["pin", "list"],
        &["pin", "diff", "notes"],
        &["key", "check"],
        &["images", "gc"],
    ] {
        assert_eq!(world.json(&key, words, ""), world.installation.json(words, ""), "{words:?}");
        let there = String::from_utf8(world.installation.run(words, "").stdout).unwrap();
        assert_eq!(world.text(&key, words), there, "{words:?}");
    }
    // The report was made at another moment, and the list of keys by the key that it lists.
    assert_eq!(world.json(&key, &["doctor"], ""), world.installation.json(&["doctor"], ""));
    assert_eq!(world.json(&key, &["api-key", "list"], "")[0]["name"], "all");
    let rows = world.json(&key, &["audit", "--limit", "3"], "");
    let ids: Vec<i64> = rows.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect();
    assert!(ids.len() == 3 && ids.is_sorted(), "the oldest first: {ids:?}");
    let verified = world.json(&key, &["audit", "verify"], "");
    assert_eq!(verified["keys"], world.installation.json(&["audit", "verify"], "")["keys"]);
    let exported = world.text(&key, &["audit", "export"]);
    let file = world.elsewhere.path().join("trail");
    fs::write(&file, exported).unwrap();
    let checked = run(world.command().args(["audit", "verify", "--file"]).arg(&file), "");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn changes_are_made_at_the_gateway() {
    let world = World::new();
    let key = world.key("all", SCOPES);
    let there = |words: &[&str]| world.installation.json(words, "");
    assert_eq!(world.json(&key, &["secret", "set", "notes", "API_KEY"], "a-value-of-some-length\n")["version"], 1);
    assert_eq!(there(&["secret", "list"])[0]["host"], "api.example.com");
    world.json(&key, &["secret", "delete", "notes", "API_KEY"], "");
    assert_eq!(there(&["secret", "list"]), json!([]));

    let said = world.json(&key, &["profile", "set", "work", "max_servers=3", "client_name=tools"], "");
    assert_eq!((&said["max_servers"], &said["client_name"]), (&json!(3), &json!("tools")));
    let said = world.json(&key, &["profile", "set", "work", "--server", "notes", "disabled_tools=a,b"], "");
    assert_eq!(said["servers"]["notes"]["disabled_tools"], json!(["a", "b"]));
    assert_eq!(world.json(&key, &["profile", "set", "work", "max_servers="], "")["max_servers"], Value::Null);
    assert_eq!(there(&["profile", "set", "work"])["client_name"], "tools");
    world.json(&key, &["profile", "remove", "work", "notes"], "");
    assert_eq!(there(&["profile", "list"])[0]["servers"], json!([]));
    let refused = world.refused(&key, &["profile", "add", "work", "notes"]);
    assert_eq!(refused["code"], "forbidden", "a person agrees to what a server may do, and no key");
    there(&["profile", "add", "work", "notes"]);
    assert_eq!(there(&["profile", "list"])[0]["servers"], json!(["notes"]));
    there(&["token", "create", "work", "phone"]);
    world.json(&key, &["token", "revoke", "work", "phone"], "");
    assert_eq!(there(&["token", "list", "work"]).as_array().unwrap().len(), 1);

    let code = world.json(&key, &["user", "invite", "ann@example.com"], "");
    let code = format!("{}\n{PASSWORD}\n", code["code"].as_str().unwrap());
    let accepted = world.json(&key, &["user", "accept"], &code);
    assert_eq!((&accepted["email"], &accepted["role"]), (&json!("ann@example.com"), &json!("user")));
    world.json(&key, &["user", "role", "Ann@example.com", "user"], "");
    world.json(&key, &["user", "disable", "ann@example.com"], "");
    let ann = |what: &str| {
        let users = there(&["user", "list"]);
        let ann = users.as_array().unwrap().iter().find(|user| user["email"] == "ann@example.com").cloned();
        ann.map(|ann| ann[what].clone())
    };
    assert_eq!((ann("role"), ann("can_sign_in")), (Some(json!("user")), Some(json!(false))));
    world.json(&key, &["user", "enable", "ann@example.com"], "");
    assert_eq!(ann("disabled_at"), Some(Value::Null));
    assert!(world.refused(&key, &["user", "delete", "ann@example.com"])["error"].as_str().unwrap().contains("--yes"));
    world.json(&key, &["user", "delete", "ann@example.com", "--yes"], "");
    assert_eq!(ann("role"), None);
    world.json(&key, &["user", "invite", "bob@example.com"], "");
    world.json(&key, &["user", "uninvite", "bob@example.com"], "");
    assert_eq!(there(&["user", "invitations"]), json!([]));

    world.json(&key, &["registry", "login", "ghcr.io", "--username", "me"], "a-token-of-some-length\n");
    world.json(&key, &["registry", "logout", "ghcr.io"], "");
    world.json(&key, &["profile", "delete", "work"], "");
    world.json(&key, &["server", "remove", "notes"], "");
    assert_eq!((there(&["server", "list"]), there(&["profile", "list"])), (json!([]), json!([])));
}
