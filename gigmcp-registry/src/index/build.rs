//! Making an index of manifests.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::{Index, Server};
use crate::manifest::Manifest;
use crate::moment;
use crate::name::ServerName;
use crate::version::Version;

/// An index that is being made of manifests.
#[derive(Clone, Debug)]
pub struct IndexBuilder {
    sequence: u64,
    generated: SystemTime,
    expires: SystemTime,
    servers: BTreeMap<ServerName, Server>,
}

impl IndexBuilder {
    /// An index with no servers yet, made at `generated` and valid for `lifetime`, both in whole seconds.
    ///
    /// # Errors
    /// [`BuildIndexError::Moment`] if the index could not write one of the two moments, or would never be valid.
    pub fn new(sequence: u64, generated: SystemTime, lifetime: Duration) -> Result<Self, BuildIndexError> {
        let expires = generated.checked_add(lifetime).ok_or(BuildIndexError::Moment)?;
        let written = [generated, expires].into_iter().all(|moment| moment::format(moment).is_some());
        if !written || lifetime.is_zero() {
            return Err(BuildIndexError::Moment);
        }
        Ok(Self { sequence, generated, expires, servers: BTreeMap::new() })
    }

    /// Adds one version of a server.
    ///
    /// # Errors
    /// [`BuildIndexError::Repeated`] if it is there already.
    pub fn add(&mut self, manifest: Manifest) -> Result<&mut Self, BuildIndexError> {
        let empty = || Server { latest: manifest.version, versions: BTreeMap::new() };
        let server = self.servers.entry(manifest.name.clone()).or_insert_with(empty);
        if server.versions.contains_key(&manifest.version) {
            return Err(BuildIndexError::Repeated { name: manifest.name, version: manifest.version });
        }
        server.latest = server.latest.max(manifest.version);
        server.versions.insert(manifest.version, manifest);
        Ok(self)
    }

    /// The index.
    #[must_use]
    pub fn build(self) -> Index {
        let Self { sequence, generated, expires, servers } = self;
        Index { sequence, generated, expires, servers }
    }
}

/// Why manifests do not make an index.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildIndexError {
    /// Two manifests are of the same version of the same server.
    #[error("there are two manifests of {name} {version}")]
    Repeated {
        /// The server.
        name: ServerName,
        /// The version.
        version: Version,
    },
    /// Not whole seconds, after the year 9999, or no time at all.
    #[error("an index is made at a whole second and expires at a later one, before the year 10000")]
    Moment,
}
