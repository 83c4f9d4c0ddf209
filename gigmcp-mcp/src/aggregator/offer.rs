//! What clients are shown of a server, and what it has said.

use std::sync::Arc;

use super::{
    Known, ServerPolicy,
    fault::BackendError,
    pins::{Held, Judged, Pins, Process},
};
use crate::{catalogue::Catalogue, definition::Defined, describe::Description, guard::Guard, name::Naming};

/// What clients are shown of a server, whether it runs or not: what it said, without what is held back.
#[derive(Default)]
pub(super) struct Offer {
    pub(super) description: Arc<Description>,
    pub(super) catalogue: Catalogue,
    pub(super) held: Held,
    pub(super) said: Said,
    /// The revision of the pins then; none if it was not judged yet, and nothing is shown of it.
    judged_at: Option<u64>,
}

/// All that a server said.
#[derive(Clone, Default)]
pub(super) struct Said {
    pub(super) description: Arc<Description>,
    pub(super) catalogue: Catalogue,
}

impl Offer {
    /// What was kept, before anybody has judged it.
    pub(super) fn unjudged(naming: &Naming, guard: &Guard, known: Known) -> Self {
        let Known { description, definitions } = known;
        let catalogue = Catalogue::of((naming, guard), definitions, None);
        Self { said: Said { description: Arc::new(description), catalogue }, ..Self::default() }
    }

    pub(super) async fn judged(said: Said, policy: &ServerPolicy, process: Process) -> Result<Self, BackendError> {
        let judged = Judged::of(policy.pins.as_ref(), &said.description, &said.catalogue, process).await?;
        // After all of it was judged: pins are the same whoever looks.
        let judged = match &policy.only {
            Some(only) => judged.only(only),
            None => judged,
        };
        let Judged { description, catalogue, held, revision } = judged;
        Ok(Self { description, catalogue, held, said, judged_at: Some(revision) })
    }

    /// Whether these pins would not judge it otherwise.
    pub(super) fn is_judged(&self, pins: Option<&Arc<dyn Pins>>) -> bool {
        self.judged_at.is_some_and(|revision| pins.is_none_or(|pins| pins.revision() == revision))
    }

    /// Whether clients may have seen it.
    pub(super) fn was_judged(&self) -> bool {
        self.judged_at.is_some()
    }

    /// What is kept of it: all that was said, as pins may judge it otherwise later.
    pub(super) fn to_known(&self) -> Known {
        Known::new(Description::clone(&self.said.description), self.said.catalogue.definitions.clone())
    }

    /// Whether the server lists this resource, or exactly this template.
    pub(super) fn lists_uri(&self, uri: &str) -> bool {
        self.catalogue.resources.has(uri) || self.catalogue.templates.has(uri)
    }

    /// Whether it shows a tool or prompt just as it is said here; `follows` if what is said of it may be otherwise.
    pub(super) fn shows(&self, said: &Defined, follows: bool) -> bool {
        let named = [&self.catalogue.tools, &self.catalogue.prompts].into_iter().flat_map(|list| list.items());
        let mut same = named.filter(|item| item.said.kind == said.kind && item.said.name == said.name);
        same.any(|item| follows || item.said.digest == said.digest)
    }
}
