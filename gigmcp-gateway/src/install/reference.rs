//! Which manifest of an index is meant.

use std::{fmt, str::FromStr};

use gigmcp_registry::{Digest, Index, Manifest, ServerName, Version};

use super::{CatalogError, lower::hash};

/// `NAME`, `NAME@VERSION` or `NAME@sha256:HEX`, which is the hash of a manifest or the digest of its image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ServerReference {
    pub(crate) name: ServerName,
    pub(crate) which: Which,
}

/// Which of a server's manifests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Which {
    Latest,
    Version(Version),
    Digest(Digest),
}

/// A text does not say which manifest is meant.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is not NAME, NAME@1.2.3 or NAME@sha256:HEX")]
pub(crate) struct InvalidReference {
    text: String,
}

impl ServerReference {
    /// The latest version of a server.
    pub(crate) fn latest(name: ServerName) -> Self {
        Self { name, which: Which::Latest }
    }

    /// Whether it names the whole manifest by its hash, so that nothing about it is left open.
    pub(crate) fn names_exactly(&self, hash: Digest) -> bool {
        self.which == Which::Digest(hash)
    }

    /// The manifest that is meant.
    ///
    /// # Errors
    /// If the index has no such server, version or digest, or the digest is of several manifests.
    pub(crate) fn find<'i>(&self, index: &'i Index) -> Result<&'i Manifest, CatalogError> {
        let Some(server) = index.servers.get(&self.name) else {
            return Err(CatalogError::NoServer { name: self.name.clone() });
        };
        let known = || server.versions.keys().map(ToString::to_string).collect();
        let found = match self.which {
            Which::Latest => index.latest(&self.name),
            Which::Version(version) => server.versions.get(&version),
            Which::Digest(digest) => {
                let is_meant = |manifest: &&Manifest| hash(manifest) == digest || manifest.image.digest == digest;
                let mut meant = server.versions.values().filter(is_meant);
                match (meant.next(), meant.next()) {
                    (Some(_), Some(_)) => {
                        return Err(CatalogError::Several { reference: self.clone(), known: known() });
                    }
                    (found, _) => found,
                }
            }
        };
        found.ok_or_else(|| CatalogError::NoVersion { reference: self.clone(), known: known() })
    }
}

impl FromStr for ServerReference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let invalid = || InvalidReference { text: text.to_owned() };
        let (name, which) = match text.split_once('@') {
            None => (text, Which::Latest),
            Some((name, digest)) if digest.starts_with("sha256:") => {
                (name, Which::Digest(digest.parse().map_err(|_| invalid())?))
            }
            Some((name, version)) => (name, Which::Version(version.parse().map_err(|_| invalid())?)),
        };
        Ok(Self { name: name.parse().map_err(|_| invalid())?, which })
    }
}

impl fmt::Display for ServerReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.which {
            Which::Latest => write!(formatter, "{}", self.name),
            Which::Version(version) => write!(formatter, "{}@{version}", self.name),
            Which::Digest(digest) => write!(formatter, "{}@{digest}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_says_which_manifest_is_meant() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, valid) in [
            ("notes", true),
            ("notes@1.2.3", true),
            (&*format!("notes@{digest}"), true),
            ("notes@", false),
            ("notes@latest", false),
            ("notes@1.2", false),
            ("notes@sha256:0a", false),
            ("@1.2.3", false),
            ("Notes", false),
            ("../notes", false),
            ("notes@1.2.3@1.2.3", false),
        ] {
            let parsed = text.parse::<ServerReference>();
            assert_eq!(parsed.is_ok(), valid, "{text:?}");
            assert!(parsed.is_err() || parsed.is_ok_and(|parsed| parsed.to_string() == text));
        }
    }
}
