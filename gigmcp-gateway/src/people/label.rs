//! Names that people give to their tokens and keys.

use std::{fmt, str::FromStr};

/// 1 to 64 letters, digits, `.`, `_`, `-` and inner blanks.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Label(Box<str>);

impl Label {
    /// What the first token of a profile is called.
    pub(crate) fn first() -> Self {
        Self("default".into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A text that is no such name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a name has 1 to 64 letters, digits, `.`, `_`, `-` and blanks inside")]
pub(crate) struct InvalidLabel;

impl FromStr for Label {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._- ".contains(&byte);
        let valid = (1..=64).contains(&text.len()) && text.bytes().all(inner) && text.trim() == text;
        valid.then(|| Self(text.into())).ok_or(InvalidLabel)
    }
}
