//! Backups: one file with everything in the database, of either kind, and the executables of its servers.
//!
//! It is text, a JSON document a line: which version wrote it, then the tables with their rows and the last ids that were
//! given, then the executables in parts, and at the end the SHA-256 of all lines before. Secrets are in it as the database
//! has them, sealed; the master key is not.

mod executables;
mod file;
mod format;
mod read;
mod write;

use std::{io, path::PathBuf, thread};

pub(crate) use executables::Staged;
pub(crate) use file::{NewFile, Older};
pub(crate) use read::{Restored, read};
pub(crate) use write::{Written, write};

use crate::store::StoreError;

/// Why there is no backup, or nothing could be restored from one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BackupError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{} is there already; choose another name, or overwrite it with --force", .path.display())]
    Exists { path: PathBuf },
    #[error("the backup {} cannot be written", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the backup {} cannot be read", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a backup of gigmcp", .path.display())]
    NotOne { path: PathBuf },
    #[error("the backup {} was written by a newer gigmcp ({by}); restore it with that version", .path.display())]
    Newer { path: PathBuf, by: String },
    #[error("the backup {} is damaged: {what}; nothing was restored", .path.display())]
    Damaged { path: PathBuf, what: &'static str },
    #[error("the backup {} does not hold what a database holds; nothing was restored", .path.display())]
    Unlike { path: PathBuf, source: StoreError },
    #[error("an executable cannot be kept in {}", .path.display())]
    Executable { path: PathBuf, source: io::Error },
}

/// Runs what blocks beside the caller's runtime, where nothing may block on another one.
pub(crate) fn beside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join()).expect("it does not panic")
}

#[cfg(test)]
pub(crate) mod tests;
