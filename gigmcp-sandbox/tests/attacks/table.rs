//! The table of attacks, tried.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::modes;
use super::report::Table;
use super::run::{Verdicts, cases, inside, outside, sweep, verdicts};
use super::scene::{PROGRAM_VARIABLE, Scene, copy_program, red_team};

/// Names the key to a test binary that is run again with one in its session.
const KEY: &str = "GIGMCP_TEST_KEY";
/// Asks the one that is run again to be an unprivileged embedder, and only to tell.
const TELL: &str = "GIGMCP_TEST_TELL";
const TEST: &str = "attacks::table::every_attack_that_works_outside_is_stopped_inside";

/// What is tried whole; see `tests/redteam/sweeps.rs`.
const CLASSES: [&str; 11] = [
    "calls",
    "families",
    "protocols",
    "levels",
    "options",
    "ioctls",
    "prctls",
    "fcntls",
    "advices",
    "unshares",
    "personalities",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attack_that_works_outside_is_stopped_inside() {
    let Some(key) = std::env::var_os(KEY) else { return run_in_a_session() };
    let scene = Scene::new(key.to_str().unwrap());
    let cases = cases();
    let base = modes::base(&scene);
    let whole = inside(&scene, &cases, &base).await;
    if std::env::var_os(TELL).is_some() {
        return whole.iter().for_each(|(title, verdict)| println!("{title}\t{}", verdict.told()));
    }
    let mut table = Table::new(cases.clone(), whole);
    for mode in modes::elsewhere(&scene) {
        table.elsewhere.push((mode.name, inside(&scene, &cases, &mode).await));
    }
    for class in CLASSES {
        table.classes.push((class, sweep(&base, class).await));
    }
    if rustix::process::geteuid().is_root() {
        table.outside = outside(&scene, &cases);
        table.elsewhere.push(("started by another than root", as_somebody_else(&key.to_string_lossy())));
        for mode in modes::without(&scene) {
            table.without.push((mode.name, inside(&scene, &cases, &mode).await));
        }
    }
    drop(scene);
    table.check();
}

/// Runs this test again in a login session with a key, as an embedder may be.
fn run_in_a_session() {
    let key = format!("gigmcp-attacks-{}", std::process::id());
    let status = Command::new(red_team())
        .args(["session", &key])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(KEY, &key)
        .status()
        .unwrap();
    assert!(status.success());
}

/// What comes of the cases if this test runs as an unprivileged user.
fn as_somebody_else(key: &str) -> Verdicts {
    let dir = std::env::temp_dir().join(format!("gigmcp-somebody-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    let copied = |name: &str, from: &Path| {
        copy_program(from, &dir.join(name), "755");
        dir.join(name)
    };
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let (tests, program) = (copied("tests", &std::env::current_exe().unwrap()), copied("redteam", red_team()));
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(tests)
        .args(["--exact", TEST, "--nocapture"])
        .envs([(KEY, key), (TELL, "verdicts")])
        .env(PROGRAM_VARIABLE, program)
        .current_dir("/")
        .output()
        .unwrap();
    fs::remove_dir_all(dir).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    verdicts(&said)
}
