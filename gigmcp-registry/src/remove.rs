//! Removes trees, read-only ones too.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Mode, OFlags, fchmod, openat, unlinkat};
use rustix::io::Errno;

use crate::extract::names;

/// Removes what is called `name` in `dir`, with everything below, following nothing. It is no error if there is nothing.
pub(crate) fn remove_all(dir: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    match unlinkat(&dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let below = openat(&dir, name, flags, Mode::empty())?;
    fchmod(&below, Mode::RWXU)?;
    names(&below)?.iter().try_for_each(|name| remove_all(&below, name))?;
    unlinkat(&dir, name, AtFlags::REMOVEDIR)
}
