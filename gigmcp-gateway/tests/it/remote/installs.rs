//! Installing from elsewhere: what would be is shown, exactly that is agreed to, and it is gone back from.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Output};

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use serde_json::{Value, json};

use super::{SCOPES, World, run, tls::authority};
use crate::{
    gateway::{Installation, catalog},
    install::{fetch, image},
    registry::Registry,
};

/// A gateway that speaks TLS itself, and somebody who knows its authority.
struct Secured {
    world: World,
    settings: Vec<(&'static str, String)>,
    authority: PathBuf,
    key: PathBuf,
}

impl Secured {
    fn new(registry: &[(&'static str, String)]) -> Self {
        let installation = Installation::new();
        fs::create_dir_all(installation.data()).unwrap();
        fs::set_permissions(installation.data(), fs::Permissions::from_mode(0o700)).unwrap();
        let issuer = authority();
        let (certificate, key) = files(&installation, &issuer);
        let tls = [
            ("GIG_TLS_CERT_FILE", certificate.display().to_string()),
            ("GIG_TLS_KEY_FILE", key.display().to_string()),
            ("GIG_PUBLIC_URL", "https://localhost".to_owned()),
        ];
        let settings = [registry, &tls].concat();
        let world = World::of(installation, &settings);
        let path = world.elsewhere.path().join("authority");
        fs::write(&path, issuer.pem()).unwrap();
        let key = world.key("all", SCOPES);
        Self { world, settings, authority: path, key }
    }

    /// A gateway looks at the index once a minute, and when it starts.
    fn restarted(self) -> Self {
        Self { world: self.world.restarted(&self.settings), ..self }
    }

    fn run(&self, words: &[&str]) -> Output {
        let port = self.world.address.rsplit_once(':').unwrap().1;
        let url = format!("https://localhost:{port}");
        let mut command = self.world.command();
        command.args(["--url", &url, "--api-key-file"]).arg(&self.key).arg("--ca-file").arg(&self.authority);
        let output = run(command.args(words), "");
        assert!(!self.world.here().exists(), "{words:?} did something here");
        output
    }

    fn json(&self, words: &[&str]) -> Value {
        let output = self.run(&[&["--json"], words].concat());
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// All that was said to what must be refused.
    fn refused(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(!output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr)
    }

    fn accept(&self, server: &str) -> String {
        self.json(&["catalog", "show", server])["entitlements"]["accept"].as_str().unwrap().to_owned()
    }

    fn servers(&self) -> usize {
        self.json(&["server", "list"]).as_array().unwrap().len()
    }
}

/// A certificate and its key where the gateway reads them.
fn files(installation: &Installation, issuer: &CertifiedIssuer<'_, KeyPair>) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, issuer).unwrap();
    let [certificate_path, key_path] = ["tls.crt", "tls.key"].map(|name| installation.data().join(name));
    fs::write(&certificate_path, certificate.pem()).unwrap();
    fs::write(&key_path, key.serialize_pem()).unwrap();
    fs::set_permissions(&key_path, fs::Permissions::from_mode(0o600)).unwrap();
    (certificate_path, key_path)
}

#[test]
fn a_server_is_installed_upgraded_and_rolled_back_from_elsewhere_over_tls() {
    let mut registry = Registry::new(9);
    let (first, second) = (image("gigmcp-demo-fetch", &[]), image("gigmcp-demo-fetch", &[("/app/new", b"1")]));
    for image in [&first, &second] {
        image.write(&registry.layouts());
    }
    let old = fetch("1.0.0", &first, &["api.example.com"]);
    registry.publish(&[&old]);
    let there = Secured::new(&registry.settings());
    assert_eq!(there.json(&["catalog", "list"])[0]["name"], "fetch");

    let said = there.refused(&["server", "install", "fetch"]);
    for expected in ["api.example.com, any request", "nobody agreed", &there.accept("fetch")] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let other = format!("sha256:{}", "0".repeat(64));
    let said = there.refused(&["server", "install", "fetch", "--accept", &other]);
    assert!(said.contains("unacceptable") || said.contains("conflict"), "another manifest: {said}");
    assert_eq!(there.servers(), 0);
    let installed = there.json(&["server", "install", "fetch", "--accept", &there.accept("fetch")]); // twin
    assert_eq!((&installed["version"], &installed["changed"]), (&json!("1.0.0"), &json!(true)));
    assert_eq!(installed["secrets_to_set"], json!(["api-key"]));
    let again = there.json(&["server", "install", "fetch"]);
    assert_eq!(again["changed"], json!(false), "what was agreed to is not asked again");

    let new = fetch("1.1.0", &second, &["api.example.com", "other.example.com"]);
    registry.publish(&[&old, &new]);
    let there = there.restarted();
    let diff = there.json(&["server", "diff", "fetch"]);
    let paths: Vec<_> =
        diff["changes"].as_array().unwrap().iter().map(|change| change["path"].as_str().unwrap()).collect();
    assert!(paths.contains(&"entitlements.egress[other.example.com]"), "{paths:?}");
    let said = there.refused(&["server", "upgrade", "fetch"]);
    assert!(said.contains("+ entitlements.egress[other.example.com]") && said.contains("nobody agreed"), "{said}");
    let upgraded = there.json(&["server", "upgrade", "fetch", "--accept", diff["accept"].as_str().unwrap()]);
    assert_eq!(upgraded["version"], "1.1.0");
    assert_eq!(there.json(&["server", "rollback", "fetch"])["version"], "1.0.0");
    let said = there.refused(&["server", "rollback", "fetch"]);
    assert!(said.contains("nothing that fetch could go back to") || said.contains("conflict"), "{said}");
    there.json(&["server", "remove", "fetch"]);
    assert_eq!(there.servers(), 0);
    let rows = there.json(&["audit", "--limit", "100"]);
    let kinds = |kind: &str| rows.as_array().unwrap().iter().filter(|row| row["kind"] == kind).count();
    assert_eq!((kinds("consent"), kinds("rollback"), kinds("removal")), (2, 1, 1));
}

#[test]
fn what_dev_publishes_is_installed_from_elsewhere() {
    let catalog = catalog();
    let path = |below: &str| catalog.join(below).display().to_string();
    let settings = [
        ("GIG_REGISTRY_URL", path("site")),
        ("GIG_REGISTRY_ROOT", path("root/1.jsonl")),
        ("GIG_IMAGE_LAYOUTS", path("images")),
    ];
    let there = Secured::new(&settings);
    let said = there.refused(&["server", "install", "github"]);
    assert!(said.contains("nobody agreed") && said.contains("api.github.com"), "{said}");
    let installed = there.json(&["server", "install", "github", "--accept", &there.accept("github")]);
    assert_eq!((&installed["entitlements"]["tier"], there.servers()), (&json!("sealed"), 1));
    let yes = there.refused(&["server", "install", "github", "--yes"]);
    assert!(yes.contains("--yes agrees to whatever comes"), "{yes}");
}
