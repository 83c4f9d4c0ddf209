//! What a reader of an index remembers of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::digest::Digest;
use crate::name::ServerName;
use crate::strict_json::{Object, UniqueMap};
use crate::version::Version;

/// Which document was verified, and which images its versions had. Store it, and give it back with the next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    pub(crate) sequence: u64,
    pub(crate) digest: Digest,
    pub(crate) images: Images,
}

pub(crate) type Images = BTreeMap<ServerName, BTreeMap<Version, Digest>>;

impl Seen {
    /// The sequence number of the index, the version of a root.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The digest of its bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Text to store: `{"sequence":7,"digest":"sha256:...","images":{"notes":{"1.2.0":"sha256:..."}}}`. Who can change it
    /// can roll an index back.
    #[must_use]
    pub fn to_json(&self) -> String {
        let versions = |versions: &BTreeMap<Version, Digest>| {
            UniqueMap(versions.iter().map(|(version, digest)| (version.to_string(), digest.to_string())).collect())
        };
        canonical::json(&Document {
            sequence: self.sequence,
            digest: self.digest.to_string(),
            images: UniqueMap(self.images.iter().map(|(name, known)| (name.to_string(), versions(known))).collect()),
        })
    }

    /// Reads what was stored.
    ///
    /// # Errors
    /// [`InvalidSeen`] if it is anything else. It is not safe to go on as if nothing had been seen.
    pub fn from_json(text: &[u8]) -> Result<Self, InvalidSeen> {
        let Object(document): Object<Document> = serde_json::from_slice(text)?;
        let digest = |text: &str| text.parse().map_err(|_| InvalidSeen::Value);
        let mut images = Images::new();
        for (name, versions) in document.images.0 {
            let known = images.entry(name.parse().map_err(|_| InvalidSeen::Value)?).or_default();
            for (version, image) in versions.0 {
                known.insert(version.parse().map_err(|_| InvalidSeen::Value)?, digest(&image)?);
            }
        }
        Ok(Self { sequence: document.sequence, digest: digest(&document.digest)?, images })
    }
}

/// Why a text is not what was stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSeen {
    /// Not JSON of the right shape.
    #[error("what was seen is not JSON of its format")]
    Syntax(#[from] serde_json::Error),
    /// A name, version or digest is none.
    #[error("what was seen has a name, version or digest that is none")]
    Value,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    sequence: u64,
    digest: String,
    images: UniqueMap<UniqueMap<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let images = [("notes", "1.2.0"), ("notes", "1.10.0"), ("mail", "0.1.0")];
        let mut seen = Seen { sequence: 7, digest: Digest::of(b"index"), images: Images::new() };
        for (name, version) in images {
            let known = seen.images.entry(name.parse().expect("a name")).or_default();
            known.insert(version.parse().expect("a version"), Digest::of(version.as_bytes()));
        }
        let text = seen.to_json();
        assert_eq!(Seen::from_json(text.as_bytes()).expect("written by us"), seen);
        for (case, changed) in [
            ("cut", text[..text.len() - 1].into()),
            ("no sequence", text.replace(r#""sequence":7,"#, "")),
            ("a name", text.replace("notes", "Notes")),
            ("a version", text.replace("1.2.0", "1.2")),
            ("a digest", text.replacen("sha256:", "sha512:", 1)),
            ("more", text.replacen('{', r#"{"more":1,"#, 1)),
        ] {
            assert_ne!(changed, text, "{case}");
            assert!(Seen::from_json(changed.as_bytes()).is_err(), "{case}");
        }
    }
}
