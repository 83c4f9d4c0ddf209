//! The part of the cgroup v2 tree that this process may manage.
//!
//! A group with processes of its own cannot pass controllers on to groups below ("no internal
//! processes"), so the groups of sandboxes are made beside the one this process is in, never below.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::hierarchy::{OwnGroup, is_shortage, processes};
use super::{Controller, Unavailable};

/// A group below which others can be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Delegated {
    pub(crate) dir: PathBuf,
    /// The controllers that groups below have.
    pub(crate) controllers: Vec<Controller>,
    /// Those they do not have, and why.
    pub(crate) missing: Vec<(Controller, String)>,
}

impl Delegated {
    /// Finds the group that somebody has handed to us, and makes it ready for groups below.
    ///
    /// If that is the very group this process is in, all its processes move one down, to a group
    /// named [`LEAF`]. Nothing is moved or changed in a group that is not ours.
    pub(crate) fn find(own: &OwnGroup, wanted: &[Controller]) -> Result<Self, Unavailable> {
        if let Some(parent) = parent(own)
            && is_delegated(&parent, own)
            && processes(&parent.dir).is_ok_and(|processes| processes.is_empty())
        {
            return Self::with_controllers(parent.dir, wanted);
        }
        if is_real_root(&own.dir) {
            // The one group that may have processes and pass controllers on.
            return Self::with_controllers(own.dir.clone(), wanted);
        }
        if !(is_delegated(own, own) || is_only_ours(own)) {
            return Err(not_delegated(own, "it is not delegated to this process"));
        }
        move_into_leaf(&own.dir).map_err(|error| not_delegated(own, &error.to_string()))?;
        Self::with_controllers(own.dir.clone(), wanted)
    }

    fn with_controllers(dir: PathBuf, wanted: &[Controller]) -> Result<Self, Unavailable> {
        let failed = |error| Unavailable {
            why: format!("looking for the controllers of {}: {error}", dir.display()),
            fix: "see the message".to_owned(),
        };
        let words = |file: &str| fs::read_to_string(dir.join(file)).map_err(failed);
        let (available, enabled) = (words("cgroup.controllers")?, words("cgroup.subtree_control")?);
        let listed = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
        let (mut controllers, mut missing) = (Vec::new(), Vec::new());
        for controller in wanted {
            let name = controller.name();
            if listed(&enabled, name) {
                controllers.push(*controller);
            } else if !listed(&available, name) {
                missing.push((*controller, format!("{} does not have the controller", dir.display())));
            } else {
                match fs::write(dir.join("cgroup.subtree_control"), format!("+{name}")) {
                    Ok(()) => controllers.push(*controller),
                    Err(error) if is_shortage(&error) => return Err(failed(error)),
                    Err(error) => missing.push((*controller, format!("enabling it in {}: {error}", dir.display()))),
                }
            }
        }
        Ok(Self { dir, controllers, missing })
    }
}

fn parent(own: &OwnGroup) -> Option<OwnGroup> {
    let (path, dir) = (own.path.parent()?.to_owned(), own.dir.parent()?.to_owned());
    // Above the top of the mount there is something else.
    let is_group = dir.join("cgroup.procs").exists();
    is_group.then(|| OwnGroup { path, dir, ..own.clone() })
}

/// Whether the manager of the tree gave this group away, or we are its manager.
fn is_delegated(group: &OwnGroup, own: &OwnGroup) -> bool {
    let at_top = group.path == Path::new("/") && !is_real_root(&group.dir);
    let by_us = group.path != own.path && own.path.file_name().is_some_and(|name| name == LEAF);
    // Only a container's manager makes the group at the top of a cgroup namespace ours.
    (at_top && group.path == own.path) || by_us || has_mark(&group.dir)
}

/// systemd marks what a unit with `Delegate=` may manage; the mark in `user.` is for those who may
/// not read `trusted.`.
fn has_mark(dir: &Path) -> bool {
    ["trusted.delegate", "user.delegate"].iter().any(|name| {
        let mut value = [0_u8; 2];
        rustix::fs::getxattr(dir, *name, &mut value).is_ok_and(|length| &value[..length] == b"1")
    })
}

/// Without systemd nobody marks groups; then one is ours if nobody else is in it.
fn is_only_ours(group: &OwnGroup) -> bool {
    !has_systemd() && processes(&group.dir).is_ok_and(|processes| processes == [std::process::id()])
}

/// Only the groups below the root have a type.
pub(crate) fn is_real_root(dir: &Path) -> bool {
    !dir.join("cgroup.type").exists()
}

fn move_into_leaf(dir: &Path) -> io::Result<()> {
    let leaf = dir.join(LEAF);
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // A process may fork while it is moved; what it leaves behind is found in the next round.
    for _ in 0..ROUNDS {
        let left = processes(dir)?;
        if left.is_empty() {
            return Ok(());
        }
        for process in left {
            match fs::write(leaf.join("cgroup.procs"), process.to_string()) {
                Err(error) if error.raw_os_error() != Some(ESRCH) => return Err(error),
                _ => {}
            }
        }
    }
    Err(io::Error::other("processes appear faster in it than they can be moved away"))
}

