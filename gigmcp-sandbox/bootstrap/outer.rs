//! The host side: from the host's process to the fork that is PID 1.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::ExitCode;

use crate::protocol::{Plan, Report, Stage};
use crate::stage::Staged;
use crate::{At, Failure, identity, init, left_out, net, stage, standing, sys};

/// Runs with the control socket as standard input and nothing else of worth.
pub(crate) fn run() -> ExitCode {
    let control = match sys::take_control() {
        Ok(control) => control,
        Err(error) => {
            // It is still where it was. The host listens once it has sent its plan.
            let _ = sys::receive(io::stdin().as_fd(), &mut [0; 16]);
            let report = Failure::new(Stage::Plan, &error, "").report();
            let _ = sys::send(io::stdin().as_fd(), &report.encode(), &[]);
            return ExitCode::FAILURE;
        }
    };
    match build(&control) {
        Ok((sys::Forked::Child, inside)) => init::run(&control, inside),
        Ok((sys::Forked::Parent(init), inside)) => {
            drop(inside);
            if let Err(failure) = become_monitor(&control, init) {
                let _ = sys::send(control.as_fd(), &failure.report().encode(), &[]);
                return ExitCode::FAILURE;
            }
            drop(control);
            sys::wait_for(init);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            // If the host does not listen any more, there is nobody to tell.
            let _ = sys::send(control.as_fd(), &failure.report().encode(), &[]);
            ExitCode::FAILURE
        }
    }
}

