//! The host process of such starts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use gigmcp_sandbox::{Exit, Network, SandboxBuilder, SpawnError, StateQuota};
use libseccomp::ScmpSyscall;
use rustix::process::{Signal, getpid, kill_process};

use crate::probe::{Dir, sandbox};
use crate::walk::Outcome;

/// Says which part and which error, to a test binary that is the host.
pub(crate) const ROLE: &str = "GIGMCP_TEST_ROLE";
pub(crate) const TEST: &str = "host::plays_the_host_process_when_asked";

#[test]
fn plays_the_host_process_when_asked() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (part, errno) = role.split_once(' ').unwrap();
    let mut host = Host::new();
    // What is made once is made now, and this is what must come of a start.
    let control = host.start();
    assert_eq!(control, Started { canary: true, ..control.clone() });
    let expected = control.enforcement.clone().unwrap();
    // How many calls of the host's threads there are depends on who is faster.
    let mut beyond = 0;
    for number in 1.. {
        let Some((call, ran)) = host.with_fault(part, number, errno) else {
            beyond += 1;
            if beyond == 3 {
                break;
            }
            continue;
        };
        let started = host.last.take().unwrap();
        let result = match &started.enforcement {
            Err(error) => error.clone(),
            Ok(found) => started.told(found, &expected),
        };
        Outcome { call, ran, canary: started.canary, result }.print();
    }
}

struct Host {
    state: Dir,
    orders: File,
    reports: BufReader<File>,
    last: Option<Started>,
}

/// What came of a start.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Started {
    /// By layer, or the error.
    enforcement: Result<BTreeMap<String, String>, String>,
    exit: Option<Exit>,
    canary: bool,
}

impl Started {
    fn told(&self, found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) -> String {
        let different = found.iter().filter(|(layer, level)| expected[*layer] != **level);
        let different: Vec<String> = different.map(|(layer, level)| format!("{layer}: {level}")).collect();
        let exit = self.exit.filter(|exit| *exit != Exit::Exited(0));
        let exit = exit.map(|exit| format!(", {exit:?}")).unwrap_or_default();
        format!("started {}{exit}", different.join("; "))
    }
}

impl Host {
    fn new() -> Self {
        let pipe = |name| PathBuf::from(format!("/proc/self/fd/{}", std::env::var(name).unwrap()));
        Self {
            state: Dir::new("state"),
            orders: File::options().write(true).open(pipe("GIGMCP_TEST_ORDERS")).unwrap(),
            reports: BufReader::new(File::open(pipe("GIGMCP_TEST_REPORTS")).unwrap()),
            last: None,
        }
    }

    fn builder(&self) -> SandboxBuilder {
        sandbox(&["write", "/state/canary"])
            .network(Network::handoff())
            .state(self.state.path(), StateQuota::default())
            .sized_proc()
    }

    /// Starts a server whose first act is to leave a file.
    fn start(&self) -> Started {
        let canary = self.state.path().join("data/canary");
        let _ = fs::remove_file(&canary);
        // Outside any runtime, so that what the caller does is done in this thread.
        let spawned = block_on(self.builder().spawn());
        let (enforcement, exit) = match spawned {
            Ok(mut sandbox) => {
                let layers =
                    sandbox.enforcement().layers().map(|(layer, level)| (layer.to_string(), level.to_string()));
                (Ok(layers.collect()), Some(block_on(sandbox.wait())))
            }
            Err(error) => (Err(text(&error)), None),
        };
        Started { enforcement, exit, canary: canary.exists() }
    }

    /// Starts it with a fault. Returns the call that failed and whether the server's program started, or
    /// nothing if there were fewer calls.
    fn with_fault(&mut self, part: &str, number: u64, errno: &str) -> Option<(String, bool)> {
        let (part, thread) = match part {
            "caller" => ("host", rustix::thread::gettid().as_raw_nonzero().get()),
            "supervisor" => ("host", supervisor()),
            inside => (inside, 0),
        };
        let ours = [self.orders.as_raw_fd(), self.reports.get_ref().as_raw_fd()];
        writeln!(self.orders, "{part} {thread} {number} {errno} {} {}", ours[0], ours[1]).unwrap();
        assert_eq!(self.marker(), "ok");
        self.last = Some(self.start());
        let report = self.marker();
        let [number, ran, path] = report.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{report:?}") };
        let number: i32 = number.parse().unwrap();
        let name = || ScmpSyscall::from(number).get_name().unwrap_or_else(|_| number.to_string());
        (number >= 0).then(|| (format!("{} {path}", name()).trim_end().to_owned(), ran == "true"))
    }

    /// Gives the word to the tracer.
    fn marker(&mut self) -> String {
        kill_process(getpid(), Signal::USR1).unwrap();
        let mut line = String::new();
        self.reports.read_line(&mut line).unwrap();
        line.trim_end_matches('\n').to_owned()
    }
}

/// The variant, the stage or what was attempted, and whether there is a source and a fix.
fn text(error: &SpawnError) -> String {
    match error {
        SpawnError::Setup { stage, fix, source, .. } => {
            assert!(!fix.is_empty());
            format!("Setup {stage:?} {}", source.raw_os_error().unwrap_or(0))
        }
        SpawnError::Host { what, source } => format!("Host {what} {}", source.raw_os_error().unwrap_or(0)),
        other => format!("{other:?}"),
    }
}

/// The thread of the crate's that starts sandboxes.
fn supervisor() -> i32 {
    let is_it = |task: &Path| fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "gigmcp-sandbox\n");
    let mut tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let task = tasks.find(|task| is_it(task)).unwrap();
    task.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
