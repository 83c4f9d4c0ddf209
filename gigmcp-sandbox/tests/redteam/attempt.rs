//! Single attempts with arguments, one a run: `redteam NAME ARGUMENT...`; or one a line of standard
//! input, `redteam attempts`.
//!
//! Prints `allowed` and what it got, or `refused` and the error number.

mod net;
mod state;

use std::ffi::{c_char, c_int, c_long, c_ulong};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn unshare(flags: c_int) -> c_int;
    fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn fork() -> c_int;
    fn pause() -> c_int;
    fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn setuid(uid: u32) -> c_int;
    fn chroot(path: *const c_char) -> c_int;
    fn mount(a: *const c_char, b: *const c_char, c: *const c_char, flags: c_ulong, d: *const c_char) -> c_int;
    fn ptrace(request: c_long, ...) -> c_long;
    fn personality(persona: c_ulong) -> c_int;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn sendto(fd: c_int, data: *const u8, length: usize, flags: c_int, to: *const u8, to_length: u32) -> isize;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_int, length: u32) -> c_int;
    fn sethostname(name: *const c_char, length: usize) -> c_int;
    fn _exit(code: c_int) -> !;
}

fn check(result: c_long) -> io::Result<String> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result.to_string()) }
}

fn number(text: &str) -> i64 {
    if text.is_empty() {
        return 0;
    }
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).expect("a number") as i64,
        None => text.parse().expect("a number"),
    }
}

fn try_one(name: &str, arguments: &[String]) -> io::Result<String> {
    let argument = |index: usize| arguments.get(index).map_or("", String::as_str);
    let at = |index: usize| number(argument(index));
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let Some(result) = net::attempt(name, &words) {
        return result;
    }
    if let Some(result) = state::attempt(name) {
        return result;
    }
    // SAFETY: a probe; each call gets integers or strings that live across it.
    unsafe {
        match name {
            "read" => read(argument(0)),
            "list" => list(argument(0)),
            "climb" => {
                std::env::set_current_dir("/")?;
                read(&format!("{}{}", "../".repeat(30), argument(0).trim_start_matches('/')))
            }
            "chroot" => check(chroot(c"/tmp".as_ptr()).into()),
            "write" => {
                File::options().write(true).create(true).truncate(false).open(argument(0)).map(|_| String::new())
            }
            "fill" => fill(argument(0)),
            "many-files" => many_files(argument(0)),
            "unshare" => check(unshare(at(0) as c_int).into()),
            "clone" => match syscall(56, at(0) | 17, 0_u64, 0_u64, 0_u64, 0_u64) {
                0 => _exit(0),
                result => check(result).map(|_| String::new()),
            },
            "clone3" => check(syscall(435, std::ptr::null::<u8>(), 0_usize)),
            "syscall" => check(syscall(at(0), at(1), at(2), at(3))),
            "affinity" => check(syscall(203, at(0), 8_usize, FIRST_CPU.as_ptr())),
            "prlimit" => {
                let mut old = [0_u64; 2];
                check(syscall(302, at(0), 7, std::ptr::null::<u64>(), old.as_mut_ptr()))
            }
            "lease" => lease(argument(0), at(1)),
            "inotify" => Ok(inotify(at(0))),
            "in-flight" => in_flight(at(0)),
            "int80" => int80(),
            "x32" => check(syscall(0x4000_0000 | 39)),
            "socket" => check(socket(at(0) as c_int, at(1) as c_int, at(2) as c_int).into()).map(|_| String::new()),
            "ioctl" => check(ioctl(at(0) as c_int, at(1) as c_ulong, c"x".as_ptr()).into()),
            "connect" => connect(argument(0)),
            "http" => http(argument(0)),
            "fastopen" => fastopen(argument(0)),
            "tcp-option" => {
                let fd = socket(2, 1, 0);
                let on = 1;
                check(setsockopt(fd, at(0) as c_int, at(1) as c_int, &raw const on, 4).into())
            }
            "descriptors" => {
                let open = (0..65_536).filter(|fd| fcntl(*fd, 1) >= 0);
                Ok(open.map(|fd| fd.to_string()).collect::<Vec<_>>().join(" "))
            }
            "environment" => Ok(std::env::vars().map(|(name, value)| format!("{name}={value} ")).collect()),
            "fork-bomb" => Ok(fork_bomb(at(0))),
            "trip" => Ok(trip(at(0), at(1))),
            "trip-and-die" => Ok(trip_and_die(at(0))),
            "trip-under-signals" => Ok(trip_under_signals(at(0))),
            "under-listener" => under_listener(arguments),
            "setuid" => check(setuid(0).into()),
            "kill" => check(kill(at(0) as c_int, at(1) as c_int).into()),
            "mount" => check(mount(c"none".as_ptr(), c"/tmp".as_ptr(), c"tmpfs".as_ptr(), 0, c"".as_ptr()).into()),
            "ptrace" => {
                let child = fork();
                if child == 0 {
                    loop {
                        pause();
                    }
                }
                let result = check(ptrace(16, c_long::from(child), 0_usize, 0_usize));
                kill(child, 9);
                result
            }
            "personality" => check(personality(at(0) as c_ulong).into()),
            "hostname" => check(sethostname(c"evil".as_ptr(), 4).into()),
            "daemon" => {
                if fork() == 0 {
                    syscall(112); // setsid
                    if fork() == 0 {
                        loop {
                            pause();
                        }
                    }
                    _exit(0);
                }
                Ok(String::new())
            }
            "echo" => {
                println!("ready");
                let mut line = String::new();
                while io::stdin().read_line(&mut line)? > 0 {
                    print!("{line}");
                    io::stdout().flush()?;
                    line.clear();
                }
                Ok(String::new())
            }
            "hang" => {
                println!("ready");
                loop {
                    pause();
                }
            }
            "abort" => std::process::abort(),
            "copy" => {
                fs::write("/tmp/copied", "over a socket")?;
                let (mut socket, _other) = UnixStream::pair()?;
                io::copy(&mut File::open("/tmp/copied")?, &mut socket).map(|length| length.to_string())
            }
            "terminals" => Ok(terminals(at(0))),
            _ => Err(io::Error::from_raw_os_error(22)),
        }
    }
}

