//! Images from layouts, archives and registries, into a store.

mod credentials;
mod from_layout;
mod image;
mod killed;
mod leases;
mod lying;
pub(crate) mod real;
mod server;

use std::fs;
use std::path::{Path, PathBuf};

use gigmcp_registry::{Digest, Installer, Platform, Store};
use tempfile::TempDir;

/// A directory with a store in it, and room for more.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    pub(crate) fn installer(&self) -> Installer {
        Installer::new(self.store.clone(), Platform::Amd64)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What is in a directory of the store.
    pub(crate) fn names(&self, directory: &str) -> Vec<String> {
        names(&self.path("store").join(directory))
    }

    /// Nothing was installed, and nothing is left that takes room.
    pub(crate) fn must_be_empty(&self, case: &str) {
        for directory in ["trees", "images", "staging", "partial"] {
            assert_eq!(self.names(directory), [""; 0], "{case}: {directory}");
        }
        for name in self.names("blobs") {
            let content = fs::read(self.path("store/blobs").join(&name)).unwrap();
            assert_eq!(Digest::of(&content).to_string(), format!("sha256:{name}"), "{case}");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        crate::extract::make_writable(&self.path("store"));
    }
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}
