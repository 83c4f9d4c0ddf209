//! From nothing to the program's `exec`, and to its end, beside other ways to confine a program.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use gigmcp_sandbox::{Exit, Network, Rootfs, Sandbox};

use crate::Failure;
use crate::figures::{Figures, compare};

pub(crate) async fn run() -> Result<(), Failure> {
    let bundle = tempfile::tempdir()?;
    write_bundle(bundle.path())?;
    let (mut started, mut ended) = (Figures::default(), Figures::default());
    let mut peers = PEERS.map(|(name, _)| (name, Figures::default()));
    for run in 0..RUNS + WARM {
        let clock = Instant::now();
        let mut sandbox = Sandbox::builder(Rootfs::host_tools())
            .command(["/usr/bin/true"])
            .network(Network::handoff())
            .spawn()
            .await?;
        let until_exec = clock.elapsed();
        let exit = sandbox.wait().await;
        let until_end = clock.elapsed();
        drop(sandbox);
        if exit != Exit::Exited(0) {
            return Err(format!("true ended with {exit:?}").into());
        }
        if run >= WARM {
            started.add(until_exec);
            ended.add(until_end);
        }
        for ((name, arguments), (_, figures)) in PEERS.iter().zip(&mut peers) {
            let clock = Instant::now();
            let mut command = Command::new(name);
            command.args(*arguments).stdin(Stdio::null()).stdout(Stdio::null());
            if *name == "runc" {
                command.args(["run", "--bundle"]).arg(bundle.path()).arg(format!("bench-{}", std::process::id()));
            }
            let status = command.status().map_err(|error| format!("{name}: {error}"))?;
            if !status.success() {
                return Err(format!("{name} ended with {status}").into());
            }
            if run >= WARM {
                figures.add(clock.elapsed());
            }
        }
    }
    compare("sandbox: spawn to exec (bare: spawn to the end of `true`)", &started, "bwrap", &peers[0].1);
    for (name, figures) in &peers {
        compare("sandbox: spawn to the end of `true`", &ended, name, figures);
    }
    Ok(())
}

/// What runc needs to run `true` with the host's `/usr`, as root and without a user namespace.
fn write_bundle(dir: &Path) -> Result<(), Failure> {
    let root = dir.join("rootfs");
    for name in ["usr", "proc", "dev"] {
        fs::create_dir_all(root.join(name))?;
    }
    for (name, target) in [("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        std::os::unix::fs::symlink(target, root.join(name))?;
    }
    let status = Command::new("runc").arg("spec").current_dir(dir).status()?;
    if !status.success() {
        return Err(format!("runc spec ended with {status}").into());
    }
    let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("config.json"))?)?;
    spec["process"]["terminal"] = false.into();
    spec["process"]["args"] = serde_json::json!(["/usr/bin/true"]);
    spec["mounts"] = serde_json::json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" },
        { "destination": "/usr", "type": "bind", "source": "/usr", "options": ["bind", "ro"] },
    ]);
    fs::write(dir.join("config.json"), spec.to_string())?;
    Ok(())
}

const RUNS: usize = 60;
const WARM: usize = 5;
/// Each confines less than ours: no hand-off network, no seccomp or Landlock but runc's and firejail's own.
const PEERS: [(&str, &[&str]); 4] = [
    (
        "bwrap",
        &[
            "--unshare-all",
            "--ro-bind",
            "/usr",
            "/usr",
            "--symlink",
            "usr/lib",
            "/lib",
            "--symlink",
            "usr/lib64",
            "/lib64",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--",
            "/usr/bin/true",
        ],
    ),
    (
        "unshare",
        &[
            "--user",
            "--map-root-user",
            "--mount",
            "--pid",
            "--fork",
            "--net",
            "--ipc",
            "--uts",
            "--cgroup",
            "--mount-proc",
            "/usr/bin/true",
        ],
    ),
    ("firejail", &["--quiet", "--noprofile", "--net=none", "/usr/bin/true"]),
    ("runc", &[]),
];
