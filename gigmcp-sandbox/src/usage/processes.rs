//! Counting without a cgroup.

use std::fs;
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};

use super::{Usage, UsageSource};

/// What a process and all below it use. Orphans inside become children of PID 1, so none is missed;
/// the times of those that have ended are in the numbers of whoever waited for them.
pub(super) fn usage(first: u32) -> Usage {
    let (mut ticks, mut pages, mut threads) = (0, 0, 0);
    for (process, _) in descendants(first) {
        let Some(stat) = Stat::read(process) else { continue };
        ticks += stat.ticks;
        pages += stat.resident_pages;
        threads += stat.threads;
    }
    if threads == 0 {
        return Usage::default();
    }
    Usage {
        source: UsageSource::Processes,
        memory_bytes: Some(pages * page_size() as u64),
        cpu_time: Some(Duration::from_millis(ticks * 1000 / clock_ticks_per_second().max(1))),
        processes: Some(threads),
        ..Usage::default()
    }
}

/// A process and all below it, each with how far below. Children are those of any of its threads.
pub(crate) fn descendants(first: u32) -> Vec<(u32, usize)> {
    let mut found = vec![(first, 0)];
    let mut next = 0;
    while let Some((process, depth)) = found.get(next).copied() {
        next += 1;
        for thread in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|child| Some((child.parse().ok()?, depth + 1))));
        }
    }
    found
}

struct Stat {
    ticks: u64,
    threads: u64,
    resident_pages: u64,
}

impl Stat {
    /// Source: proc_pid_stat(5), fields 14 to 17, 20 and 24.
    fn read(process: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name, in brackets, may hold anything.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = field(14)? + field(15)? + field(16)? + field(17)?;
        Some(Self { ticks, threads: field(20)?, resident_pages: field(24)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_themselves_use_something() {
        let usage = usage(std::process::id());
        assert_eq!(usage.source, UsageSource::Processes);
        assert!(usage.memory_bytes > Some(1 << 20) && usage.processes >= Some(1), "{usage:?}");
        assert!(usage.cpu_time.is_some() && usage.memory_peak_bytes.is_none(), "{usage:?}");
    }

    #[test]
    fn a_process_that_does_not_exist_uses_nothing() {
        assert_eq!(usage(u32::MAX), Usage::default());
    }
}
