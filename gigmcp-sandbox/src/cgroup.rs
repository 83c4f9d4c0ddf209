//! The control groups of a sandbox: limits on all its processes together.
//!
//! With cgroup v2 that is one group, with v1 one a controller; on a host with both, v1 has the controllers.
//! They lie beside or below the group this process is in, so whatever limits this process limits
//! them too. All have the same name, which holds this process's number and start time: what a killed
//! process leaves is told from what a living one has.
//!
//! We write to the file system of cgroups only where it was handed to us. Asking a systemd user
//! manager for a group over D-Bus is not done; [`Unavailable::fix`] tells how to be started in one.

mod counts;
mod delegation;
mod hierarchy;
mod host;
mod knobs;
mod sweeper;
mod tally;
mod watcher;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

pub(crate) use counts::Counts;
use hierarchy::Version;
pub(crate) use host::Host;
pub(crate) use tally::Tally;
pub(crate) use watcher::Watcher;

use crate::{Level, Limits, Usage};

/// What limits one resource of a group.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Controller {
    Memory,
    Pids,
    Cpu,
    /// Only counts; in v2 every group does.
    Cpuacct,
    Hugetlb,
}

impl Controller {
    /// Without one of these a sandbox is not fully limited.
    const LIMITING: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Hugetlb => "hugetlb",
        }
    }

    fn resource(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "the number of processes",
            Self::Cpu | Self::Cpuacct => "CPU time",
            Self::Hugetlb => "huge pages",
        }
    }
}

/// Why a sandbox has no group, and what to do about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Unavailable {
    pub(crate) why: String,
    pub(crate) fix: String,
}

/// The groups of one sandbox. Dropping it tries once to remove them.
#[derive(Debug)]
pub(crate) struct Cgroup {
    parts: Vec<Part>,
    gaps: Vec<String>,
    /// What was used in all, once the groups are being removed.
    last: OnceLock<Usage>,
}

/// The group in one hierarchy.
#[derive(Debug)]
struct Part {
    dir: PathBuf,
    version: Version,
    controllers: Vec<Controller>,
}

/// What an attempt to remove a sandbox's groups came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Removal {
    Done,
    /// Processes in it have not ended yet: try again after so long.
    Busy(Duration),
}

impl Cgroup {
    /// Makes groups with these limits, which are in force for whatever joins.
    pub(crate) fn create(limits: &Limits) -> Result<Self, Unavailable> {
        Host::of_this_process()?.create(limits)
    }

    /// How far the sandbox is limited, once its first processes should have joined: the one that waits,
    /// PID 1, and the one that becomes the server.
    pub(crate) fn level(&self) -> Level {
        let joined = |part: &Part| hierarchy::processes(&part.dir).is_ok_and(|found| found.len() >= FIRST_PROCESSES);
        let missing = self.parts.iter().filter(|part| !joined(part));
        let missing = missing.map(|part| format!("not every process is in {}", part.dir.display()));
        let gaps: Vec<String> = self.gaps.iter().cloned().chain(missing).collect();
        if gaps.is_empty() { Level::Full } else { Level::Partial(gaps.join("; ")) }
    }

    /// The files by which a process of one thread joins: it writes `0` to each. Opened here, so that it
    /// needs no right to the file system of cgroups and no path.
    pub(crate) fn join_files(&self) -> io::Result<Vec<OwnedFd>> {
        let open = |part: &Part| OpenOptions::new().write(true).open(part.dir.join(part.join_file()));
        self.parts.iter().map(|part| open(part).map(OwnedFd::from)).collect()
    }

    /// Lets the sandbox's processes end as fast as they can.
    pub(crate) fn unthrottle(&self) {
        for part in self.parts.iter().filter(|part| part.controllers.contains(&Controller::Cpu)) {
            let (file, free) = match part.version {
                Version::V1 => ("cpu.cfs_quota_us", "-1"),
                Version::V2 => ("cpu.max", "max"),
            };
            // Where that fails they end later.
            let _ = fs::write(part.dir.join(file), free);
        }
    }

    /// What was refused to or killed of the sandbox so far.
    pub(crate) fn counts(&self) -> Counts {
        Counts::read(&self.parts)
    }

    /// What the sandbox uses, or has used.
    pub(crate) fn usage(&self) -> Usage {
        let now = counts::usage(&self.parts);
        // Looked at last: the groups may have gone while they were read.
        self.last.get().cloned().unwrap_or(now)
    }

    /// Kills what is left in the groups where the kernel does that, and removes them. Never waits.
    pub(crate) fn remove(&self) -> Removal {
        self.last.get_or_init(|| counts::usage(&self.parts));
        let left = self.parts.iter().filter(|part| remove_group(&part.dir).is_err()).count();
        if left == 0 { Removal::Done } else { Removal::Busy(RETRY) }
    }

    fn part_of(parts: &[Part], controller: Controller) -> Option<&Part> {
        parts.iter().find(|part| part.controllers.contains(&controller))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Part {
    fn create(base: &host::Base, name: &str, limits: &Limits, gaps: &mut Vec<String>) -> io::Result<Self> {
        let dir = base.dir.join(name);
        fs::create_dir(&dir)?;
        let mut part = Self { dir, version: base.version, controllers: Vec::new() };
        if part.version == Version::V2 {
            // Nobody inside sees the files of cgroups; this is for the day somebody does.
            let _ = fs::write(part.dir.join("cgroup.max.descendants"), "0");
        }
        for controller in &base.controllers {
            if let Err(wrong) = knobs::limit(&part.dir, part.version, *controller, limits) {
                gaps.push(format!("{} is not fully limited: {wrong}", controller.resource()));
            }
            part.controllers.push(*controller);
        }
        Ok(part)
    }

    /// v1 moves one thread without waiting for anything; v2 has no such file. See [`Host::create`].
    fn join_file(&self) -> &'static str {
        match self.version {
            Version::V1 => "tasks",
            Version::V2 => "cgroup.procs",
        }
    }

    fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.join(name)).ok()
    }
}

/// Removes a group, with whatever is in it where the kernel can kill a group.
fn remove_group(dir: &Path) -> io::Result<()> {
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.raw_os_error() == Some(EBUSY) => {
            // Not in v1, and in v2 since Linux 5.14.
            let _ = fs::write(dir.join("cgroup.kill"), "1");
            fs::remove_dir(dir)
        }
        other => other,
    }
}

const FIRST_PROCESSES: usize = 3;
const EBUSY: i32 = rustix::io::Errno::BUSY.raw_os_error();
/// Between two attempts to remove a group.
const RETRY: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests;
