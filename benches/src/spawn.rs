//! From nothing to the program's `exec`, and to its end, beside bare bubblewrap.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use gigmcp_sandbox::{Exit, Network, Rootfs, Sandbox};

use crate::{
    Failure,
    figures::{Figures, compare},
};

const RUNS: usize = 100;

pub(crate) async fn run() -> Result<(), Failure> {
    let (mut started, mut ended, mut bare) = (Figures::default(), Figures::default(), Figures::default());
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
        let clock = Instant::now();
        let status = Command::new("bwrap").args(BARE).stdin(Stdio::null()).status()?;
        let bare_until_end = clock.elapsed();
        if !status.success() {
            return Err(format!("bubblewrap ended with {status}").into());
        }
        if run >= WARM {
            started.add(until_exec);
            ended.add(until_end);
            bare.add(bare_until_end);
        }
    }
    compare("sandbox: spawn to exec (bare: spawn to the end of `true`)", &started, "bwrap", &bare);
    compare("sandbox: spawn to the end of `true`", &ended, "bwrap", &bare);
    Ok(())
}

const WARM: usize = 5;
const BARE: [&str; 16] = [
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
];
