//! What a sandbox uses.

use std::time::Duration;

/// What the processes of a sandbox use, all together. `None` where the kernel has no number.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// Who counted.
    pub source: UsageSource,
    /// Memory at the moment, with files in `/tmp` and `/dev/shm`, page cache, and what the kernel
    /// keeps for the processes. Without a cgroup, only what is mapped, and what is shared counts
    /// once for each process.
    pub memory_bytes: Option<u64>,
    /// The most memory at once so far.
    pub memory_peak_bytes: Option<u64>,
    /// CPU time since the start.
    pub cpu_time: Option<Duration>,
    /// How long processes were ready to run but held back by the CPU limit, summed over CPUs.
    pub cpu_throttled: Option<Duration>,
    /// Processes and threads at the moment.
    pub processes: Option<u64>,
    /// How many processes were killed for want of memory.
    pub oom_kills: Option<u64>,
    /// How many processes and threads were refused by the limit on their number.
    pub processes_refused: Option<u64>,
}

/// Who counted what a sandbox uses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum UsageSource {
    /// The kernel, for the sandbox as a whole: exact.
    Cgroup,
    /// We, process by process: what ends between two looks may be missed.
    #[default]
    Processes,
}
