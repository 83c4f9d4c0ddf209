//! However a sandbox ends, nothing of it is left. In a program of its own, because what the machine
//! holds is counted, and other tests' sandboxes would be counted too.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

#[path = "../attacks/compile.rs"]
mod compile;
mod machine;
mod matrix;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../it/probe.rs"]
mod probe;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../it/processes.rs"]
mod processes;
mod storm;
mod traces;

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::probe::{Dir, PROBE_VARIABLE, copy_program, probe};

/// One test at a time: each counts.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn nothing_is_left_when_the_host_process_is_not_root_either() {
    if !rustix::process::geteuid().is_root() {
        return; // this run is that test
    }
    let _alone = alone();
    let dir = Dir::new("endings");
    let binary = copy_program(&std::env::current_exe().unwrap(), dir.path().join("endings"));
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&binary)
        .env(PROBE_VARIABLE, copy_program(probe(), dir.path().join("probe")))
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(" 0 ignored; 0 measured; 0 filtered out"), "{said}");
}
