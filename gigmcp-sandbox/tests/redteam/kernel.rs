//! Rows 41 (escape of flags), 100 to 105, 107 and 108: the kernel's surface.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use crate::case::{Case, Outcome, Stopped, any, case, done, reached};
use crate::numbers as n;
use crate::sys::{self, AT_FDCWD, Ended, at, call, into, text};

pub(crate) const CASES: &[Case] = &[
    case(100, "call the i386 way (int 0x80)", |_| done(int80(20, [0; 3]))).needs(I386),
    case(100, "unshare the i386 way", |_| done(int80(310, [0x1000_0000, 0, 0]))).needs(I386),
    case(100, "open a socket the i386 way", |_| done(int80(359, [38, 5, 0]))).needs(ALG),
    case(100, "open a netlink socket the i386 way", |_| done(int80(359, [16, 3, 0]))).needs(I386),
    case(100, "call the i386 way (sysenter)", |_| sysenter())
        .needs("a processor that runs it in 64-bit mode (not AMD's)"),
    case(100, "run an i386 program", |_| run_i386()).needs(I386),
    case(100, "call by x32 numbers", |_| done(call(0x4000_0000 | n::GETPID, &[]))).needs("CONFIG_X86_X32_ABI"),
    case(100, "unshare by an x32 number", |_| done(call(0x4000_0000 | n::UNSHARE, &[0x1000_0000])))
        .needs("CONFIG_X86_X32_ABI"),
    case(100, "open a packet socket by a number with high bits", |_| done(call(1 << 32 | n::SOCKET, &[17, 3, 0]))),
    case(100, "unshare by a number with high bits", |_| done(call(1 << 32 | n::UNSHARE, &[0x1000_0000]))),
    case(101, "bpf: make a map", |_| done(call(n::BPF, &[0, at(&[2_u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0]), 48]))),
    case(101, "bpf: load a program", |_| reached(call(n::BPF, &[5, at(&[0_u64; 16]), 128]))),
    case(101, "perf_event_open", |_| {
        let mut event = [0_u64; 16];
        event[0] = 1 | 128 << 32; // software, of this size
        event[1] = 9; // the dummy
        done(call(n::PERF_EVENT_OPEN, &[at(&event), 0, -1, -1, 0]))
    }),
    case(101, "userfaultfd", |_| done(call(n::USERFAULTFD, &[0]))).needs("CONFIG_USERFAULTFD"),
    case(101, "userfaultfd of user mode only", |_| done(call(n::USERFAULTFD, &[1]))).needs("CONFIG_USERFAULTFD"),
    case(101, "io_uring_setup", |_| done(call(n::IO_URING_SETUP, &[1, into(&mut [0_u64; 15])])))
        .needs("CONFIG_IO_URING"),
    case(101, "kexec_load", |_| reached(call(n::KEXEC_LOAD, &[0, 1 << 20, 0, 0]))).needs("CONFIG_KEXEC"),
    case(101, "kexec_file_load", |_| reached(call(n::KEXEC_FILE_LOAD, &[-1, -1, 0, 0, 0]))).needs("CONFIG_KEXEC_FILE"),
    case(101, "init_module", |_| reached(call(n::INIT_MODULE, &[0, 0, text("")]))).needs("CONFIG_MODULES"),
    case(101, "finit_module", |_| reached(call(n::FINIT_MODULE, &[-1, text(""), 0]))).needs("CONFIG_MODULES"),
    case(101, "delete_module", |_| reached(call(n::DELETE_MODULE, &[text("no-such-module"), 0])))
        .needs("CONFIG_MODULES"),
    case(101, "add_key", |_| done(call(n::ADD_KEY, &[text("user"), text("redteam"), text("x"), 1, -1]))),
    case(101, "keyctl: find the session keyring", |_| done(call(n::KEYCTL, &[0, -3, 0]))),
    case(101, "keyctl: read the session keyring", |_| done(call(n::KEYCTL, &[11, -3, into(&mut [0_u32; 64]), 256]))),
    case(101, "keyctl: join a new session keyring", |_| done(call(n::KEYCTL, &[1, 0]))),
    case(101, "request_key of the caller's session", |world| {
        // The harness has put one there.
        done(call(n::REQUEST_KEY, &[text("user"), text(world.get("key")), 0, 0]))
    })
    .on_host(),
    case(101, "fanotify_init", |_| done(call(n::FANOTIFY_INIT, &[0, 0]))).needs("CONFIG_FANOTIFY"),
    case(101, "fanotify_init for the unprivileged", |_| done(call(n::FANOTIFY_INIT, &[0x200, 0])))
        .needs("CONFIG_FANOTIFY"),
    case(101, "name_to_handle_at", |_| {
        let mut handle = [0_u8; 136];
        handle[0] = 128;
        done(call(n::NAME_TO_HANDLE_AT, &[AT_FDCWD, text("/dev/shm"), into(&mut handle), into(&mut 0_u64), 0]))
    })
    .needs("CONFIG_FHANDLE"),
    case(101, "open_by_handle_at", |_| {
        let mut handle = [0_u8; 136];
        handle[0] = 128;
        let _ = call(n::NAME_TO_HANDLE_AT, &[AT_FDCWD, text("/dev/shm"), into(&mut handle), into(&mut 0_u64), 0]);
        let top = fs::File::open("/dev/shm")?;
        reached(call(n::OPEN_BY_HANDLE_AT, &[i64::from(top.as_raw_fd()), at(&handle), 0]))
    })
    .needs("CONFIG_FHANDLE"),
    case(101, "quotactl", |_| {
        reached(call(n::QUOTACTL, &[0x0080_0005 << 8, text("/dev/null"), 0, into(&mut [0_u64; 16])]))
    })
    .needs("CONFIG_QUOTA"),
    case(101, "quotactl_fd", |_| {
        let top = fs::File::open("/")?;
        reached(call(n::QUOTACTL_FD, &[i64::from(top.as_raw_fd()), 0x0080_0005 << 8, 0, into(&mut [0_u64; 16])]))
    })
    .needs("CONFIG_QUOTA"),
    case(101, "swapon", |_| reached(call(n::SWAPON, &[text("/no/such/file"), 0]))).needs("CONFIG_SWAP"),
    case(101, "swapoff", |_| reached(call(n::SWAPOFF, &[text("/no/such/file")]))).needs("CONFIG_SWAP"),
    case(101, "acct", |_| reached(call(n::ACCT, &[text("/no/such/file")]))).needs("CONFIG_BSD_PROCESS_ACCT"),
    case(101, "iopl", |_| done(call(n::IOPL, &[3]))).needs("x86"),
    case(101, "ioperm", |_| done(call(n::IOPERM, &[0x80, 1, 1]))).needs("x86"),
    case(101, "reboot", |_| reached(call(n::REBOOT, &[0, 0, 0, 0]))),
    case(101, "syslog: how long the kernel's log is", |_| done(call(n::SYSLOG, &[10, 0, 0]))),
    case(101, "syslog: read the kernel's log", |_| done(call(n::SYSLOG, &[3, into(&mut [0_u8; 256]), 256]))),
    case(101, "vhangup", |_| {
        let _ = call(n::SETSID, &[]);
        done(call(n::VHANGUP, &[]))
    }),
    case(101, "memfd_secret", |_| done(call(n::MEMFD_SECRET, &[0]))).needs("secretmem.enable"),
    case(101, "lookup_dcookie", |_| reached(call(n::LOOKUP_DCOOKIE, &[0, 0, 0]))).needs("Linux before 6.7"),
    case(101, "ustat of a device", |_| reached(call(n::USTAT, &[0xffff, into(&mut [0_u64; 8])]))).needs("x86"),
    case(101, "splice", |_| pipes(|from, to| call(n::SPLICE, &[from, 0, to, 0, 1, 0]))),
    case(101, "tee", |_| pipes(|from, to| call(n::TEE, &[from, to, 1, 0]))),
    case(101, "vmsplice", |_| pipes(|_, to| call(n::VMSPLICE, &[to, at(&[at(b"x"), 1]), 1, 0]))),
    case(101, "sendfile of a file into a pipe", |_| {
        let (file, (_reader, writer)) = (fs::File::open("/etc/hosts")?, std::io::pipe()?);
        done(call(n::SENDFILE, &[writer.as_raw_fd().into(), file.as_raw_fd().into(), 0, 1]))
    }),
    case(101, "sendfile of a file into a socket", |_| {
        let (file, (socket, _other)) = (fs::File::open("/etc/hosts")?, UnixStream::pair()?);
        done(call(n::SENDFILE, &[socket.as_raw_fd().into(), file.as_raw_fd().into(), 0, 1]))
    }),
    case(101, "cachestat of a file", |_| {
        let file = fs::File::open("/etc/hosts")?;
        done(call(n::CACHESTAT, &[i64::from(file.as_raw_fd()), at(&[0_u64, 4096]), into(&mut [0_u64; 5]), 0]))
    })
    .needs("Linux 6.5"),
    case(101, "mbind", |_| done(call(n::MBIND, &[at(&PAGE) & !4095, 4096, 0, 0, 0, 0]))).needs("CONFIG_NUMA"),
    case(101, "set_mempolicy", |_| done(call(n::SET_MEMPOLICY, &[0, 0, 0]))).needs("CONFIG_NUMA"),
    case(101, "migrate_pages of PID 1", |_| reached(call(n::MIGRATE_PAGES, &[1, 64, at(&1_u64), at(&1_u64)])))
        .needs("CONFIG_NUMA"),
    case(101, "move_pages of PID 1", |_| reached(call(n::MOVE_PAGES, &[1, 0, 0, 0, 0, 0]))).needs("CONFIG_NUMA"),
    case(102, "personality READ_IMPLIES_EXEC", |_| done(call(n::PERSONALITY, &[0x040_0000]))),
    case(102, "personality ADDR_NO_RANDOMIZE", |_| done(call(n::PERSONALITY, &[0x004_0000]))),
    case(102, "personality with high bits", |_| done(call(n::PERSONALITY, &[0x1_0040_0000]))),
    case(102, "personality UNAME26", |_| done(call(n::PERSONALITY, &[0x002_0000]))),
    case(102, "modify_ldt: read", |_| done(call(n::MODIFY_LDT, &[0, into(&mut [0_u64; 8]), 64]))).needs("x86"),
    case(102, "modify_ldt: write", |_| done(call(n::MODIFY_LDT, &[1, at(&[0_u32, 0, 0, 0x28]), 16]))).needs("x86"),
    case(103, "seccomp: load a weaker filter", |_| {
        let program = [6_u64 | 0x7fff_0000 << 32];
        done(call(n::SECCOMP, &[1, 1 << 3, at(&[1_u64, at(&program) as u64])]))
            .or_else(|_| done(call(n::SECCOMP, &[1, 0, at(&[1_u64, at(&program) as u64])])))
    }),
    case(103, "prctl: load a weaker filter", |_| {
        let program = [6_u64 | 0x7fff_0000 << 32];
        done(prctl(22, 2, at(&[1_u64, at(&program) as u64])))
    }),
    case(103, "prctl PR_SET_NO_NEW_PRIVS 0", |_| done(prctl(38, 0, 0)))
        .needs("nothing: the kernel lets nobody take it back"),
    case(103, "prctl PR_SET_MM", |_| done(prctl(35, 8, at(&PAGE)))).needs(RESOURCE),
    case(103, "prctl PR_SET_PTRACER_ANY", |_| done(prctl(0x5961_6d61, -1, 0))).needs("the Yama security module"),
    // Not every processor has the choice; the kernel's code for it is there on all.
    case(103, "prctl PR_SET_SPECULATION_CTRL", |_| reached(prctl(53, 0, 4))),
    case(103, "prctl PR_SET_SYSCALL_USER_DISPATCH", |_| done(call(n::PRCTL, &[59, 1, 0, 0, at(&PAGE)]))),
    case(103, "prctl PR_SCHED_CORE", |_| reached(call(n::PRCTL, &[62, 1, 0, 1, 0]))),
    case(103, "prctl PR_SET_MEMORY_MERGE", |_| done(prctl(67, 1, 0))).needs("CONFIG_KSM"),
    case(103, "merge memory with others' (MADV_MERGEABLE)", |_| {
        let page = call(n::MMAP, &[0, 4096, 3, PRIVATE | ANONYMOUS, -1, 0])?;
        done(call(n::MADVISE, &[page, 4096, 12]))
    })
    .needs("CONFIG_KSM"),
    case(103, "prctl PR_SET_TSC", |_| done(prctl(26, 1, 0))).needs("x86"),
    case(103, "prctl PR_MCE_KILL", |_| done(prctl(33, 1, 1))).needs("CONFIG_MEMORY_FAILURE"),
    case(103, "prctl PR_SET_IO_FLUSHER", |_| done(prctl(57, 1, 0))).needs(RESOURCE),
    case(103, "prctl PR_SET_TIMING, an ancient one", |_| done(prctl(14, 0, 0))),
    case(103, "prctl PR_SET_DUMPABLE", |_| done(prctl(4, 1, 0)))
        .by_design("a server may be read by itself; others of its user are PID 1, which is not dumpable"),
    case(105, "dump core", |_| {
        let child = sys::child(|| std::process::abort())?;
        let _ = sys::wait(child)?;
        let dumped = ["core", "/tmp/core", "/core"].map(|path| format!("{path}.{child}"));
        let found = dumped.into_iter().chain(["core", "/tmp/core", "/core"].map(str::to_owned));
        any(found.filter(|path| fs::metadata(path).is_ok_and(|found| found.is_file())).collect())
    })
    .needs("a core_pattern that names a file, and RLIMIT_CORE"),
    case(107, "take the host's huge pages", |_| huge(PRIVATE | ANONYMOUS | HUGE_PAGES, -1)),
    case(107, "take the host's huge pages by their size", |_| huge(PRIVATE | ANONYMOUS | HUGE_PAGES | 21 << 26, -1)),
    case(107, "take the host's huge pages by high bits", |_| huge(1 << 32 | PRIVATE | ANONYMOUS | HUGE_PAGES, -1)),
    case(107, "take the host's huge pages by a memfd", |_| huge_file(4)),
    case(107, "take the host's huge pages by a memfd and their size", |_| huge_file(4 | 21 << 26)),
    case(107, "take the host's huge pages by shared memory of System V", |_| {
        done(call(n::SHMGET, &[0, HUGE_PAGE, 0o5600]))
    }),
    case(108, "fill the kernel's log by 200 segmentation faults", |_| flood(200, fault))
        .by_design("the kernel limits how often it tells of faults; the harness counts what arrives"),
    case(108, "fill the kernel's log by 200 refused calls", |_| {
        flood(200, || {
            let _ = call(n::UNSHARE, &[0x1000_0000]);
            0
        })
    })
    .by_design("refusals are not logged; the harness counts what arrives"),
];

