//! A copy of the machine that an attack may ruin: the positive controls run in it, as root.
//!
//! Its files are the machine's with a tmpfs laid over them; its processes, network, names and
//! mounts are its own. The user namespace is the machine's, so root has every right there is.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;

use crate::case::World;
use crate::namespaces::{ifreq, local_route, message, netlink};
use crate::network;
use crate::numbers as n;
use crate::sys::{self, at, call, text};

/// Runs this in a fresh copy, as a child of its PID 1, and returns when that has ended.
pub(crate) fn run_in_copy(world: &World, attack: impl FnOnce()) -> io::Result<()> {
    const ALL: i64 = 0x2000_0000 | 0x0002_0000 | 0x4000_0000 | 0x0400_0000 | 0x0800_0000 | 0x0200_0000;
    let monitor = sys::child(|| {
        if let Err(error) = call(n::UNSHARE, &[ALL]) {
            eprintln!("a copy of the machine could not be made: {error}");
            return 1;
        }
        let init = sys::child(|| match furnish(world) {
            Ok(()) => as_init(world, attack),
            Err(error) => {
                eprintln!("a copy of the machine could not be furnished: {error}");
                1
            }
        });
        match init.and_then(sys::wait) {
            Ok(sys::Ended::Exited(code)) => code,
            // PID 1 of the copy was killed, as an attack wanted.
            Ok(sys::Ended::Signaled(_)) => 0,
            Err(_) => 1,
        }
    })?;
    match sys::wait(monitor)? {
        sys::Ended::Exited(0) => Ok(()),
        ended => Err(io::Error::other(format!("{ended:?}"))),
    }
}

/// Starts what attacks aim at, then the attack.
fn as_init(world: &World, attack: impl FnOnce()) -> i32 {
    let started = || -> io::Result<()> {
        let (ready, tell) = io::pipe()?;
        let services = sys::child(|| {
            let _ = call(n::SETSID, &[]);
            let failed = network::serve(world, || drop(io::Write::write_all(&mut { &tell }, b"x")));
            eprintln!("the services of a copy failed: {failed:?}");
            1
        })?;
        drop(tell);
        let mut byte = [0];
        io::Read::read_exact(&mut { ready }, &mut byte)?;
        // Somebody's terminal, and signals that stay visible, as PID 1 of a sandbox leaves them.
        let _terminal = fs::File::options().read(true).write(true).open("/dev/ptmx")?;
        sys::block_signals(true);
        let attacker = sys::child(|| {
            sys::block_signals(false);
            // A caller with a group that is not its own.
            let _ = call(n::SETGROUPS, &[1, at(&[12345_u32])]);
            attack();
            0
        })?;
        sys::wait(attacker)?;
        let _ = services;
        Ok(())
    };
    i32::from(started().is_err())
}

fn furnish(world: &World) -> io::Result<()> {
    const PRIVATE: i64 = 1 << 18 | 1 << 14;
    const BIND: i64 = 4096 | 1 << 14;
    mount("none", "/", "", PRIVATE, "")?;
    mount("tmpfs", "/mnt", "tmpfs", 0, "mode=0755")?;
    for dir in ["up", "work", "root"] {
        fs::create_dir(format!("/mnt/{dir}"))?;
    }
    mount("overlay", "/mnt/root", "overlay", 0, "lowerdir=/,upperdir=/mnt/up,workdir=/mnt/work")?;
    mount("proc", "/mnt/root/proc", "proc", 0, "")?;
    mount("/dev", "/mnt/root/dev", "", BIND, "")?;
    mount("tmpfs", "/mnt/root/dev/shm", "tmpfs", 0, "")?;
    mount("/sys", "/mnt/root/sys", "", BIND, "")?;
    // What attacks look for may lie on a file system that the copy does not show.
    let dir = world.get("canary").rsplit_once('/').map_or("", |(dir, _)| dir);
    fs::create_dir_all(format!("/mnt/root{dir}"))?;
    mount(dir, &format!("/mnt/root{dir}"), "", BIND, "")?;
    std::env::set_current_dir("/mnt/root")?;
    fs::create_dir_all("mnt")?;
    call(n::PIVOT_ROOT, &[text("."), text("mnt")])?;
    std::env::set_current_dir("/")?;
    call(n::UMOUNT2, &[text("/mnt"), 2])?;
    open_network()
}

/// Every address is the copy's own, as in a sandbox with a hand-off, and everything may be done.
fn open_network() -> io::Result<()> {
    let socket = sys::socket(2, 2, 0)?;
    call(n::IOCTL, &[i64::from(socket.as_raw_fd()), 0x8914, at(&ifreq("lo", 1))])?;
    for family in [2, 10] {
        let added = netlink(0, &message(24, 0x600, &local_route(family)));
        added.map_err(|stopped| io::Error::other(format!("a route: {stopped:?}")))?;
    }
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0")
}

fn mount(what: &str, place: &str, kind: &str, flags: i64, options: &str) -> io::Result<()> {
    let result = call(n::MOUNT, &[text(what), text(place), text(kind), flags, text(options)]);
    result.map(drop).map_err(|error| io::Error::other(format!("{place}: {error}")))
}
