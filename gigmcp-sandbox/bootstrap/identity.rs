//! Who the processes of the sandbox are on the host.

use std::fs;
use std::io;

use crate::protocol::Stage;
use crate::{At, Failure, sys};

/// Gives up the host's root user for good.
///
/// The kernel marks a process that changed its user as not dumpable, and then only the host's
/// root may write its user map; the old memory image is ours anyway, so we undo that.
pub(crate) fn become_unprivileged(uid: u32) -> Result<(), Failure> {
    sys::become_user(uid).at(Stage::DropUser)?;
    if sys::ids() != (uid, uid) || uid == 0 {
        return Err(Failure::new(Stage::DropUser, &io::Error::from_raw_os_error(1), "still root"));
    }
    sys::process_control(sys::PR_SET_DUMPABLE, 1).at(Stage::DropUser).map(drop)
}

/// Maps uid and gid 0 of the new user namespace to the ids we had, and nothing else.
pub(crate) fn map_single_user((uid, gid): (u32, u32)) -> Result<(), Failure> {
    fs::write("/proc/self/setgroups", "deny").at(Stage::UserMap)?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).at(Stage::UserMap)?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).at(Stage::UserMap)
}
