//! The server's process, from fork to its program.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::protocol::{Plan, Report, SERVER_ID, Stage};
use crate::{At, Failure, landlock, left_out, sys};

/// Confines the calling process and starts the server in it. Says to PID 1, over a socket that the
/// program does not inherit, what was enforced, or which step failed.
pub(crate) fn start(plan: &Plan, stdio: [OwnedFd; 3], init: OwnedFd) -> ! {
    let Err(failure) = confine_and_start(plan, stdio, &init);
    let _ = sys::send(init.as_fd(), &failure.report().encode(), &[]);
    sys::exit_now(1)
}

fn confine_and_start(plan: &Plan, stdio: [OwnedFd; 3], init: &OwnedFd) -> Result<std::convert::Infallible, Failure> {
    sys::new_session().at(Stage::Fork)?;
    sys::set_umask(0o022);
    for (stream, number) in stdio.iter().zip(0..) {
        sys::place(stream.as_fd(), number).at(Stage::Fork)?;
    }
    drop(stdio);
    std::env::set_current_dir(std::ffi::OsStr::from_bytes(&plan.working_dir))
        .at_with(Stage::WorkingDir, &plan.working_dir)?;
    let mut found = Vec::new();
    if !left_out("namespace limits") && !left_out("inner user namespace") {
        found.push(("nested_userns".to_owned(), refuse_nested_user_namespace()?));
    }
    for (resource, value) in &plan.rlimits {
        let resource = u32::try_from(*resource).unwrap_or(u32::MAX);
        let detail = format!("{resource}={value}");
        // Never more than the host's own hard limit, which we could not raise.
        let allowed = sys::rlimit(resource).at_with(Stage::Rlimits, detail.as_bytes())?;
        sys::set_rlimit(resource, allowed.min(*value)).at_with(Stage::Rlimits, detail.as_bytes())?;
        let now = sys::rlimit(resource).at_with(Stage::Rlimits, detail.as_bytes())?;
        found.push((format!("rlimit.{resource}"), now.to_string()));
    }
    if !left_out("capabilities") && !left_out("inner user namespace") {
        check_rights()?;
    }
    let abi = match left_out("landlock") {
        true => None,
        false => landlock::apply(&plan.writable, plan.network.tcp()).at(Stage::Landlock)?,
    };
    found.push(("landlock".to_owned(), abi.unwrap_or(0).to_string()));
    sys::reset_signals().at(Stage::Fork)?;
    // Opened before the filters, read after them: what the kernel says is in force.
    let status = File::open("/proc/self/status").at(Stage::Seccomp)?;
    if let Some(refused) = install_filters(plan, init)? {
        found.push(("tripwire".to_owned(), refused.to_string()));
    }
    found.push(("status".to_owned(), io::read_to_string(status).at(Stage::Seccomp)?));
    sys::send(init.as_fd(), &Report::Posture(found).encode(), &[]).at(Stage::Exec)?;
    // The host looks at it first; if it does not agree, the socket just ends.
    if sys::receive(init.as_fd(), &mut [0; 16]).at(Stage::Exec)?.0 == 0 {
        return Err(Failure::new(Stage::Exec, &io::ErrorKind::UnexpectedEof.into(), "the host does not agree"));
    }
    sys::close_on_exec_from(3).at(Stage::Exec)?;
    Err(exec(plan))
}

/// Installs the seccomp programs. PID 1 gets the listener of the last, and the answer is its error to
/// a call that waits for it: the only proof that it listens is to try.
fn install_filters(plan: &Plan, init: &OwnedFd) -> Result<Option<i32>, Failure> {
    let telling = usize::from(!plan.tripwires.is_empty());
    let (silent, telling) = plan.filters.split_at(plan.filters.len().saturating_sub(telling));
    for filter in silent {
        sys::install_filter(filter).at(Stage::Seccomp)?;
    }
    let Some(telling) = telling.first() else { return Ok(None) };
    let Some(listener) = sys::install_filter_that_tells(telling).at(Stage::Seccomp)? else { return Ok(None) };
    sys::send(init.as_fd(), &Report::Listener.encode(), &[listener]).at(Stage::Seccomp)?;
    Ok(Some(sys::try_tripwire()))
}

/// Tries to make a user namespace, which must fail. The only proof is to try.
fn refuse_nested_user_namespace() -> Result<String, Failure> {
    match sys::enter_namespaces(sys::CLONE_NEWUSER) {
        Err(error) => Ok(error.raw_os_error().unwrap_or(0).to_string()),
        Ok(()) => {
            let error = io::Error::from_raw_os_error(0);
            Err(Failure::new(Stage::NestedUserNamespace, &error, "one could be made"))
        }
    }
}

/// Checks that PID 1 left no capability, and that the identity is as it must be.
fn check_rights() -> Result<(), Failure> {
    let status = fs::read_to_string("/proc/self/status").at(Stage::Capabilities)?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim().to_owned();
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        if field(set).bytes().any(|digit| digit != b'0') {
            let error = io::Error::from_raw_os_error(EPERM);
            return Err(Failure::new(Stage::Capabilities, &error, format!("{set} is not empty")));
        }
    }
    if sys::ids() != (SERVER_ID, SERVER_ID) {
        let error = io::Error::from_raw_os_error(EPERM);
        return Err(Failure::new(Stage::Capabilities, &error, "wrong user"));
    }
    Ok(())
}

/// Replaces the process with the server's program. Returns only the failure.
fn exec(plan: &Plan) -> Failure {
    let Some(name) = plan.command.first() else {
        return Failure::new(Stage::Exec, &io::ErrorKind::InvalidInput.into(), "empty command");
    };
    let mut error = io::Error::from_raw_os_error(ENOENT);
    for path in candidates(name, &plan.environment) {
        let failed = sys::execute(&path, &plan.command, &plan.environment);
        // As in a shell: a program that may not be run says more than one that is not there.
        if error.raw_os_error() == Some(ENOENT) {
            error = failed;
        }
    }
    Failure::new(Stage::Exec, &error, String::from_utf8_lossy(name))
}

fn candidates(name: &[u8], environment: &[Vec<u8>]) -> Vec<Vec<u8>> {
    if name.contains(&b'/') {
        return vec![name.to_vec()];
    }
    let path = environment.iter().find_map(|item| item.strip_prefix(b"PATH="));
    path.unwrap_or(b"/usr/local/bin:/usr/bin:/bin")
        .split(|byte| *byte == b':')
        .filter(|dir| dir.starts_with(b"/"))
        .map(|dir| Path::new(std::ffi::OsStr::from_bytes(dir)).join(std::ffi::OsStr::from_bytes(name)))
        .map(|path| path.into_os_string().as_bytes().to_vec())
        .collect()
}

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
