//! Rows 67 to 78 and 112: descriptors, sockets of the host, shared memory, terminals, the environment.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};

use crate::case::{Case, Outcome, Stopped, any, case, done};
use crate::files::repeat;
use crate::numbers as n;
use crate::sys::{self, at, call, into, text};

pub(crate) const CASES: &[Case] = &[
    case(67, "have a descriptor besides 0, 1, 2", |world| {
        any(world.descriptors.iter().filter(|fd| **fd > 2).map(ToString::to_string).collect())
    }),
    case(67, "have a standard stream that is not a pipe", |_| {
        let link = |fd: &i32| fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        let other = |fd: &i32| !link(fd).to_string_lossy().starts_with("pipe:");
        any((0..3).filter(other).map(|fd| link(&fd).display().to_string()).collect())
    })
    .needs("a caller whose streams are not pipes"),
    case(68, "have a descriptor of a kind that grants something", |world| {
        let kinds = ["socket:", "anon_inode:", "net:", "user:", "mnt:", "/"];
        let link = |fd: &i32| fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default().display().to_string();
        let found = world.descriptors.iter().map(link).filter(|link| kinds.iter().any(|kind| link.starts_with(kind)));
        any(found.collect())
    }),
    case(70, "send a descriptor over a stream we were given", |world| {
        let mut last = Err(Stopped::Nothing("none"));
        for fd in &world.descriptors {
            let sent = send_descriptor(*fd);
            if sent.is_ok() || last.is_err() && *fd < 3 {
                last = sent;
            }
            if last.is_ok() {
                break;
            }
        }
        last
    }),
    case(71, "connect to the host's abstract socket", |world| {
        let address = SocketAddr::from_abstract_name(world.get("abstract_socket"))?;
        Ok(UnixStream::connect_addr(&address).map(|_| String::new())?)
    })
    .on_host(),
    case(71, "send to the host's abstract datagram socket", |world| {
        let address = SocketAddr::from_abstract_name(format!("{}-datagram", world.get("abstract_socket")))?;
        Ok(UnixDatagram::unbound()?.send_to_addr(b"x", &address).map(|_| String::new())?)
    })
    .on_host(),
    case(72, "connect to a socket of the host by its path", |world| {
        Ok(UnixStream::connect(world.get("host_socket")).map(|_| String::new())?)
    })
    .on_host(),
    case(72, "connect to a socket that lies deep in the image", |world| {
        Ok(UnixStream::connect(world.get("planted_socket")).map(|_| String::new())?)
    })
    .on_host(),
    case(73, "attach to shared memory of the host", |world| done(call(n::SHMGET, &[world.number("ipc_key"), 0, 0])))
        .on_host(),
    case(73, "open a semaphore of the host", |world| done(call(n::SEMGET, &[world.number("ipc_key"), 0, 0]))).on_host(),
    case(73, "open a message queue of the host", |world| done(call(n::MSGGET, &[world.number("ipc_key"), 0])))
        .on_host(),
    case(73, "open a POSIX message queue of the host", |world| {
        done(call(n::MQ_OPEN, &[text(world.get("queue")), 0, 0, 0]))
    })
    .on_host()
    .needs("CONFIG_POSIX_MQUEUE"),
    case(73, "open POSIX shared memory of the host", |world| {
        Ok(File::open(format!("/dev/shm/{}", world.get("queue"))).map(|_| String::new())?)
    })
    .on_host(),
    case(73, "make shared memory of System V", |_| done(call(n::SHMGET, &[0, 4096, 0o1600]))),
    case(75, "type into our terminal (TIOCSTI)", |_| terminal(|tty| ioctl(tty, 0x5412, text("x")))).needs(TIOCSTI),
    case(75, "type into our terminal, high bits set", |_| terminal(|tty| ioctl(tty, 0x1_0000_5412, text("x"))))
        .needs(TIOCSTI),
    case(75, "type into standard input", |_| done(ioctl(0, 0x5412, text("x")))).needs("a terminal as standard input"),
    case(75, "paste on a console (TIOCLINUX)", |_| terminal(|tty| ioctl(tty, 0x541c, at(&[3_u8, 0]))))
        .needs("a virtual console"),
    case(75, "take a terminal's session (TIOCSCTTY)", |_| {
        terminal(|tty| {
            call(n::SETSID, &[]).ok();
            ioctl(tty, 0x540e, 1)
        })
    }),
    case(75, "change a terminal's discipline (TIOCSETD)", |_| terminal(|tty| ioctl(tty, 0x5423, at(&0_u32)))),
    case(75, "take the console's output (TIOCCONS)", |_| {
        terminal(|tty| {
            let taken = ioctl(tty, 0x541d, 0);
            let _ = File::open("/dev/console").map(|console| ioctl(console.as_raw_fd(), 0x541d, 0));
            taken
        })
    })
    .needs("no console that somebody has taken"),
    case(75, "open the caller's terminal", |_| {
        if std::os::unix::process::parent_id() != 1 {
            // The control's caller has none, so it gives itself one.
            let _ = terminal(|_| Ok(0));
        }
        Ok(File::open("/dev/tty").map(|_| String::new())?)
    })
    .needs("a caller with a terminal"),
    case(77, "open 2,000 files", |_| repeat(2000, || File::open("/dev/null"))),
    case(77, "hold 100 pipes of 1 MiB", |_| {
        let pipe = || {
            let (reader, writer) = io::pipe()?;
            call(n::FCNTL, &[i64::from(writer.as_raw_fd()), 1031, 1 << 20])?;
            Ok((reader, writer))
        };
        repeat(100, pipe)
    })
    .alone(),
    case(77, "stack epolls upon epolls", |_| {
        let mut held: Vec<OwnedFd> = vec![sys::descriptor(n::EPOLL_CREATE1, &[0])?];
        for _ in 0..8 {
            let next = sys::descriptor(n::EPOLL_CREATE1, &[0])?;
            let last = i64::from(held[held.len() - 1].as_raw_fd());
            call(n::EPOLL_CTL, &[i64::from(next.as_raw_fd()), 1, last, at(&[1_u32, 0, 0])])?;
            held.push(next);
        }
        Ok(String::new())
    })
    .needs("nothing: the kernel stops everybody at a depth of five"),
    case(77, "keep 2,000 descriptors in flight", |_| in_flight(2000)).alone(),
    case(78, "make 2,000 event counters", |_| repeat(2000, || sys::descriptor(n::EVENTFD2, &[0, 0]))),
    case(78, "make 2,000 timers of files", |_| repeat(2000, || sys::descriptor(n::TIMERFD_CREATE, &[1, 0]))),
    case(78, "make 2,000 timers of the process", |_| repeat(2000, || call(n::TIMER_CREATE, &[1, 0, into(&mut 0_u64)]))),
    case(78, "open 100 terminals", |_| repeat(100, || File::options().read(true).write(true).open("/dev/ptmx"))),
    case(78, "make a context of asynchronous I/O", |_| done(call(n::IO_SETUP, &[8, into(&mut 0_u64)])))
        .needs("CONFIG_AIO"),
    case(112, "have a variable that nobody gave us", |world| {
        let given: Vec<&str> = world.get("environment").split(' ').collect();
        any(std::env::vars().map(|(name, _)| name).filter(|name| !given.contains(&name.as_str())).collect())
    }),
    case(112, "have a variable that steers a loader or interpreter", |_| {
        let steering = ["LD_", "NODE_", "PYTHON", "BASH_ENV", "ENV", "GCONV_PATH", "PERL", "RUBY", "JAVA_TOOL", "PATH"];
        let steers = |name: &String| steering.iter().any(|start| name.starts_with(start));
        any(std::env::vars().map(|(name, _)| name).filter(steers).collect())
    }),
];

