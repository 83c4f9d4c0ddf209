//! Rows 5 to 12, 96, 106: what `/proc` and `/sys` tell and take.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::case::{Case, Outcome, Stopped, any, case};
use crate::files::{open_to_write, read};
use crate::sys;

pub(crate) const CASES: &[Case] = &[
    case(5, "find the token in a command line", |world| {
        any(holding(world.get("token"), sys::processes(), &["cmdline"]))
    })
    .on_host(),
    case(6, "read environ, maps, auxv of another process", |_| {
        any(readable(
            sys::foreign_processes(),
            &["environ", "maps", "smaps", "auxv", "pagemap", "stack", "syscall", "io"],
        ))
    }),
    case(6, "open the memory of another process", |_| {
        let open = |pid: &i32| File::open(format!("/proc/{pid}/mem")).is_ok();
        any(sys::foreign_processes().into_iter().filter(open).map(|pid| pid.to_string()).collect())
    }),
    case(6, "list the descriptors and mappings of another process", |_| {
        let listed =
            |pid: &i32| ["fd", "map_files"].iter().any(|name| fs::read_dir(format!("/proc/{pid}/{name}")).is_ok());
        any(sys::foreign_processes().into_iter().filter(listed).map(|pid| pid.to_string()).collect())
    }),
    case(6, "find the token anywhere in /proc", |world| {
        any(holding(world.get("token"), sys::foreign_processes(), &["environ", "cmdline", "comm", "mountinfo", "maps"]))
    })
    .on_host(),
    case(6, "see another process than PID 1", |_| {
        let others = sys::foreign_processes().into_iter().filter(|pid| *pid != 1);
        any(others.map(|pid| pid.to_string()).collect())
    }),
    case(7, "find a path of the host in the mounts", |world| {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let paths: Vec<&str> = world.get("host_paths").split(':').filter(|path| !path.is_empty()).collect();
        let told = |line: &&str| paths.iter().any(|path| line.contains(path));
        any(mounts.lines().filter(told).map(|line| line.split(' ').nth(3).unwrap_or("").to_owned()).collect())
    }),
    case(8, "open core_pattern for writing", |_| open_to_write("/proc/sys/kernel/core_pattern")),
    case(8, "open vm.overcommit_memory for writing", |_| open_to_write("/proc/sys/vm/overcommit_memory")),
    case(96, "open ip_unprivileged_port_start for writing", |_| {
        open_to_write("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    }),
    case(96, "open ping_group_range for writing", |_| open_to_write("/proc/sys/net/ipv4/ping_group_range")),
    case(96, "open any file below /proc/sys for writing", |_| any(writable(Path::new("/proc/sys")))),
    case(8, "open any other file of /proc for writing", |_| {
        let of_kernel = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
            name != "sys" && name.parse::<u32>().is_err() && !path.is_symlink()
        };
        any(entries(Path::new("/proc")).filter(of_kernel).flat_map(|path| writable(&path)).collect())
    }),
    case(10, "read /proc/kcore", |_| read("/proc/kcore")).needs("CONFIG_PROC_KCORE"),
    case(10, "open /proc/kmsg", |_| {
        let file = File::open("/proc/kmsg")?;
        if is_masked(&file) { Err(Stopped::Nothing("empty")) } else { Ok(String::new()) }
    }),
    case(10, "read addresses in /proc/kallsyms", |_| {
        let mut text = String::new();
        File::open("/proc/kallsyms")?.take(4096).read_to_string(&mut text)?;
        let told = text.lines().filter(|line| line.bytes().take(16).any(|digit| digit != b'0' && digit != b' '));
        any(told.take(1).map(str::to_owned).collect())
    })
    .needs("kernel.kptr_restrict below 2"),
    case(10, "read /proc/iomem", |_| read("/proc/iomem")),
    case(10, "read /proc/ioports", |_| read_numbers("/proc/ioports")).needs("an architecture with ports"),
    case(10, "read /proc/keys", |_| read("/proc/keys")),
    case(10, "read /proc/key-users", |_| read("/proc/key-users")),
    case(10, "read /proc/timer_list", |_| read("/proc/timer_list")),
    case(10, "read /proc/config.gz", |_| read("/proc/config.gz")).needs("CONFIG_IKCONFIG_PROC"),
    case(10, "read /proc/cmdline", |_| read("/proc/cmdline")),
    case(10, "read /proc/modules", |_| read("/proc/modules")).needs("CONFIG_MODULES"),
    case(10, "read /proc/interrupts", |_| read("/proc/interrupts")),
    case(10, "read /proc/slabinfo", |_| read("/proc/slabinfo")),
    case(10, "read /proc/vmallocinfo", |_| read("/proc/vmallocinfo")),
    case(10, "read /proc/kpagecount", |_| read("/proc/kpagecount")).needs("CONFIG_PROC_PAGE_MONITOR"),
    case(10, "read /proc/sched_debug", |_| read("/proc/sched_debug")).needs("Linux before 5.13"),
    case(10, "trigger /proc/sysrq-trigger", |_| open_to_write("/proc/sysrq-trigger")).needs("CONFIG_MAGIC_SYSRQ"),
    case(10, "list /proc/acpi, scsi, asound, driver", |_| {
        let list = |name: &str| {
            let found = fs::read_dir(format!("/proc/{name}")).into_iter().flatten().flatten();
            found.map(move |entry| entry.path().display().to_string()).collect::<Vec<_>>()
        };
        any(["acpi", "scsi", "asound", "driver"].into_iter().flat_map(list).collect())
    })
    .needs("hardware that has something there"),
    case(11, "open a file of our own in /proc for writing", |_| {
        let ours = entries(Path::new("/proc/self")).filter(|path| !path.is_symlink() && path.is_file());
        any(ours.filter(|path| open_to_write(path.to_str().unwrap_or("")).is_ok()).map(name_of).collect())
    }),
    case(11, "open the security attributes of our own for writing", |_| any(writable(Path::new("/proc/self/attr"))))
        .needs("a kernel that has /proc/self/attr"),
    case(11, "give ourselves a user map", |_| {
        // Outside, in a new user namespace of one's own, as every user may.
        let _ = sys::call(crate::numbers::UNSHARE, &[0x1000_0000]);
        let ids = sys::field("self", "Uid:").unwrap_or_default();
        let maps = [format!("0 {} 1", ids.split_whitespace().next().unwrap_or("0")), "0 0 1".to_owned()];
        let written = maps.into_iter().map(|map| fs::write("/proc/self/uid_map", map));
        let mut last = Err(Stopped::Nothing("none"));
        for result in written {
            last = result.map(|()| String::new()).map_err(Stopped::from);
            if last.is_ok() {
                break;
            }
        }
        last
    }),
    case(12, "lower oom_score_adj", |_| {
        let now: i32 = fs::read_to_string("/proc/self/oom_score_adj")?.trim().parse().unwrap_or(0);
        Ok(fs::write("/proc/self/oom_score_adj", (now - 1).to_string()).map(|()| String::new())?)
    })
    .needs("CAP_SYS_RESOURCE"),
    case(12, "write loginuid", |_| Ok(fs::write("/proc/self/loginuid", "1000").map(|()| String::new())?))
        .needs("CONFIG_AUDITSYSCALL"),
    case(106, "list /sys", |_| any(crate::files::names("/sys")?)).on_host(),
    case(106, "read /proc/cpuinfo", |_| read("/proc/cpuinfo"))
        .by_design("runtimes read it to size themselves; the processor's instruction tells the same"),
    case(90, "find Windows' way in (WSL)", |_| {
        any(["/run/WSL", "/mnt/c", "/proc/sys/fs/binfmt_misc/WSLInterop", "/init"]
            .into_iter()
            .filter(|path| Path::new(path).exists())
            .map(str::to_owned)
            .collect())
    })
    .needs("WSL"),
];

/// Whether something else than the kernel's own file lies there.
fn is_masked(file: &File) -> bool {
    let device = |found: fs::Metadata| found.dev();
    file.metadata().map(device).ok() != fs::metadata("/proc/self").map(device).ok()
}

/// Reads a table of addresses; unprivileged readers see only zeros.
fn read_numbers(path: &str) -> Outcome {
    let text = fs::read_to_string(path)?;
    let told = text
        .lines()
        .filter(|line| line.split(':').next().is_some_and(|part| part.bytes().any(|b| (b'1'..=b'9').contains(&b))));
    any(told.take(1).map(|line| line.trim().to_owned()).collect())
}

fn name_of(path: PathBuf) -> String {
    path.display().to_string()
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Files at or below this path that open for writing; nothing is written.
fn writable(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![top.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(entries(&path).filter(|below| !below.is_symlink()));
        } else if File::options().write(true).open(&path).is_ok_and(|file| !is_masked(&file)) {
            found.push(name_of(path));
        }
    }
    found.sort();
    found
}

fn contents(path: &str) -> Vec<u8> {
    let mut found = Vec::new();
    let _ = File::open(path).and_then(|file| file.take(1 << 20).read_to_end(&mut found));
    found
}

fn readable(pids: Vec<i32>, names: &[&str]) -> Vec<String> {
    let paths = pids.into_iter().flat_map(|pid| names.iter().map(move |name| format!("/proc/{pid}/{name}")));
    paths.filter(|path| !contents(path).is_empty()).collect()
}

/// Files of these processes that hold a text.
fn holding(needle: &str, pids: Vec<i32>, names: &[&str]) -> Vec<String> {
    let paths = pids.into_iter().flat_map(|pid| names.iter().map(move |name| format!("/proc/{pid}/{name}")));
    let holds = |path: &String| {
        let content = contents(path);
        !needle.is_empty() && content.windows(needle.len()).any(|part| part == needle.as_bytes())
    };
    paths.filter(holds).collect()
}
