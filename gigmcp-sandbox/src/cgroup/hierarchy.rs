//! Where the cgroup hierarchies are mounted, and which group this process is in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// What a hierarchy's files look like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// The group this process is in, in one hierarchy, seen through one mount.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct OwnGroup {
    pub(crate) version: Version,
    /// The controllers bound to a v1 hierarchy. Those of v2 depend on the group.
    pub(crate) controllers: Vec<String>,
    /// From the root of the cgroup namespace.
    pub(crate) path: PathBuf,
    /// As it can be opened.
    pub(crate) dir: PathBuf,
}

impl OwnGroup {
    /// One group a hierarchy this process is in, as far as a mount shows it.
    pub(crate) fn all() -> io::Result<Vec<Self>> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let memberships = fs::read_to_string("/proc/self/cgroup")?;
        let mut found: Vec<Self> = Vec::new();
        for group in candidates(&mounts, &memberships) {
            let known = found.iter().any(|other| other.same_hierarchy(&group));
            // A later mount may hide an earlier one, and a namespace may lie about paths: what counts is
            // that we are in it.
            if known {
                continue;
            }
            match processes(&group.dir) {
                Ok(processes) if processes.contains(&std::process::id()) => found.push(group),
                // That says nothing about the group.
                Err(error) if is_shortage(&error) => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(found)
    }

    fn same_hierarchy(&self, other: &Self) -> bool {
        self.version == other.version && self.controllers == other.controllers
    }
}

/// Whether we, or the machine, are out of descriptors or memory, which passes.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// The processes directly in a group; 0 stands for those of other pid namespaces.
pub(crate) fn processes(dir: &Path) -> io::Result<Vec<u32>> {
    let text = fs::read_to_string(dir.join("cgroup.procs"))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// Joins what `/proc/self/mountinfo` and `/proc/self/cgroup` say.
fn candidates(mounts: &str, memberships: &str) -> Vec<OwnGroup> {
    let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
    let mut found = Vec::new();
    for line in memberships.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (fields.next(), fields.next()) else { continue };
        let version = if names.is_empty() { Version::V2 } else { Version::V1 };
        let controllers: Vec<String> = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let of_hierarchy =
            |mount: &&Mount| mount.version == version && controllers.iter().all(|name| mount.options.contains(name));
        for mount in mounts.iter().filter(of_hierarchy) {
            let Ok(below) = Path::new(path).strip_prefix(&mount.root) else { continue };
            let (dir, path) = (mount.point.join(below), PathBuf::from(path));
            found.push(OwnGroup { version, controllers: controllers.clone(), path, dir });
        }
    }
    found
}

struct Mount {
    version: Version,
    /// The group that is shown at the mount point.
    root: PathBuf,
    point: PathBuf,
    /// Of the superblock; the controllers of a v1 hierarchy are among them.
    options: Vec<String>,
}

impl Mount {
    /// Source: proc_pid_mountinfo(5).
    fn parse(line: &str) -> Option<Self> {
        let (mount, superblock) = line.split_once(" - ")?;
        let mut superblock = superblock.split(' ');
        let version = match superblock.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let options = superblock.nth(1)?.split(',').map(str::to_owned).collect();
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (unescape(mount.next()?), unescape(mount.next()?));
        Some(Self { version, root, point, options })
    }
}

/// Spaces and the like are `\040` in mountinfo.
fn unescape(text: &str) -> PathBuf {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                out.push_str(&part[3..]);
            }
            None => {
                out.push('\\');
                out.push_str(part);
            }
        }
    }
    PathBuf::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_through_every_kind_of_mount() {
        const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        const MEMORY: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        const BOTH: &str = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct";
        for (case, mounts, membership, expected) in [
            ("a unit", UNIFIED, "0::/system.slice/gig.service", vec!["/sys/fs/cgroup/system.slice/gig.service"]),
            ("the root of a namespace", UNIFIED, "0::/", vec!["/sys/fs/cgroup/"]),
            ("outside the namespace's root", UNIFIED, "0::/../other", vec!["/sys/fs/cgroup/../other"]),
            ("one v1 controller", MEMORY, "4:memory:/a:b/c", vec!["/sys/fs/cgroup/memory/a:b/c"]),
            ("two in one hierarchy", BOTH, "1:cpu,cpuacct:/x", vec!["/sys/fs/cgroup/cpu,cpuacct/x"]),
            ("another v1 hierarchy", MEMORY, "8:pids:/", vec![]),
            (
                "a container that sees only its own group",
                "9 8 0:3 /docker/12 /sys/fs/cgroup/memory ro - cgroup memory rw,memory",
                "4:memory:/docker/12",
                vec!["/sys/fs/cgroup/memory/"],
            ),
            (
                "a mount that shows another group",
                "9 8 0:3 /docker/12 /sys/fs/cgroup ro - cgroup2 cgroup rw",
                "0::/docker/123",
                vec![],
            ),
            ("a space", "9 8 0:3 / /mnt/a\\040b rw - cgroup2 none rw", "0::/x", vec!["/mnt/a b/x"]),
            ("nothing mounted", "23 1 8:1 / / rw - ext4 /dev/root rw", "0::/", vec![]),
        ] {
            let found = candidates(mounts, membership);
            let dirs: Vec<_> = found.iter().map(|group| group.dir.as_os_str()).collect();
            assert_eq!(dirs, expected, "{case}");
        }
    }

    #[test]
    fn this_process_is_in_what_is_found() {
        let found = OwnGroup::all().expect("readable");
        assert!(!found.is_empty(), "where these tests run, cgroups are mounted");
        for group in found {
            assert!(processes(&group.dir).expect("readable").contains(&std::process::id()), "{group:?}");
        }
    }
}
