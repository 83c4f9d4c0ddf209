//! The index: which servers there are, in which versions, with their manifests.

mod build;
mod document;
mod fault;
#[cfg(any(fuzzing, test))]
pub(crate) mod laws;

pub use build::{BuildIndexError, IndexBuilder};
pub use fault::{IndexFault, InvalidIndex};

pub(crate) use document::{Checked, ServerDocument, servers};

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::canonical;
use crate::manifest::Manifest;
use crate::moment;
use crate::name::ServerName;

use crate::strict_json;
use crate::version::Version;
use document::IndexDocument;

/// All servers of a registry. Its manifests are complete and checked; it names no server without a version.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Index {
    /// Counts up with every index published.
    pub sequence: u64,
    /// When it was made; not valid before.
    pub generated: SystemTime,
    /// From when on the index must not be used any more.
    pub expires: SystemTime,
    /// The servers by name.
    pub servers: BTreeMap<ServerName, Server>,
}

/// One server of an index.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Server {
    /// The highest version.
    pub latest: Version,
    /// The manifests by version.
    pub versions: BTreeMap<Version, Manifest>,
}

impl Index {
    /// The manifest of a server's latest version.
    #[must_use]
    pub fn latest(&self, name: &ServerName) -> Option<&Manifest> {
        self.servers.get(name).and_then(|server| server.versions.get(&server.latest))
    }

    /// The manifest of one version of a server.
    #[must_use]
    pub fn version(&self, name: &ServerName, version: &Version) -> Option<&Manifest> {
        self.servers.get(name).and_then(|server| server.versions.get(version))
    }

    /// All manifests, by name and version.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.servers.values().flat_map(|server| server.versions.values())
    }

    /// Reads an index that nobody has verified, for whoever publishes or compares them. To install from one, use
    /// [`SignedIndex::verify`](crate::SignedIndex::verify).
    ///
    /// # Errors
    /// [`InvalidIndex::Syntax`] for the first thing that is not such JSON, [`InvalidIndex::Faults`] with everything that
    /// is wrong with the values.
    pub fn danger_from_unverified_json(bytes: &[u8]) -> Result<Self, InvalidIndex> {
        Self::parse(bytes)
    }

    /// The canonical bytes of this index, the ones to sign: an index has one spelling.
    ///
    /// # Panics
    /// If a moment was put into it that no index can write, see [`IndexBuilder::new`].
    #[must_use]
    pub fn to_json(&self) -> String {
        canonical::json(&IndexDocument::from(self))
    }

    /// Called with verified bytes, or where nothing is trusted for them.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, InvalidIndex> {
        let document: IndexDocument<Checked> = strict_json::object(bytes)?;
        let mut faults = Vec::new();
        if document.schema_version != 2 {
            faults.push(IndexFault::SchemaVersion { found: document.schema_version, supported: 2 });
        }
        let generated = moment::parse(&document.generated);
        if generated.is_none() {
            faults.push(IndexFault::Generated);
        }
        let expires = moment::parse(&document.expires);
        if expires.is_none_or(|expires| generated.is_some_and(|generated| expires <= generated)) {
            faults.push(IndexFault::Expires);
        }
        let servers = servers(document.servers, &mut faults);
        let (Some(generated), Some(expires), true) = (generated, expires, faults.is_empty()) else {
            return Err(InvalidIndex::Faults(faults));
        };
        Ok(Self { sequence: document.sequence, generated, expires, servers })
    }
}
