//! What the kernel has counted in a sandbox's groups.

use std::time::Duration;

use super::hierarchy::Version;
use super::{Cgroup, Controller, Part};
use crate::{Usage, UsageSource};

/// How often a limit was met. `None` where the kernel does not count it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    /// Processes killed for want of memory.
    pub(crate) oom_kills: Option<u64>,
    /// Forks and clones refused.
    pub(crate) processes_refused: Option<u64>,
}

impl Counts {
    pub(super) fn read(parts: &[Part]) -> Self {
        let memory = Cgroup::part_of(parts, Controller::Memory);
        let events = memory.and_then(|part| part.file(memory_events(part.version)));
        let refused = Cgroup::part_of(parts, Controller::Pids).and_then(|part| part.file(PIDS_EVENTS));
        Self {
            oom_kills: events.as_deref().and_then(|text| value(text, "oom_kill")),
            processes_refused: refused.as_deref().and_then(|text| value(text, "max")),
        }
    }
}

/// The file that says how often memory ran out.
pub(super) fn memory_events(version: Version) -> &'static str {
    match version {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    }
}

pub(super) fn usage(parts: &[Part]) -> Usage {
    let Counts { oom_kills, processes_refused, .. } = Counts::read(parts);
    let memory = |v1: &str, v2: &str| number(parts, Controller::Memory, v1, v2);
    Usage {
        source: UsageSource::Cgroup,
        memory_bytes: memory("memory.usage_in_bytes", "memory.current"),
        memory_peak_bytes: memory("memory.max_usage_in_bytes", "memory.peak"),
        cpu_time: cpu_time(parts),
        cpu_throttled: throttled(parts),
        processes: number(parts, Controller::Pids, "pids.current", "pids.current"),
        oom_kills,
        processes_refused,
    }
}

fn number(parts: &[Part], controller: Controller, v1: &str, v2: &str) -> Option<u64> {
    let part = Cgroup::part_of(parts, controller)?;
    let name = if part.version == Version::V1 { v1 } else { v2 };
    part.file(name)?.trim().parse().ok()
}

/// Every v2 group knows it, with or without a controller.
fn cpu_time(parts: &[Part]) -> Option<Duration> {
    if let Some(part) = parts.iter().find(|part| part.version == Version::V2) {
        return value(&part.file(CPU_STAT)?, "usage_usec").map(Duration::from_micros);
    }
    let part = Cgroup::part_of(parts, Controller::Cpuacct)?;
    part.file("cpuacct.usage")?.trim().parse().ok().map(Duration::from_nanos)
}

fn throttled(parts: &[Part]) -> Option<Duration> {
    let part = Cgroup::part_of(parts, Controller::Cpu)?;
    let text = part.file(CPU_STAT)?;
    match part.version {
        Version::V1 => value(&text, "throttled_time").map(Duration::from_nanos),
        Version::V2 => value(&text, "throttled_usec").map(Duration::from_micros),
    }
}

/// A number in a file of lines with a name and a number.
fn value(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

pub(super) const PIDS_EVENTS: &str = "pids.events";
const CPU_STAT: &str = "cpu.stat";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_its_whole_name() {
        const EVENTS: &str = "low 0\nhigh 12\nmax 3\noom 2\noom_kill 1\noom_group_kill 7\n";
        for (name, expected) in [("oom", Some(2)), ("oom_kill", Some(1)), ("hig", None), ("swap", None)] {
            assert_eq!(value(EVENTS, name), expected, "{name}");
        }
    }
}
