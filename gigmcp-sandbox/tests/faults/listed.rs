//! The calls whose failure does not keep a server from starting.
//!
//! Calls are as the tracer tells them: with a path, with what their descriptor is of, or with an option. One that ends
//! with `*` stands for all that begin so.

use crate::EPERM;
use crate::walk::Outcome;

/// Whose failure changes nothing: the parts, the call, how many such there may be, why.
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
    ("outer", "read /proc/self/maps", 1, "the same"),
    ("outer", "sched_getaffinity", 1, "the same"),
    ("outer", "poll", 1, "Rust's library begins: whether the standard streams are open"),
    ("outer", "sigaltstack", 2, "Rust's library begins: a stack for telling of overflows"),
    ("outer", "rt_sigaction", 4, "the same"),
    ("outer init server", "statx", 3, "how large a file is that is read whole"),
    ("outer", "statx /run", 1, "then the root is put together at /mnt"),
    ("outer", "copy_file_range", 1, "then the server is copied by another call"),
    ("outer", "sendfile", 1, "the same"),
    ("outer init", "prctl 15", 1, "what the process is called in lists"),
    ("init", "wait4", 1, "PID 1 begins to watch, and would be told of whoever has ended"),
    ("server", "lseek", 1, "how large a file is that is read whole"),
    // The host's own threads. Its library looks at descriptors before it closes them, in a build for tests.
    ("supervisor caller", "fcntl 1", usize::MAX, "only that a descriptor is open"),
    ("supervisor", "prlimit64", 8, "how high the bootstrap's descriptors may be: asked by the C library"),
    ("supervisor caller", "statx", usize::MAX, "how large a file is that is read whole"),
    ("supervisor", "read anon_inode:[eventfd]", 3, "the word that there is work, which comes again"),
    ("supervisor", "openat cgroup cpu.*", usize::MAX, "an earlier one's processor time: used, or freed to end quickly"),
    ("supervisor", "read cgroup cpu.stat", usize::MAX, "the same"),
    ("supervisor", "write cgroup cpu.*", 2, "the same"),
    ("supervisor", "rmdir cgroup *", usize::MAX, "control groups of an earlier sandbox are removed later"),
    ("supervisor", "openat cgroup pids.*", usize::MAX, "what limits tell is asked for every so often"),
    ("supervisor", "read cgroup pids.*", usize::MAX, "the same"),
    ("supervisor", "openat cgroup memory.*", usize::MAX, "the same"),
    ("supervisor", "read cgroup memory.*", usize::MAX, "the same"),
    ("supervisor", "openat cgroup cgroup.event_control", 2, "the same"),
    ("supervisor", "write cgroup cgroup.event_control", 2, "the same"),
    ("supervisor", "eventfd2", 1, "the same"),
    ("supervisor", "inotify_add_watch", 2, "the same"),
    ("supervisor", "epoll_ctl anon_inode:[eventfd]", 1, "the same"),
    ("supervisor", "openat cgroup cpuacct.*", usize::MAX, "what an earlier one used in all"),
    ("supervisor", "read cgroup cpuacct.*", usize::MAX, "the same"),
    ("caller", "wait4", 2, "then a second process waits for the host's end"),
    ("caller", "openat /proc/cpuinfo", 1, "what the server is told of the processors is made up"),
    ("caller", "read /proc/cpuinfo", usize::MAX, "the same"),
    ("caller", "openat /proc/self/uid_map", 1, "root is then taken for the host's"),
    ("caller", "read /proc/self/uid_map", 3, "the same"),
    ("caller", "socket", 1, "whether another process has such a link, which is told again when it is made"),
    ("caller", "ioctl 0x8933", 1, "the same"),
    ("caller", "mkdir cgroup cpuacct", 1, "a controller that only counts"),
    ("caller", "openat cgroup cgroup.max.descendants", 1, "for the day that somebody inside sees such files"),
    ("caller", "write cgroup cgroup.max.descendants", 1, "the same"),
    ("caller", "rmdir cgroup *", usize::MAX, "a group that could not be limited is removed later"),
];

/// What is tried and must not be allowed: refused with `EPERM`, it did what was hoped for.
const HOPED_FOR: &[(&str, &str, usize, &str)] = &[
    ("outer", "sendto", 2, "the filter of a link, tried with two packets"),
    ("init", "ioctl 0xb701", 1, "the owner of the network namespace, asked for by somebody inside"),
    ("server", "setns", 1, "a tripwire"),
];