const TIOCSTI: &str = "CONFIG_LEGACY_TIOCSTI";

fn ioctl(fd: i32, request: i64, argument: i64) -> io::Result<i64> {
    call(n::IOCTL, &[i64::from(fd), request, argument])
}

/// Opens a terminal of our own, in a session of our own, and tries something on it.
fn terminal(attack: impl FnOnce(i32) -> io::Result<i64>) -> Outcome {
    let _ = call(n::SETSID, &[]);
    let master = File::options().read(true).write(true).open("/dev/ptmx")?;
    ioctl(master.as_raw_fd(), 0x4004_5431, at(&0_u32))?;
    let mut number = 0_u32;
    ioctl(master.as_raw_fd(), 0x8004_5430, into(&mut number))?;
    let slave = File::options().read(true).write(true).open(format!("/dev/pts/{number}"))?;
    let result = done(attack(slave.as_raw_fd()));
    // The attack's child ends next, and with it the terminal.
    std::mem::forget((master, slave));
    result
}

/// Sends a descriptor, as `struct msghdr` with one `SCM_RIGHTS`.
fn send_descriptor(fd: i32) -> Outcome {
    // Not a pipe of ours: what is in flight and never received stays open.
    let file = File::open("/dev/null")?;
    let control = [20_u64, 1 | 1 << 32, file.as_raw_fd() as u64];
    let data = [1_u8];
    let part = [at(&data), 1];
    let message = [0, 0, at(&part), 1, at(&control), 24, 0];
    done(call(n::SENDMSG, &[i64::from(fd), at(&message), 0x40]))
}

