//! What an owner asks and says of pins.

use gigmcp_mcp::{DefinitionDigest, DefinitionKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    diff::{Piece, pieces},
    judge::{PinKey, digest_of},
};
use crate::{
    people::Actor,
    spec::{Owner, ServerName},
    store::{PinRow, PinSet, PinnedServer, Store, StoreError},
};

/// One definition of a server, and how it stands.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "Pin")]
pub(crate) struct Pinned {
    pub(crate) server: String,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// `agreed`, `changed` or `new`.
    pub(crate) standing: &'static str,
    /// Of what was agreed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
    /// Of what is held back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<String>,
}

/// What is held back of one definition, or what has changed of it with the last revision of the server.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "PinDifference")]
pub(crate) struct Difference {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// `changed` or `new`: held back. `replaced`: agreed to with the server's last revision.
    pub(crate) standing: &'static str,
    /// What one accepts.
    pub(crate) digest: String,
    pub(crate) pieces: Vec<Piece>,
}

/// What is to be accepted.
#[derive(Clone, Debug)]
pub(crate) enum Selection {
    All,
    /// By name, or as `KIND:NAME`.
    Names(Vec<String>),
}

/// What was accepted.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(rename = "AcceptedPins")]
pub(crate) struct Accepted {
    pub(crate) server: String,
    pub(crate) definitions: Vec<String>,
    /// Of one definition its own, of several that of all of them.
    pub(crate) digest: String,
}

/// Why nothing was accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PinError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("nothing of {server} is held back")]
    NothingHeld { server: ServerName },
    #[error("nothing of {server} that is held back is called `{name}`{}", known(.held))]
    NotHeld { server: ServerName, name: String, held: Vec<String> },
    #[error(
        "what is held back of {server} has the digest {found} and not {named}; look at it again with `gigmcp-gateway pin diff {server}`"
    )]
    Another { server: ServerName, named: DefinitionDigest, found: DefinitionDigest },
}

fn known(held: &[String]) -> String {
    match held {
        [] => String::new(),
        held => format!("; there are: {}", crate::output::harmless(&held.join(", "))),
    }
}

/// All definitions of one server, or of all.
pub(crate) async fn list(store: &Store, owner: &Owner, server: Option<ServerName>) -> Result<Vec<Pinned>, PinError> {
    let servers = match server {
        Some(server) => vec![server],
        None => store.servers().await?.into_iter().map(|row| row.name).collect(),
    };
    let mut all = Vec::new();
    for server in servers {
        let set = store.pins(PinnedServer { owner: owner.clone(), server: server.clone() }).await?;
        let pinned = |key: &PinKey, standing, digest: Option<&PinRow>, held: Option<&PinRow>| Pinned {
            server: server.to_string(),
            kind: key.kind.as_str(),
            name: key.name.to_string(),
            standing,
            digest: digest.map(|row| row.digest.to_string()),
            held: held.map(|row| row.digest.to_string()),
        };
        for pin in &set.pins {
            let held = set.held.iter().find(|held| held.key == pin.key);
            all.push(pinned(&pin.key, if held.is_some() { "changed" } else { "agreed" }, Some(pin), held));
        }
        let new = set.held.iter().filter(|held| set.pin(&held.key).is_none());
        all.extend(new.map(|held| pinned(&held.key, "new", None, Some(held))));
    }
    Ok(all)
}

/// What is held back of a server, word by word. If it is nothing, what its last revision has changed.
pub(crate) async fn differences(
    store: &Store,
    owner: &Owner,
    server: &ServerName,
    names: Selection,
) -> Result<Vec<Difference>, PinError> {
    let set = store.pins(PinnedServer { owner: owner.clone(), server: server.clone() }).await?;
    if set.held.is_empty() {
        let replaced = set.pins.iter().filter(|pin| names.has(&pin.key));
        let replaced = replaced.filter_map(|pin| Some(difference(pin, "replaced", Some(pin.replaced.as_deref()?))));
        return Ok(replaced.collect());
    }
    let held = names.of(server, &set)?;
    Ok(held
        .into_iter()
        .map(|held| match set.pin(&held.key) {
            Some(pin) => difference(held, "changed", Some(&pin.definition)),
            None => difference(held, "new", None),
        })
        .collect())
}

