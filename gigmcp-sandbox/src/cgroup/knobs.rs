//! What is written to a sandbox's groups.

use std::fs;
use std::io;
use std::path::Path;

use super::Controller;
use super::hierarchy::Version;
use crate::Limits;

/// A file of a group and what it is to say.
#[derive(Debug)]
struct Knob {
    file: String,
    value: String,
    need: Need,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Need {
    /// The limit itself.
    Always,
    /// Makes the limit better on kernels that have it.
    WhereThere,
    /// Without it memory can move to swap, if the host has any.
    WithSwap,
}

/// Writes the limits of one controller and reads each back. Says what is not as it should be.
pub(crate) fn limit(dir: &Path, version: Version, controller: Controller, limits: &Limits) -> Result<(), String> {
    let mut wrong = Vec::new();
    for knob in knobs(dir, version, controller, limits) {
        match knob.set(dir) {
            Ok(()) => {}
            Err(Refusal::Missing) if knob.need == Need::WhereThere => {}
            Err(Refusal::Missing) if knob.need == Need::WithSwap && !host_swaps() => {}
            Err(Refusal::Missing) => wrong.push(format!("this kernel has no {}", knob.file)),
            Err(Refusal::Failed(error)) => wrong.push(format!("writing {} to {}: {error}", knob.value, knob.file)),
            Err(Refusal::Other(found)) => wrong.push(format!("{} is {found} and not {}", knob.file, knob.value)),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join(", ")) }
}

enum Refusal {
    Missing,
    Failed(io::Error),
    /// It says something else afterwards.
    Other(String),
}

impl Knob {
    fn set(&self, dir: &Path) -> Result<(), Refusal> {
        let path = dir.join(&self.file);
        let said = || match fs::read_to_string(&path) {
            Ok(text) => Ok(text.lines().next().unwrap_or_default().trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Refusal::Missing),
            Err(error) => Err(Refusal::Failed(error)),
        };
        if said()? == self.value {
            return Ok(());
        }
        // The kernel wants of `oom_kill_disable 0` only the number.
        let number = self.value.strip_prefix("oom_kill_disable ").unwrap_or(&self.value);
        fs::write(&path, number).map_err(Refusal::Failed)?;
        let found = said()?;
        if found == self.value { Ok(()) } else { Err(Refusal::Other(found)) }
    }
}

fn knobs(dir: &Path, version: Version, controller: Controller, limits: &Limits) -> Vec<Knob> {
    let knob = |file: &str, value: String, need| Knob { file: file.to_owned(), value, need };
    let memory = in_whole_pages(limits.memory_bytes);
    let quota = u64::from(limits.cpu_percent.max(1)) * PERIOD_US / 100;
    match (version, controller) {
        (Version::V2, Controller::Memory) => vec![
            // Before the limit: what is over it must not go to swap, where nobody counts it.
            knob("memory.swap.max", "0".into(), Need::WithSwap),
            knob("memory.zswap.max", "0".into(), Need::WhereThere),
            knob("memory.max", memory.to_string(), Need::Always),
            // No memory.high below it: where nothing can be swapped out, that only slows a server down, so
            // much that one which leaks hangs for a minute instead of being ended and named.
            // All or nobody: half a server is no server.
            knob("memory.oom.group", "1".into(), Need::WhereThere),
        ],
        (Version::V1, Controller::Memory) => vec![
            knob("memory.limit_in_bytes", memory.to_string(), Need::Always),
            // Memory and swap together, so no swap. May not be below the former.
            knob("memory.memsw.limit_in_bytes", memory.to_string(), Need::WithSwap),
            // A parent may have handed down that processes hang instead of being killed.
            knob("memory.oom_control", "oom_kill_disable 0".into(), Need::Always),
            // Here v1 does not count the buffers of IP sockets as memory.
            knob("memory.kmem.tcp.limit_in_bytes", in_whole_pages(memory / 8).to_string(), Need::WhereThere),
        ],
        (_, Controller::Pids) => vec![knob("pids.max", limits.processes.to_string(), Need::Always)],
        (Version::V2, Controller::Cpu) => vec![
            knob("cpu.max", format!("{quota} {PERIOD_US}"), Need::Always),
            // When the host is busy, half of what others get.
            knob("cpu.weight", "50".into(), Need::WhereThere),
        ],
        (Version::V1, Controller::Cpu) => vec![
            knob("cpu.cfs_period_us", PERIOD_US.to_string(), Need::Always),
            knob("cpu.cfs_quota_us", quota.to_string(), Need::Always),
            knob("cpu.shares", "512".into(), Need::WhereThere),
        ],
        // Pages that the host has set aside for somebody else.
        (Version::V2, Controller::Hugetlb) => zero_for_each(dir, "hugetlb.", ".max"),
        (Version::V1, Controller::Hugetlb) => zero_for_each(dir, "hugetlb.", ".limit_in_bytes"),
        (_, Controller::Cpuacct) => Vec::new(),
    }
}

fn zero_for_each(dir: &Path, prefix: &str, suffix: &str) -> Vec<Knob> {
    let names = fs::read_dir(dir).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let chosen = names.filter(|name| name.starts_with(prefix) && name.ends_with(suffix));
    chosen.map(|file| Knob { file, value: "0".to_owned(), need: Need::Always }).collect()
}

/// Rounded down to what every page size divides: the kernel does that for its own, and what is read
/// back is to be what was written.
fn in_whole_pages(bytes: u64) -> u64 {
    (bytes & !(LARGEST_PAGE - 1)).max(LARGEST_PAGE)
}

fn host_swaps() -> bool {
    // The first line is a heading.
    fs::read_to_string("/proc/swaps").map_or(true, |text| text.lines().count() > 1)
}

/// Time slices of 100 ms, which is also the kernel's default.
const PERIOD_US: u64 = 100_000;
const LARGEST_PAGE: u64 = 64 << 10;