/// Sends descriptors that nobody receives.
fn in_flight(bound: usize) -> Outcome {
    const AT_ONCE: usize = 250;
    let mut held = Vec::new();
    for _ in 0..bound / AT_ONCE {
        let (socket, other) = UnixDatagram::pair()?;
        let mut control = [1_u32; 4 + AT_ONCE];
        control[0] = 16 + 4 * AT_ONCE as u32;
        control[1] = 0;
        let data = [1_u8];
        let part = [at(&data), 1];
        let message = [0, 0, at(&part), 1, at(&control), control.len() as i64 * 4, 0];
        call(n::SENDMSG, &[i64::from(socket.as_raw_fd()), at(&message), 0x40])?;
        held.push((socket, other));
    }
    Ok(bound.to_string())
}

/// Starts a program with a key in its session keyring, as logins do.
pub(crate) fn in_session(key: &str, command: &[String]) -> io::Error {
    let made = call(n::KEYCTL, &[1, 0]).and_then(|_| call(n::ADD_KEY, &[text("user"), text(key), text("x"), 1, -3]));
    match made {
        Ok(_) => std::os::unix::process::CommandExt::exec(std::process::Command::new(&command[0]).args(&command[1..])),
        Err(error) => error,
    }
}

/// Makes what the host shares by name: System V objects and POSIX shared memory. Run by the harness
/// outside, with `remove` at the end.
pub(crate) fn host_objects(key: i64, queue: &str, make: bool) -> io::Result<()> {
    const MQ_UNLINK: i64 = if cfg!(target_arch = "x86_64") { 241 } else { 181 };
    const SHMCTL: i64 = if cfg!(target_arch = "x86_64") { 31 } else { 195 };
    const SEMCTL: i64 = if cfg!(target_arch = "x86_64") { 66 } else { 191 };
    const MSGCTL: i64 = if cfg!(target_arch = "x86_64") { 71 } else { 187 };
    let flags = if make { 0o1666 } else { 0 };
    let memory = call(n::SHMGET, &[key, 4096, flags])?;
    let semaphore = call(n::SEMGET, &[key, 1, flags])?;
    let messages = call(n::MSGGET, &[key, flags])?;
    if make {
        call(n::MQ_OPEN, &[text(queue), 0o100, 0o666, 0])?;
        fs::write(format!("/dev/shm/{queue}"), "shared")
    } else {
        call(SHMCTL, &[memory, 0, 0])?;
        call(SEMCTL, &[semaphore, 0, 0])?;
        call(MSGCTL, &[messages, 0, 0])?;
        call(MQ_UNLINK, &[text(queue)])?;
        fs::remove_file(format!("/dev/shm/{queue}"))
    }
}
