//! Text of a server, made safe to show: without escape sequences, control characters, and characters that nobody sees.
//!
//! Nothing else is touched. A JSON text in which nothing of that is written is the same bytes as before, and in one in which
//! there is, only the characters in question are cut out.

mod character;
#[cfg(any(fuzzing, test))]
pub(crate) mod cleaned;
mod escapes;
mod json;
mod names;
mod scan;
mod text;
mod units;

use std::borrow::Cow;

use serde_json::value::RawValue;

pub(crate) use self::{
    character::Kind,
    json::{Leave, Rewritten, string_end},
    names::folded,
    units::{Escaped, Units},
};
use self::{text::cleaned as cleaned_text, units::Plain};

/// How many characters, or sequences of them, of each kind were removed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Removal([u64; Kind::ALL.len()]);

impl Removal {
    fn add(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    /// The kinds of which there were any.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        Kind::ALL.into_iter().map(|kind| (kind, self.0[kind as usize])).filter(|(_, count)| *count > 0)
    }
}

/// Text of a server as it may be shown, in a log or to a person: without escape sequences, control characters other than
/// line ends and tabs, and characters that are invisible or reorder what is seen.
///
/// ```
/// assert_eq!(gigmcp_mcp::safe_text("\u{1b}[31mred\u{1b}[0m, \u{202e}und\u{200b}one"), "red, undone");
/// assert_eq!(gigmcp_mcp::safe_text("a family: 👨‍👩‍👧"), "a family: 👨‍👩‍👧");
/// ```
#[must_use]
pub fn safe_text(text: &str) -> Cow<'_, str> {
    counted(text, &mut Removal::default())
}

pub(crate) fn counted<'a>(text: &'a str, removal: &mut Removal) -> Cow<'a, str> {
    cleaned_text(&Plain(text), removal).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// A JSON text whose strings, keys included, may be shown; `None` if it may be as it is.
pub(crate) fn cleaned_json(raw: &RawValue, leave: Leave<'_>, removal: &mut Removal) -> Option<Rewritten> {
    scan::may_matter(raw.get()).then(|| json::rewritten(raw.get(), leave, removal))?
}

/// Whether there is anything to remove.
pub(crate) fn is_dirty(text: &str) -> bool {
    matches!(safe_text(text), Cow::Owned(_))
}

#[cfg(test)]
mod laws;