/// The root of some containers and machines has all capabilities but this.
const RESOURCE: &str = "CAP_SYS_RESOURCE";
const I386: &str = "CONFIG_IA32_EMULATION";
const ALG: &str = "CONFIG_CRYPTO_USER_API";
const PRIVATE: i64 = 2;
const ANONYMOUS: i64 = 0x20;
const HUGE_PAGES: i64 = 0x4_0000;
const HUGE_PAGE: i64 = 2 << 20;
static PAGE: [u8; 8192] = [0; 8192];

fn prctl(option: i64, a: i64, b: i64) -> std::io::Result<i64> {
    call(n::PRCTL, &[option, a, b, 0, 0])
}

/// Maps one huge page and has the kernel find it.
fn huge(flags: i64, fd: i64) -> Outcome {
    const POPULATE: i64 = 0x8000;
    done(call(n::MMAP, &[0, HUGE_PAGE, 3, flags | POPULATE, fd, 0]))
}

fn huge_file(flags: i64) -> Outcome {
    let file = sys::descriptor(n::MEMFD_CREATE, &[text("huge"), flags])?;
    call(n::FTRUNCATE, &[file.as_raw_fd().into(), HUGE_PAGE])?;
    huge(1, file.as_raw_fd().into())
}

fn pipes(attack: impl FnOnce(i64, i64) -> std::io::Result<i64>) -> Outcome {
    let (from, mut fill) = std::io::pipe()?;
    let (_to, into) = std::io::pipe()?;
    std::io::Write::write_all(&mut fill, b"x")?;
    done(attack(from.as_raw_fd().into(), into.as_raw_fd().into()))
}

