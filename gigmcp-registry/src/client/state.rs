//! What a reader of a registry must not forget.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::digest::Digest;
use crate::keys::KeyId;
use crate::seen::{InvalidSeen, Seen};
use crate::strict_json;

/// What an [`IndexClient`](super::IndexClient) has learnt: the roots, the last good index, and what was seen before it.
///
/// The roots and the index in it are verified again when it is used. What was seen is taken as it stands, so whoever can
/// write a state can roll an index back.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct State {
    /// The files of the roots after the pinned one, in order.
    pub(super) roots: Vec<Vec<u8>>,
    /// The root trusted last.
    pub(super) root: Option<LastRoot>,
    /// The index keys of that root.
    pub(super) index_keys: BTreeSet<KeyId>,
    pub(super) seen: Option<Seen>,
    /// The file of the last good index, and the tag it had.
    pub(super) index: Option<Vec<u8>>,
    pub(super) tag: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct LastRoot {
    pub(super) version: NonZeroU64,
    pub(super) digest: Digest,
}

impl State {
    /// What to store: a line with the digest of all that follows, a line of JSON, and the files one after the other.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = canonical::json(&Header {
            roots: self.roots.iter().map(Vec::len).collect(),
            root: self.root.map(|root| (root.version, root.digest.to_string())),
            index_keys: self.index_keys.iter().map(ToString::to_string).collect(),
            seen: self.seen.as_ref().map(Seen::to_json),
            index: self.index.as_ref().map(Vec::len),
            tag: self.tag.clone(),
        });
        let mut body = header.into_bytes();
        body.push(b'\n');
        self.roots.iter().chain(&self.index).for_each(|file| body.extend_from_slice(file));
        let mut bytes = format!("{MAGIC}{}\n", Digest::of(&body)).into_bytes();
        bytes.append(&mut body);
        bytes
    }

    /// Reads what was stored.
    ///
    /// # Errors
    /// [`InvalidState`] if it is anything else. Going on without a state is as if nothing had been seen: leave that to the
    /// operator.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidState> {
        let line = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n').ok_or(InvalidState::Damaged);
        let (first, body) = bytes.split_at(line(bytes)? + 1);
        if first != format!("{MAGIC}{}\n", Digest::of(body)).as_bytes() {
            return Err(InvalidState::Damaged);
        }
        let (header, mut files) = body.split_at(line(body)? + 1);
        let header: Header = strict_json::object(header)?;
        let mut next = |length: usize| {
            let (file, rest) = files.split_at_checked(length).ok_or(InvalidState::Value)?;
            files = rest;
            Ok::<_, InvalidState>(file.to_vec())
        };
        let roots = header.roots.into_iter().map(&mut next).collect::<Result<_, _>>()?;
        let index = header.index.map(next).transpose()?;
        if !files.is_empty() {
            return Err(InvalidState::Value);
        }
        let key = |text: String| text.parse().map_err(|_| InvalidState::Value);
        Ok(Self {
            roots,
            root: header.root.map(last_root).transpose()?,
            index_keys: header.index_keys.into_iter().map(key).collect::<Result<_, _>>()?,
            seen: header.seen.map(|text| Seen::from_json(text.as_bytes())).transpose()?,
            index,
            tag: header.tag,
        })
    }

    /// Whether putting this in the place of `other` would forget what was seen.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        let age = |state: &Self| (state.root.map(|root| root.version), state.seen.as_ref().map(Seen::sequence));
        age(self) < age(other)
    }

    /// Whether the two have different roots, or different indexes, of the same number.
    pub(super) fn is_fork_of(&self, other: &Self) -> bool {
        let root = self.root.zip(other.root);
        let index = self.seen.as_ref().zip(other.seen.as_ref());
        root.is_some_and(|(one, two)| one.version == two.version && one.digest != two.digest)
            || index.is_some_and(|(one, two)| one.sequence == two.sequence && one.digest != two.digest)
                && root.is_some_and(|(one, two)| one == two)
    }

    /// Remembers the images of indexes that another reader has seen, and this one not, since both began with the same root.
    pub(super) fn with_images_of(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        if self.root == other.root
            && let (Some(seen), Some(other)) = (&mut merged.seen, &other.seen)
        {
            for (name, versions) in &other.images {
                seen.images.entry(name.clone()).or_default().extend(versions);
            }
        }
        merged
    }
}

fn last_root((version, digest): (NonZeroU64, String)) -> Result<LastRoot, InvalidState> {
    Ok(LastRoot { version, digest: digest.parse().map_err(|_| InvalidState::Value)? })
}

/// Why bytes are not a stored state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidState {
    /// Cut off, changed, or something else.
    #[error("the state is damaged, or of another version of this program")]
    Damaged,
    /// Not JSON of the right shape.
    #[error("the state is not of its format")]
    Syntax(#[from] serde_json::Error),
    /// A value that is none, a length that does not fit.
    #[error("the state has a value that is none")]
    Value,
    /// What was seen is none.
    #[error("the state does not say what was seen")]
    Seen(#[from] InvalidSeen),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Header {
    roots: Vec<usize>,
    root: Option<(NonZeroU64, String)>,
    index_keys: Vec<String>,
    seen: Option<String>,
    index: Option<usize>,
    tag: Option<String>,
}

const MAGIC: &str = "gigmcp-registry-state 1 ";
