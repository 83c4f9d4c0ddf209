//! What a sandbox leaves on the machine while it lives, and must not when it has ended.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, getpid, pidfd_open, set_child_subreaper, waitpid};

/// How long an end may take on a machine that does much else.
pub(crate) const A_MINUTE: Duration = Duration::from_secs(60);

/// Processes, namespaces and control groups of one host process.
pub(crate) struct Traces {
    processes: Vec<(u32, OwnedFd)>,
    /// As `net:[4026531833]`, those that the host is not in.
    namespaces: BTreeSet<String>,
    host: u32,
    /// In clock ticks since boot.
    seen_at: f64,
}

impl Traces {
    /// Looks at these processes of the sandbox, whose host process has this number.
    pub(crate) fn of(processes: &[u32], host: u32) -> Self {
        // Else orphans would wait for the machine's PID 1, and their namespaces with them.
        set_child_subreaper(Some(getpid())).unwrap();
        let open = |pid: u32| {
            let handle = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            (pid, pidfd_open(handle, PidfdFlags::empty()).unwrap())
        };
        let of_host = namespaces(Path::new("/proc/self/ns"));
        let inside = processes.iter().flat_map(|pid| namespaces(&PathBuf::from(format!("/proc/{pid}/ns"))));
        Self {
            processes: processes.iter().copied().map(open).collect(),
            namespaces: inside.filter(|name| !of_host.contains(name)).collect(),
            host,
            seen_at: 100.0
                * fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse::<f64>().unwrap(),
        }
    }

    /// Whether anything was there to be left.
    pub(crate) fn assert_something(&self) {
        assert!(self.namespaces.len() >= 8, "two user namespaces and six others: {:?}", self.namespaces);
        let grouped = rustix::process::geteuid().is_root();
        assert_eq!(!groups_of(self.host).is_empty(), grouped, "root has control groups here");
    }

    /// Waits until every process has ended and nothing else is left either, at most for a minute.
    pub(crate) fn assert_gone(&self, what: &str) {
        let deadline = Instant::now() + A_MINUTE;
        for (pid, process) in &self.processes {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap();
            let mut polled = [PollFd::new(process, PollFlags::IN)];
            assert_eq!(poll(&mut polled, Some(&timeout)).unwrap(), 1, "{what}: process {pid} is left");
            // An orphan is ours to take note of; of the others its parent has.
            let _ = waitpid(Pid::from_raw(i32::try_from(*pid).unwrap()), WaitOptions::empty());
        }
        // Only the sandbox's processes can be waited for; the kernel's own work comes a moment later.
        while !(groups_of(self.host).is_empty() && self.held().is_empty()) {
            let left = (groups_of(self.host), self.held());
            assert!(Instant::now() < deadline, "{what}: {left:?} is left");
            std::thread::yield_now();
        }
    }

    /// Namespaces of the sandbox that a process is in, a descriptor or a mount holds. The kernel gives
    /// the number of one that is gone to the next, so processes that are younger do not count.
    fn held(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            if started(&entry.path()).is_some_and(|started| started <= self.seen_at) {
                found.extend(namespaces(&entry.path().join("ns")));
                let descriptors = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
                found.extend(descriptors.filter_map(|fd| Some(fs::read_link(fd.path()).ok()?.display().to_string())));
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        found.extend(mounts.lines().filter_map(|line| line.split(' ').nth(3)).map(str::to_owned));
        self.namespaces.intersection(&found).cloned().collect()
    }
}

/// The control groups that this host process has made.
pub(crate) fn groups_of(host: u32) -> Vec<PathBuf> {
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap().display().to_string();
    let number = namespace.trim_start_matches("pid:[").trim_end_matches(']');
    let prefix = format!("gigmcp-{number}-{host}-");
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with(&prefix) {
                    found.push(entry.path());
                }
                open.push(entry.path());
            }
        }
    }
    found
}

/// When the process with this directory in `/proc` started, in clock ticks since boot.
fn started(process: &Path) -> Option<f64> {
    process.file_name()?.to_str()?.parse::<u32>().ok()?;
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

fn namespaces(dir: &Path) -> BTreeSet<String> {
    let links = fs::read_dir(dir).into_iter().flatten().flatten();
    links.filter_map(|link| Some(fs::read_link(link.path()).ok()?.display().to_string())).collect()
}
