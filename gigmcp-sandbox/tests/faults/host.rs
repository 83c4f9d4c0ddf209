//! The host process of such starts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use gigmcp_sandbox::{Exit, Network, Rootfs, Sandbox, SandboxBuilder, SpawnError, StateQuota, VethPool};
use libseccomp::ScmpSyscall;
use rustix::process::{Signal, getpid, kill_process};

use crate::probe::{Dir, copy_program, probe, sandbox};
use crate::walk::Outcome;

/// Says which plan, which part and which error, to a test binary that is the host.
pub(crate) const ROLE: &str = "GIGMCP_TEST_ROLE";
/// The plans: what a sandbox is made of.
pub(crate) const FILE: &str = "file";
pub(crate) const IMAGE: &str = "image";
pub(crate) const TOOLS: &str = "tools";
pub(crate) const TEST: &str = "host::plays_the_host_process_when_asked";

#[test]
fn plays_the_host_process_when_asked() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let [plan, part, errno] = role.split(' ').collect::<Vec<_>>()[..] else { panic!("{role:?}") };
    let mut host = Host::new(plan);
    // What is made once is made now, and this is what must come of a start.
    let control = host.start();
    assert_eq!(control, Started { canary: true, ..control.clone() });
    let expected = control.enforcement.clone().unwrap();
    // How many calls of the host's threads there are depends on who is faster.
    let mut beyond = 0;
    for number in 1.. {
        let failed = host.with_fault(part, number, errno);
        let started = host.last.take().unwrap();
        let Some((call, ran)) = failed else {
            assert_eq!(started, control, "nothing failed");
            beyond += 1;
            if beyond == 3 {
                break;
            }
            continue;
        };
        let result = match &started.enforcement {
            Err(error) => error.clone(),
            Ok(found) => started.told(found, &expected),
        };
        Outcome { call, ran, canary: started.canary, result }.print();
    }
}

struct Host {
    root: Root,
    state: Dir,
    orders: File,
    reports: BufReader<File>,
    last: Option<Started>,
}

/// What a plan shows, each with a network and with options of its own, so that every step is in one of them.
enum Root {
    /// A single static file, sockets handed over, and files of `/proc` made up.
    File,
    /// A tree, a link to the host, a directory of the host's, and authorities.
    Image { tree: Dir, shown: Dir, pool: VethPool },
    /// What the host has, a directory of it, and no network.
    Tools { shown: Dir },
}

impl Root {
    fn of(plan: &str) -> Self {
        let shown = Dir::new("shown");
        copy_program(probe(), shown.path().join("program"));
        match plan {
            FILE => Self::File,
            IMAGE => {
                // Each start has a link of its own, and none waits for another's addresses.
                let pool: VethPool = "10.198.0.0/16".parse().unwrap();
                Self::Image { tree: image(), shown, pool: pool.cool_down(Duration::ZERO) }
            }
            TOOLS => Self::Tools { shown },
            _ => panic!("{plan:?}"),
        }
    }

    fn command(&self) -> [OsString; 3] {
        let program = match self {
            Self::File => "/server".into(),
            Self::Image { .. } => "/bin/server".into(),
            Self::Tools { shown } => shown.path().join("program"),
        };
        [program.into(), "write".into(), "/state/canary".into()]
    }
}

/// A tree with each kind of entry that there may be.
fn image() -> Dir {
    let tree = Dir::new("image");
    for name in ["bin", "lib", "etc", "etc/below"] {
        fs::create_dir(tree.path().join(name)).unwrap();
    }
    copy_program(probe(), tree.path().join("bin/server"));
    for name in ["file", "etc/file", "etc/below/file"] {
        fs::write(tree.path().join(name), name).unwrap();
    }
    for (name, target) in [("sbin", "bin"), ("etc/link", "/nowhere")] {
        symlink(target, tree.path().join(name)).unwrap();
    }
    tree
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
    fn new(plan: &str) -> Self {
        let pipe = |name| PathBuf::from(format!("/proc/self/fd/{}", std::env::var(name).unwrap()));
        Self {
            root: Root::of(plan),
            state: Dir::new("state"),
            orders: File::options().write(true).open(pipe("GIGMCP_TEST_ORDERS")).unwrap(),
            reports: BufReader::new(File::open(pipe("GIGMCP_TEST_REPORTS")).unwrap()),
            last: None,
        }
    }

    fn builder(&self) -> SandboxBuilder {
        let builder = match &self.root {
            Root::File => sandbox(&[]).network(Network::handoff()).sized_proc(),
            Root::Image { tree, shown, pool } => Sandbox::builder(Rootfs::image(tree.path()))
                .network(Network::veth(pool).unwrap().udp_ports([53]))
                .read_only(shown.path())
                .file("/etc/shown/file", "shown")
                .ca_bundle("no authorities"),
            Root::Tools { shown } => Sandbox::builder(Rootfs::host_tools()).read_only(shown.path()),
        };
        builder.command(self.root.command()).state(self.state.path(), StateQuota::default())
    }

    fn canary(&self) -> PathBuf {
        self.state.path().join("data/canary")
    }

    /// Starts a server whose first act is to leave a file.
    fn start(&self) -> Started {
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
        Started { enforcement, exit, canary: self.canary().exists() }
    }

    /// Starts it with a fault. Returns the call that failed and whether the server's program started, or
    /// nothing if there were fewer calls.
    fn with_fault(&mut self, part: &str, number: u64, errno: &str) -> Option<(String, bool)> {
        // None of the start's calls.
        let _ = fs::remove_file(self.canary());
        let supervisor = supervisor();
        wait_until_idle(supervisor);
        let (part, thread) = match part {
            "caller" => ("host", rustix::thread::gettid().as_raw_nonzero().get()),
            "supervisor" => ("host", supervisor),
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

/// Waits until what an earlier sandbox left for the thread to do is done, so that calls have the same numbers each time.
fn wait_until_idle(thread: i32) {
    let waits = |call: &str| EPOLL_WAIT.iter().any(|number| call.split(' ').next() == Some(number));
    while !fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).is_ok_and(|call| waits(&call)) {
        std::thread::yield_now();
    }
}

/// `epoll_wait`, `epoll_pwait`, `epoll_pwait2`.
const EPOLL_WAIT: [&str; 3] = ["232", "281", "441"];

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
