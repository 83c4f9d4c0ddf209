//! The first rows of the table of attacks. Each number is that of the row.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;

use gigmcp_sandbox::{Limits, Network};
use rustix::io::{FdFlags, fcntl_setfd};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::probe::{Dir, inside, is_filtered, outside, run, sandbox};

/// Attempts that a program outside is allowed and one inside is not.
const TABLE: &[(u32, &[&str], &str)] = &[
    (2, &["chroot"], "refused 1"),
    (8, &["write", "/proc/sys/kernel/core_pattern"], "refused 13"),
    (8, &["write", "/proc/sys/vm/overcommit_memory"], "refused 13"),
    (16, &["mount"], "refused 1"),
    (22, &["setuid"], "refused 38"),
    (40, &["unshare", "0x10000000"], "refused 1"),
    (41, &["unshare", "0x20000"], "refused 1"),
    (41, &["unshare", "0x40000000"], "refused 1"),
    (41, &["clone", "0x10000000"], "refused 1"),
    (41, &["clone", "0x20000"], "refused 1"),
    (47, &["hostname"], "refused 1"),
    (53, &["ptrace"], "refused 1"),
    (88, &["socket", "2", "3", "1"], "refused 93"),
    (90, &["socket", "40", "1", "0"], "refused 97"),
    (50, &["socket", "16", "3", "0"], "refused 97"),
    (50, &["socket", "17", "3", "0"], "refused 97"),
    (100, &["int80"], "SeccompKilled"),
    (102, &["personality", "0x0400000"], "refused 38"),
];

/// Attempts that need no right outside either, but a kernel feature that may be absent.
const REFUSED_INSIDE: &[(u32, &[&str], &str)] = &[
    (41, &["clone3"], "refused 38"),
    (52, &["kill", "1", "9"], "refused 1"),
    // Starving PID 1 would keep it from ending the sandbox: setpriority, of the process, its group
    // and its user, then what else takes a process id.
    (52, &["syscall", "141", "0", "1", "19"], "refused 1"),
    (52, &["syscall", "141", "0", "0x100000001", "19"], "refused 1"),
    (52, &["syscall", "141", "1", "1", "19"], "refused 1"),
    (52, &["syscall", "141", "2", "0", "19"], "refused 1"),
    (52, &["affinity", "1"], "refused 1"),
    (52, &["affinity", "0x100000001"], "refused 1"),
    (52, &["prlimit", "1"], "refused 1"),
    (52, &["prlimit", "0x100000001"], "refused 1"),
    (52, &["syscall", "142", "1", "0"], "refused 38"),
    (52, &["syscall", "144", "1", "0"], "refused 38"),
    (52, &["syscall", "251", "1", "1", "0x6007"], "refused 38"),
    (52, &["syscall", "314", "1", "0"], "refused 38"),
    (75, &["ioctl", "0", "0x5412"], "refused 38"),
    (75, &["ioctl", "0", "0x100005412"], "refused 38"),
    (75, &["ioctl", "0", "0x541c"], "refused 38"),
    (90, &["socket", "38", "5", "0"], "refused 97"),
    (90, &["socket", "0x100000002", "3", "0"], "refused 93"),
    (91, &["tcp-option", "6", "31"], "refused 92"),
    (91, &["tcp-option", "0", "19"], "refused 1"),
    (98, &["connect", "[2001:db8::1]:443"], "refused 101"),
    (100, &["x32"], "SeccompKilled"),
    (101, &["syscall", "321", "0"], "refused 1"),
    (101, &["syscall", "298", "0"], "refused 1"),
    (101, &["syscall", "323", "0"], "refused 1"),
    (101, &["syscall", "250", "0"], "refused 1"),
    (101, &["syscall", "425", "1"], "refused 38"),
    (101, &["syscall", "304", "0"], "refused 1"),
    (103, &["syscall", "317", "1"], "refused 1"),
    // prctl: PR_SET_MM, PR_SET_PTRACER, PR_SET_SPECULATION_CTRL, PR_SET_SYSCALL_USER_DISPATCH,
    // PR_SCHED_CORE, PR_SET_MEMORY_MERGE, one past the last.
    (103, &["syscall", "157", "35"], "refused 38"),
    (103, &["syscall", "157", "0x59616d61"], "refused 38"),
    (103, &["syscall", "157", "53"], "refused 38"),
    (103, &["syscall", "157", "59"], "refused 38"),
    (103, &["syscall", "157", "62"], "refused 38"),
    (103, &["syscall", "157", "67"], "refused 38"),
    (103, &["syscall", "157", "0x7fffffff"], "refused 38"),
    (101, &["syscall", "451", "0"], "refused 38"),
];

