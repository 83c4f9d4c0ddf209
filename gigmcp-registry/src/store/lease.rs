//! Trees that are in use.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{LeaseError, Store};
use crate::extract::open_directory;
use crate::lock::Locked;
use crate::seal::{TreeDigest, fingerprint, measure};

/// A tree that stays while this is held, by whichever process, and was what it should be when the lease was given.
#[derive(Debug)]
pub struct Lease {
    tree: TreeDigest,
    rootfs: PathBuf,
    _lock: Locked,
}

impl Lease {
    /// The tree's directory. A sandbox may show it, and nobody may write there.
    #[must_use]
    pub fn rootfs(&self) -> &Path {
        &self.rootfs
    }

    /// What it is.
    #[must_use]
    pub fn tree(&self) -> TreeDigest {
        self.tree
    }
}

impl Store {
    /// Takes a lease of a tree, to be held as long as it runs. It is measured first: the first time in this process by its
    /// whole content, later by what the file system says of every entry of it, as long as that stays as it was.
    ///
    /// This reads files, so it blocks.
    ///
    /// # Errors
    /// [`LeaseError`]: it is not there, or has become something else.
    pub fn lease(&self, tree: TreeDigest) -> Result<Lease, LeaseError> {
        let failed = |source: io::Error| LeaseError::Io { tree, source };
        let path = self.0.places.tree(&tree.0);
        let lock = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LeaseError::Missing(tree)),
            opened => opened.map_err(failed)?,
        };
        // Only who removes a tree locks it alone.
        let lock = Locked::try_shared(lock).map_err(failed)?.ok_or(LeaseError::Missing(tree))?;
        match fs::metadata(&path) {
            Ok(found) if found.ino() == lock.metadata().map_err(failed)?.ino() => {}
            _ => return Err(LeaseError::Missing(tree)),
        }
        let rootfs = path.join("rootfs");
        let root = open_directory(&rootfs).map_err(|error| failed(error.into()))?;
        self.check(tree, &root)?;
        Ok(Lease { tree, rootfs, _lock: lock })
    }

    fn check(&self, tree: TreeDigest, root: &OwnedFd) -> Result<(), LeaseError> {
        // Before the content is read: what changes from here on changes the next fingerprint.
        let seen =
            fingerprint(root, SystemTime::now()).map_err(|error| LeaseError::Io { tree, source: error.into() })?;
        let measured = || self.0.measured.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if seen.is_some() && measured().get(&tree) == seen.as_ref() {
            return Ok(());
        }
        let found = measure(root).map_err(|source| LeaseError::Measure { tree, source })?;
        if found != tree {
            return Err(LeaseError::Changed { expected: tree, found });
        }
        if let Some(seen) = seen {
            measured().insert(tree, seen);
        }
        Ok(())
    }
}
