//! PID 1 of the sandbox: starts the server, reaps, and ends with the host.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use crate::outer::Inside;
use crate::protocol::{Plan, Report, Stage};
use crate::tripwires::{Tell, Tripwires};
use crate::{At, Failure, confine, identity, left_out, root, sys};

/// Runs as PID 1. When it ends, by whatever cause, the kernel ends every process inside.
///
/// Never returns to Rust's library, whose own end makes a call that the filter of PID 1 does not have.
pub(crate) fn run(control: &OwnedFd, inside: Inside) -> ! {
    let (report, code) = match serve(control, inside) {
        Ok(report) => (report, 0),
        Err(failure) => (Some(failure.report()), 1),
    };
    if let Some(report) = report {
        let _ = sys::send(control.as_fd(), &report.encode(), &[]);
    }
    sys::exit_now(code)
}

/// Returns how the server ended, or nothing if the host let go first.
fn serve(control: &OwnedFd, inside: Inside) -> Result<Option<Report>, Failure> {
    let Inside { plan, staged, lifeline, stdin, stdout, stderr } = inside;
    sys::set_name(c"gigmcp-init");
    let host_proc = identity::open_proc().at(Stage::Proc)?;
    root::enter(&staged, &plan.proc_files)?;
    identity::enter_inner(&host_proc)?;
    drop(host_proc);
    if !left_out("no_new_privs") {
        sys::process_control(sys::PR_SET_NO_NEW_PRIVS, 1).at(Stage::NoNewPrivs)?;
    }
    // If the process that waits for us dies, so do we. It has one thread, so this follows the process.
    sys::process_control(sys::PR_SET_PDEATHSIG, sys::SIGKILL as u64).at(Stage::Init)?;
    if !left_out("dumpable") {
        sys::process_control(sys::PR_SET_DUMPABLE, 0).at(Stage::Init)?;
    }
    let mut posture = posture();
    posture.push(("image_path_shown".to_owned(), staged.image_path_shown.to_string()));
    let signals = sys::child_signals().at(Stage::Init)?;
    let tripwires = Tripwires::new(&plan);
    let mut init = Init { control, lifeline, tripwires };
    let Some(server) = init.start_server(&plan, posture, [stdin, stdout, stderr])? else { return Ok(None) };
    drop(plan);
    let end = init.watch(signals, server)?;
    init.tripwires.tell(control.as_fd(), Tell::Everything);
    Ok(end)
}

/// Whom PID 1 listens to all the time.
struct Init<'a> {
    control: &'a OwnedFd,
    lifeline: OwnedFd,
    tripwires: Tripwires,
}

/// What PID 1 hears while the server starts.
enum Heard {
    Report(Report, Vec<OwnedFd>),
    /// The program runs, or the process died.
    Closed,
    HostIsGone,
}

