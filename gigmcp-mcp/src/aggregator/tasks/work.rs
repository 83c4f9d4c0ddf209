//! A task that a client asks about.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Owner, Task, origin::Origin, told::told};
use crate::{
    aggregator::{FlowLabels, backend::Entry, health::Borrowed, observer::Observation},
    message::RpcError,
};

/// A task, and how its client knows it.
pub(super) struct Work<'a> {
    pub(super) entry: &'a Arc<Entry>,
    pub(super) origin: Origin,
    pub(super) exposed: Box<str>,
    pub(super) owner: Owner,
}

impl Work<'_> {
    pub(super) fn task(&self) -> Task {
        self.origin.task(self.entry.index)
    }

    pub(super) async fn told(&self, result: &RawValue) -> Result<Box<RawValue>, RpcError> {
        told(self.entry, &self.task(), &self.origin.tool, &self.exposed, result).await
    }

    /// The process that works on it. An aggregator that has just taken another's place has not looked yet which runs.
    pub(super) async fn process(&self) -> Option<Borrowed> {
        let (entry, process) = (self.entry, &self.origin.process);
        match entry.process(process) {
            None if entry.is_untouched() => {
                entry.ready().await.ok()?;
                entry.process(process)
            }
            held => held,
        }
    }

    /// What the server can see and do by the task's tool. One that is not there any more may have said that it deals with the
    /// world.
    pub(super) fn labels(&self) -> FlowLabels {
        let offer = self.entry.offer_now();
        let tool = offer.as_ref().and_then(|offer| offer.catalogue.tools.find_own(&self.origin.tool));
        let labels = self.entry.policy().labels_of(tool);
        match tool {
            Some(_) => labels,
            None => FlowLabels { reads_untrusted: true, can_send: true, ..labels },
        }
    }

    pub(super) fn note(&self, observation: &mut Observation) {
        let Origin { process, tool, call, .. } = &self.origin;
        let offer = self.entry.offer_now();
        let named = offer.as_ref().and_then(|offer| offer.catalogue.tools.find_own(tool));
        observation.is_of_task(*call, named.map_or(tool, |named| &named.exposed));
        let instance = Some(process.as_str()).filter(|name| !name.starts_with('#'));
        match named {
            Some(named) => observation.leads_to(&self.entry.name, Some((instance, &named.said))),
            None => observation.leads_to(&self.entry.name, None),
        }
    }
}
