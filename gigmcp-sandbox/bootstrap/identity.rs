//! Who the processes of the sandbox are: on the host, and inside.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use crate::protocol::{SERVER_ID, Stage};
use crate::{At, Failure, left_out, sys};

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
pub(crate) fn map_root((uid, gid): (u32, u32)) -> Result<(), Failure> {
    let proc = open_proc().at(Stage::UserMap)?;
    write_maps(&proc, (0, uid), (0, gid))
}

/// Enters the user namespace of the server, which owns none of the others. From here on no process of
/// the sandbox has a right over them.
///
/// `host_proc` is the host's `/proc`: our own is read-only by now.
pub(crate) fn enter_inner(host_proc: &OwnedFd) -> Result<(), Failure> {
    if !left_out("inner user namespace") {
        sys::enter_namespaces(sys::CLONE_NEWUSER).at(Stage::InnerUserNamespace)?;
        write_maps(host_proc, (SERVER_ID, 0), (SERVER_ID, 0))?;
    }
    #[cfg(leaves_out_layers)]
    if left_out("capabilities") {
        return sys::keep_capabilities().at(Stage::Capabilities);
    }
    // No right ever comes back: not by becoming uid 0, not by keeping, not by raising.
    sys::process_control(sys::PR_SET_SECUREBITS, SECUREBITS).at(Stage::Capabilities)?;
    sys::drop_capabilities().at(Stage::Capabilities)
}

/// The directory of processes, to be used through the descriptor whatever is mounted later.
pub(crate) fn open_proc() -> io::Result<OwnedFd> {
    sys::open_at(None, b"/proc", sys::O_PATH | sys::O_DIRECTORY, 0, 0)
}

/// Each map has one line of one id: what is inside, what it is outside.
fn write_maps(proc: &OwnedFd, uid: (u32, u32), gid: (u32, u32)) -> Result<(), Failure> {
    let write = |name: &str, content: String| {
        let opened = sys::open_at(Some(proc.as_fd()), format!("self/{name}").as_bytes(), sys::O_WRONLY, 0, 0);
        opened.and_then(|file| File::from(file).write_all(content.as_bytes())).at_with(Stage::UserMap, name.as_bytes())
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{} {} 1", uid.0, uid.1))?;
    write("gid_map", format!("{} {} 1", gid.0, gid.1))
}

/// `NOROOT`, `NO_SETUID_FIXUP`, `NO_CAP_AMBIENT_RAISE`, each with its lock, and the lock of `KEEP_CAPS`.
const SECUREBITS: u64 = 0xEF;