/// By which is found out what holds, or which make what is not demanded: the part, the call, and the layer that is told
/// not to hold in full.
const TOLD: &[(&str, &str, &str)] = &[
    ("outer", "mount /proc/self/fd overlay", "mount namespace: partial"),
    ("init", "openat /proc/self/mountinfo", "read-only root: none"),
    ("init", "read /proc/self/mountinfo", "read-only root: none"),
    ("init", "openat /proc/self/status", "seccomp: none"),
    ("init", "read /proc/self/status", "seccomp: none"),
    // PID 1 waits for the trial of a tripwire, takes it and answers it.
    ("init", "poll", "seccomp: partial"),
    ("init", "ioctl 0xc0502100", "seccomp: partial"),
    ("init", "ioctl 0xc0182101", "seccomp: partial"),
    ("init", "openat /proc/self/uid_map", "user namespace: none"),
    ("init", "read /proc/self/uid_map", "user namespace: none"),
    ("init", "readlink /proc/self/ns/user", "user namespace: none"),
    ("init", "readlink /proc/self/ns/mnt", "mount namespace: none"),
    ("init", "readlink /proc/self/ns/pid", "pid namespace: none"),
    ("init", "readlink /proc/self/ns/net", "network namespace: none"),
    ("init", "readlink /proc/self/ns/ipc", "ipc namespace: none"),
    ("init", "readlink /proc/self/ns/uts", "uts namespace: none"),
    ("init", "readlink /proc/self/ns/cgroup", "cgroup namespace: none"),
    ("init", "openat /proc/self/ns/net", "network namespace ownership: none"),
    ("init", "ioctl 0xb701", "network namespace ownership: none"),
    ("server", "setns", "seccomp: partial"),
    ("server", "unshare", "no nested user namespaces: partial"),
    ("supervisor", "readlink /proc/self/ns/user", "user namespace: partial"),
    ("supervisor", "readlink /proc/self/ns/mnt", "mount namespace: partial"),
    ("supervisor", "readlink /proc/self/ns/pid", "pid namespace: partial"),
    ("supervisor", "readlink /proc/self/ns/net", "network namespace: partial"),
    ("supervisor", "readlink /proc/self/ns/ipc", "ipc namespace: partial"),
    ("supervisor", "readlink /proc/self/ns/uts", "uts namespace: partial"),
    ("supervisor", "readlink /proc/self/ns/cgroup", "cgroup namespace: partial"),
    ("supervisor", "openat /proc/sys/kernel/core_pattern", "rlimits: partial"),
    ("supervisor", "read /proc/sys/kernel/core_pattern", "rlimits: partial"),
    ("supervisor", "openat cgroup cgroup.procs", "cgroup limits: partial"),
    ("supervisor", "read cgroup cgroup.procs", "cgroup limits: partial"),
    ("caller", "mkdir cgroup *", "cgroup limits: partial"),
    ("caller", "mkdir cgroup *", "cgroup limits: none"),
    ("caller", "openat cgroup *", "cgroup limits: partial"),
    ("caller", "read cgroup *", "cgroup limits: partial"),
    ("caller", "write cgroup *", "cgroup limits: partial"),
];

/// Whose failure ends a server that runs already, by an error where its start was not told yet: the part, the call, how
/// many such there may be, why.
const ENDS: &[(&str, &str, usize, &str)] = &[
    ("init", "recvmsg", 1, "PID 1 hears that the program runs, and its own end is the end of all"),
    ("init", "sendmsg", 1, "PID 1 tells that the program runs"),
    ("init", "poll", 2, "PID 1 waits for that, and then begins to watch over all processes"),
    ("supervisor", "recvmsg", 1, "the host hears that the program runs, and lets go of what it cannot hear"),
    ("outer", "wait4", 1, "the monitor waits for PID 1, and its own end is the end of all"),
];

/// What came of a call that is neither.
pub(crate) fn wrong<'a>(part: &str, errno: i32, outcomes: &'a [Outcome]) -> Vec<&'a Outcome> {
    let mut changes_nothing = Listed::new(part, CHANGES_NOTHING);
    let mut hoped_for = Listed::new(part, if errno == EPERM { HOPED_FOR } else { &[] });
    let mut ends = Listed::new(part, ENDS);
    let is_told = |call: &str, told: &str| {
        TOLD.iter().any(|(of, known, layer)| *of == part && is(known, call) && told.starts_with(layer))
    };
    let mut is_right = |Outcome { call, ran, canary, result }: &Outcome| match result.strip_prefix("started ") {
        None if *ran || *canary => ends.has(call),
        // Its program may have been killed in the moment in which it began.
        Some(", Killed") => ends.has(call),
        // The host's patience is no answer.
        None => !result.starts_with("TimedOut"),
        Some("") => *ran && *canary && (hoped_for.has(call) || changes_nothing.has(call)),
        Some(told) => *ran && *canary && is_told(call, told),
    };
    outcomes.iter().filter(|outcome| !is_right(outcome)).collect()
}

/// The entries of a part, and how often each was seen.
struct Listed<'a> {
    part: &'a str,
    entries: &'a [(&'a str, &'a str, usize, &'a str)],
    seen: Vec<usize>,
}

impl<'a> Listed<'a> {
    fn new(part: &'a str, entries: &'a [(&'a str, &'a str, usize, &'a str)]) -> Self {
        Self { part, entries, seen: vec![0; entries.len()] }
    }

    /// Whether the call is listed, and was not seen as often as that already.
    fn has(&mut self, call: &str) -> bool {
        let is_ours = |(parts, known, ..): &(&str, &str, usize, &str)| {
            parts.split(' ').any(|part| part == self.part) && is(known, call)
        };
        let Some(at) = self.entries.iter().position(is_ours) else { return false };
        self.seen[at] += 1;
        self.seen[at] <= self.entries[at].2
    }
}

fn is(known: &str, call: &str) -> bool {
    known.strip_suffix('*').map_or(call == known, |begins| call.starts_with(begins))
}
