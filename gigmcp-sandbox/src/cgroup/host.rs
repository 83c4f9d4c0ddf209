//! Where this process can make groups for sandboxes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::delegation::Delegated;
use super::hierarchy::{OwnGroup, Version};
use super::sweeper::Sweeper;
use super::{Cgroup, Controller, Part, Unavailable};
use crate::Limits;
use crate::made_once::MadeOnce;

/// The places where this process makes groups.
#[derive(Debug)]
pub(crate) struct Host {
    bases: Vec<Base>,
    /// What cannot be limited on this host, and why.
    gaps: Vec<String>,
    /// A group this process, and so the sweeper, is in.
    own: PathBuf,
    owner: Owner,
    sweeper: Sweeper,
    next: AtomicU64,
}

/// A group below which those of sandboxes are made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Base {
    pub(crate) dir: PathBuf,
    pub(crate) version: Version,
    pub(crate) controllers: Vec<Controller>,
}

impl Host {
    /// Found out once: what the process is in does not change, and what it did to get ready stays. Where there
    /// is no place, it is looked for again: what failed may have been our own want of descriptors.
    pub(crate) fn of_this_process() -> Result<&'static Self, Unavailable> {
        static HOST: MadeOnce<Host> = MadeOnce::new();
        HOST.get_or_make(Self::find)
    }

    fn find() -> Result<Self, Unavailable> {
        let groups = OwnGroup::all().map_err(|error| Unavailable {
            why: format!("reading where this process is: {error}"),
            fix: "mount /proc".to_owned(),
        })?;
        let (bases, gaps) = bases(&groups)?;
        // Once more, as this process may have been moved.
        let groups = OwnGroup::all().unwrap_or(groups);
        Ok(Self::new(bases, gaps, groups.into_iter().next().map(|group| group.dir).unwrap_or_default()))
    }

    pub(crate) fn new(bases: Vec<Base>, gaps: Vec<String>, own: PathBuf) -> Self {
        let owner = Owner::this_process();
        remove_stale(&bases, &owner);
        let sweeper = Sweeper::new(owner.prefix(), bases.iter().map(|base| base.dir.clone()).collect());
        Self { bases, gaps, own, owner, sweeper, next: AtomicU64::new(0) }
    }

    pub(crate) fn create(&self, limits: &Limits) -> Result<Cgroup, Unavailable> {
        let name = format!("{}{}", self.owner.prefix(), self.next.fetch_add(1, Ordering::Relaxed));
        let mut group = Cgroup { parts: Vec::new(), gaps: self.gaps.clone(), last: OnceLock::new() };
        // Before the first group, or nobody would remove it if this process were killed now.
        if let Err(error) = self.sweeper.watch() {
            group.gaps.push(format!("nobody clears up after a killed host process: {error}"));
        }
        self.warm_up();
        let mut refused = Vec::new();
        for base in &self.bases {
            match Part::create(base, &name, limits, &mut group.gaps) {
                Ok(part) => group.parts.push(part),
                Err(error) => {
                    let why = format!("making a group in {}: {error}", base.dir.display());
                    let limited =
                        base.controllers.iter().filter(|controller| Controller::LIMITING.contains(controller));
                    group.gaps.extend(limited.map(|controller| gap(*controller, &why)));
                    refused.push(why);
                }
            }
        }
        if Controller::LIMITING.iter().all(|controller| Cgroup::part_of(&group.parts, *controller).is_none()) {
            return Err(Unavailable { why: refused.join("; "), fix: FIX.to_owned() });
        }
        Ok(group)
    }

    /// Lets the next processes that join a v2 group wait less.
    ///
    /// Whoever moves a process first after a while waits for a grace period of RCU, 4 to 10 ms, which is
    /// as long as the rest of a start; those after it do not. So somebody is moved while the start is
    /// prepared: the sweeper, to where it already is. `CLONE_INTO_CGROUP` would not wait, but containers
    /// refuse `clone3`.
    fn warm_up(&self) {
        static UNDER_WAY: AtomicBool = AtomicBool::new(false);
        let Some(sweeper) = self.sweeper.process() else { return };
        if self.bases.iter().all(|base| base.version == Version::V1) || UNDER_WAY.swap(true, Ordering::Relaxed) {
            return;
        }
        let file = self.own.join("cgroup.procs");
        let started = std::thread::Builder::new().spawn(move || {
            let _ = fs::write(file, sweeper.to_string());
            UNDER_WAY.store(false, Ordering::Relaxed);
        });
        if started.is_err() {
            UNDER_WAY.store(false, Ordering::Relaxed);
        }
    }
}

