//! What is in the image, and what is not.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    engine::{Engine, said},
    installation::Installation,
    origin::Origin,
};

/// Regular files that are neither of the following, by their whole path.
const FILES: [&str; 6] = [
    "usr/bin/gigmcp-gateway",
    "etc/group",
    "etc/nsswitch.conf",
    "etc/passwd",
    "etc/ssl/certs/ca-certificates.crt",
    "usr/lib/os-release",
];
/// What tells of packages and their terms.
const TOLD: [&str; 2] = ["usr/share/doc/", "var/lib/dpkg/status.d/"];
/// Docker's own, in each container.
const DOCKERS: [&str; 5] = [".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"];
const LIBRARIES: [&str; 5] = ["libc.so.6", "libgcc_s.so.1", "libm.so.6", "libseccomp.so.2", "ld-linux"];

#[test]
fn the_image_has_the_gateway_and_what_it_is_linked_to() {
    let (_origin, internet) = Origin::start();
    let engine = Engine::start(&internet);
    let _installation = Installation::new(&engine);
    let image = described(&engine, "gigmcp-gateway");
    let config = &image["Config"];
    assert_eq!((&config["User"], &config["StopSignal"]), (&json!("1000:1000"), &json!("SIGTERM")));
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "gigmcp-gateway", "health"]));
    assert_eq!((&config["Entrypoint"], &config["Cmd"]), (&json!(["gigmcp-gateway"]), &json!(["serve"])));
    assert_eq!(config["Labels"]["org.opencontainers.image.version"], "1.2.3");
    assert_eq!(
        said(&mut engine.docker(["run", "--rm", "gigmcp-gateway", "--version"])).split(' ').next(),
        Some("gigmcp-gateway")
    );

    said(&mut engine.docker(["create", "--name=looked-at", "gigmcp-gateway"]));
    let list = ["export", "looked-at"];
    let mut export = engine.docker(list).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let listed = std::process::Command::new("tar")
        .args(["--list", "--verbose", "--numeric-owner"])
        .stdin(export.stdout.take().unwrap())
        .output()
        .unwrap();
    assert!(export.wait().unwrap().success() && listed.status.success());
    let listed = String::from_utf8(listed.stdout).unwrap();
    let mut unexpected = BTreeSet::new();
    for line in listed.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (mode, owner, path) = (fields[0], fields[1], fields[5]);
        assert!(!mode.contains('s') && !mode.contains('S'), "who runs it becomes another: {line}");
        let is_data = path == "data/";
        assert_eq!((owner == "1000/1000", owner == "0/0"), (is_data, !is_data), "{line}");
        assert!(mode.as_bytes()[8] != b'w' || path == "tmp/" || mode.starts_with('l'), "anybody may write: {line}");
        let told = TOLD.iter().any(|place| path.starts_with(place));
        let library = LIBRARIES.iter().any(|name| path.rsplit('/').next().unwrap().starts_with(name));
        if mode.starts_with('-') && !told && !library && !FILES.contains(&path) && !DOCKERS.contains(&path) {
            unexpected.insert(path.to_owned());
        }
    }
    assert_eq!(unexpected, BTreeSet::new(), "no shell, no package manager, no compiler, nothing");
    for path in FILES {
        assert!(listed.lines().any(|line| line.ends_with(&format!(" {path}"))), "{path} is void: {listed}"); // twin
    }
    println!("the image has {} bytes", image["Size"]);
}

#[test]
fn the_same_files_make_the_same_image() {
    let (_origin, internet) = Origin::start();
    let engine = Engine::start(&internet);
    let installation = Installation::new(&engine);
    let made = |name: &str| {
        said(installation.build(name).arg("--no-cache"));
        described(&engine, name)["RootFS"]["Layers"].take()
    };
    let first = made("first");
    assert_eq!(made("second"), first);
    let build = json!({"services": {"gateway": {"image": "third", "build": {
        "network": "none", "args": {"PROGRAM": "given", "DEBIAN": "debian-of-the-tests", "VERSION": "1.2.3"},
    }}}});
    std::fs::write(installation.deploy().join("docker-compose.override.yml"), build.to_string()).unwrap();
    std::fs::write(installation.deploy().join(".env"), "GIG_PUBLIC_URL=http://localhost:8080").unwrap();
    said(&mut installation.compose(&["build"]));
    assert_eq!(described(&engine, "third")["RootFS"]["Layers"], first, "by Compose");
    let license = installation.deploy().join("../LICENSE-MIT");
    let mut other = std::fs::read_to_string(&license).unwrap();
    other.push('.');
    std::fs::write(&license, other).unwrap();
    assert_ne!(made("fourth"), first, "twin");
}

fn described(engine: &Engine, image: &str) -> Value {
    let told = said(&mut engine.docker(["image", "inspect", image]));
    serde_json::from_str::<Value>(&told).unwrap()[0].take()
}
