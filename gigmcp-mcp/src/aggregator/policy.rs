//! What is demanded of one server.

use std::collections::BTreeSet;

use crate::catalogue::{Named, NamedList};

/// What is demanded of one server of an aggregator.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServerPolicy {
    /// Tools that are switched off, by the server's name for them or the one that clients see: not listed, not found and not
    /// called.
    pub disabled: BTreeSet<Box<str>>,
    /// Tools, by the server's own name, that are known to change nothing. Never what the server itself says of them.
    pub read_only_tools: BTreeSet<Box<str>>,
    /// What the server is for, in a sentence, for clients that do not see its tools.
    pub purpose: Option<String>,
    /// How often it is started beside itself at most, if not as often as [`AggregatorLimits`](crate::AggregatorLimits) say.
    pub spares: Option<usize>,
}

impl ServerPolicy {
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
