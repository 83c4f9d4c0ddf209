//! Rows 16, 17, 40 to 50: namespaces, mounts, capabilities, the network's configuration.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::case::{Case, Outcome, Stopped, any, case, done, reached};
use crate::numbers as n;
use crate::sys::{self, AT_FDCWD, at, call, into, text};

pub(crate) const CASES: &[Case] = &[
    case(16, "remount / writable", |_| mount("none", "/", "", MS_REMOUNT | MS_BIND)),
    case(16, "mount a tmpfs", |_| mount("tmpfs", "/tmp", "tmpfs", 0)),
    case(16, "mount another proc", |_| mount("proc", "/tmp", "proc", 0)),
    case(16, "mount a sysfs", |_| mount("sysfs", "/tmp", "sysfs", 0)),
    case(16, "bind / over /tmp", |_| mount("/", "/tmp", "", MS_BIND)),
    case(16, "bind /tmp over /proc", |_| mount("/tmp", "/proc", "", MS_BIND)),
    case(16, "make / shared", |_| mount("none", "/", "", MS_SHARED)),
    case(16, "unmount /proc", |_| done(call(n::UMOUNT2, &[text("/proc"), MNT_DETACH]))),
    case(16, "unmount what covers a file of /proc", |_| {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let below = mounts.lines().filter_map(|line| line.split(' ').nth(1)).find(|at| at.starts_with("/proc/"));
        done(call(n::UMOUNT2, &[text(below.unwrap_or("/proc")), MNT_DETACH]))
    }),
    case(17, "fsopen", |_| done(call(n::FSOPEN, &[text("tmpfs"), 0]))),
    case(17, "fspick", |_| done(call(n::FSPICK, &[AT_FDCWD, text("/"), 0]))),
    case(17, "fsconfig, fsmount, move_mount", |_| {
        let context = sys::descriptor(n::FSOPEN, &[text("tmpfs"), 0])?;
        call(n::FSCONFIG, &[i64::from(context.as_raw_fd()), 6, 0, 0, 0])?;
        let made = sys::descriptor(n::FSMOUNT, &[i64::from(context.as_raw_fd()), 0, 0])?;
        done(call(n::MOVE_MOUNT, &[i64::from(made.as_raw_fd()), text(""), AT_FDCWD, text("/tmp"), 4]))
    }),
    case(17, "open_tree with a clone of the mount", |_| done(call(n::OPEN_TREE, &[AT_FDCWD, text("/"), 1]))),
    case(17, "open_tree_attr", |_| done(call(n::OPEN_TREE_ATTR, &[AT_FDCWD, text("/"), 1, at(&[0_u64; 4]), 32])))
        .needs("Linux 6.15"),
    case(17, "mount_setattr", |_| {
        // `struct mount_attr`: set nothing, clear MOUNT_ATTR_RDONLY.
        done(call(n::MOUNT_SETATTR, &[AT_FDCWD, text("/"), 0, at(&[0_u64, 1, 0, 0]), 32]))
    }),
    case(17, "listmount", |_| {
        let request = [24_u64, u64::MAX, 0];
        done(call(n::LISTMOUNT, &[at(&request), into(&mut [0_u64; 64]), 64, 0]))
    })
    .needs("Linux 6.8"),
    case(17, "statmount", |_| {
        done(call(n::STATMOUNT, &[at(&[24_u64, mount_id()?, 1]), into(&mut [0_u8; 512]), 512, 0]))
    })
    .needs("Linux 6.8"),
    case(48, "chroot", |_| done(call(n::CHROOT, &[text("/tmp")]))),
    case(48, "pivot_root", |_| reached(call(n::PIVOT_ROOT, &[text("/no/such/new"), text("/no/such/old")]))),
    case(40, "unshare the user namespace", |_| done(call(n::UNSHARE, &[0x1000_0000]))),
    case(41, "unshare the mount namespace", |_| done(call(n::UNSHARE, &[0x0002_0000]))),
    case(41, "unshare the cgroup namespace", |_| done(call(n::UNSHARE, &[0x0200_0000]))),
    case(41, "unshare the host name namespace", |_| done(call(n::UNSHARE, &[0x0400_0000]))),
    case(41, "unshare the ipc namespace", |_| done(call(n::UNSHARE, &[0x0800_0000]))),
    case(41, "unshare the process namespace", |_| done(call(n::UNSHARE, &[0x2000_0000]))),
    case(41, "unshare the network namespace", |_| done(call(n::UNSHARE, &[0x4000_0000]))),
    case(41, "unshare the time namespace", |_| done(call(n::UNSHARE, &[0x80]))).needs("CONFIG_TIME_NS"),
    case(41, "unshare everything at once", |_| done(call(n::UNSHARE, &[0x7e02_0080]))),
    case(41, "unshare descriptors and paths only", |_| done(call(n::UNSHARE, &[0x600]))),
    case(41, "clone with a user namespace", |_| clone(0x1000_0000)),
    case(41, "clone with a mount namespace", |_| clone(0x0002_0000)),
    case(41, "clone with a cgroup namespace", |_| clone(0x0200_0000)),
    case(41, "clone with a host name namespace", |_| clone(0x0400_0000)),
    case(41, "clone with an ipc namespace", |_| clone(0x0800_0000)),
    case(41, "clone with a process namespace", |_| clone(0x2000_0000)),
    case(41, "clone with a network namespace", |_| clone(0x4000_0000)),
    case(41, "clone with a user namespace and high bits", |_| clone(0x1_1000_0000)),
    case(41, "clone3 with a user namespace", |_| clone3(0x1000_0000)),
    case(41, "clone3 with a time namespace", |_| clone3(0x80)).needs("CONFIG_TIME_NS"),
    case(41, "clone3 without any", |_| clone3(0)),
    case(42, "setns with the namespaces of PID 1", |_| {
        let names = ["user", "mnt", "net", "ipc", "uts", "cgroup"];
        let join = |name: &&str| enter(&format!("/proc/1/ns/{name}")).is_ok();
        first_error(names.iter().filter(|name| join(name)).map(ToString::to_string).collect(), || {
            enter("/proc/1/ns/net")
        })
    }),
    case(42, "setns with our own network namespace", |_| enter("/proc/self/ns/net")),
    case(42, "setns with a pidfd of PID 1", |_| {
        let pidfd = sys::descriptor(n::PIDFD_OPEN, &[1, 0])?;
        done(call(n::SETNS, &[i64::from(pidfd.as_raw_fd()), 0x4400_0000]))
    }),
    case(42, "setns with an inherited namespace", |world| {
        let join = |fd: &&i32| call(n::SETNS, &[i64::from(**fd), 0x4000_0000]).is_ok();
        any(world.descriptors.iter().filter(join).map(ToString::to_string).collect())
    }),
    case(43, "have a capability in some set", |_| {
        let sets = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"];
        let has = |set: &&str| sys::field("self", set).is_none_or(|value| value.bytes().any(|digit| digit != b'0'));
        any(sets.into_iter().filter(has).map(str::to_owned).collect())
    }),
    case(43, "find a capability in the bounding set", |_| {
        any((0..64).filter(|number| matches!(prctl(23, *number), Ok(1))).map(|number| number.to_string()).collect())
    }),
    case(43, "raise an ambient capability", |_| {
        // Outside it is inheritable first.
        let _ = capset(1 << 10, 1 << 10, 1 << 10);
        done(call(n::PRCTL, &[47, 2, 10, 0, 0]))
    }),
    case(43, "capset", |_| done(capset(1 << 10, 1 << 10, 0))),
    case(43, "change the secure bits", |_| done(prctl(28, 1 << 4))),
    case(43, "keep capabilities across setuid", |_| done(prctl(8, 1))),
    case(43, "setresuid to 0", |_| done(call(n::SETRESUID, &[0, 0, 0]))),
    case(43, "setresuid to another user", |_| done(call(n::SETRESUID, &[1, 1, 1]))),
    case(43, "setresgid to 0", |_| done(call(n::SETRESGID, &[0, 0, 0]))),
    case(43, "drop the supplementary groups", |_| done(call(n::SETGROUPS, &[0, 0]))),
    case(45, "run without no_new_privs", |_| status_is("NoNewPrivs:", |value| value != "1")),
    case(45, "run without seccomp", |_| status_is("Seccomp:", |value| value != "2")),
    case(45, "run with fewer than two filters", |_| {
        status_is("Seccomp_filters:", |value| value.parse::<u32>().is_ok_and(|count| count < 2))
    }),
    case(45, "have a group besides our own", |_| {
        let group = sys::field("self", "Gid:").unwrap_or_default();
        let own = group.split_whitespace().next().unwrap_or("").to_owned();
        status_is("Groups:", |value| value.split_whitespace().any(|group| group != own && group != "65534"))
    })
    .needs("a caller with such groups"),
    case(46, "be in a namespace of the host", |world| {
        let names = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];
        let link = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap_or_default();
        let shared = |name: &&str| link(name).to_str() == Some(world.get(&format!("ns.{name}")));
        any(names.into_iter().filter(shared).map(str::to_owned).collect())
    })
    .on_host(),
    case(46, "be mapped as more than one user", |_| {
        let map = fs::read_to_string("/proc/self/uid_map")?;
        any(map.lines().filter(|line| !line.ends_with(" 1")).map(|line| line.trim().to_owned()).collect())
    }),
    case(47, "sethostname", |_| done(call(n::SETHOSTNAME, &[text("evil"), 4]))),
    case(47, "setdomainname", |_| done(call(n::SETDOMAINNAME, &[text("evil"), 4]))),
    case(47, "clock_settime to now", |_| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        done(call(n::CLOCK_SETTIME, &[0, at(&[now.as_secs(), u64::from(now.subsec_nanos())])]))
    }),
    case(47, "settimeofday of the time zone", |_| {
        // UTC, west by nothing: what it is on every machine that runs servers.
        done(call(n::SETTIMEOFDAY, &[0, at(&[0_u32; 2])]))
    }),
    case(47, "adjtimex with the tick it has", |_| adjust(|timex| call(n::ADJTIMEX, &[into(timex)]))),
    case(47, "clock_adjtime with the tick it has", |_| adjust(|timex| call(n::CLOCK_ADJTIME, &[0, into(timex)]))),
    case(50, "set lo down", |_| lo_down()),
    case(50, "open a netlink socket", |_| Ok(sys::socket(16, 3, 0).map(|_| String::new())?)),
    case(50, "delete the route by netlink", |_| netlink(0, &delete_route())),
    case(50, "add an interface by netlink", |_| netlink(0, &new_interface())).needs("CONFIG_VETH"),
    case(50, "add an address by netlink", |_| netlink(0, &new_address())),
    case(50, "talk to the packet filter by netlink", |_| netlink(12, &packet_filter())),
    case(50, "add an address by ioctl", |_| {
        let socket = sys::socket(2, 2, 0)?;
        let mut request = ifreq("lo:1", 0);
        request[16..24].copy_from_slice(&[2, 0, 0, 0, 10, 1, 2, 3]);
        done(call(n::IOCTL, &[i64::from(socket.as_raw_fd()), 0x8916, at(&request)]))
    }),
];

