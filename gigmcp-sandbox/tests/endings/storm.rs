//! Two thousand sandboxes, sixty-four at a time, ended in every way and at random moments: afterwards
//! the process and the machine hold what they held before.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use gigmcp_sandbox::{Exit, Network};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use crate::alone;
use crate::probe::sandbox;
use crate::processes::descendants;
use crate::traces::groups_of;

const AT_ONCE: usize = 64;

/// What this process has, each with how much it may grow. Nothing may grow with the number of sandboxes.
const OWN: &[(&str, u64)] = &[
    ("descriptors", 0),
    ("threads", 0),
    ("children", 0),
    ("mounts", 0),
    ("control groups", 0),
    ("resident KiB", 8 << 10),
];

/// What the machine has. Other programs, and what the kernel keeps for a while, are in these numbers.
const OF_ALL: &[(&str, u64)] = &[
    ("keys", 60),
    ("shared memory KiB", 64 << 10),
    ("net_namespace objects", 300),
    ("user_namespace objects", 600),
    ("pid_namespace objects", 300),
    ("mnt_cache objects", 6000),
    ("task_struct objects", 600),
    ("sock_inode_cache objects", 1000),
];

/// A fixed sequence of numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// How many sandboxes came to each end.
#[derive(Debug, Default)]
struct Ends {
    killed: AtomicU32,
    dropped: AtomicU32,
    ended: AtomicU32,
    cancelled: AtomicU32,
}

async fn one(mut random: Random, ends: Arc<Ends>) {
    let network = if random.below(2) == 0 { Network::none() } else { Network::handoff() };
    let (way, arguments) = match random.below(4) {
        0 => (&ends.killed, &["hang"][..]),
        1 => (&ends.dropped, &["hang"][..]),
        2 => (&ends.ended, &["list", "/"][..]),
        _ => (&ends.cancelled, &["hang"][..]),
    };
    let spawning = sandbox(arguments).network(network).spawn();
    if std::ptr::eq(way, &ends.cancelled) {
        // At any moment of a start under this load.
        let patience = Duration::from_micros(random.below(200_000));
        if tokio::time::timeout(patience, spawning).await.is_err() {
            way.fetch_add(1, Ordering::Relaxed);
        }
        return;
    }
    let mut sandbox = spawning.await.unwrap();
    way.fetch_add(1, Ordering::Relaxed);
    if std::ptr::eq(way, &ends.ended) {
        assert_eq!(sandbox.wait().await, Exit::Exited(0));
        return;
    }
    let (_stdin, mut stdout) = sandbox.stdio().unwrap();
    stdout.read_exact(&mut [0; 6]).await.unwrap();
    if std::ptr::eq(way, &ends.killed) {
        assert_eq!(sandbox.kill().await, Exit::Killed);
    }
}

async fn storm(count: usize, seed: u64) -> Arc<Ends> {
    let ends = Arc::new(Ends::default());
    let mut random = Random(seed);
    let mut running = JoinSet::new();
    for _ in 0..count {
        if running.len() == AT_ONCE {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(one(Random(random.below(u64::MAX)), ends.clone()));
    }
    running.join_all().await;
    ends
}

fn count() -> BTreeMap<String, u64> {
    let of_self = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    };
    // "uid: usage keys/..." for every user with keys.
    let keys = fs::read_to_string("/proc/key-users").unwrap_or_default();
    let keys = keys.lines().filter_map(|line| line.split_whitespace().nth(2)?.split('/').next()?.parse::<u64>().ok());
    let mut found = BTreeMap::from([
        ("descriptors".to_owned(), fs::read_dir("/proc/self/fd").unwrap().count() as u64),
        ("threads".to_owned(), of_self("/proc/self/status", "Threads:")),
        ("children".to_owned(), descendants(std::process::id()).len() as u64),
        ("mounts".to_owned(), fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count() as u64),
        ("control groups".to_owned(), groups_of(std::process::id()).len() as u64),
        ("resident KiB".to_owned(), of_self("/proc/self/status", "VmRSS:")),
        ("keys".to_owned(), keys.sum()),
        ("shared memory KiB".to_owned(), of_self("/proc/meminfo", "Shmem:")),
    ]);
    // Only root may read it; "name objects-in-use ...".
    for line in fs::read_to_string("/proc/slabinfo").unwrap_or_default().lines() {
        let mut fields = line.split_whitespace();
        if let (Some(name), Some(Ok(objects))) = (fields.next(), fields.next().map(str::parse)) {
            found.insert(format!("{name} objects"), objects);
        }
    }
    found
}

/// What has grown by more than it may.
fn growth(before: &BTreeMap<String, u64>, counted: &[(&str, u64)]) -> Vec<String> {
    let after = count();
    let grown = counted.iter().filter(|(name, band)| after.get(*name) > before.get(*name).map(|n| n + band).as_ref());
    grown.map(|(name, _)| format!("{name}: {:?} before, {:?} after", before.get(*name), after.get(*name))).collect()
}

/// The same, once it has had time to go.
fn lasting_growth(before: &BTreeMap<String, u64>, counted: &[(&str, u64)]) -> Vec<String> {
    let ended = Instant::now();
    loop {
        let grown = growth(before, counted);
        if grown.is_empty() || ended.elapsed() > Duration::from_secs(60) {
            return grown;
        }
        std::thread::yield_now();
    }
}

#[test]
fn two_thousand_starts_and_ends_leave_nothing() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // Threads that wait for files end when they have nothing to do, so that they can be counted.
        .thread_keep_alive(Duration::from_millis(10))
        .enable_all()
        .build()
        .unwrap();
    // As many as will ever be at once, so that what is made once, or kept, is there.
    runtime.block_on(storm(2 * AT_ONCE, 1));
    let settled = Instant::now();
    let mut before = count();
    while settled.elapsed() < Duration::from_secs(1) {
        before = count();
    }
    // Every user's storm costs its time; root's is the long one.
    let sandboxes = if rustix::process::geteuid().is_root() { 2000 } else { 300 };
    let mut grown = Vec::new();
    // What others of the machine do meanwhile is not there each time; what a storm leaves is.
    for seed in 2..=4 {
        let of_all = count();
        let began = Instant::now();
        let ends = runtime.block_on(storm(sandboxes, seed));
        println!("{sandboxes} in {:?}: {ends:?}", began.elapsed());
        for (way, count) in [
            ("killed", &ends.killed),
            ("dropped", &ends.dropped),
            ("ended", &ends.ended),
            ("cancelled", &ends.cancelled),
        ] {
            assert!(count.load(Ordering::Relaxed) as usize > sandboxes / 20, "few were {way}: {ends:?}");
        }
        assert_eq!(lasting_growth(&before, OWN), [""; 0]);
        grown = lasting_growth(&of_all, OF_ALL);
        if grown.is_empty() {
            return;
        }
    }
    panic!("after each storm: {grown:#?}");
}
