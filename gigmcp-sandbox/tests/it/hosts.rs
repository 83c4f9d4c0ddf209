//! Hosts that withhold something: what is said, and that it is the cause.

use std::fs::File;
use std::process::Command;

use gigmcp_sandbox::SpawnError;

use crate::left_out::has_root;
use crate::probe::{Dir, PROBE_VARIABLE, copy_program, probe, sandbox};

/// Asks the test binary to say how a start went.
pub(crate) const ROLE: &str = "GIGMCP_TEST_HOST_ROLE";
/// The test that does.
pub(crate) const SAYS_HOW_A_START_WENT: &str = "hosts::says_how_a_start_went_when_asked";

#[tokio::test]
async fn says_how_a_start_went_when_asked() {
    let Some(_) = std::env::var_os(ROLE) else { return };
    match sandbox(&["read", "/proc/self/uid_map"]).spawn().await {
        Ok(_) => println!("inside: started"),
        Err(SpawnError::Setup { stage, fix, source, .. }) => {
            println!("inside: {stage:?} {}; {fix}", source.raw_os_error().unwrap_or(0));
        }
        Err(error) => println!("inside: {error:?}"),
    }
}

/// What that test said, or all that was said.
pub(crate) fn said_inside(said: String) -> String {
    said.lines().find_map(|line| line.split_once("inside: ")).map_or(said.clone(), |(_, found)| found.to_owned())
}

/// Starts a sandbox from inside a user namespace of its own, after a line of shell.
fn in_namespace(of: Of, line: &str) -> String {
    let dir = Dir::new("hosts");
    let binary = copy_program(&std::env::current_exe().unwrap(), dir.path().join("it"));
    let mut command = match of {
        Of::Somebody if rustix::process::geteuid().is_root() => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", "unshare"]);
            command
        }
        Of::Somebody | Of::Root => Command::new("unshare"),
    };
    let output = command
        .args(["--user", "--map-root-user", "--", "sh", "-c", &format!("{line} \"$@\""), "sh"])
        .arg(binary)
        .args(["--exact", SAYS_HOW_A_START_WENT, "--nocapture"])
        .env(ROLE, "start")
        .env(PROBE_VARIABLE, copy_program(probe(), dir.path().join("probe")))
        .current_dir("/")
        .output()
        .unwrap();
    said_inside([output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat())
}

/// Whose uid is the one user of the namespace.
enum Of {
    Somebody,
    Root,
}

#[test]
fn a_host_without_namespaces_left_is_told_of_with_the_fix() {
    for kind in ["user", "net", "mnt", "pid", "ipc", "uts", "cgroup"] {
        let found = in_namespace(Of::Somebody, &format!("echo 0 >/proc/sys/user/max_{kind}_namespaces;"));
        assert!(found.starts_with("Namespaces 28; raise the limits of namespaces"), "{kind}: {found}");
    }
    let found = in_namespace(Of::Somebody, "echo 1 >/proc/sys/user/max_net_namespaces;");
    assert_eq!(found, "started", "the twin");
}

#[test]
fn root_of_a_namespace_with_one_user_starts_sandboxes_unless_it_has_no_rights() {
    assert_eq!(in_namespace(Of::Somebody, ""), "started");
    let found = in_namespace(Of::Somebody, "setpriv --bounding-set=-all --inh-caps=-all --");
    assert!(found.starts_with("UserMap 1; only with CAP_SETFCAP"), "{found}");
}

#[test]
fn the_hosts_root_who_cannot_become_another_user_starts_nothing() {
    if !has_root("nobody to be refused") {
        return;
    }
    let found = in_namespace(Of::Root, "");
    assert!(found.starts_with("DropUser 22; run the host process as another user"), "{found}");
}

/// Asks the test binary to run out of descriptors but for so many.
const SHORT: &str = "GIGMCP_TEST_DESCRIPTORS_LEFT";

async fn enforcement() -> Result<String, SpawnError> {
    let mut sandbox = sandbox(&["read", "/proc/self/uid_map"]).spawn().await?;
    let found = sandbox.enforcement().to_string().replace('\n', "; ");
    sandbox.wait().await;
    Ok(found)
}

#[tokio::test]
async fn runs_out_of_descriptors_once_when_asked() {
    let Ok(left) = std::env::var(SHORT) else { return };
    let mut held = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        held.push(file);
    }
    held.truncate(held.len() - left.parse::<usize>().unwrap());
    println!("short: {:?}", enforcement().await);
    drop(held);
    println!("inside: {:?}", enforcement().await);
}

#[tokio::test]
async fn a_moment_without_descriptors_leaves_nothing_behind() {
    let expected = format!("{:?}", enforcement().await);
    assert!(expected.starts_with("Ok"), "{expected}");
    let (mut wrong, mut refused) = (Vec::new(), 0);
    for left in 0..32 {
        let output = Command::new("sh")
            .args(["-c", "ulimit -n 128; exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "hosts::runs_out_of_descriptors_once_when_asked", "--nocapture"])
            .env(SHORT, left.to_string())
            .env(PROBE_VARIABLE, probe())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        refused += usize::from(said.contains("short: Err"));
        let after = said_inside(said);
        if after != expected {
            wrong.push(format!("{left} left: {after}"));
        }
    }
    assert!(refused > 10, "the control: {refused} of 32 first starts were refused");
    assert_eq!(wrong, Vec::<String>::new());
}