const MS_REMOUNT: i64 = 32;
const MS_BIND: i64 = 4096;
const MS_SHARED: i64 = 1 << 20;
const MNT_DETACH: i64 = 2;

fn mount(what: &str, place: &str, kind: &str, flags: i64) -> Outcome {
    done(call(n::MOUNT, &[text(what), text(place), text(kind), flags, text("")]))
}

/// The unique id of the root mount, which `statx` tells.
fn mount_id() -> io::Result<u64> {
    const STATX: i64 = if cfg!(target_arch = "x86_64") { 332 } else { 291 };
    let mut found = [0_u64; 32];
    call(STATX, &[AT_FDCWD, text("/"), 0, 0x4000, into(&mut found)])?;
    Ok(found[18])
}

fn clone(flags: i64) -> Outcome {
    const SIGCHLD: i64 = 17;
    match call(n::CLONE, &[flags | SIGCHLD, 0, 0, 0, 0])? {
        0 => sys::exit(0),
        child => {
            sys::end(child as i32);
            Ok(String::new())
        }
    }
}

fn clone3(flags: u64) -> Outcome {
    let mut arguments = [0_u64; 11];
    arguments[0] = flags;
    arguments[4] = 17;
    match call(n::CLONE3, &[at(&arguments), 64])? {
        0 => sys::exit(0),
        child => {
            sys::end(child as i32);
            Ok(String::new())
        }
    }
}