/// Accepts what is held back, if it is what the digest names. Gateways that run show it at once.
pub(crate) async fn accept(
    store: &Store,
    owner: &Owner,
    server: &ServerName,
    selection: Selection,
    digest: DefinitionDigest,
    by: &Actor,
) -> Result<Accepted, PinError> {
    let of = PinnedServer { owner: owner.clone(), server: server.clone() };
    let set = store.pins(of.clone()).await?;
    let accepted: Vec<_> = selection.of(server, &set)?.into_iter().map(|row| (row.key.clone(), row.digest)).collect();
    let found = digest_of(&accepted);
    if found != digest {
        return Err(PinError::Another { server: server.clone(), named: digest, found });
    }
    let definitions = accepted.iter().map(|(key, _)| key.to_string()).collect();
    // What a server says may change at any moment; only what was looked at is accepted.
    store.accept_pins(of, accepted, by.by()).await?;
    Ok(Accepted { server: server.to_string(), definitions, digest: digest.to_string() })
}

/// The digest of what would be accepted.
pub(crate) fn digest_of_all(differences: &[Difference]) -> Option<DefinitionDigest> {
    let parts = differences.iter().map(|difference| {
        let kind: DefinitionKind = difference.kind.parse().ok()?;
        Some((PinKey { kind, name: difference.name.as_str().into() }, difference.digest.parse().ok()?))
    });
    Some(digest_of(&parts.collect::<Option<Vec<_>>>()?))
}

/// The digest of all that is pinned of a server; none if that is nothing.
pub(crate) fn pinned_digest(set: &PinSet) -> Option<DefinitionDigest> {
    let pinned: Vec<_> = set.pins.iter().map(|pin| (pin.key.clone(), pin.digest)).collect();
    (!pinned.is_empty()).then(|| digest_of(&pinned))
}

/// Forgets what was agreed to: what the server says next is pinned unseen.
pub(crate) async fn reset(store: &Store, owner: &Owner, server: &ServerName, by: &Actor) -> Result<(), PinError> {
    Ok(store.reset_pins(PinnedServer { owner: owner.clone(), server: server.clone() }, None, by.by()).await?)
}

/// The same, if what is forgotten has this digest.
pub(crate) async fn reset_seen(
    store: &Store,
    owner: &Owner,
    server: &ServerName,
    seen: DefinitionDigest,
    by: &Actor,
) -> Result<(), PinError> {
    let of = PinnedServer { owner: owner.clone(), server: server.clone() };
    Ok(store.reset_pins(of, Some(seen), by.by()).await?)
}

fn difference(row: &PinRow, standing: &'static str, before: Option<&str>) -> Difference {
    Difference {
        kind: row.key.kind.as_str(),
        name: row.key.name.to_string(),
        standing,
        digest: row.digest.to_string(),
        pieces: pieces(before, &row.definition),
    }
}

impl PinSet {
    fn pin(&self, key: &PinKey) -> Option<&PinRow> {
        self.pins.iter().find(|pin| pin.key == *key)
    }
}

impl Selection {
    fn has(&self, key: &PinKey) -> bool {
        match self {
            Self::All => true,
            Self::Names(names) => names.iter().any(|name| is_called(key, name)),
        }
    }

    fn of<'a>(&self, server: &ServerName, set: &'a PinSet) -> Result<Vec<&'a PinRow>, PinError> {
        if set.held.is_empty() {
            return Err(PinError::NothingHeld { server: server.clone() });
        }
        if let Self::Names(names) = self
            && let Some(name) = names.iter().find(|name| !set.held.iter().any(|held| is_called(&held.key, name)))
        {
            let held = set.held.iter().map(|held| held.key.to_string()).collect();
            return Err(PinError::NotHeld { server: server.clone(), name: name.clone(), held });
        }
        Ok(set.held.iter().filter(|held| self.has(&held.key)).collect())
    }
}

fn is_called(key: &PinKey, name: &str) -> bool {
    let of_kind = name.split_once(':').is_some_and(|(kind, name)| kind == key.kind.as_str() && *name == *key.name);
    of_kind
        || match key.kind {
            DefinitionKind::Instructions if key.name.is_empty() => name == key.kind.as_str(),
            _ => *name == *key.name,
        }
}
