//! What YAML is refused for.

use std::ops::Range;

/// One thing in a text that is not YAML as we take it, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct YamlFault {
    pub(crate) span: Range<usize>,
    pub(crate) problem: YamlProblem,
}

/// Why a text is not YAML as we take it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum YamlProblem {
    #[error("the file is longer than {max_bytes} bytes")]
    TooLong { max_bytes: usize },
    #[error("the file nests deeper than {max_depth} levels")]
    TooDeep { max_depth: usize },
    #[error("the file has more than {max_nodes} values")]
    TooManyNodes { max_nodes: usize },
    #[error("the file is not UTF-8")]
    NotUtf8,
    #[error("the character U+{code:04X} {reason}")]
    Character { code: u32, reason: &'static str },
    #[error("not YAML: {message}")]
    Syntax { message: String },
    #[error("the file is empty")]
    Empty,
    #[error("a second document begins here")]
    SecondDocument,
    #[error("an anchor; each value is written out where it stands")]
    Anchor,
    #[error("an alias; each value is written out where it stands")]
    Alias,
    #[error("a tag; types follow from the field")]
    Tag,
    #[error("a merge key; each value is written out where it stands")]
    MergeKey,
    #[error("the key {key:?} stands here a second time")]
    DuplicateKey { key: String, first: Range<usize> },
    #[error("a key is not text")]
    KeyNotText,
    #[error("`{text}` {meaning}")]
    Ambiguous { text: String, meaning: &'static str, instead: String },
    #[error("there is no value")]
    NoValue,
    #[error("the last line of a text has no end, which some programs add")]
    NoLineEnd,
}

impl YamlProblem {
    /// What to write instead, where that can be said.
    pub(crate) fn help(&self) -> Option<String> {
        let text = match self {
            Self::Ambiguous { instead, .. } => return Some(instead.clone()),
            Self::NotUtf8 => "save the file as UTF-8",
            Self::Character { .. } => "remove it, or write it as an escape in double quotes",
            Self::SecondDocument => "one file holds one document; remove `---`",
            Self::Tag => "remove it; text that looks like a number is written in quotes",
            Self::KeyNotText => "write the key as a plain word",
            Self::NoValue => "write a value, or remove the key; an empty text is \"\"",
            Self::NoLineEnd => "end the file with a line break",
            Self::Anchor | Self::Alias | Self::MergeKey => "copy the value",
            Self::TooLong { .. }
            | Self::TooDeep { .. }
            | Self::TooManyNodes { .. }
            | Self::Syntax { .. }
            | Self::Empty
            | Self::DuplicateKey { .. } => return None,
        };
        Some(text.into())
    }
}
