//! The same without root.

use std::process::Command;

use crate::probe::{Dir, PROBE_VARIABLE, copy_program, probe};

#[test]
fn everything_holds_when_the_host_process_is_not_root() {
    if !rustix::process::geteuid().is_root() {
        return; // this run is that test
    }
    let dir = Dir::new("unprivileged");
    let binary = copy_program(&std::env::current_exe().unwrap(), dir.path().join("it"));
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
