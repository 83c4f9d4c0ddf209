//! Everything that the host can see about a live server, compared with what it must be.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gigmcp_sandbox::{Network, Rootfs, Sandbox, SandboxBuilder, ServerSignal, StateQuota};

use crate::inherited::standing;
use crate::left_out::has_root;
use crate::lifecycle::ready;
use crate::probe::{Dir, PROBE_VARIABLE, copy_program, probe, sandbox};
use crate::processes::{field, marker, of_program};

type Found = BTreeMap<String, String>;

fn found(pairs: &[(&str, &str)]) -> Found {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// One read of a file of the process's in `/proc`.
fn read(pid: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_else(|error| format!("{error}"));
    text.replace('\0', " ").trim().to_owned()
}

fn status(pid: u32, names: &[&str]) -> Found {
    let value = |name: &str| field(pid, &format!("{name}:")).unwrap_or_else(|| "absent".to_owned());
    names.iter().map(|name| ((*name).to_owned(), value(name))).collect()
}

fn links(pid: u32, names: &[&str]) -> Found {
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).map(|link| link.display().to_string());
    names.iter().map(|name| ((*name).to_owned(), link(name).unwrap_or_else(|error| error.to_string()))).collect()
}

/// Every descriptor with its kind and how it was opened.
fn descriptors(pid: u32) -> Found {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let describe = |entry: fs::DirEntry| {
        let number = entry.file_name().into_string().unwrap();
        let link = fs::read_link(entry.path()).unwrap().display().to_string();
        // A pipe or socket has a number in brackets, other kinds have a name there.
        let kind = link.trim_end_matches(']').trim_end_matches(|digit: char| digit.is_ascii_digit());
        let kind = kind.strip_suffix(":[").unwrap_or(&link);
        let info = read(pid, &format!("fdinfo/{number}"));
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or("").trim();
        let mode = match u32::from_str_radix(flags, 8).unwrap_or(3) & 3 {
            0 => "read",
            1 => "write",
            _ => "both",
        };
        (number, format!("{kind} {mode}"))
    };
    entries.map(describe).collect()
}

/// The soft and hard limit of each resource.
fn limits(pid: u32) -> Found {
    let text = read(pid, "limits");
    let parse = |line: &str| {
        let (name, rest) = line.split_at(26);
        let values: Vec<&str> = rest.split_whitespace().take(2).collect();
        (name.trim().to_owned(), values.join(" "))
    };
    text.lines().skip(1).map(parse).collect()
}

/// Each mount: kind, what of its file system is shown, options, and what bounds it.
fn mounts(pid: u32) -> Found {
    let describe = |line: &str| {
        let (left, right) = line.split_once(" - ").unwrap();
        let left: Vec<&str> = left.split(' ').collect();
        let [kind, _source, options] = right.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let bounds = options.split(',').filter(|option| {
            ["size=", "nr_inodes=", "mode=", "ptmxmode=", "max="].iter().any(|start| option.starts_with(start))
        });
        let bounds = if kind == "devtmpfs" { String::new() } else { bounds.collect::<Vec<_>>().join(",") };
        // An image is shown under our name for it; the host's own trees under theirs.
        (left[4].to_owned(), format!("{kind} {} {} {bounds}", left[3], left[5]).trim_end().to_owned())
    };
    read(pid, "mountinfo").lines().map(describe).collect()
}

const SERVER_STATUS: &[(&str, &str)] = &[
    ("CapAmb", "0000000000000000"),
    ("CapBnd", "0000000000000000"),
    ("CapEff", "0000000000000000"),
    ("CapInh", "0000000000000000"),
    ("CapPrm", "0000000000000000"),
    ("NSpid", "PID 2"),
    ("NoNewPrivs", "1"),
    ("Seccomp", "2"),
    ("Seccomp_filters", "2"),
    ("ShdPnd", "0000000000000000"),
    ("SigBlk", "0000000000000000"),
    ("SigIgn", "0000000000001000"), // SIGPIPE, by the server itself, which is written in Rust
    ("SigPnd", "0000000000000000"),
    ("Threads", "1"),
    ("TracerPid", "0"),
    ("Umask", "0022"),
];

