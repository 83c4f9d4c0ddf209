//! Which name leads to which server, and which names need no prefix.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use serde_json::value::RawValue;

use super::{
    Aggregator, Backend,
    backend::Entry,
    lists::Gathered,
    named::{Kind, Refusal},
    pointing::page_of_tool,
};
use crate::{
    catalogue::Named,
    hygiene::folded,
    message::RpcError,
    meta::MetaTool,
    name::{Naming, server_of},
    object::Members,
};

/// Whether every name begins with its server's.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Prefixes {
    /// It does, so that a name never depends on what other servers have.
    #[default]
    Always,
    /// Only one that two servers have, or that looks as if it began with a server's. With the prefix, each works too.
    WhenNeeded,
}

/// The names of one aggregator, as far as they do not depend on what its servers list.
pub(super) struct Names {
    pub(super) prefixes: Prefixes,
    client_prefix: usize,
    /// Which server each alias is of.
    aliases: HashMap<Box<str>, usize>,
    reserved: Arc<HashSet<Box<str>>>,
    next: usize,
}

impl Names {
    pub(super) fn new(prefixes: Prefixes, client_prefix: usize, backends: &[Backend]) -> Self {
        let mut aliases = HashMap::new();
        for (index, backend) in backends.iter().enumerate() {
            for exposed in backend.policy.aliases.keys() {
                aliases.entry(exposed.as_str().into()).or_insert(index);
            }
        }
        let reserved = Arc::new(aliases.keys().cloned().collect());
        Self { prefixes, client_prefix, aliases, reserved, next: 0 }
    }

    /// How the next server's tools are named.
    pub(super) fn of_next(&mut self, backend: &Backend) -> Naming {
        let mut own = BTreeMap::new();
        for (exposed, name) in &backend.policy.aliases {
            if self.aliases.get(exposed.as_str()) == Some(&self.next) {
                own.entry(name.as_str().into()).or_insert_with(|| exposed.clone());
            }
        }
        self.next += 1;
        Naming::of(&backend.name).with(own, Arc::clone(&self.reserved), self.client_prefix)
    }
}

impl Aggregator {
    /// The server whose name or alias this is.
    pub(super) fn named_server(&self, exposed: &str) -> Option<&Arc<Entry>> {
        let by_prefix = || self.by_name.get(server_of(exposed)?);
        self.names.aliases.get(exposed).or_else(by_prefix).map(|&index| &self.entries[index])
    }

    /// The server of a name without a prefix, if that is offered and leads to one server only.
    pub(super) async fn find_bare(&self, kind: Kind, exposed: &str) -> Result<Option<&Arc<Entry>>, Refusal<'_>> {
        if self.names.prefixes == Prefixes::Always || self.named_server(exposed).is_some() {
            return Ok(None);
        }
        // All of them: another server may have the same, and then nobody may guess.
        let gathered = self.gather(self.limits.list_wait).await;
        let having = gathered.servers.iter().filter_map(|(entry, offer)| {
            let item = kind.list(offer).find_own(exposed)?;
            self.bare(entry, exposed).map(|_| (entry, item))
        });
        // What is switched off is in nobody's way. If there is nothing else, that is what is told of it.
        let (offered, disabled): (Vec<_>, Vec<_>) = having.partition(|(entry, item)| is_offered(kind, entry, item));
        // What is held back is somebody's all the same: its name must not lead to another server meanwhile.
        let held: Vec<_> = gathered
            .servers
            .iter()
            .filter(|(entry, _)| self.bare(entry, exposed).is_some())
            .filter_map(|(entry, offer)| Some((entry, offer.held.own(kind.definition(), exposed)?)))
            .collect();
        match (&offered[..], &held[..]) {
            ([], []) => Ok(disabled.first().map(|(entry, _)| &self.entries[entry.index])),
            ([(entry, _)], []) => Ok(Some(&self.entries[entry.index])),
            ([], [(entry, _), ..]) => Ok(Some(&self.entries[entry.index])),
            (several, held) => {
                let of_held = held.iter().map(|(_, exposed)| *exposed);
                let names: Vec<_> = several.iter().map(|(_, item)| &*item.exposed).chain(of_held).collect();
                let text = format!("several servers have {exposed}; say which: {}", names.join(", "));
                Err(Refusal { entry: None, code: None, error: RpcError::new(RpcError::INVALID_PARAMS, text) })
            }
        }
    }

    /// What clients may see of all servers, and under which names. They depend on all servers that have any of it.
    pub(super) fn shown<'a>(&self, kind: Kind, gathered: &'a Gathered) -> Vec<Shown<'a>> {
        let offered = || {
            gathered.servers.iter().flat_map(|(entry, offer)| {
                let items = kind.list(offer).items().iter().enumerate();
                items.filter(|(_, item)| is_offered(kind, entry, item)).map(|(at, item)| (&**entry, at, item))
            })
        };
        let mut having: HashMap<String, usize> = HashMap::new();
        if self.names.prefixes == Prefixes::WhenNeeded {
            // Those that look alike are told apart by their servers' names too.
            offered().for_each(|(_, _, item)| *having.entry(folded(&item.name)).or_default() += 1);
        }
        let shown = offered().map(|(entry, at, item)| {
            let bare = self.bare(entry, &item.name).filter(|name| having.get(&folded(name)) == Some(&1));
            Shown { entry, at, item, name: bare.unwrap_or(&item.exposed) }
        });
        shown.collect()
    }

    /// A definition under this name, as clients see it.
    pub(super) fn definition<'a>(&self, kind: Kind, server: usize, item: &'a Named, name: &str) -> Cow<'a, RawValue> {
        let mut definition = (*item.exposed != *name).then(|| under(item, name));
        if kind == Kind::Tool {
            let known = definition.as_deref().unwrap_or(&item.definition);
            definition = page_of_tool(&self.hub, server, known).or(definition);
        }
        definition.map_or(Cow::Borrowed(&*item.definition), Cow::Owned)
    }

    fn bare<'a>(&self, entry: &Entry, name: &'a str) -> Option<&'a str> {
        // One of the tools that stand for others would be meant.
        let free = MetaTool::named(name).is_none();
        free.then(|| entry.naming.bare(name, |server| self.by_name.contains_key(server))).flatten()
    }
}

/// One thing that clients see.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) entry: &'a Entry,
    /// Its position in the list of its server.
    pub(super) at: usize,
    pub(super) item: &'a Named,
    pub(super) name: &'a str,
}

fn is_offered(kind: Kind, entry: &Entry, item: &Named) -> bool {
    kind == Kind::Prompt || !entry.policy().is_disabled(item)
}

fn under(item: &Named, name: &str) -> Box<RawValue> {
    let members = Members::grown(&item.definition).expect("it was read before");
    members.with("name", name).expect("it has a name")
}