/// What PID 1 works with.
pub(crate) struct Inside {
    pub(crate) plan: Plan,
    pub(crate) staged: Staged,
    pub(crate) lifeline: OwnedFd,
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

fn build(control: &OwnedFd) -> Result<(sys::Forked, Inside), Failure> {
    let Inherited { plan, lifeline, stdin, stdout, stderr, others } = receive(control).at(Stage::Plan)?;
    let plan = read_plan(&File::from(plan))?;
    // A real-time process could not join a group, and nothing here is worth more than the host's other work.
    standing::give_up()?;
    // First of all that is made, so that everything is counted.
    for index in &plan.cgroups {
        let group = others.get(*index as usize).ok_or(io::ErrorKind::NotFound.into());
        group.and_then(OwnedFd::try_clone).and_then(|group| File::from(group).write_all(b"0")).at(Stage::Cgroup)?;
    }
    prepare_process()?;
    let staged = make_namespaces(&plan, &others)?;
    drop(others);
    if !left_out("uts") {
        sys::set_host_name(b"sandbox").at(Stage::HostName)?;
    }
    net::make(&plan.network, control)?;
    // If the host's thread that starts sandboxes dies, so do we. It lives as long as the process.
    sys::process_control(sys::PR_SET_PDEATHSIG, sys::SIGKILL as u64).at(Stage::Init)?;
    let side = sys::fork_process().at(Stage::Init)?;
    Ok((side, Inside { plan, staged, lifeline, stdin, stdout, stderr }))
}

/// Becomes what is left here: a process that the host can wait for and kill. It needs no right, and the
/// server's program starts only when the host has heard that it has none.
fn become_monitor(control: &OwnedFd, init: i32) -> Result<(), Failure> {
    let handle = sys::open_process(init).at(Stage::Init)?;
    sys::process_control(sys::PR_SET_NO_NEW_PRIVS, 1).at(Stage::NoNewPrivs)?;
    sys::drop_capabilities().at(Stage::Capabilities)?;
    sys::send(control.as_fd(), &Report::Monitor.encode(), &[handle]).at(Stage::Init)
}

/// Leaves behind what a process gets from the one that started it.
fn prepare_process() -> Result<(), Failure> {
    // The control socket is standard input no longer.
    let null = File::options().read(true).write(true).open("/dev/null").at(Stage::Plan)?;
    sys::place(null.as_fd(), 0).at(Stage::Plan)?;
    sys::set_name(c"gigmcp-sandbox");
    // Kernels without keyrings have none to leak.
    if !left_out("keyring")
        && let Err(error) = sys::join_new_session_keyring()
        && error.raw_os_error() != Some(ENOSYS)
    {
        return Err(Failure::new(Stage::Keyring, &error, ""));
    }
    sys::new_session().at(Stage::Init)?;
    // Modes are given in full below.
    sys::set_umask(0);
    std::env::set_current_dir("/").at(Stage::Plan)?;
    inherit_memory_settings()
}

/// Builds the root and ends in namespaces of our own, as root of them. The process namespace is for
/// the next child.
///
/// Started as the host's root, the root is built before that user is given up, because what it
/// shows may lie under directories that only root may enter. Root of a container may not do that, and
/// goes on as the user it becomes.
fn make_namespaces(plan: &Plan, copied: &[OwnedFd]) -> Result<Staged, Failure> {
    let namespaces = [
        ("net", sys::CLONE_NEWNET),
        ("pid", sys::CLONE_NEWPID),
        ("ipc", sys::CLONE_NEWIPC),
        ("uts", sys::CLONE_NEWUTS),
        ("cgroup", sys::CLONE_NEWCGROUP),
    ];
    let chosen = namespaces.iter().filter(|(name, _)| !left_out(name));
    let all = chosen.fold(sys::CLONE_NEWUSER | sys::CLONE_NEWNS, |all, (_, flag)| all | flag);
    let mut staged = None;
    if let Some(uid) = plan.host_uid {
        match sys::enter_namespaces(sys::CLONE_NEWNS) {
            Ok(()) => staged = Some(stage::build(plan, copied, uid)?),
            Err(error) if error.raw_os_error() == Some(EPERM) => {}
            Err(error) => return Err(error).at(Stage::MountNamespace),
        }
        identity::become_unprivileged(uid)?;
    }
    let ids = sys::ids();
    sys::enter_namespaces(all).at(Stage::Namespaces)?;
    identity::map_root(ids)?;
    match staged {
        Some(staged) => Ok(staged),
        None => stage::build(plan, copied, 0),
    }
}

/// What everything inside inherits: it goes first when memory runs out, nobody dumps its memory, and none
/// of it is merged with the host's, whose own process may ask for that (`MemoryKSM=` of a unit).
/// Done here, because inside `/proc` is read-only.
fn inherit_memory_settings() -> Result<(), Failure> {
    let path = "/proc/self/oom_score_adj";
    let present = fs::read_to_string(path).at_with(Stage::Rlimits, path.as_bytes())?;
    // Less than the host's own would need a right.
    let adjusted = present.trim().parse().unwrap_or(OOM_SCORE_ADJ).max(OOM_SCORE_ADJ);
    fs::write(path, adjusted.to_string()).at_with(Stage::Rlimits, path.as_bytes())?;
    write_if_there("/proc/self/coredump_filter", "0").at(Stage::Rlimits)
}

/// Writes to a file of the kernel's, which has it only where it has the feature.
pub(crate) fn write_if_there(path: &str, value: &str) -> io::Result<()> {
    match fs::write(path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// What the host sends along, in this order.
struct Inherited {
    plan: OwnedFd,
    lifeline: OwnedFd,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    others: Vec<OwnedFd>,
}

fn receive(control: &OwnedFd) -> io::Result<Inherited> {
    let (_, received) = sys::receive(control.as_fd(), &mut [0; 16])?;
    let mut received = received.into_iter();
    let mut next = || received.next().ok_or(io::Error::from_raw_os_error(EBADF));
    Ok(Inherited {
        plan: next()?,
        lifeline: next()?,
        stdin: next()?,
        stdout: next()?,
        stderr: next()?,
        others: received.collect(),
    })
}

/// Reads the plan out of its memfd.
fn read_plan(file: &File) -> Result<Plan, Failure> {
    let length = file.metadata().at(Stage::Plan)?.len();
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0).at(Stage::Plan)?;
    Plan::decode(&bytes).map_err(|_| Failure::new(Stage::Plan, &io::Error::from_raw_os_error(0), "malformed"))
}

const OOM_SCORE_ADJ: i32 = 500;
const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const EBADF: i32 = 9;
