//! Nothing outlives its host, its handle, or a part of its frame.

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::pin::pin;
use std::process::{Command, Stdio};
use std::task::Poll;
use std::time::Duration;

use gigmcp_sandbox::{Exit, Limits, Network, Rootfs, Sandbox, SandboxBuilder, ServerSignal};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader as AsyncBufReader};

use crate::probe::{PROBE_VARIABLE, probe, sandbox};
use crate::processes::{self, Watched, descendants, field, of_program, of_server};

/// Asks the test binary to be a host process that is going to be killed.
const ROLE: &str = "GIGMCP_TEST_ROLE";
const START_ROLE: &str = "GIGMCP_TEST_START_ROLE";
const ALONE: &str = "GIGMCP_TEST_ALONE";
const UMASK_ROLE: &str = "GIGMCP_TEST_UMASK_ROLE";

pub(crate) async fn hanging(marker: &str) -> Sandbox {
    ready(sandbox(&["hang", &processes::marker(marker)]).network(Network::handoff())).await
}

/// Starts a server that says when it runs, and then only waits.
pub(crate) async fn ready(builder: SandboxBuilder) -> Sandbox {
    let mut sandbox = builder.spawn().await.unwrap();
    let (_, stdout) = sandbox.stdio().unwrap();
    let mut line = String::new();
    AsyncBufReader::new(stdout).read_line(&mut line).await.unwrap();
    assert_eq!(line, "ready\n");
    sandbox
}

#[tokio::test]
async fn plays_the_host_process_when_asked() {
    let Some(marker) = std::env::var_os(ROLE) else { return };
    let _sandbox = hanging(marker.to_str().unwrap()).await;
    println!("host is ready");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn tells_the_umask_inside_when_asked() {
    let Some(_) = std::env::var_os(UMASK_ROLE) else { return };
    // umask(2) sets 0 and returns what was.
    println!("inside: {}", crate::probe::inside(&["syscall", "95", "0"]).await);
}

#[test]
fn the_umask_inside_is_not_the_hosts() {
    for of_host in ["0", "077"] {
        let output = Command::new("sh")
            .args(["-c", &format!("umask {of_host}; exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "lifecycle::tells_the_umask_inside_when_asked", "--nocapture"])
            .env(UMASK_ROLE, "umask")
            .env(PROBE_VARIABLE, probe())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("inside: allowed 18\n"), "022 is 18, not {of_host}: {said}");
    }
}

#[tokio::test]
async fn tells_whether_it_starts_when_asked() {
    let Some(_) = std::env::var_os(START_ROLE) else { return };
    match sandbox(&["list", "/"]).spawn().await {
        Ok(_) => println!("inside: started"),
        Err(error) => println!("inside: {error}"),
    }
}

#[test]
fn too_low_a_limit_of_open_files_is_named() {
    for (limit, expected) in [("24", "limit of open files"), ("200", "started")] {
        let output = Command::new("sh")
            .args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "lifecycle::tells_whether_it_starts_when_asked", "--nocapture"])
            .env(START_ROLE, "start")
            .env(PROBE_VARIABLE, probe())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let said = said.lines().find_map(|line| line.split_once("inside: ")).map(|(_, said)| said);
        assert!(said.is_some_and(|said| said.contains(expected)), "{limit}: {said:?}");
    }
}

#[test]
fn kill_9_of_the_host_process_leaves_no_process() {
    kill_9_of_the_host("host-killed", |_| ());
}

#[test]
fn kill_9_of_the_host_process_leaves_no_process_that_was_stopped() {
    kill_9_of_the_host("host-killed-stopped", |process| {
        kill_process(Pid::from_raw(i32::try_from(process).unwrap()).unwrap(), Signal::STOP).unwrap();
    });
}

fn kill_9_of_the_host(marker: &str, prepare: impl Fn(u32)) {
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lifecycle::plays_the_host_process_when_asked", "--nocapture"])
        .env(ROLE, marker)
        .env(PROBE_VARIABLE, probe())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(host.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line.contains("host is ready")));
    let all = descendants(host.id());
    let watched = Watched::new(&all);
    let groups = crate::limits::groups_of(host.id());
    assert_eq!(!groups.is_empty(), crate::limits::has_groups());
    let is_sweeper = |pid: &u32| field(*pid, "Name:").unwrap() == "gigmcp-sweeper";
    let (sweeper, processes): (Vec<u32>, Vec<u32>) = all.into_iter().partition(is_sweeper);
    assert_eq!(processes.len(), 3, "the monitor, PID 1, the server");
    assert_eq!(sweeper.len(), usize::from(crate::limits::has_groups()), "where there are control groups");
    processes.into_iter().for_each(prepare);
    host.kill().unwrap();
    watched.assert_gone();
    assert_eq!(crate::limits::groups_of(host.id()), [""; 0], "the sweeper has removed {groups:?}");
    host.wait().unwrap();
}

