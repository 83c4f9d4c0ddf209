//! Trees on the way into the store.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};
use rustix::io::Errno;

use super::places::{is_free, sync_parent};
use super::{Store, StoreError};
use crate::extract::open_directory;
use crate::remove::remove_all;
use crate::seal::{TreeDigest, measure};

/// A directory for a tree that is unpacked; removed, unless it is published.
#[derive(Debug)]
pub(crate) struct Staging {
    store: Store,
    path: PathBuf,
}

impl Store {
    pub(crate) fn staging(&self) -> Result<Staging, StoreError> {
        let path = self.0.places.fresh()?;
        let staging = Staging { store: self.clone(), path };
        let make = |path: &Path| fs::DirBuilder::new().mode(0o755).create(path);
        make(&staging.path).and_then(|()| make(&staging.rootfs())).map_err(StoreError::io("making a directory"))?;
        Ok(staging)
    }
}

impl Staging {
    /// Where the tree goes. A directory below the one that is moved, because moving needs the right to write it.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    /// Puts a sealed tree under its name. If it is there already, and is what it should be, that one stays.
    pub(crate) fn publish(self, tree: TreeDigest) -> Result<(), StoreError> {
        let failed = || StoreError::errno("publishing a tree");
        let to = self.store.0.places.tree(&tree.0);
        let staged = open_directory(&self.path).map_err(failed())?;
        // Everything at once, instead of every file by itself.
        syncfs(&staged).map_err(failed())?;
        match renameat_with(CWD, &self.path, CWD, &to, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) if is_whole(&to, tree) => return Ok(()),
            // What was damaged goes into `staging`, and away from there unless it is leased.
            Err(Errno::EXIST) => renameat_with(CWD, &self.path, CWD, &to, RenameFlags::EXCHANGE).map_err(failed())?,
            moved => moved.map_err(failed())?,
        }
        sync_parent(&to).map_err(StoreError::io("publishing a tree"))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else { return };
        if fs::File::open(&self.path).is_ok_and(|tree| !is_free(tree)) {
            return;
        }
        // What cannot be removed now is removed when the store is opened next.
        let _ = open_directory(parent).and_then(|parent| remove_all(parent, name.as_encoded_bytes()));
    }
}

fn is_whole(path: &Path, tree: TreeDigest) -> bool {
    let root = open_directory(&path.join("rootfs"));
    root.is_ok_and(|root| measure(&root).is_ok_and(|found| found == tree))
}
