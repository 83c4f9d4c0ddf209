//! A thousand sandboxes at once that do nothing, beside as many plain processes; and what the filters
//! cost a program that does nothing but call the kernel.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use gigmcp_sandbox::{Exit, Limits, Network, Rootfs, Sandbox};

use crate::Failure;
use crate::figures::{Figures, compare};

pub(crate) async fn run() -> Result<(), Failure> {
    // First, while nothing is given back that would hide what they take.
    let plain = plain_processes()?;
    memory().await?;
    println!("  {COUNT} plain processes: machine {:>4.0} KiB each\n", each(plain));
    system_calls().await
}

/// The sandboxed program waits for its input. Its own pages are counted apart from those of the frame
/// around it: the monitor, PID 1, and what our own process keeps.
async fn memory() -> Result<(), Failure> {
    let (host_before, machine_before) = (resident(std::process::id())?, available()?);
    let clock = Instant::now();
    let mut sandboxes = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        let limits = Limits::default();
        let builder = Sandbox::builder(Rootfs::host_tools()).command(["/usr/bin/sleep", "infinity"]);
        sandboxes.push(builder.network(Network::handoff()).limits(limits).spawn().await?);
    }
    let taken = clock.elapsed();
    let (mut frame, mut own) = (0, 0);
    for monitor in children(std::process::id())? {
        for init in children(monitor)? {
            frame += proportional(monitor)? + proportional(init)?;
            own += children(init)?.into_iter().map(proportional).sum::<Result<u64, _>>()?;
        }
    }
    let (host, machine) = (resident(std::process::id())?, available()?);
    println!("{COUNT} idle sandboxes, started one after the other in {taken:.1?}");
    println!("  frame (monitor and PID 1)    {:>8.0} KiB each", each(frame));
    println!("  our process                  {:>8.0} KiB each", each(host.saturating_sub(host_before)));
    println!("  the server itself            {:>8.0} KiB each", each(own));
    println!("  machine, kernel included     {:>8.0} KiB each", each(machine_before.saturating_sub(machine)));
    Ok(())
}

/// KiB for each of all.
fn each(bytes: u64) -> f64 {
    bytes as f64 / COUNT as f64 / 1024.0
}

fn plain_processes() -> Result<u64, Failure> {
    let before = available()?;
    let spawn = || Command::new("/usr/bin/sleep").arg("infinity").stdin(Stdio::null()).spawn();
    let mut processes = (0..COUNT).map(|_| spawn()).collect::<Result<Vec<Child>, _>>()?;
    let after = available()?;
    for process in &mut processes {
        process.kill()?;
        process.wait()?;
    }
    Ok(before.saturating_sub(after))
}

/// Bytes of a process's pages, those shared with others divided among them.
pub(crate) fn proportional(pid: u32) -> Result<u64, Failure> {
    field(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

pub(crate) fn resident(pid: u32) -> Result<u64, Failure> {
    field(&format!("/proc/{pid}/status"), "VmRSS:")
}

fn available() -> Result<u64, Failure> {
    field("/proc/meminfo", "MemAvailable:")
}

/// A field in KiB of a file of `/proc`, in bytes.
pub(crate) fn field(path: &str, name: &str) -> Result<u64, Failure> {
    let text = fs::read_to_string(path)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split_whitespace().next());
    Ok(value.ok_or_else(|| format!("{path} has no {name}"))?.parse::<u64>()? * 1024)
}

pub(crate) fn children(pid: u32) -> Result<Vec<u32>, Failure> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let list = fs::read_to_string(thread?.path().join("children"))?;
        for child in list.split_whitespace() {
            found.push(child.parse()?);
        }
    }
    Ok(found)
}

/// `dd` with one byte at a time: two system calls each.
async fn system_calls() -> Result<(), Failure> {
    let dd = ["/usr/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=500000", "status=none"];
    let (mut ours, mut bare) = (Figures::default(), Figures::default());
    for _ in 0..ROUNDS {
        let mut sandbox = Sandbox::builder(Rootfs::host_tools()).command(dd).spawn().await?;
        let clock = Instant::now();
        if sandbox.wait().await != Exit::Exited(0) {
            return Err("dd failed inside".into());
        }
        ours.add(clock.elapsed());
        let clock = Instant::now();
        if !Command::new(dd[0]).args(&dd[1..]).status()?.success() {
            return Err("dd failed outside".into());
        }
        bare.add(clock.elapsed());
    }
    compare("filters: a million system calls", &ours, "unfiltered", &bare);
    Ok(())
}

const COUNT: usize = 1000;
const ROUNDS: usize = 9;
