//! What texts were before they were cleaned: whoever agreed to a file agreed to what its server wrote.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use serde_json::value::RawValue;

use crate::{
    catalogue::File,
    object::{Members, items},
};

/// Of what is shown, what was written. That one was cleaned to the other is so whenever it is looked up.
#[derive(Debug, Default)]
pub(super) struct Written(Mutex<HashMap<File, File>>);

impl Written {
    /// One text was cleaned to the other.
    pub(super) fn note(&self, written: &RawValue, shown: &RawValue) {
        let (Some(written), Some(shown)) = (text(written), text(shown)) else { return };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_TEXTS {
            known.clear();
        }
        known.insert(File::of(shown.as_bytes()), File::of(written.as_bytes()));
    }

    pub(super) fn of(&self, shown: &File) -> Option<File> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(shown).cloned()
    }
}

/// The text of a resource.
fn text(result: &RawValue) -> Option<String> {
    let contents = items(Members::of(result).ok()?.value("contents")?, 1).ok()?;
    Members::of(contents.first()?).ok()?.string("text").map(|text| text.into_owned())
}

/// They are looked up at once.
const MAX_TEXTS: usize = 1024;
