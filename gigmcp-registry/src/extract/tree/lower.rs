//! What a layer removes of those below it.

use std::collections::HashMap;

use rustix::fs::{FileType, Mode, OFlags, openat};

use super::super::error::Fault;
use super::super::names;
use super::{Tree, kind};
use crate::tar::EntryPath;

/// The paths that a layer has itself, the directories on the way to them, and those it has cleared: by name, and below each the
/// same. Written out, the paths of a few thousand entries could fill the memory.
#[derive(Default)]
pub(in super::super) struct Touched {
    below: HashMap<Box<[u8]>, Self>,
    is_own: bool,
    is_cleared: bool,
}

impl Touched {
    pub(in super::super) fn add(&mut self, path: &EntryPath) {
        let mut at = self;
        for part in parts(path.as_bytes()) {
            at = at.below.entry(part.into()).or_default();
            at.is_own = true;
        }
    }

    fn contains(&self, path: &[u8]) -> bool {
        parts(path).try_fold(self, |at, part| at.below.get(part)).is_some_and(|found| found.is_own)
    }

    /// Whether a directory is to be cleared for the first time. Once is enough, because what comes later is the layer's own;
    /// each time would take as long as the directory is large.
    fn clear(&mut self, path: &[u8]) -> bool {
        let found = parts(path).fold(self, |at, part| at.below.entry(part.into()).or_default());
        !std::mem::replace(&mut found.is_cleared, true)
    }
}

fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
}

impl Tree {
    /// Removes what is at `path`, but nothing of the layer's own, in whichever order they come.
    pub(in super::super) fn remove_lower(&mut self, path: &[u8], own: &mut Touched) -> Result<(), Fault> {
        let at = path.iter().rposition(|byte| *byte == b'/');
        let (dir, name) = at.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
        let Some(parent) = self.existing(dir)? else { return Ok(()) };
        if !own.contains(path) {
            return self.remove_at(&parent, name);
        }
        match kind(&parent, name)? {
            Some(FileType::Directory) => self.clear_lower(path, own),
            _ => Ok(()),
        }
    }

    /// Removes what is in the directory at `path`, but nothing of the layer's own.
    pub(in super::super) fn clear_lower(&mut self, path: &[u8], own: &mut Touched) -> Result<(), Fault> {
        let Some(dir) = self.existing(path)? else { return Ok(()) };
        if !own.clear(path) {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(&dir, ".", flags, Mode::empty()).map_err(Fault::write)?;
        for name in names(&dir).map_err(Fault::write)? {
            let below = if path.is_empty() { name.to_vec() } else { [path, b"/", &name].concat() };
            self.remove_lower(&below, own)?;
        }
        Ok(())
    }
}
