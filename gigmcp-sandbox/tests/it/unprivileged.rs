//! The same without root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::probe::{Dir, PROBE_VARIABLE, probe};

#[test]
fn everything_holds_when_the_host_process_is_not_root() {
    if !rustix::process::geteuid().is_root() {
        return; // this run is that test
    }
    let dir = Dir::new("unprivileged");
    let copied = |name: &str, from: &Path| {
        let to = dir.path().join(name);
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
        to
    };
    let binary = copied("it", &std::env::current_exe().unwrap());
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&binary)
        .env(PROBE_VARIABLE, copied("probe", probe()))
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(" 0 ignored; 0 measured; 0 filtered out"), "{said}");
}
