//! On the real hierarchies. Needs root and cgroup v1 controllers, or a delegated v2 tree.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::host::{Base, Owner};
use super::*;
use crate::{Event, UsageSource};

/// A program that is in the groups before it starts.
struct Inside(Child);

impl Inside {
    fn start(group: &Cgroup, script: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("read -r go && {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        for file in group.join_files().unwrap() {
            fs::File::from(file).write_all(child.id().to_string().as_bytes()).unwrap();
        }
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        Self(child)
    }

    fn end(self) -> Output {
        self.0.wait_with_output().unwrap()
    }
}

fn group(limits: &Limits) -> Cgroup {
    let group = Cgroup::create(limits).expect("these tests run where groups can be made");
    assert_eq!(group.gaps, [""; 0], "and everything can be limited");
    group
}

/// What is left once every process has ended, or was killed by the removal.
fn remove(group: Cgroup) {
    let dirs: Vec<_> = group.parts.iter().map(|part| part.dir.clone()).collect();
    let started = Instant::now();
    while let Removal::Busy(_) = group.remove() {
        assert!(started.elapsed() < Duration::from_secs(60), "not removed");
        std::thread::yield_now();
    }
    assert!(!dirs.is_empty());
    assert!(dirs.iter().all(|dir| !dir.exists()), "{dirs:?}");
}

/// Kills what is in it.
fn kill(group: &Cgroup) {
    for process in hierarchy::processes(&group.parts[0].dir).unwrap() {
        let process = rustix::process::Pid::from_raw(process.try_into().unwrap()).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    }
}

fn wait_for(watcher: &mut Watcher) -> Vec<u64> {
    let descriptor = watcher.descriptor();
    poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&Timespec { tv_sec: 60, tv_nsec: 0 })).unwrap();
    watcher.take()
}

#[test]
fn a_memory_bomb_is_killed_and_counted() {
    let group = group(&Limits::default().memory_bytes(32 << 20));
    let mut watcher = Watcher::new().unwrap();
    watcher.add(7, &group);
    // Its twin does the same with less.
    let harmless = Inside::start(&group, "head -c 8M /dev/zero | tail -c 4M | wc -c").end();
    assert_eq!(String::from_utf8_lossy(&harmless.stdout).trim(), "4194304");
    assert_eq!(group.counts().oom_kills, Some(0));
    assert_eq!(watcher.take(), Vec::<u64>::new());

    let bomb = Inside::start(&group, "exec tail /dev/zero");
    assert_eq!(wait_for(&mut watcher), [7]);
    assert_eq!(bomb.end().status.signal(), Some(9));
    // When a v2 group is killed as a whole, the first process counts twice.
    assert!(group.counts().oom_kills >= Some(1));
    let usage = group.usage();
    assert_eq!((usage.source, usage.oom_kills), (UsageSource::Cgroup, group.counts().oom_kills));
    let peak = usage.memory_peak_bytes.unwrap();
    assert!((16 << 20..=32 << 20).contains(&peak), "{peak}");
    watcher.remove(7);
    remove(group);
}

#[test]
fn what_lies_in_a_tmpfs_counts_as_memory() {
    let group = group(&Limits::default().memory_bytes(32 << 20));
    let script = "unshare -m --propagation private sh -c \
                  'mount -t tmpfs none /mnt && head -c 8M /dev/zero >/mnt/a && head -c 64M /dev/zero >/mnt/b'";
    assert!(!Inside::start(&group, script).end().status.success());
    assert!(group.counts().oom_kills >= Some(1));
    remove(group);
}

