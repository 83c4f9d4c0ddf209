use std::io;
use std::path::PathBuf;

use crate::seal::{SealError, TreeDigest};

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system refused something.
    #[error("{doing} in the store")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A directory of the store belongs to somebody else, or its group or others can write to it.
    #[error("others than its user can write to {}", .path.display())]
    OthersCanWrite {
        /// Which one.
        path: PathBuf,
    },
    /// Somebody is adding an image, so nothing can be removed. Trying later helps.
    #[error("an image is being added to the store")]
    Busy,
}

impl StoreError {
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    pub(crate) fn errno(doing: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |error| Self::Io { doing, source: error.into() }
    }
}

/// Why a tree must not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// It is not in the store.
    #[error("{0} is not in the store")]
    Missing(TreeDigest),
    /// It is not what it was when it was unpacked.
    #[error("the tree {expected} has become {found}")]
    Changed {
        /// What it should be.
        expected: TreeDigest,
        /// What it is.
        found: TreeDigest,
    },
    /// It could not be measured: something was added to it that nobody unpacked, or it cannot be read.
    #[error("measuring the tree {tree}")]
    Measure {
        /// What it should be.
        tree: TreeDigest,
        /// Why not.
        source: SealError,
    },
    /// The file system refused something.
    #[error("opening the tree {tree}")]
    Io {
        /// Which tree.
        tree: TreeDigest,
        /// Why it failed.
        source: io::Error,
    },
}
