//! Who the host process is, and what to change where a host does not allow a step.

use std::fs;
use std::path::Path;

use crate::protocol::Stage;

/// Whether this process is the host's root, who must be left behind.
///
/// In a user namespace where uid 0 is somebody else on the host, there is no root to leave; such a
/// namespace often has no second user to become.
pub(crate) fn is_root() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    rustix::process::geteuid().is_root() && is_everybody(&map)
}

fn is_everybody(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// What to do about a step that failed with this error.
pub(crate) fn fix(stage: Stage, errno: i32) -> &'static str {
    if errno == EMFILE {
        return OPEN_FILES_FIX;
    }
    match stage {
        Stage::Namespaces | Stage::UserMap | Stage::MountNamespace | Stage::Network => namespace_fix(errno),
        Stage::Root | Stage::Source if errno == ENOENT => "name a path that exists",
        Stage::Root | Stage::Source if errno == ENOSYS => "use Linux 5.12 or later",
        Stage::Root | Stage::Source if errno == EACCES => "make it readable for this user",
        Stage::Root | Stage::Source => "check that mounts are allowed to this process",
        Stage::DropUser => "run the host process without root, or with CAP_SETUID and CAP_SETGID",
        Stage::Exec if errno == ENOENT => "install the program in the root shown to the server",
        Stage::Exec if errno == EACCES => "make the program executable for everybody",
        Stage::Exec if errno == ENOEXEC => "use a program built for this machine",
        Stage::Exec => "check that the program runs outside the sandbox",
        Stage::WorkingDir => "name a directory that exists inside",
        Stage::Plan if errno == EINVAL => OPEN_FILES_FIX, // no number as high as we need
        Stage::Rlimits if errno == EROFS => READ_ONLY_PROC_FIX,
        // The kernel lets nobody mount a whole /proc where the present one is covered in part.
        Stage::Proc if matches!(errno, EPERM | EACCES) => READ_ONLY_PROC_FIX,
        Stage::InnerUserNamespace => "let user namespaces be nested one level deeper here",
        Stage::Cgroup
        | Stage::HostName
        | Stage::Proc
        | Stage::Terminals
        | Stage::PivotRoot
        | Stage::NamespaceLimits
        | Stage::Plan
        | Stage::Keyring
        | Stage::Listeners
        | Stage::Init
        | Stage::Fork
        | Stage::Rlimits
        | Stage::Capabilities
        | Stage::NestedUserNamespace
        | Stage::NoNewPrivs
        | Stage::Landlock
        | Stage::Seccomp => "this should not happen; please report it with the kernel's version",
    }
}

fn namespace_fix(errno: i32) -> &'static str {
    let restricted = fs::read_to_string(APPARMOR_SWITCH).is_ok_and(|value| value.trim() == "1");
    match errno {
        EPERM | EACCES if restricted => {
            "AppArmor keeps unprivileged user namespaces from this program (Ubuntu 23.10 and later): \
             install an AppArmor profile for it that has the rule `userns,`"
        }
        EPERM if Path::new("/.dockerenv").exists() => {
            "this container's seccomp profile refuses namespaces: run it with a profile that allows \
             clone, unshare and mount, and with systempaths=unconfined"
        }
        ENOSPC => "raise user.max_user_namespaces (sysctl)",
        EINVAL | ENOSYS => "use a kernel with user and network namespaces",
        _ => "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1)",
    }
}

const OPEN_FILES_FIX: &str = "raise the host process's limit of open files";
const READ_ONLY_PROC_FIX: &str =
    "/proc is covered or read-only in part, as in a container: run it with systempaths=unconfined";
const APPARMOR_SWITCH: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ENOEXEC: i32 = 8;
const EACCES: i32 = 13;
const EINVAL: i32 = 22;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const ENOSYS: i32 = 38;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_identity_map_has_the_hosts_root() {
        for (case, map, expected) in [
            ("the host", "         0          0 4294967295\n", true),
            ("rootless", "         0       1000          1\n", false),
            ("a remapped container", "0 100000 65536\n", false),
            ("unreadable", "", false),
        ] {
            assert_eq!(is_everybody(map), expected, "{case}");
        }
    }
}
