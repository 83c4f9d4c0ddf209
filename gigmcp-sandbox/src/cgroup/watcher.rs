//! Tells when a limit was met, for all sandboxes of a process.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;

use super::counts::{PIDS_EVENTS, memory_events};
use super::hierarchy::Version;
use super::{Cgroup, Controller, Part};

/// Watches the groups of many sandboxes with two descriptors: a user has few inotify instances.
///
/// What it tells is a hint to look at [`Cgroup::counts`]. v1 gives it *before* it kills a process
/// for want of memory, so the count may follow a moment later; and since Linux 6.11 it says nothing
/// about refused processes, so one must [look](Self::looks_every) oneself.
#[derive(Debug)]
pub(crate) struct Watcher {
    files: OwnedFd,
    /// Counts up whenever a v1 group is out of memory; it does not say which.
    out_of_memory: OwnedFd,
    keys: HashMap<i32, u64>,
    on_v1: Vec<u64>,
}

impl Watcher {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            files: inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?,
            out_of_memory: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            keys: HashMap::new(),
            on_v1: Vec::new(),
        })
    }

    /// Readable once there is something to [take](Self::take).
    pub(crate) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.files.as_fd(), self.out_of_memory.as_fd()]
    }

    /// Watches the groups of a sandbox from now on.
    pub(crate) fn add(&mut self, key: u64, group: &Cgroup) -> io::Result<()> {
        if let Some(part) = Cgroup::part_of(&group.parts, Controller::Pids) {
            self.add_file(key, part, PIDS_EVENTS)?;
        }
        match Cgroup::part_of(&group.parts, Controller::Memory) {
            Some(part) if part.version == Version::V2 => self.add_file(key, part, memory_events(part.version))?,
            Some(part) => {
                // Source: Documentation/admin-guide/cgroup-v1/memory.rst, section 10.
                let file = File::open(part.dir.join(memory_events(part.version)))?;
                let line = format!("{} {}", self.out_of_memory.as_raw_fd(), file.as_raw_fd());
                fs::write(part.dir.join("cgroup.event_control"), line)?;
                self.on_v1.push(key);
            }
            None => {}
        }
        Ok(())
    }

    fn add_file(&mut self, key: u64, part: &Part, name: &str) -> io::Result<()> {
        let watch = inotify::add_watch(&self.files, part.dir.join(name), inotify::WatchFlags::MODIFY)?;
        self.keys.insert(watch, key);
        Ok(())
    }

    /// How often to look at every sandbox's counts even if nothing happens; `None`: never.
    pub(crate) fn looks_every(&self) -> Option<Duration> {
        (!self.on_v1.is_empty()).then_some(LOOK)
    }

    /// Forgets a sandbox. Its groups may be gone already.
    pub(crate) fn remove(&mut self, key: u64) {
        self.on_v1.retain(|of| *of != key);
        for (watch, _) in self.keys.extract_if(|_, of| *of == key) {
            let _ = inotify::remove_watch(&self.files, watch);
        }
    }

    /// The sandboxes that may have met a limit since the last call.
    pub(crate) fn take(&mut self) -> Vec<u64> {
        let mut found = Vec::new();
        if rustix::io::read(&self.out_of_memory, &mut [0_u8; 8]).is_ok() {
            found.extend(&self.on_v1);
        }
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.files, &mut space);
        while let Ok(event) = events.next() {
            if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                found.extend(self.keys.values());
            }
            found.extend(self.keys.get(&event.wd()));
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// 1,000 sandboxes take 10 ms.
const LOOK: Duration = Duration::from_secs(2);
