//! Removes what nobody needs.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Record, Store, StoreError};
use crate::digest::Digest;
use crate::lock::Locked;
use crate::seal::TreeDigest;

/// What garbage collection leaves.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Keep {
    /// Trees that will be used again: those of all servers that are installed. What is leased stays anyway.
    pub trees: HashSet<TreeDigest>,
    /// How long the beginnings of downloads stay; not at all by default.
    pub partial: Duration,
}

impl Keep {
    /// Leaves these trees, and no beginnings of downloads.
    pub fn trees(trees: impl IntoIterator<Item = TreeDigest>) -> Self {
        Self { trees: trees.into_iter().collect(), ..Self::default() }
    }
}

/// What was removed, and what was not.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Collected {
    /// Trees that were removed.
    pub trees: u64,
    /// Blobs that were removed, and beginnings of some.
    pub blobs: u64,
    /// Trees that nothing is known to need, but somebody holds a lease of.
    pub leased: u64,
}

impl Store {
    /// Removes trees that are neither kept nor leased, blobs that no other image was made from, and what was left half done.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while anybody adds an image, and [`StoreError::Io`].
    pub fn collect_garbage(&self, keep: &Keep) -> Result<Collected, StoreError> {
        let _alone = self.0.places.lock_alone()?.ok_or(StoreError::Busy)?;
        let mut collected = Collected::default();
        self.collect_trees(keep, &mut collected)?;
        let needed = self.collect_records()?;
        self.collect_blobs(&needed, &mut collected)?;
        self.collect_partial(keep.partial, &mut collected)?;
        self.0.places.sweep()?;
        Ok(collected)
    }

    fn collect_trees(&self, keep: &Keep, collected: &mut Collected) -> Result<(), StoreError> {
        for name in self.names("trees")? {
            let path = self.0.places.directory("trees").join(&name);
            let kept = format!("sha256:{name}").parse().is_ok_and(|tree| keep.trees.contains(&tree));
            if kept {
                continue;
            }
            let tree = File::open(&path).map_err(StoreError::io("opening a tree"))?;
            let Some(_alone) = Locked::try_alone(tree).map_err(StoreError::io("locking a tree"))? else {
                collected.leased += 1;
                continue;
            };
            // Under its name it is whole until it is gone. The lock ends before the sweep that removes it.
            fs::rename(&path, self.0.places.fresh()?).map_err(StoreError::io("removing a tree"))?;
            collected.trees += 1;
        }
        Ok(())
    }

    /// Removes records of trees that are not there, and says which blobs the others were made from.
    fn collect_records(&self) -> Result<HashSet<Digest>, StoreError> {
        let mut needed = HashSet::new();
        for name in self.names("images")? {
            let path = self.0.places.image(&name);
            let content = fs::read(&path).map_err(StoreError::io("reading a record"))?;
            match serde_json::from_slice::<Record>(&content) {
                Ok(record) if self.0.places.tree(&record.tree.0).exists() => needed.extend(record.blobs),
                _ => fs::remove_file(&path).map_err(StoreError::io("removing a record"))?,
            }
        }
        Ok(needed)
    }

    fn collect_blobs(&self, needed: &HashSet<Digest>, collected: &mut Collected) -> Result<(), StoreError> {
        for name in self.names("blobs")? {
            if !format!("sha256:{name}").parse().is_ok_and(|digest| needed.contains(&digest)) {
                remove(&self.0.places.directory("blobs").join(name))?;
                collected.blobs += 1;
            }
        }
        Ok(())
    }

    fn collect_partial(&self, age: Duration, collected: &mut Collected) -> Result<(), StoreError> {
        let now = SystemTime::now();
        for name in self.names("partial")? {
            let path = self.0.places.directory("partial").join(name);
            let modified = fs::metadata(&path).and_then(|found| found.modified()).map_err(StoreError::io("reading"))?;
            if now.duration_since(modified).is_ok_and(|found| found >= age) {
                remove(&path)?;
                collected.blobs += 1;
            }
        }
        Ok(())
    }

    fn names(&self, directory: &str) -> Result<Vec<String>, StoreError> {
        let failed = || StoreError::io("listing");
        let entries = fs::read_dir(self.0.places.directory(directory)).map_err(failed())?;
        // Names that are no text are none of ours.
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
        let names = names.collect::<Result<Vec<_>, _>>().map_err(failed())?;
        Ok(names.into_iter().flatten().collect())
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    fs::remove_file(path).map_err(StoreError::io("removing a blob"))
}