const LIMITS: &[(&str, &str)] = &[
    ("Max address space", "unlimited unlimited"),
    ("Max core file size", "1 1"),
    ("Max cpu time", "unlimited unlimited"),
    ("Max data size", "unlimited unlimited"),
    ("Max file locks", "unlimited unlimited"),
    ("Max file size", "268435456 268435456"),
    ("Max locked memory", "8388608 8388608"),
    ("Max msgqueue size", "0 0"),
    ("Max nice priority", "0 0"),
    ("Max open files", "768 768"),
    ("Max pending signals", "1024 1024"),
    ("Max processes", "256 256"),
    ("Max realtime priority", "0 0"),
    ("Max realtime timeout", "unlimited unlimited"),
    ("Max resident set", "unlimited unlimited"),
    ("Max stack size", "8388608 8388608"),
];

const MOUNTS: &[(&str, &str)] = &[
    ("/", "tmpfs /root ro,nosuid,nodev,relatime size=1048576k,mode=755"),
    ("/dev/pts", "devpts / rw,nosuid,noexec,relatime mode=620,ptmxmode=666,max=16"),
    ("/dev/shm", "tmpfs / rw,nosuid,nodev,relatime size=65536k,nr_inodes=65536"),
    ("/proc", "proc / ro,nosuid,nodev,noexec,relatime"),
    ("/proc/sys/kernel/random/boot_id", "tmpfs /proc-0 ro,nosuid,nodev,noexec,relatime size=1048576k,mode=755"),
    ("/run", "tmpfs / rw,nosuid,nodev,relatime size=1024k,nr_inodes=1024,mode=755"),
    ("/tmp", "tmpfs / rw,nosuid,nodev,relatime size=262144k,nr_inodes=65536"),
];

/// What is covered, where the host's kernel has it.
const MASKED: &str = "acpi asound buddyinfo bus cmdline config.gz diskstats driver dynamic_debug fs interrupts \
    iomem ioports irq kallsyms kcore key-users keys kmsg kpagecgroup kpagecount kpageflags latency_stats locks \
    modules mtrr pagetypeinfo partitions sched_debug scsi slabinfo softirqs swaps sysrq-trigger timer_list \
    timer_stats tty vmallocinfo zoneinfo";

/// A mount as the host has it, but that nothing but devices can be written through it.
fn sealed(mount: &str) -> String {
    let mut words: Vec<&str> = mount.split(' ').collect();
    let others = words[2].split(',').filter(|option| !["rw", "ro", "nosuid", "noexec"].contains(option));
    let options = ["ro", "nosuid", "noexec"].into_iter().chain(others).collect::<Vec<_>>().join(",");
    words[2] = &options;
    words.join(" ")
}

fn frame_mounts() -> Found {
    let mut expected = found(MOUNTS);
    // Each by itself, or in a file system of its own kind, as the host has them; but sealed.
    let of_host = mounts(std::process::id());
    for name in ["full", "null", "random", "urandom", "zero"] {
        let path = format!("/dev/{name}");
        let below = || of_host["/dev"].replacen(" / ", &format!(" /{name} "), 1);
        let shown = of_host.get(&path).cloned().unwrap_or_else(below);
        expected.insert(path, sealed(&shown));
    }
    for name in MASKED.split_whitespace() {
        let path = format!("/proc/{name}");
        if let Ok(kind) = fs::symlink_metadata(&path) {
            let empty = if kind.is_dir() { "/empty-dir" } else { "/empty-file" };
            expected.insert(path, format!("tmpfs {empty} ro,nosuid,nodev,noexec,relatime size=1048576k,mode=755"));
        }
    }
    expected
}

/// How many filters this process has itself.
fn filters() -> u32 {
    field(std::process::id(), "Seccomp_filters:").unwrap().parse().unwrap()
}