fn read(path: &str) -> io::Result<String> {
    let mut text = Vec::new();
    File::open(path)?.take(1 << 16).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).replace('\0', " "))
}

fn list(path: &str) -> io::Result<String> {
    let mut names = fs::read_dir(path)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names.join(" "))
}

fn fill(path: &str) -> io::Result<String> {
    let mut file = File::create(path)?;
    let block = vec![1; 1 << 20];
    for _ in 0..64 {
        file.write_all(&block)?;
    }
    Ok("64 MiB".to_owned())
}

fn many_files(dir: &str) -> io::Result<String> {
    for number in 0..5000 {
        File::create(format!("{dir}/file{number}"))?;
    }
    Ok("5000 files".to_owned())
}

/// `fcntl` with this command and 0, which is F_RDLCK to F_SETLEASE.
fn lease(path: &str, command: i64) -> io::Result<String> {
    use std::os::fd::AsRawFd;
    if !fs::metadata(path).is_ok_and(|found| found.is_dir()) {
        File::create(path)?;
    }
    let file = File::open(path)?;
    // SAFETY: integers only.
    check(unsafe { syscall(72, c_long::from(file.as_raw_fd()), command, 0_usize) })
}

/// Makes inotify instances until it is stopped or reaches the bound.
fn inotify(bound: i64) -> String {
    for made in 0..bound {
        // SAFETY: integers only.
        if let Err(error) = check(unsafe { syscall(294, 0_usize) }) {
            return format!("{made} {}", error.raw_os_error().unwrap_or(0));
        }
    }
    format!("{bound} 0")
}

