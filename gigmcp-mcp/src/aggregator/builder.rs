//! How an aggregator is put together.

use std::{collections::HashMap, future::Future, io, sync::Arc};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Aggregator, AggregatorLimits, Backend, CallObserver, DuplicateServer, FlowPolicy,
    backend::Entry,
    hub::{Hub, Shared},
    meta::Presentation,
    naming::{Names, Prefixes},
};
use crate::{meta::ToolMode, name::ServerId, seal::Sealer, stdio::StdioLaunch, upstream::Launch};

/// Collects what an [`Aggregator`] is made of.
#[derive(Default)]
#[must_use]
pub struct AggregatorBuilder {
    backends: Vec<Backend>,
    limits: AggregatorLimits,
    observer: Option<Arc<dyn CallObserver>>,
    prefixes: Prefixes,
    client_prefix: usize,
    presentation: Presentation,
    flow: FlowPolicy,
    shared: Shared,
}

impl AggregatorBuilder {
    /// One more server.
    pub fn server(self, name: ServerId, launch: Arc<dyn Launch>) -> Self {
        self.backends([Backend::new(name, launch)])
    }

    /// One more server, behind the pipes that `open` opens at each start: its output, then its input. A
    /// [`StdioLaunch`] of one's own says more.
    pub fn stdio<F, P, R, W>(self, name: ServerId, open: F) -> Self
    where
        F: Fn() -> P + Send + Sync + 'static,
        P: Future<Output = io::Result<(R, W)>> + Send + 'static,
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        self.server(name, Arc::new(StdioLaunch::new(open)))
    }

    /// More servers, in this order.
    pub fn backends(mut self, backends: impl IntoIterator<Item = Backend>) -> Self {
        self.backends.extend(backends);
        self
    }

    /// Other bounds than the default ones.
    pub fn limits(mut self, limits: AggregatorLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Tells `observer` of every `tools/call`.
    pub fn observed_by(mut self, observer: Arc<dyn CallObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Whether every name begins with its server's; by default, every one does.
    pub fn prefixes(mut self, prefixes: Prefixes) -> Self {
        self.prefixes = prefixes;
        self
    }

    /// How many characters clients put in front of a name before they count (`mcp__work__`); none by default.
    pub fn client_prefix(mut self, length: usize) -> Self {
        self.client_prefix = length;
        self
    }

    /// How its tools are listed; every one by default.
    pub fn tool_mode(mut self, mode: ToolMode) -> Self {
        self.presentation.mode = mode;
        self
    }

    /// Tools, by the names clients use, that are listed whatever the mode is.
    pub fn always(mut self, names: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        self.presentation.always.extend(names.into_iter().map(Into::into));
        self
    }

    /// What [`Aggregator::is_meta`] said of the one that this comes in place of, so that [`ToolMode::Auto`] goes on from there.
    pub fn was_meta(mut self, was: bool) -> Self {
        self.presentation.is_meta = was.into();
        self
    }

    /// What is done when a session could be made to send private data away. By default, the operator is told.
    pub fn flow(mut self, policy: FlowPolicy) -> Self {
        self.flow = policy;
        self
    }

    /// Calls are counted together with those of another aggregator, and so is what tasks ask for: of the same servers, before it
    /// or beside it. What sessions have read counts in both ([`FlowPolicy`]), and tasks that are under way go on.
    pub fn counting_with(mut self, other: &Aggregator) -> Self {
        self.shared = other.hub.shared();
        self
    }

    /// The aggregator. It starts nothing yet.
    ///
    /// # Errors
    /// If two servers have the same name.
    pub fn build(self) -> Result<Aggregator, DuplicateServer> {
        let Self { backends, limits, observer, prefixes, client_prefix, presentation, flow, shared } = self;
        let mut names = Names::new(prefixes, client_prefix, &backends);
        let hub = Hub::new(flow, shared);
        let mut by_name = HashMap::new();
        let mut entries = Vec::with_capacity(backends.len());
        for backend in backends {
            if by_name.insert(backend.name.as_str().into(), entries.len()).is_some() {
                return Err(DuplicateServer { name: backend.name });
            }
            let naming = names.of_next(&backend);
            entries.push(Arc::new(Entry::new(backend, naming, entries.len(), limits, &hub)));
        }
        hub.connect(&entries);
        Ok(Aggregator { entries, by_name, observer, limits, hub, sealer: Sealer::new(), names, presentation })
    }
}
