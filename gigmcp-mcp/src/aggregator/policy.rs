//! What is demanded of one server, and how it is shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::Pins;
use crate::{
    catalogue::{Named, NamedList},
    name::{ExposedName, ServerId},
};

/// What is demanded of one server of an aggregator, and how it is shown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerPolicy {
    /// Which of its definitions somebody has agreed to. By default all are taken as they come.
    pub pins: Option<Arc<dyn Pins>>,
    /// These tools, by the server's own names, and nothing else that it has: no prompts, resources, completions. By default,
    /// everything.
    pub only: Option<BTreeSet<Box<str>>>,
    /// Other names of its tools and prompts than `<server>_<tool>`: the server's own name by the one that clients see. Of two
    /// for the same tool the first counts, and so does the first server's, if two have the same alias.
    pub aliases: BTreeMap<ExposedName, String>,
    /// Tools that are switched off, by the server's name for them or the one that clients see, alias or not: not listed, not
    /// found and not called.
    pub disabled: BTreeSet<Box<str>>,
    /// Tools, by the server's own name, that are known to change nothing. Never only what the server itself says of them; but if
    /// it says itself that one changes something, it is not taken for one that does not.
    pub read_only_tools: BTreeSet<Box<str>>,
    /// What the server is for, in a sentence, for clients that do not see its tools.
    pub purpose: Option<String>,
    /// How often it is started beside itself at most, if not as often as [`AggregatorLimits`](crate::AggregatorLimits) say.
    pub spares: Option<usize>,
    /// Whether it keeps nothing in memory from one call to the next, so that any process of it can take any call. By default the
    /// calls of a session go to one process. Requests without a session stand alone anyway.
    pub stateless: bool,
    /// Whether the text of its results is cleaned. Its definitions, its questions, its notifications, and whatever goes to a
    /// log always are.
    pub output: OutputText,
    /// What becomes of arguments that do not fit the tool's `inputSchema`. Refused by default: the server is not called.
    pub arguments: Misfit,
    /// What becomes of a `structuredContent` that does not fit the tool's `outputSchema`. Passed by default, and marked.
    pub structured_content: Misfit,
    /// Bounds on what it says.
    pub limits: ServerLimits,
    /// How often it may be called. Without bounds by default.
    pub rate: RateLimits,
    /// How many samplings one call may ask for, if they are forwarded at all. Default 4.
    pub samplings_per_call: usize,
    /// What it can see and do, as its owner says.
    pub labels: FlowLabels,
}

impl ServerPolicy {
    /// The same for this server: what was switched off as `<server>_<tool>` stays so when the tool has an alias.
    pub(crate) fn of(mut self, server: &ServerId) -> Self {
        let own = |name: &str| Some(name.strip_prefix(server.as_str())?.strip_prefix('_')?.into());
        let own: Vec<Box<str>> = self.disabled.iter().filter_map(|name| own(name)).collect();
        self.disabled.extend(own);
        self
    }

    pub(crate) fn is_disabled(&self, tool: &Named) -> bool {
        self.disabled.contains(&tool.name) || self.disabled.contains(&tool.exposed)
    }

    /// What the server can see and do by this tool: what its owner says, and what it says itself that is more.
    pub(crate) fn labels_of(&self, tool: Option<&Named>) -> FlowLabels {
        let open_world = tool.is_some_and(|tool| tool.hints.open_world);
        FlowLabels {
            reads_untrusted: self.labels.reads_untrusted || open_world,
            can_send: self.labels.can_send || open_world,
            ..self.labels
        }
    }

    pub(crate) fn is_read_only(&self, tool: &Named) -> bool {
        self.read_only_tools.contains(&tool.name) && !tool.hints.changes
    }

    /// The tools that clients may know of.
    pub(crate) fn offered<'a>(&self, tools: &'a NamedList) -> impl Iterator<Item = &'a Named> {
        tools.items().iter().filter(|tool| !self.is_disabled(tool))
    }
}

impl Default for ServerPolicy {
    fn default() -> Self {
        Self {
            pins: None,
            only: None,
            aliases: BTreeMap::new(),
            disabled: BTreeSet::new(),
            read_only_tools: BTreeSet::new(),
            purpose: None,
            spares: None,
            stateless: false,
            output: OutputText::default(),
            arguments: Misfit::Refused,
            structured_content: Misfit::Passed,
            limits: ServerLimits::default(),
            rate: RateLimits::default(),
            samplings_per_call: 4,
            labels: FlowLabels::default(),
        }
    }
}

/// What becomes of the text of results.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OutputText {
    /// Escape sequences, control characters and what nobody sees are taken out.
    #[default]
    Clean,
    /// It stays as it was written: for a server whose output is to have colours, or whose files are to be read byte by byte.
    AsWritten,
}

/// What becomes of a value that does not fit its schema.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Misfit {
    /// It does not pass.
    Refused,
    /// It passes, and is counted.
    Passed,
}

/// Bounds on what one server says.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Bytes of one result in all; a larger one is refused. Default 16 MiB.
    pub result_bytes: usize,
    /// Bytes of text in one result; more is cut, and the reader is told; against a model's context that is filled. Default
    /// 4 MiB.
    pub text_bytes: usize,
    /// Bytes of one image, sound or blob; a larger one is taken out, and the reader is told. Default 8 MiB.
    pub base64_bytes: usize,
    /// Items of content; more are left out, and the reader is told. Default 1,000.
    pub items: usize,
    /// How deep a value may be nested; deeper ones are refused; against readers that recurse. Default 100.
    pub nesting: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self { result_bytes: 16 << 20, text_bytes: 4 << 20, base64_bytes: 8 << 20, items: 1_000, nesting: 100 }
    }
}

/// How often a server may be called. What was not used adds up to one minute's worth.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RateLimits {
    /// Calls of its tools in a minute, by all clients together.
    pub calls_per_minute: Option<u32>,
    /// Calls of its tools in a minute, by one client.
    pub calls_per_minute_and_client: Option<u32>,
}

/// What a server can see and do. A profile whose servers together have all three lets a stranger's text send private data
/// away.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FlowLabels {
    /// It reads what strangers wrote: web pages, issues, mail.
    pub reads_untrusted: bool,
    /// It reads what is not for strangers.
    pub reads_private: bool,
    /// It can tell strangers something.
    pub can_send: bool,
}
