//! What changed between two indexes.

use serde_json::json;

use super::{Bearing, Change, changes, tree};
use crate::index::{Index, Server};
use crate::manifest::Manifest;
use crate::moment;
use crate::name::ServerName;
use crate::version::Version;

/// What changed from one index to another.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct IndexDiff {
    /// Sequence number and moments.
    pub head: Vec<Change>,
    /// The versions that came, went or changed, by name and version.
    pub manifests: Vec<ManifestDiff>,
}

/// What happened to one version of a server.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ManifestDiff {
    /// The server.
    pub name: ServerName,
    /// Its version.
    pub version: Version,
    /// What happened to it.
    pub what: VersionChange,
    /// The differences: from what `what` says, or from nothing.
    pub changes: Vec<Change>,
}

/// What happened to a version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VersionChange {
    /// It is new; compared with the highest version below it that was there before, if any.
    Added {
        /// That version.
        since: Option<Version>,
    },
    /// It is gone.
    Removed,
    /// Its manifest is another, under the same version.
    Changed,
}

impl Index {
    /// Every difference of `after`.
    #[must_use]
    pub fn changes_to(&self, after: &Self) -> IndexDiff {
        let head = |index: &Self| {
            let moment = |moment| moment::format(moment).expect("an index has moments that were read or checked");
            json!({
                "sequence": index.sequence,
                "generated": moment(index.generated),
                "expires": moment(index.expires),
            })
        };
        let new = after.servers.keys().filter(|name| !self.servers.contains_key(*name));
        let mut names: Vec<_> = self.servers.keys().chain(new).collect();
        names.sort_unstable();
        let servers = names.into_iter().map(|name| (name, self.servers.get(name), after.servers.get(name)));
        IndexDiff {
            head: changes(&head(self), &head(after)),
            manifests: servers.flat_map(|(name, before, after)| server(name, before, after)).collect(),
        }
    }
}

impl IndexDiff {
    /// Whether the two say the same of every server.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.manifests.is_empty()
    }

    /// The versions whose image is another than before, which readers refuse.
    pub fn repinned(&self) -> impl Iterator<Item = &ManifestDiff> {
        let digest = |change: &Change| change.path == "image.digest" && change.bearing == Bearing::Behaviour;
        self.manifests.iter().filter(move |diff| diff.what == VersionChange::Changed && diff.changes.iter().any(digest))
    }
}

fn server(name: &ServerName, before: Option<&Server>, after: Option<&Server>) -> Vec<ManifestDiff> {
    let versions = before.into_iter().chain(after).flat_map(|server| server.versions.keys().copied());
    let mut versions: Vec<Version> = versions.collect();
    versions.sort_unstable();
    versions.dedup();
    let differs = |at: Version| {
        let (what, changes) = match (find(before, at), find(after, at)) {
            (Some(old), Some(new)) => (VersionChange::Changed, old.changes_to(new)),
            (Some(old), None) => (VersionChange::Removed, changes(&tree(old), &json!({}))),
            (None, Some(new)) => {
                let since = before.and_then(|server| server.versions.range(..at).next_back());
                let from = since.map_or_else(|| json!({}), |(_, manifest)| tree(manifest));
                (VersionChange::Added { since: since.map(|(version, _)| *version) }, changes(&from, &tree(new)))
            }
            (None, None) => return None,
        };
        let same = what == VersionChange::Changed && changes.is_empty();
        (!same).then(|| ManifestDiff { name: name.clone(), version: at, what, changes })
    };
    versions.into_iter().filter_map(differs).collect()
}

fn find(server: Option<&Server>, version: Version) -> Option<&Manifest> {
    server?.versions.get(&version)
}
