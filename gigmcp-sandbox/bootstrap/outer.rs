//! The host side: from the host's process to bubblewrap, in one process.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::ExitCode;

use crate::protocol::{ARGS_FD, CONTROL_FD, LIFELINE_FD, PLAN_FD, Plan, Report, STDIN_FD, STDOUT_FD, Stage};
use crate::{At, Failure, identity, net, stage, sys};

/// Runs with the control socket as standard input and nothing else of worth.
pub(crate) fn run() -> ExitCode {
    let control = match sys::inherit([0]) {
        Ok([control]) => control,
        Err(error) => {
            // It is still where it was. The host listens once it has sent its plan.
            let _ = sys::receive(io::stdin().as_fd(), &mut [0; 16]);
            let report = Failure::new(Stage::Plan, &error, "").report();
            let _ = sys::send(io::stdin().as_fd(), &report.encode(), &[]);
            return ExitCode::FAILURE;
        }
    };
    let Err(failure) = build(&control);
    // If the host does not listen any more, there is nobody to tell.
    let _ = sys::send(control.as_fd(), &failure.report().encode(), &[]);
    ExitCode::FAILURE
}

/// What the host sends along, in this order.
struct Inherited {
    plan: File,
    lifeline: OwnedFd,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    copied: Vec<OwnedFd>,
}

fn build(control: &OwnedFd) -> Result<std::convert::Infallible, Failure> {
    let inherited = receive(control).at(Stage::Plan)?;
    let plan = read_plan(&inherited.plan)?;
    // Kernels without keyrings have none to leak.
    if let Err(error) = sys::join_new_session_keyring()
        && error.raw_os_error() != Some(ENOSYS)
    {
        return Err(Failure::new(Stage::Keyring, &error, ""));
    }
    sys::new_session();
    std::env::set_current_dir("/").at(Stage::Plan)?;
    inherit_memory_settings()?;

    let bubblewrap = sys::open_at(None, &plan.bubblewrap, sys::O_PATH, 0, 0)
        .and_then(sys::move_up)
        .at_with(Stage::Bubblewrap, &plan.bubblewrap)?;
    let stage = make_namespaces(&plan, &inherited.copied)?;
    limit_inotify()?;
    net::loopback_up()?;
    let listeners = if plan.handoff {
        net::route_everything_here()?;
        net::open_listeners()?
    } else {
        Vec::new()
    };
    sys::send(control.as_fd(), &Report::Network.encode(), &listeners).at(Stage::Network)?;
    drop(listeners);

    let args = write_args(&plan, stage).at(Stage::Bubblewrap)?;
    sys::send(control.as_fd(), &Report::Bubblewrap.encode(), &[]).at(Stage::Bubblewrap)?;
    let error = become_bubblewrap(control, &inherited, (&plan.bubblewrap[..], &bubblewrap), &args);
    Err(Failure::new(Stage::Bubblewrap, &error, String::from_utf8_lossy(&plan.bubblewrap)))
}

/// Builds the root and ends in user, mount and network namespaces of our own, as root of them.
///
/// Started as the host's root, the root is built before that user is given up, because what it
/// shows may lie under directories that only root may enter.
fn make_namespaces(plan: &Plan, copied: &[OwnedFd]) -> Result<&'static str, Failure> {
    let all = sys::CLONE_NEWUSER | sys::CLONE_NEWNS | sys::CLONE_NEWNET;
    match plan.host_uid {
        Some(uid) => {
            sys::enter_namespaces(sys::CLONE_NEWNS).at(Stage::MountNamespace)?;
            let stage = stage::build(&plan.steps, copied, uid)?;
            identity::become_unprivileged(uid)?;
            sys::enter_namespaces(all).at(Stage::UserNamespace)?;
            identity::map_single_user((uid, uid))?;
            Ok(stage)
        }
        None => {
            let ids = sys::ids();
            sys::enter_namespaces(all).at(Stage::UserNamespace)?;
            identity::map_single_user(ids)?;
            stage::build(&plan.steps, copied, 0)
        }
    }
}

