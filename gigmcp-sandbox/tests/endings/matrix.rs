//! The host process, the monitor, PID 1 and the server, killed with -9 in every order.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use gigmcp_sandbox::{Network, Sandbox};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt;

use crate::alone;
use crate::probe::{Dir, PROBE_VARIABLE, probe, sandbox};
use crate::processes::descendants;
use crate::traces::{A_MINUTE, Traces};

/// Asks the test binary to be a host process that is going to be killed.
const ROLE: &str = "GIGMCP_TEST_ROLE";

/// The processes of the frame, from the outermost inwards.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    Host,
    Monitor,
    Init,
    Server,
}

async fn hanging() -> Sandbox {
    let mut sandbox = sandbox(&["hang"]).network(Network::handoff()).spawn().await.unwrap();
    let (_, mut stdout) = sandbox.stdio().unwrap();
    stdout.read_exact(&mut [0; 6]).await.unwrap(); // "ready\n"
    sandbox
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test]
async fn plays_the_host_process_when_asked() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    // What is made once for the process is made now.
    hanging().await.kill().await;
    let before = open_descriptors();
    let mut sandbox = hanging().await;
    println!("host is ready");
    sandbox.wait().await;
    drop(sandbox);
    let ended = Instant::now();
    while open_descriptors() != before && ended.elapsed() < A_MINUTE {
        std::thread::yield_now();
    }
    println!("host has {} descriptors more", open_descriptors() as i64 - before as i64);
    std::future::pending::<()>().await;
}

/// A host process with one sandbox.
struct Host {
    process: Child,
    said: Lines<BufReader<ChildStdout>>,
    dir: Dir,
}

impl Host {
    fn start() -> Self {
        let dir = Dir::new("host");
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "matrix::plays_the_host_process_when_asked", "--nocapture"])
            .envs([(ROLE, "host"), ("TMPDIR", dir.path().to_str().unwrap())])
            .env(PROBE_VARIABLE, probe())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut host = Self { process, said, dir };
        host.says("host is ready");
        host
    }

    fn says(&mut self, what: &str) {
        assert!(self.said.any(|line| line.unwrap().contains(what)), "the host does not say {what:?}");
    }

    /// The sandbox's processes: the monitor, PID 1, the server. The one that removes a killed host's
    /// control groups is not of the sandbox.
    fn sandboxed(&self) -> Vec<u32> {
        let name = |pid: u32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let all = descendants(self.process.id());
        let found: Vec<u32> = all.into_iter().filter(|pid| !name(*pid).starts_with("gigmcp-sweeper")).collect();
        assert_eq!(found.len(), 3, "the monitor, PID 1, the server");
        found
    }
}

fn signal(pid: u32, signal: Signal) {
    // It may have ended with another one.
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal);
}

/// Every order of every choice of parts.
fn orders(parts: &[Part]) -> Vec<Vec<Part>> {
    let mut found = Vec::new();
    for part in parts {
        found.push(vec![*part]);
        let others: Vec<Part> = parts.iter().copied().filter(|other| other != part).collect();
        found.extend(orders(&others).into_iter().map(|rest| [vec![*part], rest].concat()));
    }
    found
}

fn kill_in_order(order: &[Part], stopped: bool) {
    let what = format!("{order:?}{}", if stopped { ", all stopped" } else { "" });
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut host = Host::start();
    let sandboxed = host.sandboxed();
    let traces = Traces::of(&sandboxed, host.process.id());
    traces.assert_something();
    if stopped {
        sandboxed.iter().for_each(|pid| signal(*pid, Signal::STOP));
    }
    for part in order {
        let pid = match part {
            Part::Host => host.process.id(),
            Part::Monitor => sandboxed[0],
            Part::Init => sandboxed[1],
            Part::Server => sandboxed[2],
        };
        signal(pid, Signal::KILL);
    }
    if order.contains(&Part::Host) {
        host.process.wait().unwrap();
    } else {
        host.says("host has 0 descriptors more");
    }
    traces.assert_gone(&what);
    assert_eq!(fs::read_dir(host.dir.path()).unwrap().count(), 0, "{what}: something is left in TMPDIR");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts, "{what}: a mount is left");
    let _ = host.process.kill();
    host.process.wait().unwrap();
}

#[test]
fn rows_60_and_61_whatever_is_killed_in_whatever_order_nothing_is_left() {
    let _alone = alone();
    let orders = orders(&[Part::Host, Part::Monitor, Part::Init, Part::Server]);
    assert_eq!(orders.len(), 64);
    for order in &orders {
        kill_in_order(order, false);
    }
    // Stopped, none of them can do anything for the others; who kills them from outside is the host's end.
    for order in orders.iter().filter(|order| order.contains(&Part::Host)) {
        kill_in_order(order, true);
    }
}
