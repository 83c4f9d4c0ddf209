//! Whole classes: every number of a kind is tried, and what the kernel answers is told for each.

use crate::case::World;
use crate::numbers as n;
use crate::sys::{self, Ended, at, call, text};

/// Tries every member of a class and prints `number answer` for each: an error number, `ok`, `signal`
/// with its number, or `waits`.
pub(crate) fn sweep(class: &str, world: &World) {
    match class {
        // Arguments that lead nowhere: no descriptor, no address, no process is -1, and a size of
        // that much is none.
        "calls" => (0..=600).for_each(|number| tell(number, || call(number, &[-1; 6]))),
        "families" => {
            for family in 0..=60 {
                for kind in [1, 2, 3, 4, 5, 6, 10] {
                    tell(family * 100 + kind, || sys::socket(family, kind, 0).map(|_| 0));
                }
            }
        }
        "protocols" => {
            for protocol in (0..=262).filter(|number| *number < 256 || *number > 260) {
                for kind in [1, 2, 3] {
                    tell(protocol * 100 + kind, || sys::socket(2, kind, protocol).map(|_| 0));
                }
            }
        }
        "ioctls" => {
            let families = [0x12, 0x54, 0x56, 0x58, 0x66, 0x89, 0x94, 0xb7];
            for number in families.into_iter().flat_map(|family| (0..256).map(move |low| family << 8 | low)) {
                tell(number, || call(n::IOCTL, &[0, number, -1]));
            }
        }
        "prctls" => (0..=90).for_each(|option| tell(option, || call(n::PRCTL, &[option, -1, -1, -1, -1]))),
        "fcntls" => {
            let commands = (0..=40).chain(1024..=1060);
            commands.for_each(|command| tell(command, || call(n::FCNTL, &[-1, command, -1])));
        }
        // By UDP-Lite's number, 136, a UDP socket took what it refuses by its own.
        "levels" => {
            for (family, kind) in [(2, 1), (2, 2), (10, 1), (10, 2)] {
                let encapsulate = |level| option(family, kind, level, 100, at(&2_u32));
                (0..=300).for_each(|level| tell(family * 10_000 + kind * 1000 + level, || encapsulate(level)));
            }
        }
        // No value lies at this address.
        "options" => {
            for (level, family, kind) in [(0, 2, 2), (1, 2, 1), (6, 2, 1), (17, 2, 2), (41, 10, 2), (136, 2, 2)] {
                (0..=130).for_each(|name| tell(level * 1000 + name, || option(family, kind, level, name, -1)));
            }
        }
        "advices" => {
            for advice in 0..=110 {
                tell(advice, || {
                    let page = call(n::MMAP, &[0, 4096, 3, 0x22, -1, 0])?;
                    call(n::MADVISE, &[page, 4096, advice])
                });
            }
        }
        "unshares" => (0..32).for_each(|bit| tell(bit, || call(n::UNSHARE, &[1 << bit]))),
        "personalities" => (0..32).for_each(|bit| tell(bit, || call(n::PERSONALITY, &[1 << bit]))),
        "mounts" => {
            for kind in
                ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "overlay", "fuse", "ext4", "bpf"]
            {
                tell(0, || call(n::MOUNT, &[text(kind), text("/tmp"), text(kind), 0, 0]));
            }
        }
        _ => println!("no class {class} {}", world.get("")),
    }
}

fn option(family: i64, kind: i64, level: i64, name: i64, value: i64) -> std::io::Result<i64> {
    let socket = sys::socket(family, kind, 0)?;
    call(n::SETSOCKOPT, &[std::os::fd::AsRawFd::as_raw_fd(&socket).into(), level, name, value, 4])
}

/// Tries in a child, which a call may end or hold up.
fn tell(number: i64, attack: impl Fn() -> std::io::Result<i64>) {
    let Ok((reader, writer)) = std::io::pipe() else { return println!("{number} no pipe") };
    let child = sys::child(|| {
        let _ = call(n::SETSID, &[]);
        let answer = match attack() {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.raw_os_error().unwrap_or(0).to_string(),
        };
        let _ = std::io::Write::write_all(&mut { &writer }, answer.as_bytes());
        0
    });
    drop(writer);
    let Ok(child) = child else { return println!("{number} no child") };
    let mut answer = [0; 16];
    let in_time = sys::readable(std::os::fd::AsRawFd::as_raw_fd(&reader), 300);
    let length = if in_time { std::io::Read::read(&mut { reader }, &mut answer).unwrap_or(0) } else { 0 };
    let _ = call(n::KILL, &[child.into(), 9]);
    let ended = sys::wait(child);
    match (in_time, length, ended) {
        (false, _, _) => println!("{number} waits"),
        (true, 0, Ok(Ended::Signaled(signal))) => println!("{number} signal {signal}"),
        (true, 0, _) => println!("{number} ended"),
        (true, _, _) => println!("{number} {}", String::from_utf8_lossy(&answer[..length])),
    }
}