/// Sends descriptors that nobody receives until it is stopped or reaches the bound.
fn in_flight(bound: i64) -> io::Result<String> {
    use std::os::fd::AsRawFd;
    const AT_ONCE: usize = 250;
    let mut sent = 0;
    let mut held = Vec::new();
    while sent < bound {
        let (socket, other) = std::os::unix::net::UnixDatagram::pair()?;
        // struct cmsghdr, SOL_SOCKET, SCM_RIGHTS, then standard output many times
        let mut control = [0_u32; 4 + AT_ONCE];
        control[0] = 16 + 4 * AT_ONCE as u32;
        control[2..4].fill(1);
        control[4..].fill(1);
        let data = [1_u8];
        let part = [data.as_ptr() as usize, 1];
        let message = [0, 0, part.as_ptr() as usize, 1, control.as_ptr() as usize, control.len() * 4, 0];
        // SAFETY: `struct msghdr` of 64 bits with one part and one control message, all alive.
        let result = unsafe { syscall(46, c_long::from(socket.as_raw_fd()), message.as_ptr(), 0x40_usize) };
        if let Err(error) = check(result) {
            return Ok(format!("{sent} {}", error.raw_os_error().unwrap_or(0)));
        }
        sent += AT_ONCE as i64;
        held.push((socket, other));
    }
    Ok(format!("{sent} 0"))
}

static FIRST_CPU: [u64; 1] = [1];

fn connect(address: &str) -> io::Result<String> {
    let address: SocketAddr = address.parse().expect("an address");
    TcpStream::connect_timeout(&address, Duration::from_secs(5)).map(|_| String::new())
}

