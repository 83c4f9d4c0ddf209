//! The red team's program for single attempts: compiled once, run inside and outside.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use gigmcp_sandbox::{Exit, Rootfs, Sandbox, SandboxBuilder};
use tokio::io::AsyncReadExt;

use crate::compile::static_program;

/// Names the compiled probe to a test binary that is run again as another user.
pub(crate) const PROBE_VARIABLE: &str = "GIGMCP_TEST_PROBE";

/// The path of the probe.
pub(crate) fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        if let Some(path) = std::env::var_os(PROBE_VARIABLE) {
            return PathBuf::from(path);
        }
        let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join("redteam");
        static_program("tests/redteam/main.rs", &output, &["--crate-name=redteam"])
    })
}

/// A sandbox around the probe.
pub(crate) fn sandbox(arguments: &[&str]) -> SandboxBuilder {
    let command = ["/server"].into_iter().chain(arguments.iter().copied());
    Sandbox::builder(Rootfs::single_file(probe())).command(command)
}

/// What the probe says inside, or the signal that ended it.
pub(crate) async fn inside(arguments: &[&str]) -> String {
    run(sandbox(arguments)).await
}

/// The output of a sandboxed program, or the signal that ended it.
pub(crate) async fn run(builder: SandboxBuilder) -> String {
    let mut sandbox = builder.spawn().await.unwrap();
    let (_stdin, mut stdout) = sandbox.stdio().unwrap();
    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    match sandbox.wait().await {
        Exit::Exited(0) => text.trim_end().to_owned(),
        exit => format!("{exit:?} {text}{}", sandbox.stderr_tail().join("\n")),
    }
}

/// What the probe says outside: the positive control.
///
/// Some attempts would really mount something or rename the machine when they succeed as root, so
/// they run in mount and host name namespaces of their own, which takes no right from them.
pub(crate) fn outside(arguments: &[&str]) -> String {
    let mut command = Command::new(probe());
    if rustix::process::geteuid().is_root() {
        command = Command::new("unshare");
        command.args(["--mount", "--uts", "--propagation", "private", "--"]).arg(probe());
    }
    let output = command.args(arguments).output().unwrap();
    match output.status.signal() {
        Some(signal) => format!("Signaled({signal})"),
        None => String::from_utf8(output.stdout).unwrap().trim_end().to_owned(),
    }
}

/// Copies a program for other users. By another process: if this one had it open for writing, a child
/// forked at that moment by another test would too, and it could not be started.
pub(crate) fn copy_program(program: &Path, to: PathBuf) -> PathBuf {
    let status = Command::new("install").arg("--mode=755").arg(program).arg(&to).status().unwrap();
    assert!(status.success());
    to
}

/// Whether a container's own filter is around us. What it refuses never comes to ours.
pub(crate) fn is_filtered() -> bool {
    fs::read_to_string("/proc/self/status").unwrap().contains("\nSeccomp:\t2\n")
}

/// A directory that everybody may enter, removed at the end.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gigmcp-test-{}-{number}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