/// Chooses a place for each controller.
fn bases(groups: &[OwnGroup]) -> Result<(Vec<Base>, Vec<String>), Unavailable> {
    let v2 = groups.iter().find(|group| group.version == Version::V2);
    let mut wanted = vec![Controller::Memory, Controller::Pids, Controller::Cpu, Controller::Hugetlb];
    let (mut bases, mut gaps) = (Vec::new(), Vec::new());
    for group in groups.iter().filter(|group| group.version == Version::V1) {
        let has = |controller: &Controller| group.controllers.iter().any(|name| name == controller.name());
        let mut controllers: Vec<_> = wanted.extract_if(.., |controller| has(controller)).collect();
        if has(&Controller::Cpuacct) {
            controllers.push(Controller::Cpuacct);
        }
        if let Err(error) = access(&group.dir, Access::WRITE_OK) {
            let why = format!("{} cannot be written: {error}", group.dir.display());
            let limiting = controllers.iter().filter(|controller| Controller::LIMITING.contains(controller));
            gaps.extend(limiting.map(|controller| gap(*controller, &why)));
        } else if !controllers.is_empty() {
            bases.push(Base { dir: group.dir.clone(), version: Version::V1, controllers });
        }
    }
    let in_v1 = !bases.is_empty() || !gaps.is_empty();
    match v2 {
        Some(own) if !in_v1 => {
            let delegated = Delegated::find(own, &wanted)?;
            wanted.clear();
            let limiting = delegated.missing.iter().filter(|(controller, _)| Controller::LIMITING.contains(controller));
            gaps.extend(limiting.map(|(controller, why)| gap(*controller, why)));
            bases.push(Base { dir: delegated.dir, version: Version::V2, controllers: delegated.controllers });
        }
        None if !in_v1 => {
            let why = "no cgroup hierarchy that this process is in is mounted".to_owned();
            return Err(Unavailable { why, fix: FIX.to_owned() });
        }
        Some(_) | None => {}
    }
    let left = wanted.iter().filter(|controller| Controller::LIMITING.contains(controller));
    gaps.extend(left.map(|controller| gap(*controller, "no hierarchy with its controller is mounted")));
    let limits = |base: &Base| base.controllers.iter().any(|controller| Controller::LIMITING.contains(controller));
    if !bases.iter().any(limits) {
        return Err(Unavailable { why: gaps.join("; "), fix: FIX.to_owned() });
    }
    Ok((bases, gaps))
}

fn gap(controller: Controller, why: &str) -> String {
    format!("{} is not limited: {why}", controller.resource())
}

/// Removes the empty groups of processes that were killed. One that is not empty is left alone: what
/// is in it is ending, or it is not what we think.
fn remove_stale(bases: &[Base], owner: &Owner) {
    for base in bases {
        for entry in fs::read_dir(&base.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let of = name.to_str().and_then(Owner::of_group);
            if of.is_some_and(|of| of != *owner && of.is_gone(owner)) {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// The process that made a group, as groups are named after it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Owner {
    /// Process numbers mean something only in their namespace.
    namespace: u64,
    process: u32,
    /// In clock ticks since boot; tells a process from a later one of the same number.
    started: u64,
}

impl Owner {
    pub(crate) fn this_process() -> Self {
        let namespace = fs::metadata("/proc/self/ns/pid").map_or(0, |found| found.ino());
        let process = std::process::id();
        Self { namespace, process, started: started(process).unwrap_or(0) }
    }

    /// What the names of its groups start with.
    pub(crate) fn prefix(&self) -> String {
        format!("gigmcp-{}-{}-{}-", self.namespace, self.process, self.started)
    }

    fn of_group(name: &str) -> Option<Self> {
        let mut fields = name.strip_prefix("gigmcp-")?.split('-');
        let namespace = fields.next()?.parse().ok()?;
        let process = fields.next()?.parse().ok()?;
        let started = fields.next()?.parse().ok()?;
        let _number: u64 = fields.next()?.parse().ok()?;
        fields.next().is_none().then_some(Self { namespace, process, started })
    }

    /// Whether it can be seen from here that this process has ended.
    fn is_gone(&self, seen_from: &Self) -> bool {
        self.namespace == seen_from.namespace
            && match started(self.process) {
                Some(started) => started != self.started,
                // Not there, or hidden from here: /proc may show a process to nobody who may not trace it.
                None => {
                    let process = i32::try_from(self.process).ok().and_then(Pid::from_raw);
                    process.is_none_or(|process| test_kill_process(process) == Err(Errno::SRCH))
                }
            }
    }
}

fn started(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in brackets, may hold anything. Source: proc_pid_stat(5), field 22.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

const FIX: &str = "on cgroup v1, run as root with the hierarchies mounted for writing; better, boot with cgroup v2 \
                   and start it from a unit with Delegate=yes, or in a container with writable cgroups";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_of_ended_processes_are_stale() {
        let this = Owner::this_process();
        let other = |change: fn(&mut Owner)| {
            let mut other = this.clone();
            change(&mut other);
            other
        };
        for (case, owner, gone) in [
            ("this process", this.clone(), false), // twin of the next
            ("an earlier one of the same number", other(|owner| owner.started -= 1), true),
            ("a number nobody has", other(|owner| owner.process = u32::MAX), true),
            ("a process of another namespace", other(|owner| (owner.namespace, owner.process) = (1, u32::MAX)), false),
        ] {
            assert_eq!(owner.is_gone(&this), gone, "{case}");
            assert_eq!(Owner::of_group(&format!("{}7", owner.prefix())), Some(owner), "{case}");
        }
    }

    #[test]
    fn a_group_of_another_name_is_nobodys() {
        for name in ["gigmcp-gateway", "gigmcp-1-2-3", "gigmcp-1-2-3-4-5", "gigmcp-1-2-3-x", "user.slice", "gigmcp-"] {
            assert_eq!(Owner::of_group(name), None, "{name}");
        }
    }
}