impl Init<'_> {
    /// Forks the server's process and returns once its program runs; nothing if the host let go.
    ///
    /// The program starts only when the host has seen the posture and agrees.
    fn start_server(
        &mut self,
        plan: &Plan,
        posture: Vec<(String, String)>,
        stdio: [OwnedFd; 3],
    ) -> Result<Option<i32>, Failure> {
        let (ours, theirs) = sys::message_pair().at(Stage::Fork)?;
        let pid = match sys::fork_process().at(Stage::Fork)? {
            sys::Forked::Parent(pid) => pid,
            sys::Forked::Child => {
                drop(ours);
                confine::start(plan, stdio, theirs);
            }
        };
        // These are the server's now.
        drop((theirs, stdio));
        let more = loop {
            match self.hear(&ours)? {
                Heard::Report(Report::Listener, descriptors) => {
                    descriptors.into_iter().for_each(|listener| self.tripwires.listen(listener));
                }
                Heard::Report(Report::Posture(more), _) => break more,
                Heard::HostIsGone => return Ok(None),
                other => return Err(unexpected(other)),
            }
        };
        // From here on PID 1 does nothing but what it does until the end.
        if !left_out("filter of PID 1") {
            sys::install_filter(&plan.init_filter).at_with(Stage::Seccomp, b"PID 1")?;
        }
        let posture = posture.into_iter().chain(more).collect();
        sys::send(self.control.as_fd(), &Report::Posture(posture).encode(), &[]).at(Stage::Init)?;
        if !self.host_agrees().at(Stage::Init)? {
            return Ok(None);
        }
        sys::send(ours.as_fd(), b"start", &[]).at(Stage::Init)?;
        match self.hear(&ours)? {
            Heard::Closed => {
                sys::send(self.control.as_fd(), &Report::Running.encode(), &[]).at(Stage::Init)?;
                Ok(Some(pid))
            }
            Heard::HostIsGone => Ok(None),
            other => Err(unexpected(other)),
        }
    }

    /// The next report of the server's process, before its program runs.
    fn hear(&mut self, server: &OwnedFd) -> Result<Heard, Failure> {
        loop {
            let waited = [Some(self.lifeline.as_fd()), Some(server.as_fd()), self.tripwires.listener()];
            let [lifeline, server_spoke, trial] = sys::wait_readable(waited, None).at(Stage::Fork)?;
            if lifeline.any {
                return Ok(Heard::HostIsGone);
            }
            if server_spoke.any {
                let mut bytes = vec![0; REPORT_BYTES];
                let (length, descriptors) = sys::receive(server.as_fd(), &mut bytes).at(Stage::Fork)?;
                if length == 0 {
                    return Ok(Heard::Closed);
                }
                let malformed = |_| Failure::new(Stage::Fork, &io::ErrorKind::InvalidData.into(), "malformed");
                return Ok(Heard::Report(Report::decode(&bytes[..length]).map_err(malformed)?, descriptors));
            }
            if trial.any {
                self.tripwires.answer_trial();
            }
        }
    }

    /// Waits for the host's word after it has seen the posture.
    fn host_agrees(&self) -> io::Result<bool> {
        loop {
            let waited = [Some(self.lifeline.as_fd()), Some(self.control.as_fd())];
            let [lifeline, control] = sys::wait_readable(waited, None)?;
            if lifeline.any {
                return Ok(false);
            }
            if control.any {
                let (length, _) = sys::receive(self.control.as_fd(), &mut [0; 16])?;
                return Ok(length > 0);
            }
        }
    }

    /// Reaps, forwards signals and answers tripwires until the server has ended or the host lets go.
    fn watch(&mut self, mut signals: File, server: i32) -> Result<Option<Report>, Failure> {
        loop {
            while let Some((pid, ended)) = sys::reap() {
                match ended {
                    sys::Ended::Exited(code) if pid == server => return Ok(Some(Report::Exited(code))),
                    sys::Ended::Signaled(signal) if pid == server => return Ok(Some(Report::Signaled(signal))),
                    sys::Ended::Exited(_) | sys::Ended::Signaled(_) => {}
                }
            }
            let waited = [
                Some(self.lifeline.as_fd()),
                Some(signals.as_fd()),
                Some(self.control.as_fd()),
                self.tripwires.listener(),
            ];
            let [lifeline, child, host, call] =
                sys::wait_readable(waited, self.tripwires.time_left()).at(Stage::Init)?;
            if lifeline.any || host.any && !forward(self.control, server).at(Stage::Init)? {
                return Ok(None);
            }
            if child.any {
                let _ = signals.read(&mut [0; 128]);
            }
            // One at a time, so that nothing else waits behind a flood of them.
            if call.any
                && let Some(last) = self.tripwires.answer()
            {
                sys::kill_all_others();
                return Ok(Some(last));
            }
            self.tripwires.tell(self.control.as_fd(), Tell::WhatIsDue);
        }
    }
}

/// The failure that was reported, or that nothing else was.
fn unexpected(heard: Heard) -> Failure {
    match heard {
        Heard::Report(Report::Failed { stage, errno, detail }, _) => Failure { stage, errno, detail },
        Heard::Report(..) | Heard::Closed | Heard::HostIsGone => {
            Failure::new(Stage::Fork, &io::ErrorKind::BrokenPipe.into(), "it died")
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
    let owner = File::open("/proc/self/ns/net").map(|namespace| sys::owning_user_namespace(namespace.as_fd()));
    let owner = match owner {
        Ok(Ok(_)) => "ours".to_owned(),
        Ok(Err(error)) if error.raw_os_error() == Some(EPERM) => "outside".to_owned(),
        Ok(Err(error)) | Err(error) => error.to_string(),
    };
    found.push(("netns_owner".to_owned(), owner));
    // With what runs around us, such as a container's filter; the server gets two more.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let filters = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"));
    found.push(("filters_around".to_owned(), filters.unwrap_or_default().trim().to_owned()));
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

/// More than the posture of the server's process takes.
const REPORT_BYTES: usize = 16 << 10;
const EPERM: i32 = 1;
