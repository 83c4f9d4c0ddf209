//! The root as JSON carries it.

use std::num::{NonZeroU64, NonZeroUsize};

use serde::{Deserialize, Serialize};

use super::Root;
use crate::canonical;
use crate::keys::{InvalidKey, InvalidTrustRoot, TrustRoot};
use crate::moment;
use crate::strict_json::Object;

pub(super) fn parse(bytes: &[u8]) -> Result<Root, InvalidRoot> {
    let Object(document): Object<Document> = serde_json::from_slice(bytes)?;
    if document.schema_version != 1 {
        return Err(InvalidRoot::SchemaVersion { found: document.schema_version });
    }
    let root = Root {
        version: document.version,
        expires: moment::parse(&document.expires).ok_or(InvalidRoot::Expires)?,
        root: trusted(document.root.0)?,
        index: trusted(document.index.0)?,
    };
    // One spelling: two people who are to sign the same keys see the same digest.
    if json(&root).as_bytes() != bytes {
        return Err(InvalidRoot::NotCanonical);
    }
    Ok(root)
}

pub(super) fn json(root: &Root) -> String {
    let keys = |trusted: &TrustRoot| {
        let mut keys: Vec<String> = trusted.keys().map(ToString::to_string).collect();
        keys.sort_unstable();
        let threshold = NonZeroU64::try_from(trusted.threshold()).expect("a usize has at most 64 bits here");
        Object(KeysDocument { threshold, keys })
    };
    canonical::json(&Document {
        schema_version: 1,
        version: root.version,
        expires: moment::format(root.expires).expect("a root has a moment that was read or checked"),
        root: keys(&root.root),
        index: keys(&root.index),
    })
}

fn trusted(document: KeysDocument) -> Result<TrustRoot, InvalidRoot> {
    let keys = document.keys.iter().map(|key| key.parse()).collect::<Result<Vec<_>, _>>()?;
    // More than there can be keys is a threshold that cannot be met.
    let threshold = NonZeroUsize::try_from(document.threshold).unwrap_or(NonZeroUsize::MAX);
    Ok(TrustRoot::new(keys, threshold)?)
}

/// Why bytes are no root.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRoot {
    /// Not JSON of the right shape; a version or threshold of zero is not either.
    #[error("the root is not JSON of its format")]
    Syntax(#[from] serde_json::Error),
    /// The schema version is not one that this program knows.
    #[error("schema version {found} of the root is not supported, only 1 is")]
    SchemaVersion {
        /// The version found.
        found: u64,
    },
    /// Not a moment.
    #[error("`expires` of the root is not like 2030-01-31T00:00:00Z")]
    Expires,
    /// A key is none.
    #[error("a key of the root is none")]
    Key(#[from] InvalidKey),
    /// The keys and their threshold do not go together.
    #[error("the keys of the root cannot be trusted")]
    Keys(#[from] InvalidTrustRoot),
    /// Blanks, another order of fields or keys, other escapes.
    #[error("the root is not written in its canonical form")]
    NotCanonical,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    schema_version: u64,
    version: NonZeroU64,
    expires: String,
    root: Object<KeysDocument>,
    index: Object<KeysDocument>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct KeysDocument {
    threshold: NonZeroU64,
    keys: Vec<String>,
}