fn flood(count: usize, each: impl Fn() -> i32) -> Outcome {
    for _ in 0..count {
        let child = sys::child(&each)?;
        sys::wait(child)?;
    }
    Ok(String::new())
}

fn fault() -> i32 {
    // SAFETY: none: this is the fault.
    unsafe { std::ptr::dangling_mut::<u8>().write_volatile(1) };
    0
}

#[cfg(target_arch = "x86_64")]
fn int80(number: i64, [a, b, c]: [i64; 3]) -> std::io::Result<i64> {
    let result: i64;
    // SAFETY: integers only; the i386 entry clobbers r8 to r11. LLVM keeps rbx, so it is swapped.
    unsafe {
        std::arch::asm!("xchg rbx, {b}", "int 0x80", "xchg rbx, {b}", b = inout(reg) a => _,
            inlateout("rax") number => result, in("rcx") b, in("rdx") c,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    if result < 0 { Err(std::io::Error::from_raw_os_error(-result as i32)) } else { Ok(result) }
}

#[cfg(not(target_arch = "x86_64"))]
fn int80(_: i64, _: [i64; 3]) -> std::io::Result<i64> {
    Err(std::io::Error::from_raw_os_error(sys::ENOSYS))
}

/// `write` to a pipe by sysenter. It returns to another place, so the child dies either way.
#[cfg(target_arch = "x86_64")]
fn sysenter() -> Outcome {
    let (reader, writer) = std::io::pipe()?;
    static BYTE: [u8; 1] = *b"x";
    let fd = i64::from(writer.as_raw_fd());
    let child = sys::child(|| {
        // SAFETY: none: the child is lost.
        unsafe {
            std::arch::asm!("mov rbx, {fd}", "mov rbp, rsp", "sysenter", fd = in(reg) fd,
                in("rax") 4_i64, in("rcx") at(&BYTE), in("rdx") 1_i64, options(noreturn));
        }
    })?;
    drop(writer);
    let ended = sys::wait(child)?;
    let mut byte = [0];
    match std::io::Read::read(&mut { reader }, &mut byte)? {
        0 if ended == Ended::Signaled(31) => sys::die_of(31),
        0 => Err(Stopped::Nothing("the instruction is invalid")),
        _ => Ok(String::new()),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn sysenter() -> Outcome {
    Err(Stopped::Errno(sys::ENOSYS))
}

/// A program of 32 bits that ends with code 42 by `int 0x80`.
fn run_i386() -> Outcome {
    const BASE: u32 = 0x0010_0000;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 1, 0, 0, 0];
    let words = |values: &[u32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    elf.extend(words(&[BASE + 84, 52, 0, 0]));
    elf.extend([52, 0, 32, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend(words(&[1, 0, BASE, BASE, 96, 96, 5, 4096]));
    // mov eax, 1; mov ebx, 42; int 0x80
    elf.extend([0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80]);
    fs::write("/tmp/i386", elf)?;
    fs::set_permissions("/tmp/i386", fs::Permissions::from_mode(0o755))?;
    let status = std::process::Command::new("/tmp/i386").status()?;
    match (status.code(), std::os::unix::process::ExitStatusExt::signal(&status)) {
        (Some(42), _) => Ok(String::new()),
        (_, Some(signal)) => sys::die_of(signal),
        _ => Err(Stopped::Nothing("it did not run")),
    }
}