/// What is the same for every server, whatever its root and network.
fn assert_usual(server: u32, program: &str) {
    let is_root = rustix::process::geteuid().is_root();
    let names: Vec<&str> = SERVER_STATUS.iter().map(|(name, _)| *name).collect();
    let mut seen = status(server, &names);
    seen.insert("NSpid".to_owned(), seen["NSpid"].replace(&server.to_string(), "PID").replace('\t', " "));
    let mut expected = found(SERVER_STATUS);
    // Ours, and those that are on us, such as a container's.
    expected.insert("Seccomp_filters".to_owned(), (2 + filters()).to_string());
    assert_eq!(seen, expected);

    let ids = status(server, &["Uid", "Gid"]);
    let ids: Vec<u32> = ids.values().flat_map(|ids| ids.split_whitespace()).map(|id| id.parse().unwrap()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    if is_root {
        assert!((61184..=65519).contains(&ids[0]), "{ids:?}");
        assert_eq!(field(server, "Groups:").as_deref(), Some(""));
    }
    assert_eq!(read(server, "uid_map").split_whitespace().collect::<Vec<_>>(), ["65534", &ids[0].to_string(), "1"]);
    assert_eq!(read(server, "gid_map").split_whitespace().collect::<Vec<_>>(), ["65534", &ids[0].to_string(), "1"]);
    assert_eq!(read(server, "setgroups"), "deny");
    assert_eq!(read(server, "projid_map"), "");

    let mut namespaces = Vec::new();
    for name in ["user", "mnt", "pid", "pid_for_children", "net", "ipc", "uts", "cgroup"] {
        let link = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert_ne!(link(&server.to_string()), link("self"), "{name}");
        namespaces.push(link(&server.to_string()));
    }
    namespaces.dedup();
    assert_eq!(namespaces.len(), 7, "children are in the process namespace too");

    let pipes = [("0", "pipe read"), ("1", "pipe write"), ("2", "pipe write")];
    assert_eq!(descriptors(server), found(&pipes));
    assert_eq!(limits(server), found(LIMITS));
    let places = [("cwd", "/tmp"), ("exe", program), ("root", "/")];
    assert_eq!(links(server, &["cwd", "exe", "root"]), found(&places));
    assert_eq!(read(server, "environ"), "TOKEN=placeholder");

    let of_host: i32 = read(std::process::id(), "oom_score_adj").parse().unwrap();
    let of_host = of_host.max(500).to_string();
    for (name, expected) in
        [("oom_score_adj", of_host.as_str()), ("coredump_filter", "00000000"), ("personality", "00000000")]
    {
        assert_eq!(read(server, name), expected, "{name}");
    }
    if let Ok(merged) = fs::read_to_string(format!("/proc/{server}/ksm_stat")) {
        let merges = merged.lines().filter(|line| line.ends_with(": yes")).collect::<Vec<_>>();
        assert!(merges.is_empty(), "merged with the host's memory: {merges:?}");
    }
    // After the name in brackets: state, parent, group, session, terminal; then priority and niceness.
    let (stat, of_host) = (read(server, "stat"), read(std::process::id(), "stat"));
    let fields =
        |stat: &str| stat.rsplit_once(')').unwrap().1.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (stat, of_host) = (fields(&stat), fields(&of_host));
    assert_eq!(stat[2..5], [server.to_string(), server.to_string(), "0".to_owned()], "its own session");
    assert_eq!(stat[15..17], of_host[15..17], "no priority over the host's");
    let found = standing(server);
    assert_eq!(found["disk"], standing(std::process::id())["disk"]);
    for (name, expected) in [("policy", "0"), ("real-time priority", "0"), ("timer slack", "50000")] {
        assert_eq!(found[name], expected, "{name}");
    }
    assert_eq!(field(server, "NSsid:").unwrap().split_whitespace().last(), Some("2"));
}

async fn started(builder: SandboxBuilder, program: &str) -> (Sandbox, u32) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("posture-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let marker = marker(&name);
    let command = [program, "hang", &marker];
    let sandbox = ready(builder.command(command).env("TOKEN", "placeholder")).await;
    let server = of_program(program, &name)[0];
    assert_eq!(read(server, "cmdline"), format!("{program} hang {marker}"));
    (sandbox, server)
}

#[tokio::test]
async fn a_server_in_a_root_of_one_file_is_exactly_as_confined_as_it_must_be() {
    for network in [Network::none(), Network::handoff()] {
        let (sandbox, server) = started(sandbox(&[]).network(network.clone()), "/server").await;
        assert_usual(server, "/server");
        assert_eq!(mounts(server), frame_mounts(), "{network:?}");
        drop(sandbox);
    }
}

#[test]
fn a_host_process_whose_memory_is_merged_does_not_pass_that_on() {
    let merging = |command: &[&str]| {
        let output = Command::new(probe()).arg("merging").args(command).env(PROBE_VARIABLE, probe()).output().unwrap();
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
    };
    let outside = merging(&["cat", "/proc/self/ksm_stat"]);
    if !outside.contains("ksm_merge_any: yes") {
        return println!("this kernel merges nothing, or does not tell: {outside}");
    }
    let test = "posture::a_server_in_a_root_of_one_file_is_exactly_as_confined_as_it_must_be";
    let tests = std::env::current_exe().unwrap();
    let inside = merging(&[tests.to_str().unwrap(), "--exact", test]);
    assert!(inside.contains("test result: ok. 1 passed"), "{inside}");
}

#[test]
fn a_host_that_was_started_to_ignore_signals_does_not_pass_that_on_and_hears_of_the_end() {
    // As shells leave it to what they start after `trap ''`. What hangs is ended.
    let ignoring = |signals: &str, command: &[&str]| {
        let mut ended = Command::new("timeout");
        ended.args(["300", "env", signals]).args(command).env(PROBE_VARIABLE, probe());
        let output = ended.output().unwrap();
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
    };
    let (all, those_of_a_terminal) = ("--ignore-signal", "--ignore-signal=HUP,INT,QUIT,TERM,TSTP");
    let outside = ignoring(all, &["cat", "/proc/self/status"]);
    let ignored = outside.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    let ended_and_terminated = 1 << 16 | 1 << 14;
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    assert_eq!(ignored & ended_and_terminated, ended_and_terminated, "the control: {outside}");
    let tests = std::env::current_exe().unwrap();
    for (signals, test) in [
        // It waits for children of its own.
        (those_of_a_terminal, "posture::a_server_in_a_root_of_one_file_is_exactly_as_confined_as_it_must_be"),
        (all, "lifecycle::a_server_is_asked_to_end_and_made_to_when_it_does_not"),
    ] {
        let inside = ignoring(signals, &[tests.to_str().unwrap(), "--exact", test]);
        assert!(inside.contains("test result: ok. 1 passed"), "{inside}");
    }
}

/// By its own program it would be ended with `SIGSYS`, and each end would look like an attack.
#[tokio::test]
async fn pid_1_ends_by_itself_however_its_sandbox_does() {
    if !has_root("nobody else may watch PID 1") {
        return;
    }
    for how in ["the server ends", "killed", "dropped"] {
        let (mut sandbox, server) = started(sandbox(&[]), "/server").await;
        let init = field(server, "PPid:").unwrap();
        let mut watcher = Command::new(probe()).args(["ended", &init]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(watcher.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "watching");
        match how {
            "the server ends" => sandbox.signal(ServerSignal::Terminate),
            "killed" => {
                // Its end is told when PID 1 has been waited for, which the watcher does first.
                tokio::time::timeout(Duration::from_secs(30), sandbox.kill()).await.unwrap();
            }
            _ => drop(sandbox),
        }
        assert_eq!(lines.next().unwrap().unwrap(), "Exited(0)", "{how}");
        assert!(watcher.wait().unwrap().success());
    }
}

#[tokio::test]
async fn a_server_in_an_image_sees_its_parts_under_our_names_and_a_state_directory_to_write() {
    let (image, state) = (Dir::new("image"), Dir::new("state"));
    for dir in ["usr", "etc", "app"] {
        fs::create_dir(image.path().join(dir)).unwrap();
    }
    copy_program(probe(), image.path().join("usr/server"));
    let builder = Sandbox::builder(Rootfs::image(image.path())).state(state.path(), StateQuota::default());
    let (sandbox, server) = started(builder, "/usr/server").await;
    assert_usual(server, "/usr/server");
    let mut expected = frame_mounts();
    for part in ["/usr", "/app"] {
        expected.insert(part.to_owned(), format!("overlay {part} ro,nosuid,nodev,relatime"));
    }
    let mut seen = mounts(server);
    let of_state = seen.remove("/state").unwrap();
    assert_eq!(seen, expected);
    assert!(of_state.ends_with(" rw,nosuid,nodev,relatime"), "{of_state}");
    drop(sandbox);
}

#[tokio::test]
async fn a_server_among_the_hosts_tools_sees_them_read_only() {
    let program = probe().to_str().unwrap();
    let builder = Sandbox::builder(Rootfs::host_tools()).read_only(probe());
    let (sandbox, server) = started(builder, program).await;
    assert_usual(server, program);
    let expected = frame_mounts();
    let (frame, shown): (Found, Found) =
        mounts(server).into_iter().partition(|(place, _)| expected.contains_key(place));
    assert_eq!(frame, expected);
    assert!(shown.contains_key("/usr") && shown.contains_key(program), "{shown:?}");
    for (place, mount) in shown {
        let known =
            ["/usr", "/etc/", "/bin", "/sbin", "/lib", "/nix/store"].iter().any(|start| place.starts_with(start));
        assert!(known || place == program, "{place} is shown");
        assert!(mount.contains(" ro,nosuid,nodev"), "{place}: {mount}");
    }
    drop(sandbox);
}

#[tokio::test]
async fn the_processes_of_the_frame_hold_nothing_that_they_do_not_need() {
    if !has_root("nobody else may look") {
        return;
    }
    let (sandbox, server) = started(sandbox(&[]).network(Network::handoff()), "/server").await;
    let init: u32 = field(server, "PPid:").unwrap().parse().unwrap();
    let monitor: u32 = field(init, "PPid:").unwrap().parse().unwrap();
    let null = [("0", "/dev/null both"), ("1", "/dev/null write"), ("2", "/dev/null write")];
    let mut of_init = found(&null);
    let mut seen = descriptors(init);
    assert_eq!(descriptors(monitor), of_init, "the monitor only waits");
    // The numbers of the others are whatever was free.
    for kind in ["socket both", "anon_inode:[signalfd] both", "anon_inode:seccomp notify both", "pipe read"] {
        let number = seen.iter().find(|(_, found)| *found == kind).map(|(number, _)| number.clone());
        of_init.insert(number.unwrap_or_else(|| format!("no {kind} in {seen:?}")), kind.to_owned());
    }
    assert_eq!(seen, of_init, "PID 1 has its control socket, lifeline, signals and the listener of tripwires");
    seen.clear();
    for (process, name) in [(init, "PID 1"), (monitor, "the monitor")] {
        assert_eq!(read(process, "environ"), "", "{name}");
        assert_eq!(read(process, "cmdline"), "gigmcp-sandbox outer", "{name}");
        assert_eq!(links(process, &["cwd", "root"]), found(&[("cwd", "/"), ("root", "/")]), "{name}");
        let sets = ["CapAmb", "CapBnd", "CapEff", "CapInh", "CapPrm"];
        let empty = sets.map(|set| (set, "0000000000000000"));
        assert_eq!(status(process, &sets), found(&empty), "{name}");
        assert_eq!(field(process, "NoNewPrivs:").as_deref(), Some("1"), "{name}");
        assert_ne!(field(process, "Uid:").unwrap().split_whitespace().next(), Some("0"), "{name}");
        let own = u32::from(process == init);
        assert_eq!(field(process, "Seccomp_filters:"), Some((own + filters()).to_string()), "{name}");
    }
    // The files of a process that cannot be read belong to the host's root.
    assert_eq!(fs::metadata(format!("/proc/{init}/fd")).unwrap().uid(), 0, "PID 1 cannot be read");
    drop(sandbox);
}