/// What everything inside inherits: it goes first when memory runs out, and nobody dumps its memory.
/// Written here, because inside `/proc` is read-only.
fn inherit_memory_settings() -> Result<(), Failure> {
    let path = "/proc/self/oom_score_adj";
    let present = fs::read_to_string(path).at_with(Stage::Rlimits, path.as_bytes())?;
    // Less than the host's own would need a right.
    let adjusted = present.trim().parse().unwrap_or(OOM_SCORE_ADJ).max(OOM_SCORE_ADJ);
    fs::write(path, adjusted.to_string()).at_with(Stage::Rlimits, path.as_bytes())?;
    write_if_there("/proc/self/coredump_filter", "0")
}

/// Bounds what is otherwise counted for the host user as a whole. These are limits of the user
/// namespace we are root of, and hold for those below it.
fn limit_inotify() -> Result<(), Failure> {
    write_if_there("/proc/sys/user/max_inotify_instances", INOTIFY_INSTANCES)?;
    write_if_there("/proc/sys/user/max_inotify_watches", INOTIFY_WATCHES)
}

/// Writes to a file of the kernel's, which has it only where it has the feature.
fn write_if_there(path: &str, value: &str) -> Result<(), Failure> {
    match fs::write(path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.at_with(Stage::Rlimits, path.as_bytes()),
    }
}

fn receive(control: &OwnedFd) -> io::Result<Inherited> {
    let (_, received) = sys::receive(control.as_fd(), &mut [0; 16])?;
    let mut received = received.into_iter().map(sys::move_up).collect::<io::Result<Vec<_>>>()?.into_iter();
    let mut next = || received.next().ok_or(io::Error::from_raw_os_error(EBADF));
    Ok(Inherited {
        plan: File::from(next()?),
        lifeline: next()?,
        stdin: next()?,
        stdout: next()?,
        stderr: next()?,
        copied: received.collect(),
    })
}

/// Reads the plan out of its memfd without moving the offset, which init shares.
pub(crate) fn read_plan(file: &File) -> Result<Plan, Failure> {
    let length = file.metadata().at(Stage::Plan)?.len();
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0).at(Stage::Plan)?;
    Plan::decode(&bytes).map_err(|_| Failure::new(Stage::Plan, &io::Error::from_raw_os_error(0), "malformed"))
}

/// Bubblewrap's arguments, NUL-terminated each, as `--args` reads them.
fn write_args(plan: &Plan, stage: &str) -> io::Result<OwnedFd> {
    let mut file = sys::memory_file(c"args")?;
    for argument in &plan.bubblewrap_args {
        match argument.strip_prefix(b"@") {
            Some(below) => file.write_all(&[stage.as_bytes(), below].concat())?,
            None => file.write_all(argument)?,
        }
        file.write_all(&[0])?;
    }
    file.rewind()?;
    sys::move_up(file.into())
}

fn become_bubblewrap(
    control: &OwnedFd,
    inherited: &Inherited,
    (path, bubblewrap): (&[u8], &OwnedFd),
    args: &OwnedFd,
) -> io::Error {
    let null = File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
    let null = match null.and_then(sys::move_up) {
        Ok(null) => null,
        Err(error) => return error,
    };
    let placed = [
        (null.as_fd(), 0),
        (null.as_fd(), 1),
        (inherited.stderr.as_fd(), 2),
        (control.as_fd(), CONTROL_FD),
        (inherited.lifeline.as_fd(), LIFELINE_FD),
        (inherited.plan.as_fd(), PLAN_FD),
        (args.as_fd(), ARGS_FD),
        (inherited.stdin.as_fd(), STDIN_FD),
        (inherited.stdout.as_fd(), STDOUT_FD),
    ];
    for (fd, number) in placed {
        if let Err(error) = sys::place(fd, number) {
            return error;
        }
    }
    let argv = [&b"bwrap"[..], b"--args", b"6", b"--", b"/.gig/init", b"init"].map(<[u8]>::to_vec);
    // By its path, so that it goes by its name in process lists; by the descriptor where our tmpfs
    // covers the path.
    let error = sys::execute(path, &argv, &[]);
    match error.kind() {
        io::ErrorKind::NotFound => {
            let path = format!("/proc/self/fd/{}", bubblewrap.as_raw_fd());
            sys::execute(path.as_bytes(), &argv, &[])
        }
        _ => error,
    }
}

const OOM_SCORE_ADJ: i32 = 500;
/// Of the 128 that a user has by default.
const INOTIFY_INSTANCES: &str = "32";
const INOTIFY_WATCHES: &str = "8192";
const ENOSYS: i32 = 38;
const EBADF: i32 = 9;
