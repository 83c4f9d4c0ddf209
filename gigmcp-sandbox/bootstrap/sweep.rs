//! Removes the control groups of a host process that was killed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use crate::sys;

/// Waits until the host process is gone, then removes the groups that are named after it.
///
/// Arguments: what the names start with, then the directories to look in. Standard input is a pipe
/// whose other end only the host process has.
pub(crate) fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(prefix) = arguments.next().filter(|prefix| !prefix.is_empty()) else { return ExitCode::from(2) };
    let dirs: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    // Away from the terminal's signals, and from descriptors an embedder has left open for children.
    // It is a group leader already where the host process makes its children that.
    let _ = sys::new_session();
    sys::set_name(c"gigmcp-sweeper");
    let Ok(lifeline) = sys::take_control() else { return ExitCode::FAILURE };
    // Nobody writes; an error other than an interruption does not go away either.
    let mut lifeline = File::from(lifeline);
    while matches!(lifeline.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::Interrupted) {}
    let deadline = Instant::now() + PATIENCE;
    while groups_left(&dirs, &prefix) && Instant::now() < deadline {
        thread::sleep(PAUSE);
    }
    ExitCode::SUCCESS
}

/// Tries to remove each group once. Processes in them are ending, as their lifeline is cut.
fn groups_left(dirs: &[PathBuf], prefix: &OsString) -> bool {
    let mut left = false;
    for entry in dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten() {
        if entry.file_name().as_bytes().starts_with(prefix.as_bytes()) && fs::remove_dir(entry.path()).is_err() {
            // What shares little processor time takes long to end.
            let _ = fs::write(entry.path().join("cpu.cfs_quota_us"), "-1");
            let _ = fs::write(entry.path().join("cpu.max"), "max");
            // Only in cgroup v2, and since Linux 5.14.
            let _ = fs::write(entry.path().join("cgroup.kill"), "1");
            left = true;
        }
    }
    left
}

/// Longer than the end of a process takes on a machine that swaps.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);