fn is(expected: &str, found: &str) -> bool {
    if is_filtered() && found == "refused 1" {
        return true;
    }
    // The end is told by the wrapper, with what was printed before.
    found == expected || expected == "SeccompKilled" && found.trim_end() == expected
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test]
async fn what_is_allowed_outside_is_refused_inside() {
    let mut wrong = Vec::new();
    for (row, attempt, expected) in TABLE {
        // Without root, fewer of them are allowed outside; those controls run as root.
        if is_root() {
            let control = outside(attempt);
            assert!(control.starts_with("allowed"), "row {row}: {attempt:?} is void: {control}");
        }
        let found = inside(attempt).await;
        if !is(expected, &found) {
            wrong.push(format!("row {row}: {attempt:?}: {found}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test]
async fn what_few_kernels_allow_is_refused_inside() {
    let mut wrong = Vec::new();
    for (row, attempt, expected) in REFUSED_INSIDE {
        let found = inside(attempt).await;
        if !is(expected, &found) {
            wrong.push(format!("row {row}: {attempt:?}: {found}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test]
async fn ordinary_calls_are_allowed_inside() {
    for attempt in [
        &["read", "/etc/hosts"][..],
        &["write", "/tmp/file"],
        &["write", "/dev/shm/file"],
        &["write", "/run/file"],
        &["write", "/dev/null"],
        &["clone", "0"],
        &["socket", "1", "1", "0"],
        &["socket", "2", "1", "6"],
        &["socket", "2", "2", "17"],
        &["socket", "10", "1", "0"],
        &["personality", "0xffffffff"],
        &["tcp-option", "6", "1"],
        // prctl: PR_GET_DUMPABLE, PR_SET_TIMERSLACK, PR_CAPBSET_READ.
        &["syscall", "157", "3"],
        &["syscall", "157", "29", "50000"],
        &["syscall", "157", "23", "0"],
        // The server itself is process 2, and 0 to itself.
        &["syscall", "141", "0", "0", "5"],
        &["syscall", "141", "0", "2", "5"],
        &["affinity", "0"],
        &["affinity", "2"],
        &["prlimit", "0"],
        &["prlimit", "2"],
    ] {
        let found = inside(attempt).await;
        assert!(found.starts_with("allowed"), "{attempt:?}: {found}");
    }
}

#[tokio::test]
async fn leases_and_directory_signals_which_hold_up_the_host_are_refused() {
    let dir = Dir::new("lease");
    let file = dir.path().join("file");
    for (command, path) in [("1024", "/tmp/file"), ("0x100000400", "/tmp/file"), ("1026", "/tmp")] {
        let control = if path == "/tmp" { dir.path() } else { &file };
        assert_eq!(outside(&["lease", control.to_str().unwrap(), command]), "allowed 0", "the control: {command}");
        assert_eq!(inside(&["lease", path, command]).await, "refused 22", "{command}");
    }
    assert_eq!(inside(&["lease", "/tmp/file", "1025"]).await, "allowed 2", "the twin: asking, F_GETLEASE");
}

#[tokio::test]
async fn memory_is_never_dumped_and_the_sandbox_goes_first_when_it_runs_out() {
    let of_host = outside(&["read", "/proc/self/oom_score_adj"]);
    let of_host: i32 = of_host.strip_prefix("allowed ").unwrap().parse().unwrap();
    let score = format!("allowed {}", of_host.max(500));
    for process in ["self", "1"] {
        assert_eq!(inside(&["read", &format!("/proc/{process}/oom_score_adj")]).await, score);
        let filter = inside(&["read", &format!("/proc/{process}/coredump_filter")]).await;
        assert_eq!(filter, "allowed 00000000", "{process}");
    }
    assert_ne!(outside(&["read", "/proc/self/coredump_filter"]), "allowed 00000000", "the control");
}

#[tokio::test]
async fn inotify_instances_and_watches_are_counted_for_the_sandbox() {
    assert_eq!(outside(&["inotify", "64"]), "allowed 64 0", "the control");
    let (one, other) = tokio::join!(inside(&["inotify", "64"]), inside(&["inotify", "64"]));
    assert_eq!((one.as_str(), other.as_str()), ("allowed 32 24", "allowed 32 24"));
}

#[tokio::test]
async fn descriptors_in_flight_leave_room_for_programs_with_the_usual_limit() {
    let found = inside(&["in-flight", "2000"]).await;
    let (count, error) = found.strip_prefix("allowed ").unwrap().split_once(' ').unwrap();
    assert!(error == "109" && (200..1024).contains(&count.parse::<u32>().unwrap()), "{found}");
    if is_root() {
        assert_eq!(outside(&["in-flight", "2000"]), "allowed 2000 0", "the control");
    }
}

#[tokio::test]
async fn rows_1_and_2_files_of_the_host_are_not_there() {
    let dir = Dir::new("canary");
    let canary = dir.path().join("canary");
    fs::write(&canary, "the host's secret").unwrap();
    let canary = canary.to_str().unwrap();
    assert_eq!(outside(&["read", canary]), "allowed the host's secret");
    assert_eq!(outside(&["climb", canary]), "allowed the host's secret");
    for attempt in [["read", canary], ["climb", canary], ["read", "/etc/shadow"], ["list", "/root"], ["list", "/sys"]] {
        assert_eq!(inside(&attempt).await, "refused 2", "{attempt:?}");
    }
}

#[tokio::test]
async fn rows_3_to_6_nothing_of_the_frame_can_be_read_in_proc() {
    for path in ["/proc/1/environ", "/proc/1/root", "/proc/1/maps", "/proc/1/exe"] {
        let found = inside(&["read", path]).await;
        assert!(found.starts_with("refused"), "{path}: {found}");
    }
    assert_eq!(inside(&["read", "/proc/1/cmdline"]).await, "allowed gigmcp-sandbox outer");
    let found = inside(&["list", "/proc"]).await;
    let processes: Vec<_> = found.split(' ').filter(|name| name.parse::<u32>().is_ok()).collect();
    assert_eq!(processes.len(), 2, "PID 1 and the server: {found}");
}

#[tokio::test]
async fn row_7_a_single_files_mounts_tell_no_host_path() {
    let found = inside(&["read", "/proc/self/mountinfo"]).await;
    for path in ["gigmcp-test", "/work", "/home", "/var"] {
        assert!(!found.contains(path), "{path}: {found}");
    }
    assert!(found.contains(" / / ro") || found.contains(" /root / ro"), "the control: {found}");
}

#[tokio::test]
async fn row_10_what_proc_tells_of_the_host_is_masked() {
    for name in ["kallsyms", "keys", "cmdline", "timer_list", "interrupts", "iomem"] {
        let path = format!("/proc/{name}");
        if fs::metadata(&path).is_ok() {
            assert_eq!(inside(&["read", &path]).await, "allowed", "{path}");
        }
    }
    assert!(outside(&["read", "/proc/cmdline"]).len() > "allowed".len(), "the control");
}

#[tokio::test]
async fn rows_15_and_21_nothing_but_the_writable_places_can_be_written() {
    for path in ["/file", "/dev/file", "/etc/file", "/etc/hosts", "/etc/ld.so.preload", "/server", "/.gig/file"] {
        let found = inside(&["write", path]).await;
        assert!(["refused 30", "refused 13"].contains(&found.as_str()), "{path}: {found}");
    }
    assert_eq!(inside(&["write", "/tmp/file"]).await, "allowed", "the control");
}

#[tokio::test]
async fn row_20_the_devices_are_exactly_these() {
    let expected = "allowed fd full null ptmx pts random shm stderr stdin stdout urandom zero";
    assert_eq!(inside(&["list", "/dev"]).await, expected);
}

#[tokio::test]
async fn rows_30_and_31_writable_places_end() {
    let limits = Limits::default().tmp_bytes(8 << 20).tmp_files(100).shm_bytes(1 << 20);
    for attempt in [["fill", "/tmp/file"], ["fill", "/dev/shm/file"], ["fill", "/run/file"], ["many-files", "/tmp"]] {
        let found = run(sandbox(&attempt).limits(limits.clone())).await;
        assert_eq!(found, "refused 28", "{attempt:?}");
    }
    let roomy = Limits::default();
    assert_eq!(run(sandbox(&["fill", "/tmp/file"]).limits(roomy.clone())).await, "allowed 64 MiB");
    assert_eq!(run(sandbox(&["many-files", "/tmp"]).limits(roomy)).await, "allowed 5000 files");
}

#[tokio::test]
async fn row_56_a_fork_bomb_stops_at_the_limit_of_its_own_sandbox() {
    let limits = Limits::default().processes(20);
    let attempt = ["fork-bomb", "60"];
    let (one, other) =
        tokio::join!(run(sandbox(&attempt).limits(limits.clone())), run(sandbox(&attempt).limits(limits)));
    // PID 1, the server, and in a control group the process that waits for PID 1.
    let expected = if crate::limits::has_groups() { "allowed 17 11" } else { "allowed 18 11" };
    assert_eq!((one.as_str(), other.as_str()), (expected, expected));
    assert_eq!(outside(&attempt), "allowed 60 0", "the control");
}

#[tokio::test]
async fn row_67_the_server_has_three_descriptors_whatever_the_host_leaks() {
    let dir = Dir::new("leak");
    let mut file = fs::File::create_new(dir.path().join("canary")).unwrap();
    file.write_all(b"leaked").unwrap();
    let leaked = file.as_raw_fd().to_string();
    fcntl_setfd(&file, FdFlags::empty()).unwrap();
    let control = outside(&["descriptors"]);
    assert!(control.split(' ').any(|open| open == leaked), "the control: {control}");
    assert_eq!(inside(&["descriptors"]).await, "allowed 0 1 2");
}

#[tokio::test]
async fn row_112_the_environment_is_exactly_what_was_given() {
    assert!(outside(&["environment"]).contains("PATH="), "the control");
    assert_eq!(inside(&["environment"]).await, "allowed");
    let given = sandbox(&["environment"]).env("TOKEN", "placeholder");
    assert_eq!(run(given).await, "allowed TOKEN=placeholder");
}

#[tokio::test]
async fn row_81_services_on_the_hosts_loopback_cannot_be_reached() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = service.local_addr().unwrap().to_string();
    assert_eq!(outside(&["connect", &address]), "allowed", "the control");
    service.accept().unwrap();
    for network in [Network::none(), Network::handoff()] {
        // Landlock first, then nobody listens there.
        let found = run(sandbox(&["connect", &address]).network(network.clone())).await;
        assert_eq!(found, "refused 13", "{network:?}");
    }
    service.set_nonblocking(true).unwrap();
    assert_eq!(service.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn row_80_the_metadata_address_is_ours() {
    let mut sandbox = sandbox(&["http", "169.254.169.254:80"]).network(Network::handoff()).spawn().await.unwrap();
    let web = sandbox.network().take().unwrap().take_tcp(80).unwrap();
    assert!(sandbox.network().take().is_none());
    let dialled = tokio::task::spawn_blocking(move || {
        let mut connection = web.accept().unwrap();
        connection.read_exact(&mut [0; 18]).unwrap();
        connection.write_all(b"ours").unwrap();
        connection.local_addr().unwrap()
    });
    let (_stdin, mut stdout) = sandbox.stdio().unwrap();
    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "allowed ours\n");
    assert_eq!(dialled.await.unwrap().to_string(), "169.254.169.254:80");
}

#[tokio::test]
async fn without_a_network_no_address_answers() {
    let found = inside(&["connect", "169.254.169.254:80"]).await;
    assert_eq!(found, "refused 101");
}

#[tokio::test]
async fn row_91_fast_open_does_not_pass_the_port_rules() {
    let found = run(sandbox(&["fastopen", "127.0.0.1:80"]).network(Network::handoff())).await;
    assert_eq!(found, "refused 95");
}

/// The machine has 3,072 for all that is not its own.
#[tokio::test]
async fn terminals_are_limited_so_that_others_find_some() {
    let mut held = Vec::new();
    for server in ["first", "second"] {
        let mut sandbox = sandbox(&["terminals", "50"]).spawn().await.unwrap();
        let (stdin, stdout) = sandbox.stdio().unwrap();
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await.unwrap();
        assert_eq!(line, "16 28\n", "{server}: then ENOSPC");
        held.push((sandbox, stdin));
    }
    drop(held);
    let outside = outside(&["terminals", "50"]);
    assert!(outside.starts_with("50 0"), "{outside}");
}
