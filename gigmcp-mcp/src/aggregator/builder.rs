//! How an aggregator is put together.

use std::{collections::HashMap, sync::Arc};

use super::{
    Aggregator, AggregatorLimits, Backend, CallObserver, DuplicateServer,
    backend::Entry,
    hub::Hub,
    naming::{Names, Prefixes},
};
use crate::{name::ServerId, seal::Sealer, upstream::Launch};

/// Collects what an [`Aggregator`] is made of.
#[derive(Default)]
#[must_use]
pub struct AggregatorBuilder {
    backends: Vec<Backend>,
    limits: AggregatorLimits,
    observer: Option<Arc<dyn CallObserver>>,
    prefixes: Prefixes,
    client_prefix: usize,
}

impl AggregatorBuilder {
    /// One more server.
    pub fn server(self, name: ServerId, launch: Arc<dyn Launch>) -> Self {
        self.backends([Backend::new(name, launch)])
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

    /// The aggregator. It starts nothing yet.
    ///
    /// # Errors
    /// If two servers have the same name.
    pub fn build(self) -> Result<Aggregator, DuplicateServer> {
        let Self { backends, limits, observer, prefixes, client_prefix } = self;
        let mut names = Names::new(prefixes, client_prefix, &backends);
        let hub = Hub::new();
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
        Ok(Aggregator { entries, by_name, observer, limits, hub, sealer: Sealer::new(), names })
    }
}