fn enter(path: &str) -> Outcome {
    let namespace = File::open(path)?;
    done(call(n::SETNS, &[i64::from(namespace.as_raw_fd()), 0]))
}

/// What was found; if nothing, why one of them failed.
fn first_error(found: Vec<String>, one: impl Fn() -> Outcome) -> Outcome {
    if found.is_empty() { one() } else { any(found) }
}

fn prctl(option: i64, argument: i64) -> io::Result<i64> {
    call(n::PRCTL, &[option, argument, 0, 0, 0])
}

fn capset(effective: u32, permitted: u32, inheritable: u32) -> io::Result<i64> {
    let header = [0x2008_0522_u32, 0];
    let sets = [effective, permitted, inheritable, 0, 0, 0];
    call(n::CAPSET, &[at(&header), at(&sets)])
}

fn status_is(name: &str, bad: impl Fn(&str) -> bool) -> Outcome {
    let value = sys::field("self", name).unwrap_or_default();
    if bad(&value) { Ok(value) } else { Err(Stopped::Nothing("as it must be")) }
}

/// Asks for the clock's settings, then sets the tick to what it is.
fn adjust(change: impl Fn(&mut [u64; 26]) -> io::Result<i64>) -> Outcome {
    const ADJ_TICK: u64 = 0x4000;
    let mut timex = [0_u64; 26];
    change(&mut timex)?;
    timex[0] = ADJ_TICK;
    done(change(&mut timex))
}