#[tokio::test]
async fn no_process_of_a_sandbox_is_the_hosts_root() {
    let sandbox = hanging("identity").await;
    let processes = of_server("identity");
    assert_eq!(processes.len(), 3);
    let mut ids = Vec::new();
    for pid in &processes {
        for name in ["Uid:", "Gid:"] {
            let line = field(*pid, name).unwrap();
            assert!(line.split_whitespace().all(|id| id != "0"), "process {pid}: {name} {line}");
            ids.push(line);
        }
        assert_eq!(field(*pid, "Groups:").unwrap().split_whitespace().find(|group| *group == "0"), None);
    }
    ids.dedup();
    if rustix::process::geteuid().is_root() {
        assert_eq!(ids.len(), 1, "one uid for all: {ids:?}");
        let other = hanging("other-identity").await;
        assert_ne!(field(of_server("other-identity")[0], "Uid:").unwrap(), ids[0], "its own uid");
        drop(other);
    }
    drop(sandbox);
}

#[tokio::test]
async fn dropping_a_sandbox_leaves_no_process() {
    let sandbox = hanging("dropped").await;
    let watched = Watched::new(&of_server("dropped"));
    drop(sandbox);
    watched.assert_gone();
}

#[tokio::test]
async fn killing_reports_it_and_leaves_no_process() {
    let mut sandbox = hanging("killed").await;
    let watched = Watched::new(&of_server("killed"));
    assert_eq!(sandbox.kill().await, Exit::Killed);
    assert_eq!(sandbox.wait().await, Exit::Killed, "may be asked again");
    watched.assert_gone();
}

#[tokio::test]
async fn killing_any_part_of_the_frame_leaves_no_process() {
    for (part, expected) in [(0, Exit::Signaled(9)), (1, Exit::Killed), (2, Exit::Killed)] {
        let marker = format!("part-{part}");
        let mut sandbox = hanging(&marker).await;
        let processes = of_server(&marker);
        let watched = Watched::new(&processes);
        let pid = Pid::from_raw(i32::try_from(processes[part]).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        assert_eq!(sandbox.wait().await, expected, "part {part}");
        watched.assert_gone();
    }
}

#[tokio::test]
async fn no_process_is_left_when_the_end_is_told_whichever_part_was_killed() {
    // The kernel takes a moment to end so many, one by one, after PID 1 has closed its descriptors.
    const MANY: &str = "for i in $(seq 150); do sleep 600 & done; echo ready; wait";
    for part in ["the monitor", "PID 1", "the server"] {
        let mut sandbox =
            ready(Sandbox::builder(Rootfs::host_tools()).command(["/bin/sh", "-c", MANY, &processes::marker(part)]))
                .await;
        let frame = of_program("/bin/sh", part);
        let all = [&frame[..], &descendants(frame[2])].concat();
        assert!(all.len() > 150, "{part}: {}", all.len());
        let watched = Watched::new(&all);
        let killed = frame[["the server", "PID 1", "the monitor"].iter().position(|name| *name == part).unwrap()];
        kill_process(Pid::from_raw(i32::try_from(killed).unwrap()).unwrap(), Signal::KILL).unwrap();
        sandbox.wait().await;
        assert_eq!(watched.left_now(), 0, "{part} was killed");
    }
}

#[tokio::test]
async fn row_58_a_daemon_ends_with_its_server() {
    let mut sandbox = sandbox(&["daemon", &processes::marker("daemon")]).spawn().await.unwrap();
    assert_eq!(sandbox.wait().await, Exit::Exited(0));
    assert!(of_server("daemon").is_empty(), "PID 1 took it along");
}

#[test]
fn row_62_a_server_outlives_the_runtime_and_thread_that_started_it() {
    let mut sandbox = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { sandbox(&["echo", "independent"]).spawn().await.unwrap() })
    })
    .join()
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut stdin, mut stdout) = sandbox.stdio().unwrap();
        stdin.write_all(b"still here\n").await.unwrap();
        drop(stdin);
        let mut text = String::new();
        stdout.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "ready\nstill here\nallowed\n");
        assert_eq!(sandbox.wait().await, Exit::Exited(0));
    });
}

