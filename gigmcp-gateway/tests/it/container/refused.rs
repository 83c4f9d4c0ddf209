//! What is missing or wrong is told, and with what is right it starts.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::{
    engine::{Engine, refused, said},
    installation::Installation,
    origin::Origin,
    registry,
};

#[test]
fn what_is_missing_or_wrong_is_told_with_what_to_do() {
    let (_origin, internet) = Origin::start();
    let (engine, registry) = (Engine::start(&internet), registry());
    let installation = Installation::new(&engine);
    let found = refused(&mut installation.compose(&["up", "--detach"]));
    assert!(found.contains("GIG_PUBLIC_URL") && found.contains("say where browsers reach the gateway"), "{found}");

    installation.configure(&internet, &registry);
    let found = refused(&mut installation.compose(&["up", "--detach"]));
    assert!(found.contains("secrets/master.key"), "the key was not made: {found}");
    installation.make_key();
    installation.up(); // twin of both
    said(&mut installation.compose(&["down", "--volumes"]));

    let key = installation.deploy().join("secrets/master.key");
    let mode = |mode: u32| fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
    let ended = |variable: &str| {
        let run = ["run", "--rm", "--no-TTY", "--env", variable, "gateway"];
        refused(&mut installation.compose(&run))
    };
    mode(0o644);
    let found = ended("GIG_LOG=info");
    assert!(found.contains("/run/secrets/master-key") && found.contains("chmod"), "{found}");
    mode(0o600);
    for (variable, expected) in [
        ("GIG_PUBLIC_URL=http://gig.example.com", "https://HOST"),
        ("GIG_PUBLIC_ULR=https://gig.example.com", "did you mean GIG_PUBLIC_URL?"),
        ("GIG_DATA_DIR=/usr/data", "Read-only file system"),
        ("GIG_DATABASE_URL_FILE=/run/secrets/database", "/run/secrets/database"),
    ] {
        let found = ended(variable);
        assert!(found.contains(expected), "{variable}: {found}");
    }
    installation.up(); // twin of all
}

#[test]
fn a_container_that_is_too_strict_is_told_of_when_it_starts() {
    let (_origin, internet) = Origin::start();
    let (engine, registry) = (Engine::start(&internet), registry());
    let installation = Installation::new(&engine);
    installation.make_key();
    installation.configure(&internet, &registry);
    let without = |option: &str| {
        let whole = fs::read_to_string(installation.deploy().join("docker-compose.yml")).unwrap();
        let less = whole.lines().filter(|line| !line.contains(option)).collect::<Vec<_>>();
        assert_eq!(less.len(), whole.lines().count() - 1, "{option}");
        fs::write(installation.deploy().join("less.yml"), less.join("\n")).unwrap();
        let files = ["--file", "less.yml", "--file", "docker-compose.override.yml"];
        refused(&mut installation.compose(&[&files[..], &["run", "--rm", "--no-TTY", "gateway"]].concat()))
    };
    for (option, expected) in
        [("- seccomp=", "deploy/docker/seccomp.json"), ("- systempaths=", "/proc is covered or read-only in part")]
    {
        let found = without(option);
        assert!(found.contains(expected), "{option} {found}");
    }
    installation.up(); // twin
}

#[test]
fn a_gateway_that_does_not_answer_is_not_healthy() {
    let (_origin, internet) = Origin::start();
    let (engine, registry) = (Engine::start(&internet), registry());
    let installation = Installation::new(&engine);
    let found = refused(&mut engine.docker(["run", "--rm", "gigmcp-gateway", "health"]));
    assert!(found.contains("nothing answers at 127.0.0.1:8080"), "{found}");
    installation.make_key();
    installation.configure(&internet, &registry);
    installation.up();
    assert_eq!(installation.json(&["health"], "")["ready"], true, "twin");
    let gateway = engine.inside()[0];
    signal(gateway, rustix::process::Signal::STOP);
    let found = installation.run(&["health"], "");
    signal(gateway, rustix::process::Signal::CONT);
    let error = String::from_utf8_lossy(&found.stderr);
    assert!(!found.status.success() && error.contains("did not answer within"), "{error}");
    assert!(Path::new("/proc").join(gateway.to_string()).exists());
    assert_eq!(installation.json(&["health"], "")["ready"], true);
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn compose_reads_the_file_for_development() {
    let (_origin, internet) = Origin::start();
    let engine = Engine::start(&internet);
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let mut compose = engine.compose(&repository);
    let found = said(compose.args(["--file", "docker-compose.dev.yml", "config", "--format", "json"]));
    let document: serde_json::Value = serde_json::from_str(&found).unwrap();
    let services: Vec<_> = document["services"].as_object().unwrap().keys().collect();
    assert_eq!(services, ["database", "zitadel"]);
    for (name, service) in document["services"].as_object().unwrap() {
        for port in service["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name}, whose password everybody knows");
        }
    }
}