/// `struct ifreq` with flags.
pub(crate) fn ifreq(name: &str, flags: u16) -> [u8; 40] {
    let mut request = [0; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    request
}

fn lo_down() -> Outcome {
    const SIOCSIFFLAGS: i64 = 0x8914;
    let socket: OwnedFd = sys::socket(2, 2, 0)?;
    done(call(n::IOCTL, &[i64::from(socket.as_raw_fd()), SIOCSIFFLAGS, at(&ifreq("lo", 0))]))
}

/// Sends one request to the kernel and reads its answer.
pub(crate) fn netlink(protocol: i64, request: &[u8]) -> Outcome {
    use std::io::{Read, Write};
    let mut socket = File::from(sys::socket(16, 3, protocol)?);
    socket.write_all(request)?;
    let mut answer = [0; 4096];
    let length = socket.read(&mut answer)?;
    let number = |from: usize| i32::from_ne_bytes(answer[from..from + 4].try_into().expect("4 bytes"));
    match (length, u16::from_ne_bytes([answer[4], answer[5]])) {
        (20.., 2) if number(16) < 0 => Err(Stopped::Errno(-number(16))),
        _ => Ok(String::new()),
    }
}

/// A netlink message that wants an acknowledgement.
pub(crate) fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend_from_slice(&(16 + body.len() as u32).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&(flags | 5).to_ne_bytes());
    message.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    message.extend_from_slice(body);
    message
}

/// A route of type local on the loopback interface: `rtmsg` and the interface.
pub(crate) fn local_route(family: u8) -> [u8; 20] {
    [family, 0, 0, 0, 255, 3, 254, 2, 0, 0, 0, 0, 8, 0, 4, 0, 1, 0, 0, 0]
}

fn delete_route() -> Vec<u8> {
    message(25, 0, &local_route(2))
}

fn new_interface() -> Vec<u8> {
    let mut body = vec![0; 16];
    // IFLA_LINKINFO with IFLA_INFO_KIND "veth"
    body.extend_from_slice(&[16, 0, 18, 0, 9, 0, 1, 0]);
    body.extend_from_slice(b"veth\0\0\0\0");
    message(16, 0x600, &body)
}

fn new_address() -> Vec<u8> {
    let mut body = vec![2, 32, 0, 0, 1, 0, 0, 0];
    body.extend_from_slice(&[8, 0, 2, 0, 10, 9, 8, 7]);
    message(20, 0x600, &body)
}

/// `NFT_MSG_GETGEN`: which generation of rules is in force.
fn packet_filter() -> Vec<u8> {
    message(10 << 8 | 16, 0, &[0; 4])
}
