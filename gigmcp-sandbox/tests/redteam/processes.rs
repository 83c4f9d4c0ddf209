//! Rows 51 to 66: other processes, signals, priorities, floods of processes.

use std::fs::File;
use std::os::fd::AsRawFd;

use crate::case::{Case, Outcome, Stopped, any, case, done, reached};
use crate::files::repeat;
use crate::numbers as n;
use crate::sys::{self, at, call, into};

pub(crate) const CASES: &[Case] = &[
    case(51, "signal a process that is not ours, by any number to 65,535", |_| {
        let ours = own_tree();
        let hit = |pid: &i64| *pid != 1 && !ours.contains(pid) && call(n::KILL, &[*pid, 0]).is_ok();
        any((1..=65_535).filter(hit).take(20).map(|pid| pid.to_string()).collect())
    }),
    case(51, "signal the gateway by its number", |world| done(call(n::KILL, &[world.number("gateway"), 0]))).on_host(),
    case(51, "signal a thread of the gateway", |world| {
        let pid = world.number("gateway");
        done(call(n::TGKILL, &[pid, pid, 0]))
    })
    .on_host(),
    case(51, "queue a signal to the gateway", |world| {
        let mut siginfo = [0_i32; 32];
        siginfo[2] = -1; // SI_QUEUE
        done(call(n::RT_SIGQUEUEINFO, &[world.number("gateway"), 0, at(&siginfo)]))
    })
    .on_host(),
    case(51, "signal the gateway through a pidfd", |world| {
        let pidfd = sys::descriptor(n::PIDFD_OPEN, &[world.number("gateway"), 0])?;
        done(call(n::PIDFD_SEND_SIGNAL, &[i64::from(pidfd.as_raw_fd()), 0, 0, 0]))
    })
    .on_host(),
    case(51, "signal through the /proc directory of another process", |_| {
        let send = |pid: &i32| {
            let dir = File::open(format!("/proc/{pid}"));
            dir.is_ok_and(|dir| call(n::PIDFD_SEND_SIGNAL, &[i64::from(dir.as_raw_fd()), 0, 0, 0]).is_ok())
        };
        any(sys::foreign_processes().into_iter().filter(send).map(|pid| pid.to_string()).collect())
    }),
    case(51, "signal the group of the gateway", |world| done(call(n::KILL, &[-world.number("gateway_group"), 0])))
        .on_host(),
    case(51, "signal our own process group 0, if others are in it", |_| {
        let group = call(n::GETSID, &[0])?;
        let session = |pid: &i32| call(n::GETSID, &[i64::from(*pid)]).is_ok_and(|session| session == group);
        any(sys::foreign_processes().into_iter().filter(session).map(|pid| pid.to_string()).collect())
    })
    .needs("a caller that shares its session; the control makes its own"),
    case(52, "SIGKILL to PID 1", |_| harm_init(9)).needs(NO_INIT),
    case(52, "SIGSTOP to PID 1", |_| harm_init(19)).needs(NO_INIT),
    case(52, "SIGTERM to PID 1", |_| harm_init(15)).needs(NO_INIT),
    case(52, "SIGKILL to PID 1 through a pidfd", |_| {
        let pidfd = sys::descriptor(n::PIDFD_OPEN, &[1, 0])?;
        call(n::PIDFD_SEND_SIGNAL, &[i64::from(pidfd.as_raw_fd()), 9, 0, 0])?;
        state_of_init()
    })
    .needs(NO_INIT),
    case(52, "fill PID 1's queue of signals", |_| {
        let mut siginfo = [0_i32; 32];
        siginfo[2] = -1;
        for _ in 0..64 {
            call(n::RT_SIGQUEUEINFO, &[1, 40, at(&siginfo)])?;
        }
        Ok(String::new())
    }),
    case(52, "fill the queue of PID 1's thread", |_| {
        let mut siginfo = [0_i32; 32];
        siginfo[2] = -1;
        done(call(n::RT_TGSIGQUEUEINFO, &[1, 1, 40, at(&siginfo)]))
    }),
    case(52, "signal PID 1 by its thread (tkill)", |_| done(call(n::TKILL, &[1, 40]))),
    case(52, "signal PID 1 by its thread (tgkill)", |_| done(call(n::TGKILL, &[1, 1, 40]))),
    case(52, "starve PID 1 by its priority", |_| done(call(n::SETPRIORITY, &[0, 1, 19]))),
    case(52, "starve PID 1 by its priority, high bits set", |_| done(call(n::SETPRIORITY, &[0, 0x1_0000_0001, 19]))),
    case(52, "starve PID 1 by its group", |_| done(call(n::SETPRIORITY, &[1, 1, 19]))).needs(NO_INIT),
    case(52, "starve PID 1 by its user", |_| done(call(n::SETPRIORITY, &[2, 0, 19]))),
    case(52, "pin PID 1 to one processor", |_| done(call(n::SCHED_SETAFFINITY, &[1, 8, at(&1_u64)]))),
    case(52, "take PID 1's descriptors by prlimit", |_| done(call(n::PRLIMIT64, &[1, 7, at(&[4_u64, 4]), 0]))),
    case(52, "read PID 1's limits", |_| done(call(n::PRLIMIT64, &[1, 7, 0, into(&mut [0_u64; 2])]))),
    case(52, "set PID 1's scheduler", |_| done(call(n::SCHED_SETSCHEDULER, &[1, 5, at(&0_u32)]))),
    case(52, "set PID 1's scheduling attributes", |_| {
        done(call(n::SCHED_SETATTR, &[1, at(&[56_u32, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 0]))
    }),
    case(52, "set PID 1's I/O priority to idle", |_| done(call(n::IOPRIO_SET, &[1, 1, 3 << 13]))),
    case(52, "move PID 1 to another process group", |_| done(call(n::SETPGID, &[1, 0]))).needs(NO_INIT),
    case(53, "ptrace a child: attach", |_| on_child(|child| call(n::PTRACE, &[16, child, 0, 0]))),
    case(53, "ptrace a child: seize", |_| on_child(|child| call(n::PTRACE, &[0x4206, child, 0, 0]))),
    case(53, "ptrace PID 1", |_| done(call(n::PTRACE, &[0x4206, 1, 0, 0]))),
    case(53, "be traced", |_| done(call(n::PTRACE, &[0, 0, 0, 0]))),
    case(53, "read a child's memory by process_vm_readv", |_| {
        on_child(|child| process_memory(n::PROCESS_VM_READV, child))
    }),
    case(53, "write a child's memory by process_vm_writev", |_| {
        on_child(|child| process_memory(n::PROCESS_VM_WRITEV, child))
    }),
    case(53, "read PID 1's memory by process_vm_readv", |_| done(process_memory(n::PROCESS_VM_READV, 1))),
    case(53, "compare ourselves with PID 1 (kcmp)", |_| done(call(n::KCMP, &[std::process::id().into(), 1, 2, 0, 0])))
        .needs("CONFIG_KCMP"),
    case(53, "take a descriptor of PID 1 (pidfd_getfd)", |_| {
        let pidfd = sys::descriptor(n::PIDFD_OPEN, &[1, 0])?;
        done(call(n::PIDFD_GETFD, &[i64::from(pidfd.as_raw_fd()), 0, 0]))
    }),
    case(53, "take a descriptor of a child (pidfd_getfd)", |_| {
        on_child(|child| {
            let pidfd = sys::descriptor(n::PIDFD_OPEN, &[child, 0])?;
            call(n::PIDFD_GETFD, &[i64::from(pidfd.as_raw_fd()), 0, 0])
        })
    }),
    case(53, "advise on PID 1's memory (process_madvise)", |_| {
        let pidfd = sys::descriptor(n::PIDFD_OPEN, &[1, 0])?;
        reached(call(n::PROCESS_MADVISE, &[i64::from(pidfd.as_raw_fd()), at(&[0_u64, 0]), 1, 20, 0]))
    }),
    case(53, "reap a child's memory (process_mrelease)", |_| {
        let child = sys::waiting_child()?;
        let pidfd = sys::descriptor(n::PIDFD_OPEN, &[child.into(), 0])?;
        let result = reached(call(n::PROCESS_MRELEASE, &[i64::from(pidfd.as_raw_fd()), 0]));
        sys::end(child);
        result
    }),
    case(55, "make the kernel send SIGIO to PID 1", |_| signal_by_file(0)),
    case(55, "make the kernel send SIGKILL to PID 1", |_| signal_by_file(9)).needs(NO_INIT),
    case(55, "make a timer signal a thread of PID 1", |_| {
        let mut event = [0_i32; 16];
        event[2..5].copy_from_slice(&[10, 4, 1]); // SIGUSR1, SIGEV_THREAD_ID, thread 1
        done(call(n::TIMER_CREATE, &[0, at(&event), into(&mut 0_u64)]))
    })
    .needs("nothing: the kernel lets nobody time another process's threads"),
    case(56, "fork 300 processes", |_| fork_many(sys::waiting_child)).alone(),
    case(56, "vfork 300 processes and never wait", |_| repeat(300, sys::vfork_child)).alone(),
    case(56, "start 300 threads", |_| {
        for _ in 0..300 {
            std::thread::Builder::new().stack_size(64 << 10).spawn(|| sys::wait_for_ever())?;
        }
        Ok(String::new())
    })
    .alone(),
    case(57, "leave 300 zombies", |_| repeat(300, || sys::child(|| 0))).alone(),
    case(65, "raise our priority (nice -20)", |_| done(call(n::SETPRIORITY, &[0, 0, -20]))),
    case(65, "run as real time (SCHED_FIFO)", |_| done(call(n::SCHED_SETSCHEDULER, &[0, 1, at(&10_u32)]))),
    case(65, "run with a deadline", |_| {
        let attributes = [48_u64 | 6 << 32, 0, 0, 1_000_000, 10_000_000, 10_000_000, 0];
        done(call(n::SCHED_SETATTR, &[0, at(&attributes), 0]))
    }),
    case(65, "take the disk first (ioprio real time)", |_| done(call(n::IOPRIO_SET, &[1, 0, 1 << 13]))),
    case(65, "lock all memory", |_| {
        // More than the limit of the sandbox; outside root has none.
        let _held = vec![1_u8; 16 << 20];
        done(call(n::MLOCKALL, &[1]))
    }),
    case(65, "raise a hard limit", |_| {
        let mut now = [0_u64; 2];
        call(n::PRLIMIT64, &[0, 7, 0, into(&mut now)])?;
        done(call(n::PRLIMIT64, &[0, 7, at(&[now[1] + 1, now[1] + 1]), 0]))
    })
    .needs("CAP_SYS_RESOURCE"),
    case(65, "run without a limit on processes, files or core", |_| {
        let bounded = |resource: &i64| {
            let mut now = [0_u64; 2];
            call(n::PRLIMIT64, &[0, *resource, 0, into(&mut now)]).is_ok() && now[1] < 1 << 20
        };
        any([4, 6, 7].into_iter().filter(|resource| !bounded(resource)).map(|resource| resource.to_string()).collect())
    }),
];

/// Starts a program of whose memory everything may be merged. Run by the harness outside.
pub(crate) fn merging(program: &str, arguments: &[String]) -> std::io::Error {
    const PR_SET_MEMORY_MERGE: i64 = 67;
    let _ = call(n::PRCTL, &[PR_SET_MEMORY_MERGE, 1, 0, 0, 0]);
    std::os::unix::process::CommandExt::exec(std::process::Command::new(program).args(arguments))
}

/// Watches a process that is not a child, and says how it ended. Run by the harness outside, as root.
pub(crate) fn tell_end(pid: i32) {
    const PTRACE_SEIZE: i64 = 0x4206;
    call(n::PTRACE, &[PTRACE_SEIZE, pid.into(), 0, 0]).expect("as root");
    println!("watching");
    println!("{:?}", sys::wait(pid).expect("it is watched"));
}

const NO_INIT: &str = "nothing: no PID 1 is reached from below; tests kill it from above";

/// The numbers of this process, its children and its parent.
fn own_tree() -> Vec<i64> {
    let foreign = sys::foreign_processes();
    let ours = sys::processes().into_iter().filter(|pid| !foreign.contains(pid));
    let threads = ours.flat_map(|pid| crate::files::names(&format!("/proc/{pid}/task")).unwrap_or_default());
    threads.filter_map(|number| number.parse().ok()).collect()
}

/// Signals PID 1. Outside, the throwaway copy's.
fn harm_init(signal: i64) -> Outcome {
    call(n::KILL, &[1, signal])?;
    state_of_init()
}

/// Whether PID 1 has stopped or is gone; looked for often enough that a signal has arrived.
fn state_of_init() -> Outcome {
    for _ in 0..300 {
        let state = sys::field("1", "State:");
        if state.as_deref().is_none_or(|state| state.starts_with('T') || state.starts_with('Z')) {
            return Ok(state.unwrap_or_default());
        }
    }
    Err(Stopped::Nothing("PID 1 goes on"))
}

fn on_child(attack: impl FnOnce(i64) -> std::io::Result<i64>) -> Outcome {
    let child = sys::waiting_child()?;
    let result = attack(child.into());
    sys::end(child);
    done(result)
}

fn process_memory(number: i64, pid: i64) -> std::io::Result<i64> {
    // The same address is mapped in every process of this program, the child's and PID 1's outside.
    static HERE: [u8; 64] = [0; 64];
    let mut local = [0_u8; 8];
    let here = [into(&mut local), 8];
    let there = [at(&HERE), 8];
    let result = call(number, &[pid, at(&here), 1, at(&there), 1, 0]);
    match result {
        // The rights are checked first, the address afterwards.
        Err(error) if error.raw_os_error() == Some(14) => Ok(0),
        result => result,
    }
}

/// Names PID 1 as the owner of a pipe that then becomes readable.
fn signal_by_file(signal: i64) -> Outcome {
    const F_SETOWN: i64 = 8;
    const F_SETSIG: i64 = 10;
    const F_SETFL: i64 = 4;
    const O_ASYNC: i64 = 0o20000;
    let pending = || sys::field("1", "ShdPnd:").unwrap_or_default() + &sys::field("1", "SigPnd:").unwrap_or_default();
    let before = pending();
    let (reader, mut writer) = std::io::pipe()?;
    let fd = i64::from(reader.as_raw_fd());
    call(n::FCNTL, &[fd, F_SETOWN, 1])?;
    if signal != 0 {
        call(n::FCNTL, &[fd, F_SETSIG, signal])?;
    }
    call(n::FCNTL, &[fd, F_SETFL, O_ASYNC])?;
    std::io::Write::write_all(&mut writer, b"x")?;
    match signal {
        9 => state_of_init(),
        _ if pending() != before => Ok(pending()),
        _ => Err(Stopped::Nothing("not delivered")),
    }
}

fn fork_many(mut fork: impl FnMut() -> std::io::Result<i32>) -> Outcome {
    let mut children = Vec::new();
    let mut result = Ok(String::new());
    for _ in 0..300 {
        match fork() {
            Ok(child) => children.push(child),
            Err(error) => {
                result = Err(error.into());
                break;
            }
        }
    }
    children.into_iter().for_each(sys::end);
    result
}