#[test]
fn a_fork_bomb_is_refused_and_counted() {
    let group = group(&Limits::default().processes(20));
    let other = self::group(&Limits::default().processes(20));
    let mut watcher = Watcher::new().unwrap();
    watcher.add(8, &group);
    watcher.add(9, &other);
    let few = Inside::start(&group, "for i in $(seq 10); do sleep 0.01 & done; wait").end();
    assert_eq!(String::from_utf8_lossy(&few.stderr), "");
    assert_eq!((group.counts().processes_refused, watcher.take()), (Some(0), vec![]));

    let bomb = Inside::start(&group, "for i in $(seq 40); do sleep 600 <&- >&- 2>&- & done");
    if watcher.looks_every().is_none() {
        assert_eq!(wait_for(&mut watcher), [8], "and not the other sandbox");
    }
    assert!(String::from_utf8_lossy(&bomb.end().stderr).contains("Cannot fork"));
    assert!(group.counts().processes_refused >= Some(1));
    assert!((10..=20).contains(&group.usage().processes.unwrap()), "{:?}", group.usage());
    assert_eq!((other.counts().processes_refused, other.usage().processes), (Some(0), Some(0)));
    kill(&group);
    remove(group);
    remove(other);
}

#[test]
fn refusals_are_told_at_once_and_then_once_a_second() {
    let group = Arc::new(group(&Limits::default().processes(10)));
    let mut tally = Tally::new(group.clone());
    let now = Instant::now();
    // Those of the first stay until the end.
    let bomb = || Inside::start(&group, "for i in $(seq 20); do sleep 600 <&- >&- 2>&- & done").end();
    bomb();
    assert_eq!(tally.look(now), [Event::PidsExhausted { count: 1 }]);
    assert_eq!((tally.look(now), tally.next_look()), (vec![], None));
    bomb();
    assert_eq!((tally.look(now), tally.next_look()), (vec![], Some(now + Duration::from_secs(1))));
    assert_eq!(tally.look(now + Duration::from_secs(1)), [Event::PidsExhausted { count: 1 }]);
    bomb();
    assert_eq!(tally.last_look(now + Duration::from_secs(1)), [Event::PidsExhausted { count: 1 }]);
    kill(&group);
}

#[test]
fn after_a_hint_it_is_looked_again_for_a_while() {
    let mut tally = Tally::new(Arc::new(group(&Limits::default())));
    let mut now = Instant::now();
    assert_eq!((tally.look(now), tally.next_look()), (vec![], None), "no hint");
    assert_eq!(tally.hint(now), []);
    let mut looks = 0;
    while let Some(next) = tally.next_look() {
        assert!(next > now);
        now = next;
        assert_eq!(tally.look(now), []);
        looks += 1;
    }
    assert_eq!(looks, 7, "2 ms, and each time twice as long");
}

#[test]
fn cpu_time_is_rationed() {
    const BUSY: &str = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    // So little that it is the limit, and not a busy machine, that slows it down.
    let (group, twin) = (group(&Limits::default().cpu_percent(10)), group(&Limits::default().cpu_percent(400)));
    let started = Instant::now();
    let (slow, fast) = (Inside::start(&group, BUSY), Inside::start(&twin, BUSY));
    assert!(fast.end().status.success());
    assert!(slow.end().status.success());
    let elapsed = started.elapsed();
    let (slow, fast) = (group.usage(), twin.usage());
    let used = slow.cpu_time.unwrap();
    assert!(
        used > Duration::from_millis(40) && elapsed + Duration::from_millis(200) > used * 10,
        "{used:?} {elapsed:?}"
    );
    assert!(slow.cpu_throttled > Some(Duration::ZERO), "{slow:?}");
    assert!(fast.cpu_time > Some(Duration::from_millis(40)), "{fast:?}");
    assert_eq!(fast.cpu_throttled, Some(Duration::ZERO));
    remove(group);
    remove(twin);
}

#[test]
fn each_limit_can_be_read_where_the_kernel_keeps_it() {
    let group = group(&Limits::default().memory_bytes((100 << 20) + 1).cpu_percent(250).processes(77));
    let mut said = String::new();
    for part in &group.parts {
        for file in ["pids.max", "cpu.max", "cpu.cfs_quota_us", "memory.max", "memory.limit_in_bytes"] {
            if let Some(value) = part.file(file) {
                write!(said, "{file}={} ", value.trim()).unwrap();
            }
        }
    }
    assert!(said.contains("pids.max=77 "), "{said}");
    assert!(said.contains("cpu.cfs_quota_us=250000 ") || said.contains("cpu.max=250000 100000 "), "{said}");
    assert!(said.contains("=104857600 "), "{said}");
    remove(group);
}