#[tokio::test]
async fn cancelling_a_start_midway_leaves_no_process() {
    for polls in 1..12 {
        let marker = processes::marker(&format!("cancelled-{polls}"));
        let mut spawning = pin!(sandbox(&["hang", &marker]).spawn());
        let mut left = polls;
        // Each poll comes after something has happened, so the start is cut at another point.
        let finished = std::future::poll_fn(|context| {
            left -= 1;
            match spawning.as_mut().poll(context) {
                Poll::Ready(_) => Poll::Ready(true),
                Poll::Pending if left == 0 => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        if finished {
            break;
        }
    }
    // A sandbox started later is reaped later by the same thread, and the cut ones are gone.
    let mut last = sandbox(&["daemon"]).spawn().await.unwrap();
    last.wait().await;
    let watched = Watched::new(&of_server("cancelled"));
    watched.assert_gone();
    assert!(of_server("cancelled").is_empty());
}

#[tokio::test]
async fn many_sandboxes_start_and_end_at_once_without_leaving_descriptors() {
    if std::env::var_os(ALONE).is_none() {
        // Other tests open and close hundreds of them, so this one has a process of its own.
        let mut alone = Command::new(std::env::current_exe().unwrap());
        alone.args(["--exact", "lifecycle::many_sandboxes_start_and_end_at_once_without_leaving_descriptors"]);
        let output = alone.env(ALONE, "").env(PROBE_VARIABLE, probe()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let round = async || {
        let starts: Vec<_> = (0..16)
            .map(|_| tokio::spawn(async { sandbox(&["daemon"]).network(Network::handoff()).spawn().await.unwrap() }))
            .collect();
        let mut ids = Vec::new();
        for start in starts {
            let mut sandbox = start.await.unwrap();
            sandbox.wait().await;
            ids.push(sandbox.id().to_owned());
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 16);
    };
    round().await;
    let before = open();
    round().await;
    // The last one's may just be on their way; one of each would be 16.
    let after = open();
    assert!(after < before + 16, "{before} descriptors before, {after} after");
}

#[tokio::test]
async fn a_server_that_cannot_start_is_a_typed_error() {
    let error = Sandbox::builder(Rootfs::host_tools()).command(["/no/such/program"]).spawn().await.unwrap_err();
    let gigmcp_sandbox::SpawnError::Setup { stage, detail, .. } = error else { panic!("{error}") };
    assert_eq!(stage, gigmcp_sandbox::Stage::Exec);
    assert_eq!(detail, "/no/such/program");
}

/// A server that says when it is ready, and what it does about `SIGTERM` and `SIGUSR1`.
async fn with_traps(traps: &str, limits: Limits) -> (Sandbox, AsyncBufReader<gigmcp_sandbox::SandboxStdout>) {
    let script = format!("{traps}; echo ready; while :; do sleep 0.05; done");
    let command = ["/bin/sh", "-c", script.as_str()];
    let mut sandbox = Sandbox::builder(Rootfs::host_tools()).command(command).limits(limits).spawn().await.unwrap();
    let (_, stdout) = sandbox.stdio().unwrap();
    let mut stdout = AsyncBufReader::new(stdout);
    let mut line = String::new();
    stdout.read_line(&mut line).await.unwrap();
    assert_eq!(line, "ready\n");
    (sandbox, stdout)
}

#[tokio::test]
async fn a_server_is_asked_to_end_and_made_to_when_it_does_not() {
    let hour = Duration::from_secs(3600);
    let (mut willing, _stdout) = with_traps("trap 'exit 3' TERM", Limits::default()).await;
    assert_eq!(willing.shutdown(hour).await, Exit::Exited(3));
    let (mut plain, _stdout) = with_traps(":", Limits::default()).await;
    assert_eq!(plain.shutdown(hour).await, Exit::Signaled(15));
    let (mut deaf, _stdout) = with_traps("trap '' TERM", Limits::default()).await;
    assert_eq!(deaf.shutdown(Duration::from_millis(50)).await, Exit::Killed);
    assert_eq!(deaf.shutdown(hour).await, Exit::Killed, "may be asked again");
}

#[tokio::test]
async fn signals_are_forwarded_to_the_server() {
    let (sandbox, mut stdout) = with_traps("trap 'echo one' USR1; trap 'echo hup' HUP", Limits::default()).await;
    for (signal, expected) in [(ServerSignal::User1, "one\n"), (ServerSignal::HangUp, "hup\n")] {
        sandbox.signal(signal);
        let mut line = String::new();
        stdout.read_line(&mut line).await.unwrap();
        assert_eq!(line, expected);
    }
}

/// A socket that is closed with something unread tells the other end so first, before what was sent to it.
#[tokio::test]
async fn how_a_server_ended_is_told_whatever_signals_are_on_their_way() {
    for on_their_way in [0, 3] {
        let mut sandbox = hanging("on-their-way").await;
        let processes = of_server("on-their-way");
        let [server, init, _] = *processes else { panic!("{processes:?}") };
        let send = |process: u32, signal| {
            kill_process(Pid::from_raw(i32::try_from(process).unwrap()).unwrap(), signal).unwrap();
        };
        send(init, Signal::STOP);
        (0..on_their_way).for_each(|_| sandbox.signal(ServerSignal::User1));
        let gone = Watched::new(&[server]);
        send(server, Signal::KILL);
        gone.assert_gone();
        send(init, Signal::CONT);
        assert_eq!(sandbox.wait().await, Exit::Signaled(9), "{on_their_way}");
    }
}

#[tokio::test]
async fn a_server_that_runs_too_long_is_ended_and_says_so() {
    let short = Limits::default().wall_time(Some(Duration::from_millis(300)));
    let sleeping = Sandbox::builder(Rootfs::host_tools()).command(["/bin/sh", "-c", "sleep 3600"]).limits(short);
    let mut late = sleeping.spawn().await.unwrap();
    assert_eq!(late.wait().await, Exit::TimedOut);
    let roomy = Limits::default().wall_time(Some(Duration::from_secs(3600)));
    let (mut in_time, _stdout) = with_traps("trap 'exit 0' TERM", roomy).await;
    assert_eq!(in_time.shutdown(Duration::from_secs(3600)).await, Exit::Exited(0), "the twin");
}