fn not_delegated(own: &OwnGroup, why: &str) -> Unavailable {
    let fix = if has_systemd() {
        "start it with `systemd-run --scope -p Delegate=yes` (with --user for a user), or from a unit with \
         Delegate=yes and DelegateSubgroup=gateway"
    } else {
        "give the container a cgroup namespace with a writable tree (Docker 28 and later: --cgroupns=private \
         --security-opt writable-cgroups=true), or start it alone in a cgroup it may write"
    };
    Unavailable { why: format!("the cgroup {}: {why}", own.path.display()), fix: fix.to_owned() }
}

fn has_systemd() -> bool {
    // Source: sd_booted(3).
    fs::symlink_metadata("/run/systemd/system").is_ok_and(|found| found.is_dir())
}

/// Where the processes of a group go that is to pass its controllers on.
pub(crate) const LEAF: &str = "gigmcp-gateway";
const ROUNDS: usize = 16;
const ESRCH: i32 = rustix::io::Errno::SRCH.raw_os_error();

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use rustix::fs::{XattrFlags, setxattr};

    use super::*;
    use crate::cgroup::hierarchy::Version;

    /// Asks the test binary to say where it may make groups.
    const PLAY_HOST: &str = "GIGMCP_TEST_DELEGATION";

    #[test]
    fn says_where_it_may_make_groups_when_asked() {
        if std::env::var_os(PLAY_HOST).is_none() {
            return;
        }
        let own = OwnGroup::all().unwrap().into_iter().find(|group| group.version == Version::V2).unwrap();
        let found = Delegated::find(&own, &[]).map(|found| found.dir).map_err(|error| error.why);
        let now = OwnGroup::all().unwrap().into_iter().find(|group| group.version == Version::V2).unwrap();
        println!("found {found:?} now in {:?}", now.dir);
    }

    /// A group of the test's own in the v2 hierarchy.
    struct Group(PathBuf);

    impl Group {
        fn new(name: &str) -> Self {
            let own = OwnGroup::all().unwrap().into_iter().find(|group| group.version == Version::V2).unwrap();
            Self::below(&own.dir, &format!("test-{}-{name}", std::process::id()))
        }

        fn below(dir: &Path, name: &str) -> Self {
            fs::create_dir(dir.join(name)).unwrap();
            Self(dir.join(name))
        }

        fn mark(&self) -> &Self {
            setxattr(&self.0, "trusted.delegate", b"1", XattrFlags::empty()).unwrap();
            self
        }

        /// What a host process in this group finds.
        fn ask(&self, through: &str) -> String {
            let asked = "cgroup::delegation::tests::says_where_it_may_make_groups_when_asked";
            let mut host = Command::new("sh")
                .args(["-c", &format!("read -r go && exec {through} \"$@\"")])
                .arg("sh")
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", asked, "--nocapture"])
                .env(PLAY_HOST, "1")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            fs::write(self.0.join("cgroup.procs"), host.id().to_string()).unwrap();
            host.stdin.take().unwrap().write_all(b"go\n").unwrap();
            let said = String::from_utf8(host.wait_with_output().unwrap().stdout).unwrap();
            let said = said.lines().find_map(|line| line.split_once("found ")).unwrap_or_else(|| panic!("{said}")).1;
            said.replace(self.0.to_str().unwrap(), "@")
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            let _ = fs::remove_dir(self.0.join(LEAF));
            let _ = fs::remove_dir(&self.0);
        }
    }

    #[test]
    fn a_marked_group_is_emptied_into_a_leaf() {
        let group = Group::new("marked");
        assert_eq!(group.mark().ask(""), format!("Ok(\"@\") now in \"@/{LEAF}\""));
        assert_eq!(group.ask(""), format!("Ok(\"@\") now in \"@/{LEAF}\""), "and again");
    }

    #[test]
    fn beside_its_own_group_it_makes_groups_where_the_parent_is_marked_and_empty() {
        let unit = Group::new("unit");
        let leaf = Group::below(&unit.0, "main");
        assert!(leaf.ask("").starts_with("Ok(\"@\")"), "alone, so it is its own");
        assert!(unit.mark().0.join("main").join(LEAF).exists());
        let unit_dir = unit.0.to_str().unwrap();
        assert_eq!(leaf.ask(""), format!("Ok(\"{unit_dir}\") now in \"@\""));
        drop(leaf);
    }

    #[test]
    fn a_group_with_strangers_is_not_touched() {
        let group = Group::new("strangers");
        let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
        fs::write(group.0.join("cgroup.procs"), stranger.id().to_string()).unwrap();
        let refused = group.ask("");
        assert!(refused.starts_with("Err(") && refused.contains("is not delegated to this process"), "{refused}");
        assert!(refused.ends_with("now in \"@\"") && !group.0.join(LEAF).exists(), "{refused}");
        // The twin: whoever gave it to us gave us the strangers too.
        assert_eq!(group.mark().ask(""), format!("Ok(\"@\") now in \"@/{LEAF}\""));
        assert_eq!(processes(&group.0.join(LEAF)).unwrap(), [stranger.id()]);
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[test]
    fn the_top_of_a_containers_namespace_is_its_own() {
        let group = Group::new("container");
        let inside = "unshare --cgroup --mount --propagation private sh -c \
                      'mount -t cgroup2 none /mnt && \"$@\"; echo' sh";
        let said = group.ask(inside);
        assert_eq!(said, format!("Ok(\"/mnt/\") now in \"/mnt/{LEAF}\""));
    }
}