#[test]
fn a_limit_that_the_kernel_does_not_take_is_named() {
    let group = Cgroup::create(&Limits::default().processes(u64::MAX)).unwrap();
    let [gap] = &group.gaps[..] else { panic!("{:?}", group.gaps) };
    assert!(gap.starts_with("the number of processes is not fully limited: writing 18446744073709551615"), "{gap}");
}

#[test]
fn what_a_v2_group_still_holds_is_killed_with_it() {
    let unified = hierarchy::OwnGroup::all().unwrap().into_iter().find(|group| group.version == Version::V2);
    let base = Base { dir: unified.expect("cgroup v2").dir, version: Version::V2, controllers: Vec::new() };
    let name = format!("{}test", Owner::this_process().prefix());
    let part = Part::create(&base, &name, &Limits::default(), &mut Vec::new()).unwrap();
    let group = Cgroup { parts: vec![part], gaps: Vec::new(), last: OnceLock::new() };
    let inside = Inside::start(&group, "while :; do :; done");
    while group.usage().cpu_time.unwrap() < Duration::from_millis(10) {
        std::thread::yield_now();
    }
    assert!(matches!(group.remove(), Removal::Busy(_)));
    assert_eq!(inside.end().status.signal(), Some(9));
    remove(group);
}

#[test]
fn only_empty_groups_of_the_dead_are_removed_at_the_start() {
    let own = hierarchy::OwnGroup::all().unwrap().remove(0);
    let base = Base { dir: own.dir, version: own.version, controllers: Vec::new() };
    let prefix = Owner::this_process().prefix();
    let dead = prefix.replace(&format!("-{}-", std::process::id()), "-4194305-");
    let [of_dead, of_dead_busy, ours] =
        [dead.clone() + "0", dead + "1", prefix + "1000"].map(|name| base.dir.join(name));
    for dir in [&of_dead, &of_dead_busy, &ours] {
        fs::create_dir(dir).unwrap();
    }
    let part = Part { dir: of_dead_busy.clone(), version: base.version, controllers: Vec::new() };
    let busy = Cgroup { parts: vec![part], gaps: Vec::new(), last: OnceLock::new() };
    let mut process = Inside::start(&busy, "exec sleep 600");
    Host::new(vec![base.clone()], Vec::new(), base.dir.clone());
    assert_eq!([&of_dead, &of_dead_busy, &ours].map(|dir| dir.exists()), [false, true, true]);
    process.0.kill().unwrap();
    process.0.wait().unwrap();
    remove(busy);
    fs::remove_dir(ours).unwrap();
}

/// Asks the test binary to be a host process that is going to be killed.
const PLAY_HOST: &str = "GIGMCP_TEST_CGROUP_HOST";

#[test]
fn plays_the_host_process_when_asked() {
    if std::env::var_os(PLAY_HOST).is_none() {
        return;
    }
    let groups = [group(&Limits::default()), group(&Limits::default())];
    // What is inside ends with its host, as a sandbox does.
    let _busy = Inside::start(&groups[0], "exec sleep 0.2");
    let dirs: Vec<_> = groups.iter().flat_map(|group| &group.parts).map(|part| part.dir.to_str().unwrap()).collect();
    println!("groups {}", dirs.join(" "));
    std::thread::park();
}

#[test]
fn kill_9_of_the_host_process_leaves_no_group() {
    use std::io::{BufRead, BufReader};
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cgroup::tests::plays_the_host_process_when_asked", "--nocapture"])
        .env(PLAY_HOST, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines().map(Result::unwrap);
    let said = lines.find_map(|line| line.split_once("groups ").map(|(_, dirs)| dirs.to_owned())).unwrap();
    let dirs: Vec<&Path> = said.split(' ').map(Path::new).collect();
    assert!(dirs.len() >= 2 && dirs.iter().all(|dir| dir.exists()), "{said}");
    host.kill().unwrap();
    let started = Instant::now();
    while dirs.iter().any(|dir| dir.exists()) {
        assert!(started.elapsed() < Duration::from_secs(60), "{said}");
        std::thread::yield_now();
    }
    host.wait().unwrap();
}
