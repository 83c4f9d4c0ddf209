//! How the tools are presented: each by itself, or behind the few that find and call them.

use std::{
    collections::BTreeSet,
    future::poll_fn,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use serde_json::value::RawValue;

use super::{
    Aggregator,
    backend::Entry,
    fault::FaultKind,
    lists::Gathered,
    named::{Kind, Refusal, Route},
    naming::{Prefixes, Shown},
    offer::Offer,
};
use crate::{
    catalogue::NamedList,
    meta::{
        MetaTool, ToolMode,
        calling::{meant, nearest, no_tool},
        definitions,
        describe::{self, Described},
        failed, first_sentence,
        index::{Found, Index, Offered, Source},
        on_one_line,
        search::Query,
    },
    name::ServerId,
    object::Members,
    upstream::Outcome,
};

/// How the tools of an aggregator are presented.
#[derive(Debug, Default)]
pub(super) struct Presentation {
    pub(super) mode: ToolMode,
    pub(super) always: BTreeSet<Box<str>>,
    /// What was decided last, if that is not said once for all.
    pub(super) is_meta: AtomicBool,
    index: Mutex<Arc<Index>>,
}

/// What a call asks for.
pub(super) enum Asked {
    /// A tool of a server.
    Direct,
    /// A tool of ours that answers by itself.
    Ours(MetaTool),
    /// A tool of a server, through one of ours; these are the parameters meant.
    Through(MetaTool, Box<RawValue>),
    /// The same, in a way that cannot be understood.
    Wrong(String),
}

impl Asked {
    /// While every tool is listed, there are none of ours. In [`ToolMode::Auto`] they are there also while they are not listed:
    /// whoever still has the list of before can go on.
    pub(super) fn of(presentation: &Presentation, params: Option<&RawValue>) -> Self {
        let ours = match presentation.mode {
            ToolMode::Direct => None,
            ToolMode::Meta | ToolMode::Auto(_) => MetaTool::of(params),
        };
        match (ours, params) {
            (Some(tool @ (MetaTool::Call | MetaTool::CallReadOnly)), Some(params)) => {
                meant(tool, params).map_or_else(Self::Wrong, |params| Self::Through(tool, params))
            }
            (Some(tool), _) => Self::Ours(tool),
            (None, _) => Self::Direct,
        }
    }

    pub(super) fn meant(&self) -> Option<&RawValue> {
        match self {
            Self::Through(_, params) => Some(params),
            Self::Direct | Self::Ours(_) | Self::Wrong(_) => None,
        }
    }
}

/// The answer to a call, and the code of what is to be noted of it.
type Answered = (Option<&'static str>, Outcome);

impl Aggregator {
    /// Whether clients see the few tools that stand for all, as it was decided last.
    #[must_use]
    pub fn is_meta(&self) -> bool {
        match self.presentation.mode {
            ToolMode::Direct => false,
            ToolMode::Meta => true,
            ToolMode::Auto(_) => self.presentation.is_meta.load(Ordering::Acquire),
        }
    }

    /// Whether a tool of this name is one of those that stand for others.
    pub(super) fn is_ours(&self, name: &str) -> bool {
        !matches!(self.presentation.mode, ToolMode::Direct) && MetaTool::named(name).is_some()
    }

    /// Decides by what is known of the servers, also of those that do not run now. Nothing that a client asks for is part of it.
    pub(super) fn decide(&self) -> bool {
        if let ToolMode::Auto(budget) = self.presentation.mode {
            let (mut tools, mut tokens) = (0, 0);
            for (entry, known) in self.entries.iter().filter_map(|entry| Some((entry, entry.known_tools()?))) {
                let offered = offered(entry, &known);
                tools += offered.len();
                tokens += offered.iter().map(|&item| known.tokens()[item]).sum::<usize>();
            }
            let exceeded = budget.is_exceeded(tools, tokens, self.is_meta());
            self.presentation.is_meta.store(exceeded, Ordering::Release);
        }
        self.is_meta()
    }

    /// The same, once every server was waited for.
    pub(super) async fn shows_meta(&self) -> bool {
        let unknown = |entry: &Arc<Entry>| entry.known_tools().is_none();
        if matches!(self.presentation.mode, ToolMode::Auto(_)) && self.entries.iter().any(unknown) {
            self.gather(self.limits.list_wait).await;
        }
        self.decide()
    }

    /// The tools that stand for all, and those that are always listed. Only the servers of the latter are needed.
    pub(super) async fn meta_list(&self) -> Vec<Box<RawValue>> {
        let always = &self.presentation.always;
        let wait = self.limits.list_wait;
        let gathered = match self.names.prefixes {
            // Whether a name needs its prefix depends on all of them.
            Prefixes::WhenNeeded if !always.is_empty() => self.gather(wait).await,
            Prefixes::WhenNeeded | Prefixes::Always => {
                let named: BTreeSet<usize> =
                    always.iter().filter_map(|name| self.named_server(name)).map(|entry| entry.index).collect();
                self.gather_of(named.into_iter().map(|index| &self.entries[index]), wait).await
            }
        };
        let shown = self.shown(Kind::Tool, &gathered).into_iter();
        let pinned = shown.filter(|shown| MetaTool::named(shown.name).is_none() && shown.is_among(always));
        let pinned =
            pinned.map(|shown| self.definition(Kind::Tool, shown.entry.index, shown.item, shown.name).into_owned());
        definitions().iter().cloned().chain(pinned).collect()
    }

    /// The answer of a tool of ours; none if a server is to answer.
    pub(super) async fn answered_here(&self, asked: &Asked, params: Option<&RawValue>) -> Option<Answered> {
        match asked {
            Asked::Direct => None,
            Asked::Wrong(text) => Some((None, failed(text))),
            Asked::Ours(MetaTool::Describe) => Some((None, self.describe_tools(params).await)),
            Asked::Ours(_) => Some((None, self.search(params).await)),
            // Whether that may be called is decided where it leads to, and nowhere else.
            Asked::Through(..) => None,
        }
    }

    /// Why a call through a tool of ours does not go where it leads, if it does not.
    pub(super) fn refused_through(asked: &Asked, route: &Route<'_>) -> Option<Answered> {
        let Asked::Through(MetaTool::CallReadOnly, params) = asked else { return None };
        let tool = route.ready.catalogue.tools.find_own(&route.said.name);
        if tool.is_some_and(|tool| route.entry.policy().is_read_only(tool)) {
            return None;
        }
        let name = Members::of(params).ok().and_then(|params| params.string("name").map(String::from));
        let text = format!(
            "{} is not known to be read-only. If it is right to call it, use call_tool.",
            name.as_deref().unwrap_or_default()
        );
        Some((Some(NOT_READ_ONLY), failed(&text)))
    }

    /// What is told of a name that leads nowhere: through a tool of ours, in words for a model.
    pub(super) fn told_of_nothing(&self, asked: &Asked) -> Option<Answered> {
        let Asked::Through(_, params) = asked else { return None };
        let name = Members::of(params).ok()?.string("name")?;
        Some((None, failed(&self.no_tool(&name))))
    }

    async fn search(&self, params: Option<&RawValue>) -> Outcome {
        let query = match Query::of(params) {
            Ok(query) => query,
            Err(text) => return failed(&text),
        };
        let gathered = self.gather(self.limits.list_wait).await;
        let index = self.index(&gathered);
        let entry = |found: Found<'_>| &self.entries[self.by_name[found.server.as_str()]];
        let is_read_only = |found: Found<'_>| entry(found).policy().is_read_only(found.tool);
        let definition =
            |found: Found<'_>| self.definition(Kind::Tool, entry(found).index, found.tool, found.name).get().to_owned();
        query.answer(&index, is_read_only, definition, &missing(&gathered))
    }

    /// The index of what is offered now, made anew only if something has changed.
    fn index(&self, gathered: &Gathered) -> Arc<Index> {
        let shown = self.shown(Kind::Tool, gathered);
        let source = |(entry, ready): &(Arc<Entry>, Arc<Offer>)| {
            let its_own = shown.iter().filter(|shown| shown.entry.index == entry.index);
            Source {
                server: entry.name.clone(),
                title: ready.description.title.clone().unwrap_or_default(),
                tools: Arc::clone(&ready.catalogue.tools),
                offered: its_own.map(|shown| Offered { item: shown.at, name: shown.name.into() }).collect(),
            }
        };
        let sources: Vec<Source> = gathered.servers.iter().map(source).collect();
        let mut index = self.presentation.index.lock().unwrap_or_else(PoisonError::into_inner);
        if !index.is_of(&sources) {
            *index = Arc::new(Index::of(sources));
        }
        Arc::clone(&index)
    }

    async fn describe_tools(&self, params: Option<&RawValue>) -> Outcome {
        let names = match describe::names(params) {
            Ok(names) => names,
            Err(text) => return failed(&text),
        };
        let (mut described, mut read_only, mut servers) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut notes = Vec::new();
        // Side by side: each may have to wait until its server has started.
        let found = all(names.iter().map(|name| self.find(Kind::Tool, name))).await;
        for (name, found) in names.iter().zip(found) {
            let route = match found {
                Ok(route) => route,
                Err(Refusal { entry: None, .. }) => {
                    described.push(Described::IsNot(self.no_tool(name)));
                    continue;
                }
                Err(Refusal { error, .. }) => {
                    described.push(Described::IsNot(error.message));
                    continue;
                }
            };
            let Some(tool) = route.ready.catalogue.tools.find_own(&route.said.name) else { continue };
            let definition = self.definition(Kind::Tool, route.entry.index, tool, name);
            described.push(Described::Is(definition.into_owned()));
            if route.entry.policy().is_read_only(tool) {
                read_only.push(name.as_str());
            }
            if let Some(text) =
                route.ready.description.instructions.as_ref().filter(|_| servers.insert(route.entry.index))
            {
                let text: String = text.chars().take(MAX_INSTRUCTIONS).collect();
                notes.push(format!("How to use {}, in its own words:\n{}", route.entry.name, text.trim()));
            }
        }
        if !read_only.is_empty() {
            notes.insert(0, format!("Read-only, for call_read_only_tool: {}.", read_only.join(", ")));
        }
        describe::answer(described, &notes)
    }

    fn no_tool(&self, name: &str) -> String {
        let known: Vec<_> = self.entries.iter().filter_map(|entry| Some((entry, entry.known_tools()?))).collect();
        let tools = known.iter().flat_map(|(entry, tools)| entry.policy().offered(tools));
        no_tool(name, &nearest(name, tools))
    }

    /// What clients that see none of the tools are told there is.
    pub(super) fn overview(&self, gathered: &Gathered) -> String {
        let mut text = String::from(OVERVIEW);
        for entry in &self.entries {
            let ready = gathered.servers.iter().find(|(known, _)| known.index == entry.index).map(|(_, ready)| ready);
            let tools = match ready {
                Some(ready) => format!(" ({} tools)", entry.policy().offered(&ready.catalogue.tools).count()),
                None => " (not there now)".to_owned(),
            };
            let said = ready.map(|ready| &ready.description);
            let own = said.and_then(|said| said.instructions.as_ref().or(said.title.as_ref()));
            let purpose = match (&entry.policy().purpose, own) {
                (Some(purpose), _) => on_one_line(purpose, MAX_PURPOSE),
                (None, Some(own)) => first_sentence(own, MAX_PURPOSE),
                (None, None) => String::new(),
            };
            let colon = if purpose.is_empty() { "" } else { ": " };
            text.extend(["\n- ", entry.name.as_str(), &tools, colon, &purpose]);
        }
        text
    }
}

impl Shown<'_> {
    /// Whether one of these names is this tool's: the one that is shown, or the one that it always has.
    fn is_among(&self, names: &BTreeSet<Box<str>>) -> bool {
        let server = self.entry.name.as_str();
        names.contains(self.name)
            || names.contains(&self.item.exposed)
            || names.contains(&*format!("{server}_{}", self.item.name))
    }
}

/// What all of these come to, each polled in the same task. They are few.
async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        for (future, output) in waiting.iter_mut().filter(|(_, output)| output.is_none()) {
            if let Poll::Ready(ready) = future.as_mut().poll(context) {
                *output = Some(ready);
            }
        }
        if waiting.iter().all(|(_, output)| output.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, output)| output).collect()
}

