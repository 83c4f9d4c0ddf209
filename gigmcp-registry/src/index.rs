//! The index: which servers there are, in which versions, with their manifests.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::manifest::{Document, Fault, Manifest, Problem, validate};
use crate::name::ServerName;
use crate::strict_json::{Object, UniqueMap};
use crate::version::Version;

/// All servers of a registry. Its manifests are complete and checked; it names no server without a version.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Index {
    /// Counts up with every index published.
    pub sequence: u64,
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

    /// Called with verified bytes only.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, InvalidIndex> {
        let Object(document): Object<IndexDocument> = serde_json::from_slice(bytes)?;
        let mut faults = Vec::new();
        if document.schema_version != 2 {
            faults.push(IndexFault::SchemaVersion { found: document.schema_version });
        }
        let expires = moment(&document.expires);
        if expires.is_none() {
            faults.push(IndexFault::Expires);
        }
        let mut servers = BTreeMap::new();
        for (key, Object(document)) in document.servers.0 {
            let name = key.parse();
            let server = server(&key, document, &mut faults);
            match (name, server) {
                (Ok(name), Some(server)) => drop(servers.insert(name, server)),
                (Ok(_), None) => {}
                (Err(_), _) => faults.push(IndexFault::Name { server: key }),
            }
        }
        let (Some(expires), true) = (expires, faults.is_empty()) else {
            return Err(InvalidIndex::Faults(faults));
        };
        Ok(Self { sequence: document.sequence, expires, servers })
    }
}

fn server(name: &str, document: ServerDocument, faults: &mut Vec<IndexFault>) -> Option<Server> {
    let found = faults.len();
    let mut versions = BTreeMap::new();
    for (key, Object(document)) in document.versions.0 {
        let mut add = |fault| {
            faults.push(IndexFault::Manifest { server: name.into(), version: key.clone(), fault });
        };
        match validate(document) {
            Ok(manifest) => {
                let not_its_key = |path: &str| Fault { path: path.into(), problem: Problem::NotItsKey };
                if manifest.name.as_str() != name {
                    add(not_its_key("name"));
                }
                if manifest.version.to_string() != key {
                    add(not_its_key("version"));
                }
                versions.insert(manifest.version, manifest);
            }
            Err(found) => found.into_iter().for_each(add),
        }
    }
    // Only a server whose versions could all be read has a highest one.
    let highest = versions.keys().next_back().copied();
    if found == faults.len() && highest.is_none_or(|highest| highest.to_string() != document.latest) {
        faults.push(IndexFault::Latest { server: name.into() });
    }
    (found == faults.len()).then_some(Server { latest: highest?, versions })
}

/// RFC 3339 in UTC with whole seconds and a `Z`: one spelling for each moment.
fn moment(text: &str) -> Option<SystemTime> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let canonical = moment.offset().is_utc() && moment.format(&Rfc3339).ok()? == text && text.len() == 20;
    canonical.then(|| moment.into())
}

/// Why verified bytes are not an index. Whoever holds the keys has signed something wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidIndex {
    /// Not JSON of the right shape; the cause names line and column.
    #[error("the index is not JSON of its format")]
    Syntax(#[from] serde_json::Error),
    /// The values are wrong; all of them are listed.
    #[error("the index has {} faults, first: {}", .0.len(), .0[0])]
    Faults(Vec<IndexFault>),
}

/// One thing that is wrong with an index.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexFault {
    /// The schema version is not one that this program knows.
    #[error("schema version {found} of the index is not supported, only 2 is")]
    SchemaVersion {
        /// The version found.
        found: u64,
    },
    /// Not a moment.
    #[error("`expires` is not like 2030-01-31T00:00:00Z")]
    Expires,
    /// The key is not a server name.
    #[error("{server:?} is not a server name")]
    Name {
        /// The key.
        server: String,
    },
    /// `latest` is not the highest version, or there is none.
    #[error("`latest` of {server:?} is not its highest version")]
    Latest {
        /// The server.
        server: String,
    },
    /// A manifest is wrong.
    #[error("{server:?} {version:?}: {fault}")]
    Manifest {
        /// The server.
        server: String,
        /// The version.
        version: String,
        /// What is wrong.
        fault: Fault,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct IndexDocument {
    schema_version: u64,
    sequence: u64,
    expires: String,
    servers: UniqueMap<Object<ServerDocument>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerDocument {
    latest: String,
    versions: UniqueMap<Object<Document>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_one_spelling() {
        for (text, valid) in [
            ("2030-01-31T00:00:00Z", true),
            ("2030-01-31T00:00:00+00:00", false),
            ("2030-01-31T01:00:00+01:00", false),
            ("2030-01-31T00:00:00.000Z", false),
            ("2030-01-31t00:00:00z", false),
            ("2030-01-31 00:00:00Z", false),
            ("2030-02-30T00:00:00Z", false),
            ("2030-01-31", false),
            ("", false),
        ] {
            assert_eq!(moment(text).is_some(), valid, "{text:?}");
        }
        assert_eq!(moment("1970-01-01T00:00:00Z"), Some(SystemTime::UNIX_EPOCH));
    }
}
