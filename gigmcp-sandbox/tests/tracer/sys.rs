//! `ptrace(2)`.

use std::ffi::{CString, c_char, c_int, c_long};
use std::fs;
use std::os::unix::fs::FileExt;
use std::ptr;

pub(crate) const SIGUSR1: i32 = 10;
const SIGTRAP: i32 = 5;

const CONT: c_long = 7;
const GETREGS: c_long = 12;
const SETREGS: c_long = 13;
const DETACH: c_long = 17;
const SYSCALL: c_long = 24;
const GETEVENTMSG: c_long = 0x4201;
const SEIZE: c_long = 0x4206;
const INTERRUPT: c_long = 0x4207;
const GET_SYSCALL_INFO: c_long = 0x420e;
/// Calls are told from signals; forks, clones and programs are told; nothing outlives us.
const OPTIONS: c_long = 1 | 2 | 4 | 8 | 0x10 | 0x10_0000;
/// Waits for threads too.
const WALL: c_int = 0x4000_0000;

/// `struct user_regs_struct` of x86-64, by index.
type Registers = [u64; 27];
const RAX: usize = 10;
const RDX: usize = 12;
const RSI: usize = 13;
const RDI: usize = 14;
const ORIG_RAX: usize = 15;

unsafe extern "C" {
    fn ptrace(request: c_long, ...) -> c_long;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn fork() -> c_int;
    fn execv(path: *const c_char, argv: *const *const c_char) -> c_int;
    fn setenv(name: *const c_char, value: *const c_char, overwrite: c_int) -> c_int;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn pipe(fds: *mut [c_int; 2]) -> c_int;
    fn read(fd: c_int, buffer: *mut u8, length: usize) -> isize;
    fn close(fd: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

/// Starts the host process, traced from its first instruction, with these two descriptors open and named to
/// it as `GIGMCP_TEST_ORDERS` and `GIGMCP_TEST_REPORTS`.
pub(crate) fn start(arguments: &[String], ends: [c_int; 2]) -> c_int {
    let texts: Vec<CString> = arguments.iter().map(|text| CString::new(text.as_str()).expect("no NUL")).collect();
    let mut argv: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
    argv.push(ptr::null());
    let values = ends.map(|end| CString::new(end.to_string()).expect("no NUL"));
    let mut gate = [0; 2];
    // SAFETY: one thread; every string is NUL-terminated and alive.
    unsafe {
        assert_eq!(pipe(&raw mut gate), 0);
        let pid = fork();
        if pid == 0 {
            close(gate[1]);
            // Until it is traced.
            let mut nothing = 0;
            read(gate[0], &raw mut nothing, 1);
            close(gate[0]);
            for (name, (value, end)) in
                [c"GIGMCP_TEST_ORDERS", c"GIGMCP_TEST_REPORTS"].iter().zip(values.iter().zip(ends))
            {
                setenv(name.as_ptr(), value.as_ptr(), 1);
                fcntl(end, 2, 0); // F_SETFD: the program inherits it
            }
            execv(argv[0], argv.as_ptr());
            _exit(127);
        }
        assert!(pid > 0);
        assert_eq!(ptrace(SEIZE, pid, 0_usize, OPTIONS), 0, "tracing is not allowed here");
        close(gate[0]);
        close(gate[1]);
        // Its own program is the first event.
        loop {
            match wait() {
                (task, Stop::Program) if task == pid => return pid,
                (task, _) => resume(task, Resume::Run(0)),
            }
        }
    }
}

/// Why a task does not run.
pub(crate) enum Stop {
    /// The process has ended, with this code.
    Ended(i32),
    /// It is new, or was interrupted.
    Born,
    /// It has made this one.
    Child(i32),
    /// It runs another program.
    Program,
    /// A system call begins or ends.
    Call,
    Signal(i32),
}

pub(crate) fn wait() -> (i32, Stop) {
    let mut status = 0;
    // SAFETY: writes one integer.
    let task = unsafe { waitpid(-1, &raw mut status, WALL) };
    assert!(task > 0, "the host is waited for until its end");
    let (low, signal, event) = (status & 0x7f, status >> 8 & 0xff, status >> 16);
    let stop = match (low, event) {
        (0, _) => Stop::Ended(signal),
        (killed, _) if killed != 0x7f => Stop::Ended(128 + killed),
        (_, 1..=3) => {
            let mut child = 0_u64;
            // SAFETY: writes one integer.
            unsafe { ptrace(GETEVENTMSG, task, 0_usize, &raw mut child) };
            Stop::Child(child as i32)
        }
        (_, 4) => Stop::Program,
        (_, 128) => Stop::Born,
        _ if signal == SIGTRAP | 0x80 => Stop::Call,
        _ => Stop::Signal(signal),
    };
    (task, stop)
}

pub(crate) enum Resume {
    /// With this signal, or none.
    Run(i32),
    /// The same, to the next call's beginning or end.
    ToCall(i32),
    /// Not traced any more.
    Alone,
}

/// The task may have been killed meanwhile.
pub(crate) fn resume(task: i32, how: Resume) {
    let (request, signal) = match how {
        Resume::Run(signal) => (CONT, signal),
        Resume::ToCall(signal) => (SYSCALL, signal),
        Resume::Alone => (DETACH, 0),
    };
    // SAFETY: integers only.
    unsafe { ptrace(request, task, 0_usize, c_long::from(signal)) };
}

pub(crate) fn interrupt(task: i32) {
    // SAFETY: integers only.
    unsafe { ptrace(INTERRUPT, task, 0_usize, 0_usize) };
}

/// A call that is about to begin or has just ended.
pub(crate) struct Call {
    task: i32,
    begins: bool,
    registers: Registers,
}

impl Call {
    pub(crate) fn of(task: i32) -> Self {
        let (mut registers, mut info) = ([0; 27], [0_u8; 88]);
        // SAFETY: writes as many bytes as each array has.
        unsafe {
            ptrace(GETREGS, task, 0_usize, &raw mut registers);
            ptrace(GET_SYSCALL_INFO, task, info.len(), &raw mut info);
        }
        Self { task, begins: info[0] == 1, registers }
    }

    pub(crate) fn begins(&self) -> bool {
        self.begins
    }

    pub(crate) fn number(&self) -> i64 {
        self.registers[ORIG_RAX] as i64
    }

    /// Whether it can fail, and belongs to a start. Of the host, what its runtime and allocator do by
    /// themselves does not.
    pub(crate) fn counts(&self, of_host: bool, harness: [i32; 2]) -> bool {
        let runtime = RUNTIME.contains(&self.number())
            || matches!(self.number(), READ | WRITE) && harness.contains(&(self.registers[RDI] as i32));
        !(NEVER_FAIL.contains(&self.number()) || of_host && runtime)
    }

    /// Keeps the kernel from making it, and gives the register that is used for that. In its place a descriptor
    /// that there cannot be is closed, which the filters of all parts allow. A `close` itself is made: it ends the
    /// descriptor whatever it answers.
    pub(crate) fn prevent(&mut self) -> u64 {
        let first = self.registers[RDI];
        match self.number() {
            CLOSE => return first,
            // There is no error: what cannot be moved stays where it is.
            BRK => self.registers[RDI] = 0,
            _ => (self.registers[ORIG_RAX], self.registers[RDI]) = (CLOSE as u64, u64::MAX),
        }
        self.set();
        first
    }

    /// Gives the task this error for the call that was prevented.
    pub(crate) fn fail(&mut self, error: i64, first: u64, number: i64) {
        self.registers[RDI] = first;
        if number != BRK {
            self.registers[RAX] = (-error) as u64;
        }
        self.set();
    }

    fn set(&self) {
        // SAFETY: reads as many bytes as the array has.
        unsafe { ptrace(SETREGS, self.task, 0_usize, &raw const self.registers) };
    }

    /// What it is about, as far as that is told by a path, a descriptor or an option.
    pub(crate) fn about(&self) -> String {
        let [first, second, third] = [RDI, RSI, RDX].map(|register| self.registers[register]);
        match self.number() {
            MOUNT => format!("{} {}", self.text(second), self.text(third)).trim_end().to_owned(),
            number if PATH_FIRST.contains(&number) => self.text(first),
            number if PATH_SECOND.contains(&number) => self.text(second),
            number if DESCRIPTOR.contains(&number) => self.descriptor(first),
            EPOLL_CTL => self.descriptor(third),
            PRCTL => first.to_string(),
            FCNTL => second.to_string(),
            IOCTL => format!("{second:#x}"),
            _ => String::new(),
        }
    }

    /// A string in the task's memory.
    fn text(&self, address: u64) -> String {
        let mut bytes = [0; 256];
        let length = super::memory(self.task).and_then(|memory| memory.read_at(&mut bytes, address).ok()).unwrap_or(0);
        let text = bytes[..length].split(|byte| *byte == 0).next().unwrap_or_default();
        without_numbers(&String::from_utf8_lossy(text))
    }

    /// What a descriptor of the task's is of.
    fn descriptor(&self, number: u64) -> String {
        let target = fs::read_link(format!("/proc/{}/fd/{number}", self.task)).unwrap_or_default();
        without_numbers(&target.to_string_lossy())
    }
}

/// The same at each start: `socket:[1234]` is a `socket`, and a process's directory in `/proc` its own.
fn without_numbers(text: &str) -> String {
    let text = text.replace('\n', " ");
    if let Some((kind, _)) = text.split_once(":[").filter(|(kind, _)| matches!(*kind, "pipe" | "socket")) {
        return kind.to_owned();
    }
    if let Some((controller, below)) = text.strip_prefix("/sys/fs/cgroup/").and_then(|path| path.split_once('/')) {
        // A sandbox's group is named after it, and each machine has its own above.
        let name = below.rsplit('/').next().unwrap_or_default();
        return format!("cgroup {}", if name.starts_with("gigmcp-") { controller } else { name });
    }
    if text.starts_with("/proc/self/fd/") {
        return "/proc/self/fd".to_owned();
    }
    let own = text.strip_prefix("/proc/").and_then(|rest| rest.split_once('/'));
    match own.filter(|(process, _)| process.bytes().all(|byte| byte.is_ascii_digit())) {
        Some((_, file)) => format!("/proc/self/{file}"),
        None => text,
    }
}

const READ: i64 = 0;
const WRITE: i64 = 1;
const CLOSE: i64 = 3;
const BRK: i64 = 12;
const IOCTL: i64 = 16;
const FCNTL: i64 = 72;
const PRCTL: i64 = 157;
const MOUNT: i64 = 165;
const EPOLL_CTL: i64 = 233;
/// read, write, pread64.
const DESCRIPTOR: [i64; 3] = [READ, WRITE, 17];
/// open, stat, lstat, execve, readlink, mkdir, rmdir.
const PATH_FIRST: [i64; 7] = [2, 4, 6, 59, 89, 83, 84];
/// openat, mkdirat, newfstatat, readlinkat, statx, openat2, symlinkat's target is not.
const PATH_SECOND: [i64; 6] = [257, 258, 262, 267, 332, 437];
/// exit and exit_group do not return; who one is, is always known; umask, getpid, gettid.
const NEVER_FAIL: [i64; 11] = [60, 231, 39, 186, 95, 102, 104, 107, 108, 110, 15];
/// Memory, waiting, signal masks and dispositions, giving way.
const RUNTIME: [i64; 17] = [9, 10, 11, 12, 13, 14, 24, 25, 28, 62, 202, 219, 230, 232, 281, 334, 3];
