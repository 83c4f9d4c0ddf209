//! Control groups: what a sandbox uses in all, and what happens when it wants more.
//!
//! They need root where these tests run, or a unit of systemd that delegates its own. Without it, what there
//! is instead is tested.

use std::fs;
use std::path::Path;
use std::time::Duration;

use gigmcp_sandbox::{
    Event, Exit, Layer, Level, Limits, Rootfs, Sandbox, SandboxBuilder, ServerSignal, SpawnError, UsageSource,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::left_out::leave_out;
use crate::processes::of_server;

fn shell(script: &str) -> SandboxBuilder {
    Sandbox::builder(Rootfs::host_tools()).command(["/bin/sh", "-c", script])
}

/// Says that these tests run as a user to whom control groups are delegated.
const DELEGATED_VARIABLE: &str = "GIGMCP_TEST_DELEGATED";

pub(crate) fn has_groups() -> bool {
    rustix::process::geteuid().is_root() || std::env::var_os(DELEGATED_VARIABLE).is_some()
}

/// The control groups of the sandboxes of a host process.
pub(crate) fn groups_of(host: u32) -> Vec<String> {
    fn walk(dir: &Path, part: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with("gigmcp-") && name.contains(part) {
                found.push(entry.path().to_str().unwrap().to_owned());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                walk(&entry.path(), part, found);
            }
        }
    }
    let mut found = Vec::new();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    for mount in mounts.lines().filter(|mount| mount.contains(" cgroup")) {
        walk(Path::new(mount.split(' ').nth(1).unwrap()), &format!("-{host}-"), &mut found);
    }
    found
}

/// The group in the first hierarchy of the sandbox that a process is in.
fn group_of(process: u32) -> String {
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
    let path = groups.lines().find_map(|line| line.rsplit_once('/').filter(|(_, name)| name.starts_with("gigmcp-")));
    path.unwrap_or_else(|| panic!("{groups}")).1.to_owned()
}

#[tokio::test]
async fn a_memory_bomb_is_ended_and_named() {
    let limits = Limits::default().memory_bytes(64 << 20);
    let other = shell("sleep 600").limits(limits.clone()).spawn().await.unwrap();
    // Twin: as much as fits.
    let mut fits = shell("head -c 48M /dev/zero | tail -c 24M | wc -c").limits(limits.clone()).spawn().await.unwrap();
    assert_eq!(fits.wait().await, Exit::Exited(0));
    if !has_groups() {
        return assert_eq!(fits.usage().await, gigmcp_sandbox::Usage::default(), "nobody counted");
    }
    assert_eq!(fits.usage().await.oom_kills, Some(0), "{:?}", fits.usage().await);

    let mut bomb = shell("exec tail /dev/zero").limits(limits).spawn().await.unwrap();
    assert_eq!(bomb.wait().await, Exit::OomKilled);
    let usage = bomb.usage().await;
    assert!(usage.oom_kills >= Some(1), "{usage:?}");
    assert!(usage.memory_peak_bytes.is_some_and(|peak| (32 << 20..=64 << 20).contains(&peak)), "{usage:?}");
    let mut events = bomb.events();
    assert!(matches!(events.next().await, Some(Event::OomKill { count: 1.. })));
    // With version 2 each process of the sandbox is counted, and may be told by itself.
    let mut next = events.next().await;
    while matches!(next, Some(Event::OomKill { .. })) {
        next = events.next().await;
    }
    assert_eq!(next, Some(Event::Ended(Exit::OomKilled)));
    assert_eq!(events.next().await, None);
    assert_eq!(other.usage().await.oom_kills, Some(0), "the neighbour has a limit of its own");
}

#[tokio::test]
async fn one_process_out_of_memory_ends_the_whole_sandbox() {
    if !has_groups() {
        return leave_out("control groups are root's here");
    }
    let limits = Limits::default().memory_bytes(64 << 20);
    let mut sandbox = shell("tail /dev/zero & sleep 600").limits(limits).spawn().await.unwrap();
    assert_eq!(sandbox.wait().await, Exit::OomKilled);
}

