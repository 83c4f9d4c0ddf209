//! Who the host process is, and what to change where a host does not allow a step.

use std::fs;

use crate::protocol::Stage;

/// Whether this process is the host's root, who must be left behind.
///
/// In a user namespace where uid 0 is somebody else on the host, there is no root to leave; such a
/// namespace often has no second user to become. Where uid 0 is uid 0 of the namespace around it,
/// that may be the host's, so it is taken for it.
pub(crate) fn is_root() -> bool {
    // Where nobody can tell, it is the host's: else that user would not be given up.
    let keeps = || fs::read_to_string("/proc/self/uid_map").map_or(true, |map| keeps_root(&map));
    rustix::process::geteuid().is_root() && keeps()
}

/// Each line has the first id inside, the one it is outside, and how many follow.
fn keeps_root(uid_map: &str) -> bool {
    uid_map.lines().any(|line| line.split_whitespace().take(2).eq(["0", "0"]))
}

/// What to do about a step that failed with this error.
pub(crate) fn fix(stage: Stage, errno: i32) -> &'static str {
    if errno == EMFILE {
        return OPEN_FILES_FIX;
    }
    if errno == ENOSYS && is_filtered() {
        return HIDDEN_CALL_FIX;
    }
    let unexpected = match errno {
        // What is left takes no right that we do not have by then.
        EPERM if is_filtered() => FILTER_FIX,
        _ => "this should not happen; please report it with the kernel's version",
    };
    match stage {
        Stage::UserMap if errno == EPERM && is_root_of_container() => ROOT_OF_CONTAINER_FIX,
        Stage::Namespaces | Stage::UserMap | Stage::MountNamespace | Stage::Network => namespace_fix(errno),
        Stage::Root | Stage::Source if errno == ENOENT => "name a path that exists",
        Stage::Root if errno == EEXIST => "something else is at that place inside already; choose another",
        Stage::Root | Stage::Source if errno == ENOSYS => "use Linux 5.14 or later",
        Stage::Root | Stage::Source if errno == EACCES => "make it readable for this user",
        Stage::Root | Stage::Source => "check that mounts are allowed to this process",
        Stage::DropUser => {
            "run the host process as another user than root, or with CAP_CHOWN, CAP_SETGID and CAP_SETUID"
        }
        Stage::Exec if errno == ENOENT => {
            "install the program in the root shown to the server; if it is there, what it needs to start is not: \
             the loader of a program that is not static, or the interpreter of a script"
        }
        Stage::Exec if errno == EACCES => "make the program executable for everybody",
        Stage::Exec if errno == ENOEXEC => "use a program built for this machine",
        Stage::Exec => "check that the program runs outside the sandbox",
        Stage::WorkingDir => "name a directory that exists inside",
        Stage::Plan if errno == EINVAL => OPEN_FILES_FIX, // no number as high as we need
        Stage::Rlimits if errno == EROFS => READ_ONLY_PROC_FIX,
        // The kernel lets nobody mount a whole /proc where the present one is covered in part.
        Stage::Proc if matches!(errno, EPERM | EACCES) => READ_ONLY_PROC_FIX,
        Stage::Link if errno == EPERM => {
            "give the host process CAP_NET_ADMIN in its network namespace, or use hand-off"
        }
        Stage::Link if errno == EEXIST => {
            "another process uses these addresses for links of its own; give each a range of its own"
        }
        Stage::Link if errno == EOPNOTSUPP => "use a kernel with virtual links (CONFIG_VETH)",
        Stage::Link => "check the range of the links against the addresses and rules of this host",
        Stage::Filter => {
            "use a kernel with nf_tables for inet and its reject (CONFIG_NF_TABLES_INET, CONFIG_NFT_REJECT_INET), or \
             use hand-off"
        }
        Stage::Listeners if errno == EADDRINUSE => {
            "another program listens at this port of every address: name another, as with VethPool::proxy_port"
        }
        Stage::Listeners if errno == EACCES => "ports below 1024 need CAP_NET_BIND_SERVICE; name higher ones",
        Stage::Listeners if errno == ENOPROTOOPT => "use Linux 5.14 or later",
        Stage::InnerUserNamespace => "let user namespaces be nested one level deeper here",
        Stage::Standing
        | Stage::Cgroup
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
        | Stage::Seccomp => unexpected,
    }
}

fn namespace_fix(errno: i32) -> &'static str {
    let restricted = fs::read_to_string(APPARMOR_SWITCH).is_ok_and(|value| value.trim() == "1");
    match errno {
        // Of all that refuses namespaces only security modules say it like this.
        EACCES => SECURITY_MODULE_FIX,
        EPERM if restricted => SECURITY_MODULE_FIX,
        EPERM if is_filtered() => FILTER_FIX,
        ENOSPC => "raise the limits of namespaces (sysctl user.max_user_namespaces and those beside it)",
        EINVAL | ENOSYS => "use a kernel with user and network namespaces",
        _ => "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1)",
    }
}

/// Whether a seccomp filter, which can only be a container's or a service's, is on this process.
fn is_filtered() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"]))
}

/// Whether this process is uid 0 of a user namespace where that is somebody else on the host.
fn is_root_of_container() -> bool {
    rustix::process::geteuid().is_root() && !is_root()
}

const OPEN_FILES_FIX: &str = "raise the host process's limit of open files";
const READ_ONLY_PROC_FIX: &str = "/proc is covered or read-only in part, as in a container: run it with systempaths=unconfined (Docker) or \
     procMount: Unmasked (Kubernetes)";
const SECURITY_MODULE_FIX: &str = "a security module keeps user namespaces from this program: with AppArmor (Ubuntu 23.10 \
     and later) install deploy/apparmor/gigmcp of gigmcp's repository for it, with SELinux a rule of your own";
const FILTER_FIX: &str = "a seccomp filter, such as a container's, refuses this: run it with deploy/docker/seccomp.json of \
     gigmcp's repository as its profile, or in a systemd unit allow what deploy/systemd does";
const HIDDEN_CALL_FIX: &str = "a seccomp filter hides a call that is needed: in a systemd unit leave out RestrictSUIDSGID= and \
     DynamicUser=, which hide openat2; for a container use deploy/docker/seccomp.json of gigmcp's repository";
const ROOT_OF_CONTAINER_FIX: &str = "only with CAP_SETFCAP can root of a container be shown to itself: run the host \
     process as another user";
const APPARMOR_SWITCH: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ENOEXEC: i32 = 8;
const EACCES: i32 = 13;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const ENOSYS: i32 = 38;
const ENOPROTOOPT: i32 = 92;
const EOPNOTSUPP: i32 = 95;
const EADDRINUSE: i32 = 98;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_taken_for_the_hosts_unless_it_is_somebody_else_outside() {
        for (case, map, expected) in [
            ("the host", "         0          0 4294967295\n", true),
            ("a namespace with root alone", "         0          0          1\n", true),
            ("a namespace with root and a user", "0 0 1\n1000 1000 1\n", true),
            ("rootless", "         0       1000          1\n", false),
            ("rootless with subordinate ids", "0 1000 1\n1 100000 65536\n", false),
            ("a remapped container", "0 100000 65536\n", false),
        ] {
            assert_eq!(keeps_root(map), expected, "{case}");
        }
    }
}