fn http(address: &str) -> io::Result<String> {
    let address: SocketAddr = address.parse().expect("an address");
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn fastopen(address: &str) -> io::Result<String> {
    let address: std::net::SocketAddrV4 = address.parse().expect("an address");
    let mut to = [0_u8; 16];
    to[..2].copy_from_slice(&2_u16.to_ne_bytes());
    to[2..4].copy_from_slice(&address.port().to_be_bytes());
    to[4..8].copy_from_slice(&address.ip().octets());
    // SAFETY: 2 bytes of data and a 16-byte address, both alive.
    unsafe {
        let fd = socket(2, 1, 0);
        check(sendto(fd, b"hi".as_ptr(), 2, 0x2000_0000, to.as_ptr(), 16) as c_long)
    }
}

/// Starts a program under a seccomp filter that allows everything and has a listener, as some
/// container runtimes have one.
fn under_listener(command: &[String]) -> io::Result<String> {
    // ret #SECCOMP_RET_ALLOW
    let program = [0x7fff_0000_0000_0006_u64];
    let header = (1_u16, program.as_ptr());
    // SAFETY: `struct sock_fprog` is a length and a pointer to that many instructions.
    unsafe {
        check(syscall(157, 38_usize, 1_usize, 0_usize, 0_usize, 0_usize))?;
        check(syscall(317, 1_usize, 8_usize, &raw const header))?;
    }
    let status = std::process::Command::new(&command[0]).args(&command[1..]).status()?;
    Ok(status.to_string())
}

/// Makes a call that no server makes, so often, in so many threads at once; says how often it was
/// refused as it should be.
fn trip(threads: i64, calls: i64) -> String {
    let trips = move || (0..calls).filter(|_| is_refused()).count();
    let threads: Vec<_> = (0..threads).map(|_| std::thread::spawn(trips)).collect();
    let refused: usize = threads.into_iter().map(|thread| thread.join().expect("it returns")).sum();
    refused.to_string()
}

fn is_refused() -> bool {
    // SAFETY: integers only.
    let refused = check(unsafe { unshare(0x1000_0000) }.into());
    refused.is_err_and(|error| error.raw_os_error() == Some(1))
}

/// Has processes killed while their calls wait, then makes one call itself.
fn trip_and_die(processes: i64) -> String {
    let fork_one = |_| {
        // SAFETY: single-threaded; the child only makes calls until it is killed.
        let child = unsafe { fork() };
        if child == 0 {
            while is_refused() {}
        }
        child
    };
    let children: Vec<_> = (0..processes).map(fork_one).collect();
    // The last of the budget is gone when one of them waits.
    std::thread::sleep(Duration::from_millis(20));
    for child in children {
        // SAFETY: a child of ours.
        unsafe { kill(child, 9) };
    }
    is_refused().to_string()
}

/// Makes a call that no server makes, so often, while a signal comes every 50 microseconds.
fn trip_under_signals(calls: i64) -> String {
    static SIGNALS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    extern "C" fn count(_: c_int) {
        SIGNALS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    let every = [0_i64, 50, 0, 50];
    // SAFETY: the handler only counts; `struct itimerval` is four words.
    unsafe {
        signal(14, count);
        syscall(38, 0_usize, every.as_ptr(), 0_usize);
    }
    let refused = (0..calls).filter(|_| is_refused()).count();
    assert!(SIGNALS.load(std::sync::atomic::Ordering::Relaxed) > 0);
    refused.to_string()
}

/// Forks until it is stopped or reaches the bound, so that it is safe outside too.
fn fork_bomb(bound: i64) -> String {
    let mut children = Vec::new();
    let mut stopped = 0;
    for _ in 0..bound {
        // SAFETY: single-threaded; the child only waits to be killed.
        match unsafe { fork() } {
            0 => loop {
                // SAFETY: no arguments.
                unsafe { pause() };
            },
            -1 => {
                stopped = io::Error::last_os_error().raw_os_error().unwrap_or(0);
                break;
            }
            child => children.push(child),
        }
    }
    for child in &children {
        // SAFETY: a child of ours.
        unsafe { kill(*child, 9) };
    }
    format!("{} {stopped}", children.len())
}

/// Opens terminals until it is stopped or reaches the bound, and says how many; holds on to them until its
/// standard input ends.
fn terminals(bound: i64) -> String {
    let mut held = Vec::new();
    let mut stopped = 0;
    while stopped == 0 && (held.len() as i64) < bound {
        match File::options().read(true).write(true).open("/dev/ptmx") {
            Ok(terminal) => held.push(terminal),
            Err(error) => stopped = error.raw_os_error().unwrap_or(-1),
        }
    }
    println!("{} {stopped}", held.len());
    let _ = io::stdin().read_to_end(&mut Vec::new());
    String::new()
}

#[cfg(target_arch = "x86_64")]
fn int80() -> io::Result<String> {
    let result: i64;
    // SAFETY: getpid in the i386 ABI, which clobbers nothing but its result and r8 to r11.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    if result < 0 { Err(io::Error::from_raw_os_error(-result as i32)) } else { Ok(String::new()) }
}

#[cfg(not(target_arch = "x86_64"))]
fn int80() -> io::Result<String> {
    Err(io::Error::from_raw_os_error(38))
}

fn report(name: &str, arguments: &[String]) -> String {
    match try_one(name, arguments) {
        Ok(found) => format!("allowed {found}").trim_end().to_owned(),
        Err(error) => format!("refused {}", error.raw_os_error().unwrap_or(0)),
    }
}

pub(crate) fn attempt(name: &str, arguments: &[String]) {
    if name != "attempts" {
        return println!("{}", report(name, arguments));
    }
    // One attempt a line, for tests that make many in one place.
    for line in io::stdin().lines() {
        let line = line.expect("text");
        let mut words = line.split(' ').map(str::to_owned);
        let name = words.next().unwrap_or_default();
        println!("{}", report(&name, &words.collect::<Vec<_>>()));
    }
}
