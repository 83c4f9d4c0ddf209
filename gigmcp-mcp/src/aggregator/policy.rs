//! What is demanded of one server, and how it is shown.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    catalogue::{Named, NamedList},
    name::{ExposedName, ServerId},
};

/// What is demanded of one server of an aggregator, and how it is shown.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServerPolicy {
    /// Other names of its tools and prompts than `<server>_<tool>`: the server's own name by the one that clients see. Of two
    /// for the same tool the first counts, and so does the first server's, if two have the same alias.
    pub aliases: BTreeMap<ExposedName, String>,
    /// Tools that are switched off, by the server's name for them or the one that clients see, alias or not: not listed, not
    /// found and not called.
    pub disabled: BTreeSet<Box<str>>,
    /// Tools, by the server's own name, that are known to change nothing. Never what the server itself says of them.
    pub read_only_tools: BTreeSet<Box<str>>,
    /// What the server is for, in a sentence, for clients that do not see its tools.
    pub purpose: Option<String>,
    /// How often it is started beside itself at most, if not as often as [`AggregatorLimits`](crate::AggregatorLimits) say.
    pub spares: Option<usize>,
}

impl ServerPolicy {
    /// The same for this server: what was switched off as `<server>_<tool>` stays so when the tool has an alias.
    pub(crate) fn of(mut self, server: &ServerId) -> Self {
        let own = |name: &Box<str>| Some(name.strip_prefix(server.as_str())?.strip_prefix('_')?.into());
        let own: Vec<Box<str>> = self.disabled.iter().filter_map(own).collect();
        self.disabled.extend(own);
        self
    }

    pub(crate) fn is_disabled(&self, tool: &Named) -> bool {
        self.disabled.contains(&tool.name) || self.disabled.contains(&tool.exposed)
    }

    pub(crate) fn is_read_only(&self, tool: &Named) -> bool {
        self.read_only_tools.contains(&tool.name)
    }

    /// The tools that clients may know of.
    pub(crate) fn offered<'a>(&self, tools: &'a NamedList) -> impl Iterator<Item = &'a Named> {
        tools.items().iter().filter(|tool| !self.is_disabled(tool))
    }
}
