//! Looks at processes from outside.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Every process below `root`, which is left out.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| Some((pid, field(pid, "PPid:")?.parse().ok()?)))
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// The name as an argument of a server of this test binary. The same tests run in other processes at
/// the same time, as another user and in containers.
pub(crate) fn marker(name: &str) -> String {
    static OURS: OnceLock<u64> = OnceLock::new();
    format!("{:x}-{name}", OURS.get_or_init(|| RandomState::new().hash_one(0)))
}

/// The processes of this test binary's sandboxes whose server has a marker that begins like this:
/// the server, PID 1 and the monitor.
pub(crate) fn of_server(name: &str) -> Vec<u32> {
    of_program("/server", name)
}

/// The same of a server that is not `/server`.
pub(crate) fn of_program(program: &str, name: &str) -> Vec<u32> {
    let marker = marker(name);
    let servers: Vec<u32> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with(program.as_bytes()) && String::from_utf8_lossy(&line).contains(&marker)
        })
        .collect();
    let mut found = Vec::new();
    for server in servers {
        let init: u32 = field(server, "PPid:").unwrap().parse().unwrap();
        let monitor: u32 = field(init, "PPid:").unwrap().parse().unwrap();
        found.extend([server, init, monitor]);
    }
    found
}

/// A field of the process's status.
pub(crate) fn field(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

/// Handles that tell when these processes have ended, whatever takes their numbers afterwards.
pub(crate) struct Watched(Vec<std::os::fd::OwnedFd>);

impl Watched {
    pub(crate) fn new(pids: &[u32]) -> Self {
        let open = |pid: &u32| {
            let pid = Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
            pidfd_open(pid, PidfdFlags::empty()).ok()
        };
        Self(pids.iter().filter_map(open).collect())
    }

    /// Waits until all have ended.
    pub(crate) fn assert_gone(&self) {
        assert_eq!(self.left(Timespec { tv_sec: 60, tv_nsec: 0 }), 0, "processes are left");
    }

    /// How many have not ended yet.
    pub(crate) fn left_now(&self) -> usize {
        self.left(Timespec { tv_sec: 0, tv_nsec: 0 })
    }

    fn left(&self, each: Timespec) -> usize {
        let left = |process: &&std::os::fd::OwnedFd| {
            let mut polled = [PollFd::new(*process, PollFlags::IN)];
            poll(&mut polled, Some(&each)).unwrap() == 0
        };
        self.0.iter().filter(left).count()
    }
}
