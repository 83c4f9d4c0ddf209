//! How much a server may use.

use std::time::Duration;

use crate::SpawnError;

/// Bounds on what a server can use up. Each names the attack it answers.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// Processes and threads at once; answers fork bombs. Counted by user namespace, where PID 1 is one of
    /// them, and where there is a cgroup by that too, where so is the process that waits for PID 1. Default 256.
    pub processes: u64,
    /// Memory of all processes together, in bytes, with what lies in `/tmp` and `/dev/shm` and what
    /// the kernel keeps for them; answers memory bombs. Never swapped out. Rounded down to 64 KiB.
    /// Needs a cgroup. Default 512 MiB.
    pub memory_bytes: u64,
    /// CPU time of all processes together, in hundredths of one CPU: 250 is two and a half CPUs. Answers
    /// busy loops and miners. Needs a cgroup. Default 100, least 1.
    pub cpu_percent: u32,
    /// Open files of a process; answers descriptor exhaustion. Default 768: the kernel also lets a user
    /// have this many descriptors in flight between sockets, one message of 253 more, and then
    /// refuses all programs of that user whose limit is below. The usual limit is 1024.
    pub open_files: u64,
    /// The largest file a process may write, in bytes. Default 256 MiB.
    pub file_bytes: u64,
    /// The stack of a process in bytes. Default 8 MiB.
    pub stack_bytes: u64,
    /// Memory a process may lock, in bytes. Default 8 MiB.
    pub locked_bytes: u64,
    /// The size of `/tmp` in bytes, one page at least; answers filling the host's memory. Default 256 MiB.
    pub tmp_bytes: u64,
    /// Files and directories in `/tmp`, itself included; answers a million empty files. Default 65,536.
    pub tmp_files: u64,
    /// The size of `/dev/shm` in bytes. Default 64 MiB.
    pub shm_bytes: u64,
    /// How long the server may run in all; answers one that never ends. Default: as long as it likes.
    pub wall_time: Option<Duration>,
    /// The longest line of standard error kept, in bytes; the rest of it is dropped. Default 4096.
    pub stderr_line_bytes: usize,
    /// How many last lines of standard error are kept. Default 200.
    pub stderr_lines: usize,
    /// Bytes of standard error taken a second, on average; what is more is dropped and counted,
    /// at 1.3 MB a second and no faster: a server that writes more waits. Answers log floods.
    /// Default 64 KiB.
    pub stderr_bytes_per_second: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            processes: 256,
            memory_bytes: 512 << 20,
            cpu_percent: 100,
            open_files: 768,
            file_bytes: 256 << 20,
            stack_bytes: 8 << 20,
            locked_bytes: 8 << 20,
            tmp_bytes: 256 << 20,
            tmp_files: 65_536,
            shm_bytes: 64 << 20,
            wall_time: None,
            stderr_line_bytes: 4096,
            stderr_lines: 200,
            stderr_bytes_per_second: 64 << 10,
        }
    }
}

/// How much a server may keep in its state directory. It is measured four times a second, and a server
/// over it is ended, so the disk must bear what a server can write in that time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StateQuota {
    /// Bytes that its files take on the disk.
    pub bytes: u64,
    /// Files and directories.
    pub files: u64,
}

impl Default for StateQuota {
    /// 256 MiB in 10,000 files.
    fn default() -> Self {
        Self { bytes: 256 << 20, files: 10_000 }
    }
}

impl Limits {
    /// Whether a program can start at all within them.
    pub(crate) fn check(&self) -> Result<(), SpawnError> {
        let limits = [
            ("processes", self.processes, 4),
            ("memory_bytes", self.memory_bytes, 64 << 10),
            ("cpu_percent", u64::from(self.cpu_percent), 1),
            ("open_files", self.open_files, 16),
            ("stack_bytes", self.stack_bytes, 64 << 10),
        ];
        match limits.into_iter().find(|(_, value, least)| value < least) {
            Some((limit, _, least)) => Err(SpawnError::LimitTooLow { limit, least }),
            None => Ok(()),
        }
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $kind:ty,)*) => {
        impl Limits {
            $($(#[$doc])* #[must_use] pub fn $name(mut self, value: $kind) -> Self { self.$name = value; self })*

            /// Resource numbers of Linux with the value each gets, soft and hard.
            pub(crate) fn rlimits(&self) -> Vec<(u64, u64)> {
                vec![
                    (RLIMIT_FSIZE, self.file_bytes),
                    (RLIMIT_STACK, self.stack_bytes),
                    // 1 and not 0: with a pipe as core_pattern the kernel runs the host's handler
                    // even for 0, while 1 is its own mark for "do not dump". A socket (`@`, Linux 6.16) gets
                    // the dump whatever this says; `Layer::Rlimits` is then partial.
                    (RLIMIT_CORE, 1),
                    (RLIMIT_NPROC, self.processes),
                    (RLIMIT_NOFILE, self.open_files),
                    (RLIMIT_MEMLOCK, self.locked_bytes),
                    (RLIMIT_SIGPENDING, 1024),
                    (RLIMIT_MSGQUEUE, 0),
                    (RLIMIT_NICE, 0),
                    (RLIMIT_RTPRIO, 0),
                ]
            }
        }
    };
}

setters! {
    /// Sets [`Limits::processes`].
    processes: u64,
    /// Sets [`Limits::memory_bytes`].
    memory_bytes: u64,
    /// Sets [`Limits::cpu_percent`].
    cpu_percent: u32,
    /// Sets [`Limits::open_files`].
    open_files: u64,
    /// Sets [`Limits::file_bytes`].
    file_bytes: u64,
    /// Sets [`Limits::stack_bytes`].
    stack_bytes: u64,
    /// Sets [`Limits::locked_bytes`].
    locked_bytes: u64,
    /// Sets [`Limits::stderr_line_bytes`].
    stderr_line_bytes: usize,
    /// Sets [`Limits::stderr_bytes_per_second`].
    stderr_bytes_per_second: u64,
    /// Sets [`Limits::tmp_bytes`].
    tmp_bytes: u64,
    /// Sets [`Limits::tmp_files`].
    tmp_files: u64,
    /// Sets [`Limits::shm_bytes`].
    shm_bytes: u64,
    /// Sets [`Limits::wall_time`].
    wall_time: Option<Duration>,
    /// Sets [`Limits::stderr_lines`].
    stderr_lines: usize,
}

const RLIMIT_FSIZE: u64 = 1;
const RLIMIT_STACK: u64 = 3;
const RLIMIT_CORE: u64 = 4;
const RLIMIT_NPROC: u64 = 6;
const RLIMIT_NOFILE: u64 = 7;
const RLIMIT_MEMLOCK: u64 = 8;
const RLIMIT_SIGPENDING: u64 = 11;
const RLIMIT_MSGQUEUE: u64 = 12;
const RLIMIT_NICE: u64 = 13;
const RLIMIT_RTPRIO: u64 = 14;
