//! Who waits for a password to be hashed: a bounded number of each address, so that one that floods takes its own places only.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use super::MAX_LINE;

/// Somebody among those who wait, by what they have in common: an address, a known browser, an account.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Line {
    hash: u64,
    /// Whether it is one of browsers in which somebody signed in before.
    pub(super) is_known: bool,
}

/// How many stand in each line. There are no more lines than places in all.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(Arc<Mutex<HashMap<Line, usize>>>);

/// A place, until it is dropped.
pub(super) struct Stands {
    lines: Lines,
    line: Line,
}

impl Line {
    /// Nobody gains by sharing a line with somebody else, so its hash needs no key.
    pub(crate) fn of(what: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        Self { hash: hasher.finish(), is_known: false }
    }

    /// The line of a browser in which somebody signed in before, for which there is room when others have taken theirs.
    pub(crate) fn of_known(device: &impl Hash) -> Self {
        Self { is_known: true, ..Self::of(device) }
    }
}

impl Lines {
    /// None if too many of that line wait already.
    pub(super) fn enter(&self, line: &Line) -> Option<Stands> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = lines.entry(*line).or_default();
        if *standing >= MAX_LINE {
            return None;
        }
        *standing += 1;
        Some(Stands { lines: self.clone(), line: *line })
    }
}

#[cfg(test)]
impl Lines {
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Drop for Stands {
    fn drop(&mut self) {
        let mut lines = self.lines.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = lines.get_mut(&self.line) {
            *standing -= 1;
            if *standing == 0 {
                lines.remove(&self.line);
            }
        }
    }
}
