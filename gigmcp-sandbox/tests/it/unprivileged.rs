//! The same without root.

use std::process::Command;

use crate::left_out::{THREADS, assert_passed_as_a_user, has_root};
use crate::probe::{Dir, PROBE_VARIABLE, copy_program, probe};

#[test]
fn everything_holds_when_the_host_process_is_not_root() {
    if !has_root("this run is that test") {
        return;
    }
    let dir = Dir::new("unprivileged");
    let binary = copy_program(&std::env::current_exe().unwrap(), dir.path().join("it"));
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&binary)
        .env(PROBE_VARIABLE, copy_program(probe(), dir.path().join("probe")))
        .env(THREADS.0, THREADS.1)
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_passed_as_a_user(&said);
}
