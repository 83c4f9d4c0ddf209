//! What a sandbox uses.

#[cfg(target_os = "linux")]
mod processes;
#[cfg(target_os = "linux")]
pub(crate) use processes::descendants;

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::Exit;

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

/// What a sandbox uses, again and again. Made by [`Sandbox::usage_every`](crate::Sandbox::usage_every).
#[derive(Debug)]
pub struct UsageSamples {
    meter: Meter,
    ticks: Option<Interval>,
}

impl UsageSamples {
    pub(crate) fn new(meter: Meter, period: Duration) -> Self {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { meter, ticks: Some(ticks) }
    }

    /// The next sample, when it is time; `None` after the last.
    ///
    /// Cancel safe: at most a sample is skipped when the future is dropped.
    pub async fn next(&mut self) -> Option<Usage> {
        let ticks = self.ticks.as_mut()?;
        let over = tokio::select! {
            // An error says that the supervisor is gone, and with it every sandbox.
            _ = self.meter.ended.wait_for(Option::is_some) => true,
            _ = ticks.tick() => false,
        };
        let usage = self.meter.read().await;
        if over {
            self.ticks = None;
        }
        Some(usage)
    }
}

/// Where to read what a sandbox uses.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    #[cfg(target_os = "linux")]
    pub(crate) group: Option<std::sync::Arc<crate::cgroup::Cgroup>>,
    /// The process that waits for PID 1; all others descend from it.
    #[cfg(target_os = "linux")]
    pub(crate) monitor: u32,
    pub(crate) ended: watch::Receiver<Option<Exit>>,
}

impl Meter {
    #[cfg(target_os = "linux")]
    pub(crate) async fn read(&self) -> Usage {
        let meter = self.clone();
        let read = move || match &meter.group {
            Some(group) => group.usage(),
            None => processes::usage(meter.monitor),
        };
        // With many CPUs the kernel takes a while to add up. It fails only while the runtime ends.
        let usage = match tokio::runtime::Handle::try_current() {
            Ok(runtime) => runtime.spawn_blocking(read).await.unwrap_or_default(),
            // Nothing of a runtime's is held up.
            Err(_) => read(),
        };
        // Looked at last: it may have ended while it was counted.
        let ended = self.ended.borrow().is_some();
        match (ended, &self.group) {
            (false, _) => usage,
            // The group's numbers are from when the kernel had not taken leave of every process yet.
            (true, Some(_)) => {
                Usage { memory_bytes: usage.memory_bytes.map(|_| 0), processes: usage.processes.map(|_| 0), ..usage }
            }
            // Whoever has the number now is not ours.
            (true, None) => Usage::default(),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) async fn read(&self) -> Usage {
        Usage::default()
    }
}
