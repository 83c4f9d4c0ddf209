//! The index as JSON carries it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::fault::IndexFault;
use super::{Index, Server};
use crate::manifest::{Document, Fault, Manifest, Problem, validate};
use crate::moment;
use crate::name::ServerName;
use crate::strict_json::{Object, UniqueMap};

/// `M` is [`Checked`] where it is read, the manifest's own document where it is written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct IndexDocument<M> {
    pub(super) schema_version: u64,
    pub(super) sequence: u64,
    pub(super) generated: String,
    pub(super) expires: String,
    pub(super) servers: UniqueMap<Object<ServerDocument<M>>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerDocument<M> {
    latest: String,
    versions: UniqueMap<M>,
}

/// A manifest checked as soon as it is read: of thousands, only one is there twice, as text and as types.
pub(crate) struct Checked(Result<Manifest, Vec<Fault>>);

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::deserialize(deserializer).map(|Object(document)| Self(validate(document)))
    }
}

/// The servers whose every version could be read; what is wrong with the others is noted.
pub(crate) fn servers(
    documents: UniqueMap<Object<ServerDocument<Checked>>>,
    faults: &mut Vec<IndexFault>,
) -> BTreeMap<ServerName, Server> {
    let mut servers = BTreeMap::new();
    for (key, Object(document)) in documents.0 {
        let name = key.parse();
        let server = server(&key, document, faults);
        match (name, server) {
            (Ok(name), Some(server)) => drop(servers.insert(name, server)),
            (Ok(_), None) => {}
            (Err(_), _) => faults.push(IndexFault::Name { server: key }),
        }
    }
    servers
}

fn server(name: &str, document: ServerDocument<Checked>, faults: &mut Vec<IndexFault>) -> Option<Server> {
    let found = faults.len();
    let mut versions = BTreeMap::new();
    for (key, Checked(manifest)) in document.versions.0 {
        let mut add = |fault| {
            faults.push(IndexFault::Manifest { server: name.into(), version: key.clone(), fault });
        };
        match manifest {
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

impl From<&Index> for IndexDocument<Object<Document>> {
    fn from(index: &Index) -> Self {
        let moment = |moment| moment::format(moment).expect("an index has moments that were read or checked");
        let server = |server: &Server| {
            let versions =
                server.versions.iter().map(|(version, manifest)| (version.to_string(), Object(manifest.into())));
            Object(ServerDocument { latest: server.latest.to_string(), versions: UniqueMap(versions.collect()) })
        };
        Self {
            schema_version: 2,
            sequence: index.sequence,
            generated: moment(index.generated),
            expires: moment(index.expires),
            servers: UniqueMap(index.servers.iter().map(|(name, known)| (name.to_string(), server(known))).collect()),
        }
    }
}
