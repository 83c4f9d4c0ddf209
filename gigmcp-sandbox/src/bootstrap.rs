//! The embedded bootstrap, in a sealed memfd it is started from.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::made_once::MadeOnce;

/// What starts a sandbox.
pub(crate) fn command() -> io::Result<Command> {
    let mut command = Command::new(program()?);
    command.arg0("gigmcp-sandbox").arg("outer");
    Ok(command)
}

/// A path that names the bootstrap's program in this process and in a child just forked.
pub(crate) fn program() -> io::Result<String> {
    static PROGRAM: MadeOnce<OwnedFd> = MadeOnce::new();
    let program = PROGRAM.get_or_make(|| sealed("gigmcp-bootstrap", BYTES, MemfdFlags::EXEC))?;
    Ok(format!("/proc/self/fd/{}", program.as_raw_fd()))
}

/// A memfd with this content that nobody can change any more.
pub(crate) fn sealed(name: &str, content: &[u8], flags: MemfdFlags) -> io::Result<OwnedFd> {
    let base = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = match memfd_create(name, base | flags) {
        // Before Linux 6.3 there were no flags about executing, and every memfd could be.
        Err(rustix::io::Errno::INVAL) => memfd_create(name, base)?,
        made => made?,
    };
    let mut file = File::from(made);
    file.write_all(content)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(file.as_fd(), seals)?;
    Ok(file.into())
}

const BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/gigmcp-bootstrap"));