#[tokio::test]
async fn what_is_written_to_memory_counts_as_memory() {
    if !has_groups() {
        return leave_out("control groups are root's here");
    }
    const MEMFD: &str =
        "exec python3 -c 'import os\nfd = os.memfd_create(\"m\")\nfor _ in range(100): os.write(fd, bytes(1 << 20))'";
    for script in ["head -c 100M /dev/zero >/tmp/file", "head -c 100M /dev/zero >/dev/shm/file", MEMFD] {
        let limits = Limits::default().shm_bytes(128 << 20);
        let mut roomy = shell(script).limits(limits.clone()).spawn().await.unwrap();
        assert_eq!(roomy.wait().await, Exit::Exited(0), "{script}: {:?}", roomy.stderr_tail());
        let mut small = shell(script).limits(limits.memory_bytes(64 << 20)).spawn().await.unwrap();
        assert_eq!(small.wait().await, Exit::OomKilled, "{script}");
    }
}

#[tokio::test]
async fn a_fork_bomb_is_told_and_does_not_end_the_server() {
    let limits = Limits::default().processes(20);
    let script = "for i in $(seq 40); do sleep 600 & done; kill $(jobs -p); echo survived >&2; exit 7";
    let mut quiet = shell("for i in $(seq 10); do sleep 0 & done; wait").limits(limits.clone()).spawn().await.unwrap();
    assert_eq!(quiet.wait().await, Exit::Exited(0));
    assert_eq!(quiet.events().next().await, Some(Event::Ended(Exit::Exited(0))));
    let mut bomb = shell(script).limits(limits).spawn().await.unwrap();
    assert_eq!(bomb.wait().await, Exit::Exited(2), "what the shell does when it cannot fork");
    let end = Event::Ended(Exit::Exited(2));
    let expected = if has_groups() { Event::PidsExhausted { count: 1 } } else { end };
    assert_eq!(bomb.events().next().await, Some(expected));
}

#[tokio::test]
async fn cpu_time_is_rationed_and_usage_is_told_until_the_end() {
    const BUSY: &str = "trap 'exit 3' USR1; echo ready >&2; while :; do :; done";
    let mut sandbox = shell(BUSY).limits(Limits::default().cpu_percent(10)).spawn().await.unwrap();
    assert_eq!(sandbox.stderr_lines().next().await.as_deref(), Some("ready"));
    let mut samples = sandbox.usage_every(Duration::from_millis(20));
    let mut last = samples.next().await.unwrap();
    let (mut count, source) = (1, last.source);
    while let Some(sample) = samples.next().await {
        assert!(sample.cpu_time >= last.cpu_time || !has_groups());
        (last, count) = (sample, count + 1);
        let was_throttled = last.cpu_throttled > Some(Duration::ZERO) || !has_groups();
        if count > 3 && was_throttled {
            sandbox.signal(ServerSignal::User1);
        }
    }
    assert_eq!(sandbox.wait().await, Exit::Exited(3));
    if has_groups() {
        assert_eq!((source, last.source), (UsageSource::Cgroup, UsageSource::Cgroup));
        assert_eq!((last.processes, last.memory_bytes), (Some(0), Some(0)), "nothing is left");
        assert!(
            last.cpu_throttled > Some(Duration::ZERO) && last.cpu_time > Some(Duration::from_millis(10)),
            "{last:?}"
        );
        assert_eq!(sandbox.usage().await, last, "of an ended sandbox it stays");
    }
}

#[tokio::test]
async fn a_running_sandbox_tells_what_it_uses() {
    let sandbox = crate::lifecycle::hanging("usage").await;
    let usage = sandbox.usage().await;
    let source = if has_groups() { UsageSource::Cgroup } else { UsageSource::Processes };
    assert_eq!((usage.source, usage.processes), (source, Some(3)), "{usage:?}");
    // Little, as it does nothing; without control groups what is shared counts three times.
    assert!(usage.memory_bytes.is_some_and(|bytes| (100 << 10..16 << 20).contains(&bytes)), "{usage:?}");
    assert!(usage.cpu_time.is_some(), "{usage:?}");
}

