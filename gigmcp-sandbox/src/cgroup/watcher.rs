//! Tells when a limit was met, for all sandboxes of a process.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fs::inotify;

use super::counts::{PIDS_EVENTS, memory_events};
use super::hierarchy::Version;
use super::{Cgroup, Controller, Part};

/// Watches the groups of many sandboxes with one inotify instance, as a user has few of them.
///
/// What it tells is a hint to look at [`Cgroup::counts`]. v1 gives it *before* it kills a process
/// for want of memory, so the count may follow a moment later; and since Linux 6.11 it says nothing
/// about refused processes, so one must [look](Self::looks_every) oneself.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// Readable when one of the others is.
    events: OwnedFd,
    files: OwnedFd,
    watches: HashMap<i32, u64>,
    /// On v1, what the kernel counts up when a group is out of memory.
    out_of_memory: HashMap<u64, OwnedFd>,
    /// Whether the kernel refused to watch a group.
    blind: bool,
}

impl Watcher {
    pub(crate) fn new() -> io::Result<Self> {
        let events = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let files = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        epoll::add(&events, &files, epoll::EventData::new_u64(FILES), epoll::EventFlags::IN)?;
        Ok(Self { events, files, watches: HashMap::new(), out_of_memory: HashMap::new(), blind: false })
    }

    /// Readable once there is something to [take](Self::take).
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Watches the groups of a sandbox from now on.
    pub(crate) fn add(&mut self, key: u64, group: &Cgroup) {
        self.blind |= self.try_add(key, group).is_err();
    }

    fn try_add(&mut self, key: u64, group: &Cgroup) -> io::Result<()> {
        if let Some(part) = Cgroup::part_of(&group.parts, Controller::Pids) {
            self.add_file(key, part, PIDS_EVENTS)?;
        }
        match Cgroup::part_of(&group.parts, Controller::Memory) {
            Some(part) if part.version == Version::V2 => self.add_file(key, part, memory_events(part.version)),
            Some(part) => self.add_v1_memory(key, part),
            None => Ok(()),
        }
    }

    fn add_file(&mut self, key: u64, part: &Part, name: &str) -> io::Result<()> {
        let watch = inotify::add_watch(&self.files, part.dir.join(name), inotify::WatchFlags::MODIFY)?;
        self.watches.insert(watch, key);
        Ok(())
    }

    /// Source: Documentation/admin-guide/cgroup-v1/memory.rst, section 10.
    fn add_v1_memory(&mut self, key: u64, part: &Part) -> io::Result<()> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let file = File::open(part.dir.join(memory_events(part.version)))?;
        fs::write(part.dir.join("cgroup.event_control"), format!("{} {}", event.as_raw_fd(), file.as_raw_fd()))?;
        epoll::add(&self.events, &event, epoll::EventData::new_u64(key), epoll::EventFlags::IN)?;
        self.out_of_memory.insert(key, event);
        Ok(())
    }

    /// How often to look at every sandbox's counts even if nothing happens; `None`: never.
    pub(crate) fn looks_every(&self) -> Option<Duration> {
        (self.blind || !self.out_of_memory.is_empty()).then_some(LOOK)
    }

    /// Forgets a sandbox. Its groups may be gone already.
    pub(crate) fn remove(&mut self, key: u64) {
        self.out_of_memory.remove(&key);
        for (watch, _) in self.watches.extract_if(|_, of| *of == key) {
            let _ = inotify::remove_watch(&self.files, watch);
        }
    }

    /// The sandboxes that may have met a limit since the last call.
    pub(crate) fn take(&mut self) -> Vec<u64> {
        let mut ready = Vec::with_capacity(64);
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = epoll::wait(&self.events, spare_capacity(&mut ready), Some(&at_once));
        let mut found = Vec::new();
        for event in &ready {
            match event.data.u64() {
                FILES => self.take_files(&mut found),
                key => {
                    let count = self.out_of_memory.get(&key).map(|event| rustix::io::read(event, &mut [0_u8; 8]));
                    found.extend(count.and(Some(key)));
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn take_files(&self, found: &mut Vec<u64>) {
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.files, &mut space);
        while let Ok(event) = events.next() {
            if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                found.extend(self.watches.values());
            }
            found.extend(self.watches.get(&event.wd()));
        }
    }
}

/// No sandbox's key.
const FILES: u64 = u64::MAX;
/// 1,000 sandboxes take 10 ms.
const LOOK: Duration = Duration::from_secs(2);
