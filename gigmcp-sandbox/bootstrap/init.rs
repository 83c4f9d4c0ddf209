//! PID 1 of the sandbox: starts the server, reaps, and ends with the host.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use crate::outer::Inside;
use crate::protocol::{Plan, Report, Stage};
use crate::{At, Failure, confine, identity, root, sys};

/// Runs as PID 1. When it ends, by whatever cause, the kernel ends every process inside.
pub(crate) fn run(control: &OwnedFd, inside: Inside) -> ExitCode {
    match serve(control, inside) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(report)) => {
            let _ = sys::send(control.as_fd(), &report.encode(), &[]);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = sys::send(control.as_fd(), &failure.report().encode(), &[]);
            ExitCode::FAILURE
        }
    }
}

/// Returns how the server ended, or nothing if the host let go first.
fn serve(control: &OwnedFd, inside: Inside) -> Result<Option<Report>, Failure> {
    let Inside { plan, staged, lifeline, stdin, stdout, stderr } = inside;
    sys::set_name(c"gigmcp-init");
    let host_proc = identity::open_proc().at(Stage::Proc)?;
    root::enter(&staged, &plan.proc_files)?;
    identity::enter_inner(&host_proc)?;
    drop(host_proc);
    sys::process_control(sys::PR_SET_NO_NEW_PRIVS, 1).at(Stage::NoNewPrivs)?;
    // If the process that waits for us dies, so do we. It has one thread, so this follows the process.
    sys::process_control(sys::PR_SET_PDEATHSIG, sys::SIGKILL as u64).at(Stage::Init)?;
    sys::process_control(sys::PR_SET_DUMPABLE, 0).at(Stage::Init)?;
    let mut posture = posture();
    posture.push(("image_path_shown".to_owned(), staged.image_path_shown.to_string()));
    let signals = sys::child_signals().at(Stage::Init)?;
    if sys::wait_readable([lifeline.as_fd()], 0).at(Stage::Init)?[0] {
        return Ok(None);
    }
    let stdio = [stdin, stdout, stderr];
    let Some(server) = start_server(&plan, posture, stdio, control, &lifeline)? else { return Ok(None) };
    drop(plan);
    watch(&lifeline, control, signals, server)
}

/// Forks the server's process and returns once its program runs; nothing if the host let go.
///
/// The program starts only when the host has seen the posture and agrees.
fn start_server(
    plan: &Plan,
    posture: Vec<(String, String)>,
    stdio: [OwnedFd; 3],
    control: &OwnedFd,
    lifeline: &OwnedFd,
) -> Result<Option<i32>, Failure> {
    let (mut heard, tell) = io::pipe().at(Stage::Fork)?;
    let (consent, mut agree) = io::pipe().at(Stage::Fork)?;
    let pid = match sys::fork_process().at(Stage::Fork)? {
        sys::Forked::Parent(pid) => pid,
        sys::Forked::Child => {
            drop(agree);
            confine::start(plan, stdio, tell, consent);
        }
    };
    // These are the server's now.
    drop((tell, consent, stdio));
    match next_report(&mut heard)? {
        Some(Report::Posture(more)) => {
            let posture = posture.into_iter().chain(more).collect();
            sys::send(control.as_fd(), &Report::Posture(posture).encode(), &[]).at(Stage::Init)?;
        }
        other => return Err(unexpected(other)),
    }
    if !host_agrees(control, lifeline).at(Stage::Init)? {
        return Ok(None);
    }
    agree.write_all(&[1]).at(Stage::Init)?;
    drop(agree);
    // End of file: the pipe was closed because the program runs.
    match next_report(&mut heard)? {
        None => {
            sys::send(control.as_fd(), &Report::Running.encode(), &[]).at(Stage::Init)?;
            Ok(Some(pid))
        }
        other => Err(unexpected(other)),
    }
}