#[tokio::test]
async fn every_process_of_a_sandbox_is_in_its_groups_and_sees_none_of_it() {
    let (one, other) = (crate::lifecycle::hanging("grouped").await, crate::lifecycle::hanging("other-group").await);
    let groups: Vec<String> =
        if has_groups() { of_server("grouped").into_iter().map(group_of).collect() } else { vec![] };
    if has_groups() {
        assert!(matches!(one.enforcement().level(Layer::CgroupLimits), Level::Full));
        assert_eq!(groups.len(), 3);
        assert!(groups.iter().all(|group| *group == groups[0]), "{groups:?}");
        assert_ne!(group_of(of_server("other-group")[0]), groups[0]);
    }
    drop((one, other));
    let inside = crate::probe::inside(&["read", "/proc/self/cgroup"]).await;
    assert!(!inside.contains("gigmcp") && inside.contains(":/"), "{inside}");
}

#[tokio::test]
async fn nothing_is_left_of_a_group_however_a_sandbox_ends() {
    let of = |group: &str| -> Vec<String> {
        groups_of(std::process::id()).into_iter().filter(|path| path.ends_with(&format!("/{group}"))).collect()
    };
    if !has_groups() {
        leave_out("control groups are root's here");
        return assert_eq!(groups_of(std::process::id()), [""; 0]);
    }
    // Of memory, processes and time, unless one holds all.
    let hierarchies = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { 1 } else { 3 };
    for (end, name) in [(None, "group-killed"), (Some(0), "group-0"), (Some(1), "group-1"), (Some(2), "group-2")] {
        let mut sandbox = crate::lifecycle::hanging(name).await;
        let processes = of_server(name);
        let group = group_of(processes[0]);
        assert!(of(&group).len() >= hierarchies, "{:?}", of(&group));
        match end {
            None => drop(sandbox.kill().await),
            Some(part) => {
                kill_process(Pid::from_raw(processes[part].try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
                sandbox.wait().await;
            }
        }
        assert_eq!(of(&group), [""; 0], "{name}");
    }
}

#[tokio::test]
async fn too_little_memory_to_start_is_named() {
    if !has_groups() {
        return leave_out("control groups are root's here");
    }
    let server = shell("true").limits(Limits::default().memory_bytes(256 << 10));
    let error = server.spawn().await.unwrap_err();
    assert!(matches!(error, SpawnError::OutOfMemory), "{error}");
}

#[tokio::test]
async fn nothing_is_unlimited_because_it_was_set_to_nothing_or_to_too_much() {
    for (case, limits) in [
        ("nothing", Limits::default().tmp_bytes(0).shm_bytes(0).tmp_files(0)),
        ("one file", Limits::default().tmp_bytes(1).shm_bytes(1).tmp_files(2)),
    ] {
        for path in ["/tmp/x", "/dev/shm/x"] {
            let fill = format!("dd if=/dev/zero of={path} bs=64k count=1 2>&1 | grep -c 'No space'");
            let said = crate::probe::run(shell(&fill).limits(limits.clone())).await;
            assert_eq!(said, "1", "{case}: {path}");
        }
    }
    let huge = Limits::default().tmp_bytes(u64::MAX).tmp_files(u64::MAX).shm_bytes(u64::MAX);
    let size = crate::probe::run(shell("grep -c ' /tmp .*size=0' /proc/self/mountinfo; true").limits(huge)).await;
    assert_eq!(size, "0");
    for (limit, limits) in [
        ("processes", Limits::default().processes(3)),
        ("memory_bytes", Limits::default().memory_bytes(0)),
        ("cpu_percent", Limits::default().cpu_percent(0)),
        ("open_files", Limits::default().open_files(3)),
    ] {
        let error = shell("true").limits(limits).spawn().await.unwrap_err();
        assert!(matches!(error, SpawnError::LimitTooLow { limit: found, .. } if found == limit), "{limit}: {error}");
    }
    assert_eq!(crate::probe::run(shell("echo runs").limits(Limits::default().processes(4))).await, "runs", "the twin");
}

#[tokio::test]
async fn a_server_with_little_processor_time_does_not_delay_its_own_end() {
    let script = "for i in $(seq 100); do while :; do :; done & done; echo ready >&2; wait";
    let limits = Limits::default().cpu_percent(2);
    let mut busy = shell(script).limits(limits).spawn().await.unwrap();
    assert_eq!(busy.stderr_lines().next().await.as_deref(), Some("ready"));
    let kill = tokio::time::timeout(Duration::from_secs(20), busy.kill()).await;
    assert_eq!(kill, Ok(Exit::Killed), "it would take far longer");
}
