//! Which name leads to which server, and which names need no prefix.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use serde_json::value::RawValue;

use super::{
    Aggregator, Backend,
    backend::{Entry, Ready},
    lists::Gathered,
    named::{Kind, Refusal},
    pointing::page_of_tool,
};
use crate::{
    catalogue::Named,
    message::RpcError,
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
    prefixes: Prefixes,
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

    /// A name without a prefix, if that is offered and leads to one server only.
    pub(super) async fn find_bare(
        &self,
        kind: Kind,
        exposed: &str,
    ) -> Result<Option<(&Arc<Entry>, Arc<Ready>)>, Refusal<'_>> {
        if self.names.prefixes == Prefixes::Always || self.named_server(exposed).is_some() {
            return Ok(None);
        }
        // All of them: another server may have the same, and then nobody may guess.
        let gathered = self.gather(self.limits.list_wait).await;
        let having: Vec<_> = gathered
            .servers
            .into_iter()
            .filter(|(entry, ready)| {
                kind.list(ready).find_own(exposed).is_some() && self.bare(entry, exposed).is_some()
            })
            .collect();
        match &having[..] {
            [] => Ok(None),
            [(entry, ready)] => Ok(Some((&self.entries[entry.index], Arc::clone(ready)))),
            several => {
                let names = several.iter().filter_map(|(_, ready)| kind.list(ready).find_own(exposed));
                let names: Vec<_> = names.map(|named| &*named.exposed).collect();
                let text = format!("several servers have {exposed}; say which: {}", names.join(", "));
                Err(Refusal { entry: None, code: None, error: RpcError::new(RpcError::INVALID_PARAMS, text) })
            }
        }
    }

    /// The definitions of all servers, under the names that clients see.
    pub(super) fn shown<'a>(&self, kind: Kind, gathered: &'a Gathered) -> Vec<Cow<'a, RawValue>> {
        let mut having: HashMap<&str, usize> = HashMap::new();
        if self.names.prefixes == Prefixes::WhenNeeded {
            for (_, ready) in &gathered.servers {
                kind.list(ready).items().iter().for_each(|item| *having.entry(&item.name).or_default() += 1);
            }
        }
        let mut shown = Vec::new();
        for (entry, ready) in &gathered.servers {
            for item in kind.list(ready).items() {
                let alone = having.get(&*item.name) == Some(&1);
                let bare = alone.then(|| self.bare(entry, &item.name)).flatten();
                let mut definition = bare.map(|bare| under(item, bare));
                if kind == Kind::Tool {
                    let known = definition.as_deref().unwrap_or(&item.definition);
                    definition = page_of_tool(&self.hub, entry.index, known).or(definition);
                }
                shown.push(definition.map_or(Cow::Borrowed(&*item.definition), Cow::Owned));
            }
        }
        shown
    }

    fn bare<'a>(&self, entry: &Entry, name: &'a str) -> Option<&'a str> {
        entry.naming.bare(name, |server| self.by_name.contains_key(server))
    }
}

fn under(item: &Named, name: &str) -> Box<RawValue> {
    let members = Members::of(&item.definition).expect("it was read before");
    members.with("name", name).expect("it has a name")
}
