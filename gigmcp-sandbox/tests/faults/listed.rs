//! The calls whose failure does not keep a server from starting.

use crate::walk::Outcome;

/// Whose failure changes nothing: the parts, how the call begins, how many such there may be, why.
const CHANGES_NOTHING: &[(&str, &str, usize, &str)] = &[
    ("outer init server", "close", usize::MAX, "the descriptor is closed whatever is answered"),
    ("outer", "brk", 6, "the allocator takes another place"),
    ("outer", "set_tid_address", 1, "the C library begins; its threads need it"),
    ("outer init server", "set_robust_list", 1, "the C library begins or forks; its threads need it"),
    ("outer", "rseq", 1, "the C library begins; a shortcut"),
    ("outer", "readlink /proc/self/exe", 1, "the C library begins"),
    ("outer", "getrandom", 2, "the C library begins; a hash table whose keys are ours"),
    ("outer", "prlimit64", 2, "the C library and Rust's begin: how large the stack may become"),
    ("outer", "openat /proc/self/maps", 1, "Rust's library begins: where the stack lies"),
    ("outer", "newfstatat", 1, "the same"),
    ("outer", "read", 1, "the same"),
    ("outer", "sched_getaffinity", 1, "the same"),
    ("outer", "poll", 1, "Rust's library begins: whether the standard streams are open"),
    ("outer", "sigaltstack", 2, "Rust's library begins: a stack for telling of overflows"),
    ("outer", "rt_sigaction", 4, "the same"),
    ("outer init server", "statx", 3, "how large a file is that is read whole"),
    ("outer", "statx /run", 1, "then the root is put together at /mnt"),
    ("outer", "copy_file_range", 1, "then the server is copied by another call"),
    ("outer", "sendfile", 1, "the same"),
    ("outer init", "prctl 15", 1, "what the process is called in lists"),
    ("server", "lseek", 1, "how large a file is that is read whole"),
    ("init", "ioctl 0xb701", 1, "EPERM is the answer that is hoped for"),
    ("server", "setns", 1, "a tripwire tried: EPERM is the answer that is hoped for"),
    // The host's own threads. Its library looks at descriptors before it closes them, in a build for tests.
    ("supervisor caller", "fcntl", usize::MAX, "only that a descriptor is open"),
    ("supervisor", "prlimit64", 8, "how high the bootstrap's descriptors may be: asked by the C library"),
    ("supervisor caller", "statx", usize::MAX, "how large a file is that is read whole"),
    ("supervisor caller", "lseek", usize::MAX, "the same"),
    ("supervisor", "read", 3, "the word that there is work, which comes again"),
    ("supervisor", "write", 2, "the limit on processor time, lifted so that the end is quick"),
    ("supervisor", "rmdir", usize::MAX, "control groups of an earlier sandbox are removed later"),
    ("supervisor", "openat", usize::MAX, "what limits tell is asked for every so often instead"),
    ("supervisor", "eventfd2", 1, "the same"),
    ("supervisor", "inotify_add_watch", usize::MAX, "the same"),
    ("supervisor", "epoll_ctl", 2, "the same"),
    ("caller", "wait4", 2, "then a second process waits for the host's end"),
    ("caller", "unlink", usize::MAX, "the test's own, before the start"),
    ("caller", "openat /proc/cpuinfo", 1, "what the server is told of the processors is made up"),
    ("caller", "openat /proc/self/uid_map", 1, "root is then taken for the host's"),
    ("caller", "read", usize::MAX, "the same two"),
    ("caller", "mkdir /sys/fs/cgroup", usize::MAX, "a controller that only counts"),
    ("caller", "openat /sys/fs/cgroup", usize::MAX, "the same"),
    ("caller", "write", usize::MAX, "the same"),
    ("caller", "rmdir", usize::MAX, "a group that could not be limited is removed later"),
];

/// By which is found out what holds, or which make what is not demanded: the part, and the layer that is told not to
/// hold in full.
const TOLD: &[(&str, &str)] = &[
    ("init", "read-only root: none"),
    ("init", "seccomp: none"),
    ("init", "seccomp: partial"),
    ("init", "user namespace: none"),
    ("init", "mount namespace: none"),
    ("init", "pid namespace: none"),
    ("init", "network namespace: none"),
    ("init", "network namespace ownership: none"),
    ("init", "ipc namespace: none"),
    ("init", "uts namespace: none"),
    ("init", "cgroup namespace: none"),
    ("server", "seccomp: partial"),
    ("server", "no nested user namespaces: partial"),
    ("supervisor", "user namespace: partial"),
    ("supervisor", "mount namespace: partial"),
    ("supervisor", "pid namespace: partial"),
    ("supervisor", "network namespace: partial"),
    ("supervisor", "ipc namespace: partial"),
    ("supervisor", "uts namespace: partial"),
    ("supervisor", "cgroup namespace: partial"),
    ("supervisor", "rlimits: partial"),
    ("supervisor", "cgroup limits: partial"),
    ("caller", "cgroup limits: partial"),
    ("caller", "cgroup limits: none"),
];

/// Whose failure ends a server that runs already, which may be before its start was told: the part and the call.
const ENDS: &[(&str, &str)] = &[
    // Its watch over all processes, and its own end is the end of all.
    ("init", "poll"),
];

/// What came of a call that is neither.
pub(crate) fn wrong<'a>(part: &str, outcomes: &'a [Outcome]) -> Vec<&'a Outcome> {
    let mut seen = vec![0; CHANGES_NOTHING.len()];
    let mut is_listed = |call: &str| {
        let at = CHANGES_NOTHING.iter().position(|(parts, known, ..)| {
            let matches = if is_open(part) { call.starts_with(known) } else { call == *known };
            matches && parts.split(' ').any(|known| known == part)
        });
        at.is_some_and(|at| {
            seen[at] += 1;
            seen[at] <= CHANGES_NOTHING[at].2
        })
    };
    let mut is_right = |outcome: &Outcome| match outcome.result.strip_prefix("started ") {
        None => !outcome.ran && !outcome.canary || ENDS.iter().any(|(of, call)| *of == part && outcome.call == *call),
        Some("") => outcome.ran && outcome.canary && is_listed(&outcome.call),
        Some(told) => {
            outcome.ran && outcome.canary && TOLD.iter().any(|(of, layer)| *of == part && told.starts_with(layer))
        }
    };
    outcomes.iter().filter(|outcome| !is_right(outcome)).collect()
}

/// Whether a call is listed whatever its path is: the host's paths differ from machine to machine.
fn is_open(part: &str) -> bool {
    matches!(part, "supervisor" | "caller")
}
