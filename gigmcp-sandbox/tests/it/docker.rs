//! The same in a container that has no capabilities, and what is said where the container is wrong.
//!
//! Each engine is this test's own. As root only: whoever may start an engine is root anyway.

mod engine;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use self::engine::{Container, Engine, profile};
use crate::hosts::{ROLE, SAYS_HOW_A_START_WENT, said_inside};
use crate::left_out::{assert_passed_as_a_user, has_root};
use crate::probe::Dir;

/// What the probe tries as the container's program: allowed without a profile, refused with ours.
const REFUSED: &[(&str, &[&str])] = &[
    ("nf_tables, of which root of a user namespace has one", &["socket", "16", "3", "12"]),
    ("xfrm", &["socket", "16", "3", "6"]),
    ("AF_VSOCK", &["socket", "40", "1", "0"]),
    ("netlink, by the high half of its number", &["socket", "0x100000010", "3", "12"]),
    ("unsharing what is no namespace", &["unshare", "0x400"]),
    ("the keyring of whoever started it", &["syscall", "250", "0", "-3"]),
    ("32-bit calls", &["int80"]),
];

/// Calls that the shipped profile allows and Docker's own does not.
const ADDED: &[&str] = &["keyctl", "mount", "mount_setattr", "pivot_root", "sethostname", "umount2", "unshare"];

fn start(container: &Container, engine: &Engine) -> String {
    let mut container = container.clone();
    container.options.push(format!("--env={ROLE}=start"));
    said_inside(container.tests(engine, &["--exact", SAYS_HOW_A_START_WENT, "--nocapture"]))
}

#[test]
fn everything_holds_in_a_container_without_capabilities() {
    if !has_root("this run may be that test") {
        return;
    }
    assert_passed_as_a_user(&Container::restricted().tests(&Engine::start(), &[]));
}

#[test]
fn everything_holds_in_a_container_with_users_of_its_own() {
    if !has_root("whoever may start an engine is root anyway") {
        return;
    }
    let engine = Engine::with_users(200_000);
    let container = Container::restricted();
    assert_eq!(container.probe(&engine, &["read", "/proc/self/uid_map"]), "allowed          0     200000      65536");
    assert_passed_as_a_user(&container.tests(&engine, &[]));
}

#[test]
fn a_container_that_is_too_strict_is_told_of_with_the_fix() {
    if !has_root("whoever may start an engine is root anyway") {
        return;
    }
    let engine = Engine::start();
    let good = Container::restricted();
    assert_eq!(start(&good, &engine), "started", "the twin");
    let as_root = |more: &[&str]| {
        let mut container = good.clone();
        container
            .options
            .extend(["--user=0", "--env=HOME=/"].into_iter().chain(more.iter().copied()).map(str::to_owned));
        container
    };
    for (case, container, expected) in [
        ("Docker's own profile", Container { seccomp: None, ..good.clone() }, "Keyring 1; a seccomp filter"),
        ("covered /proc", Container { system_paths: None, ..good.clone() }, "Proc 1; /proc is covered"),
        (
            "root that may become another user",
            as_root(&["--cap-add=CHOWN", "--cap-add=SETGID", "--cap-add=SETUID"]),
            "started",
        ),
        ("root without rights", as_root(&[]), "DropUser 1; run the host process as another user"),
    ] {
        let found = start(&container, &engine);
        assert!(found.starts_with(expected), "{case}: {found}");
    }
}

#[test]
fn each_call_that_the_profile_adds_is_needed() {
    if !has_root("whoever may start an engine is root anyway") {
        return;
    }
    let engine = Engine::start();
    let dir = Dir::new("profiles");
    for name in ADDED {
        let mut less: Value = serde_json::from_str(&fs::read_to_string(profile()).unwrap()).unwrap();
        let rules = less["syscalls"].as_array_mut().unwrap();
        let before = rules.len();
        rules.retain(|rule| rule["names"] != serde_json::json!([name]));
        assert_eq!(rules.len(), before - 1, "{name}");
        let path = dir.path().join(name);
        fs::write(&path, less.to_string()).unwrap();
        let found = start(&Container { seccomp: Some(path), ..Container::restricted() }, &engine);
        assert_ne!(found, "started", "{name}");
    }
}

#[test]
fn the_profile_refuses_what_a_sandbox_needs_nothing_of() {
    if !has_root("whoever may start an engine is root anyway") {
        return;
    }
    let engine = Engine::start();
    let good = Container::restricted();
    let unconfined = Container { seccomp: Some("unconfined".into()), ..good.clone() };
    for (case, attempt) in REFUSED {
        let control = unconfined.probe(&engine, attempt);
        assert!(control.starts_with("allowed"), "{case} is void: {control}");
        let found = good.probe(&engine, attempt);
        let refused = found == "refused 1" || found.starts_with("exit status: 159"); // killed by SIGSYS
        assert!(refused, "{case}: {found}");
    }
    for attempt in [&["socket", "16", "3", "0"][..], &["socket", "10", "1", "0"], &["socket", "1", "1", "0"]] {
        assert_eq!(good.probe(&engine, attempt), "allowed", "the twin: {attempt:?}");
    }
}

/// The rules by which a profile allows calls to a container without capabilities on this machine.
fn allowing(profile: &Value) -> Vec<(&str, &Value)> {
    let rules = profile["syscalls"].as_array().unwrap().iter();
    let applies = |rule: &&Value| {
        let names =
            |key: &str| rule["includes"][key].as_array().map(|names| names.iter().map(|name| name.as_str().unwrap()));
        let here = names("arches").is_none_or(|mut names| names.any(|name| matches!(name, "amd64" | "arm64")));
        rule["action"] == "SCMP_ACT_ALLOW" && names("caps").is_none() && here
    };
    rules
        .filter(applies)
        .flat_map(|rule| rule["names"].as_array().unwrap().iter().map(|name| (name.as_str().unwrap(), &rule["args"])))
        .collect()
}

#[test]
fn the_profile_is_dockers_own_with_these_calls_added() {
    if !has_root("in a container there is no repository") {
        return;
    }
    let deploy = profile().parent().unwrap().to_owned();
    let made = Command::new(deploy.join("make-seccomp")).arg("--check").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let parse =
        |name: &str| -> Value { serde_json::from_str(&fs::read_to_string(deploy.join(name)).unwrap()).unwrap() };
    let (ours, dockers) = (parse("seccomp.json"), parse("moby-default.json"));
    assert_eq!(ours["defaultAction"], "SCMP_ACT_ERRNO");
    let (ours, dockers) = (allowing(&ours), allowing(&dockers));
    let only_in = |one: &[(&str, &Value)], other: &[(&str, &Value)]| {
        let only = one.iter().filter(|rule| !other.contains(rule));
        only.map(|(name, _)| (*name).to_owned()).collect::<BTreeSet<_>>()
    };
    let added = ADDED.iter().chain(&["socket"]).map(|name| (*name).to_owned()).collect();
    assert_eq!(only_in(&ours, &dockers), added);
    assert_eq!(only_in(&dockers, &ours), ["socket".to_owned()].into(), "narrower in ours");
}