/// Which tools of a list are offered.
fn offered(entry: &Entry, tools: &NamedList) -> Vec<usize> {
    let items = tools.items().iter().enumerate();
    items.filter(|(_, tool)| !entry.policy().is_disabled(tool)).map(|(item, _)| item).collect()
}

/// The servers whose tools are not known now, and why.
fn missing(gathered: &Gathered) -> Vec<(ServerId, String)> {
    let is_there = |server: &ServerId| gathered.servers.iter().any(|(entry, _)| entry.name == *server);
    let faults =
        gathered.faults.iter().filter(|fault| !matches!(fault.kind, FaultKind::Item(_)) && !is_there(&fault.server));
    faults.map(|fault| (fault.server.clone(), on_one_line(&fault.kind.to_string(), MAX_PURPOSE))).collect()
}

/// What a client is told first.
const OVERVIEW: &str = "The tools of these servers are not listed one by one. search_tools finds them, describe_tools is the load \
    (it gives their definitions), and call_tool or call_read_only_tool calls them. Servers:";
/// The stable code of a call of a tool that may change something, where only reading was allowed.
const NOT_READ_ONLY: &str = "tool-not-read-only";
/// Characters of what a server is for.
const MAX_PURPOSE: usize = 200;
/// Characters of a server's instructions.
const MAX_INSTRUCTIONS: usize = 8 << 10;