/// The next report of the server's process; nothing if it closed the pipe.
fn next_report(heard: &mut io::PipeReader) -> Result<Option<Report>, Failure> {
    let mut length = [0; 8];
    match heard.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result.at(Stage::Fork)?,
    }
    let mut bytes = Vec::new();
    heard.take(u64::from_le_bytes(length)).read_to_end(&mut bytes).at(Stage::Fork)?;
    let report = Report::decode(&bytes);
    report.map(Some).map_err(|_| Failure::new(Stage::Fork, &io::ErrorKind::InvalidData.into(), "malformed"))
}

/// The failure that was reported, or that nothing else was.
fn unexpected(report: Option<Report>) -> Failure {
    match report {
        Some(Report::Failed { stage, errno, detail }) => Failure { stage, errno, detail },
        Some(
            Report::Network
            | Report::Posture(_)
            | Report::Running
            | Report::Exited(_)
            | Report::Signaled(_),
        )
        | None => Failure::new(Stage::Fork, &io::ErrorKind::BrokenPipe.into(), "it died"),
    }
}

/// Waits for the host's word after it has seen the posture.
fn host_agrees(control: &OwnedFd, lifeline: &OwnedFd) -> io::Result<bool> {
    loop {
        match sys::wait_readable([lifeline.as_fd(), control.as_fd()], -1) {
            Ok([true, _]) => return Ok(false),
            Ok([false, true]) => {
                let (length, _) = sys::receive(control.as_fd(), &mut [0; 16])?;
                return Ok(length > 0);
            }
            Ok([false, false]) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reaps and forwards signals until the server has ended or the host lets go.
fn watch(lifeline: &OwnedFd, control: &OwnedFd, mut signals: File, server: i32) -> Result<Option<Report>, Failure> {
    loop {
        while let Some((pid, ended)) = sys::reap() {
            match ended {
                sys::Ended::Exited(code) if pid == server => return Ok(Some(Report::Exited(code))),
                sys::Ended::Signaled(signal) if pid == server => return Ok(Some(Report::Signaled(signal))),
                sys::Ended::Exited(_) | sys::Ended::Signaled(_) => {}
            }
        }
        match sys::wait_readable([lifeline.as_fd(), signals.as_fd(), control.as_fd()], -1) {
            Ok([true, ..]) => return Ok(None),
            Ok([false, child, host]) => {
                if child {
                    let _ = signals.read(&mut [0; 128]);
                }
                if host && !forward(control, server).at(Stage::Init)? {
                    return Ok(None);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::new(Stage::Init, &error, "poll")),
        }
    }
}

/// Gives the server the signal that the host asked for; false if the host is gone.
fn forward(control: &OwnedFd, server: i32) -> io::Result<bool> {
    let mut message = [0];
    let (length, _) = sys::receive(control.as_fd(), &mut message)?;
    if length == 1 {
        // It may just have ended, which is told by itself.
        let _ = sys::send_signal(server, i32::from(message[0]));
    }
    Ok(length > 0)
}

/// What PID 1 can read about the walls around it.
fn posture() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for name in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let link = fs::read_link(format!("/proc/self/ns/{name}"));
        let link = link.map(|link| link.to_string_lossy().into_owned()).unwrap_or_default();
        found.push((format!("ns.{name}"), link));
    }
    found.push(("uid_map".to_owned(), fs::read_to_string("/proc/self/uid_map").unwrap_or_default()));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    found.push(("root".to_owned(), root_options(&mounts).to_owned()));
    let owner = File::open("/proc/self/ns/net").and_then(|namespace| sys::owning_user_namespace(namespace.as_fd()));
    let owner = match owner {
        Ok(_) => "ours".to_owned(),
        Err(error) if error.raw_os_error() == Some(EPERM) => "outside".to_owned(),
        Err(error) => error.to_string(),
    };
    found.push(("netns_owner".to_owned(), owner));
    found
}

/// The mount options of `/`, the sixth field; the last mount at a place is the one on top.
fn root_options(mounts: &str) -> &str {
    let mut options = "";
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(4);
        if fields.next() == Some("/") {
            options = fields.next().unwrap_or("");
        }
    }
    options
}

const EPERM: i32 = 1;
