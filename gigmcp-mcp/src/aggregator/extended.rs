//! Methods of extensions that we know nothing of. They reach the one server that has declared the extension.

use std::sync::Arc;

use super::{
    Aggregator, NOT_OBSERVED, backend::Entry, lists::Gathered, not_observed, notices::held_at, observer::Observation,
    passing::uri_of, spares::Wanted,
};
use crate::{
    message::{RpcError, beginning},
    upstream::{Call, Outcome},
};

impl Aggregator {
    /// Passes a request on if an extension owns its method that its client and exactly one server have declared.
    pub(super) async fn extended(&self, call: Call) -> Outcome {
        let unknown = || {
            let text = format!("Method not found: {}", beginning(&call.method));
            Outcome::refused(&RpcError::new(RpcError::METHOD_NOT_FOUND, text))
        };
        let Some(context) = call.context.as_deref() else { return unknown() };
        let Some(id) = context.extensions().owner_of(&call.method) else { return unknown() };
        let Gathered { servers, .. } = self.gather(self.limits.list_wait).await;
        let having: Vec<_> = servers.iter().filter(|(_, offer)| offer.description.extensions.has(id)).collect();
        match &having[..] {
            [] => {
                let mut holding = servers.iter().filter_map(|(entry, offer)| Some((entry, offer.held.extension(id)?)));
                match holding.next() {
                    Some((entry, held)) => Outcome::refused(&held.to_rpc(&entry.name, id)),
                    None => unknown(),
                }
            }
            [(entry, _)] => self.extended_by(entry, id, call.clone()).await,
            several => {
                let names: Vec<_> = several.iter().map(|(entry, _)| entry.name.as_str()).collect();
                let text = format!("several servers have {id}, and nothing tells which is meant: {}", names.join(", "));
                Outcome::refused(&RpcError::new(RpcError::INVALID_PARAMS, text))
            }
        }
    }

    /// Taken note of, like a call of a tool: it may do as much.
    async fn extended_by(&self, entry: &Arc<Entry>, id: &str, call: Call) -> Outcome {
        let mut observation = Observation::begin(self.observer.as_ref(), &call.method, call.params.as_deref());
        observation.leads_to(&entry.name, None);
        let (failure, outcome) = match observation.ready().await {
            Ok(()) => self.extended_at(entry, id, call).await,
            Err(error) => (Some(NOT_OBSERVED), not_observed(error)),
        };
        observation.end(failure, &outcome).await;
        outcome
    }

    async fn extended_at(&self, entry: &Arc<Entry>, id: &str, call: Call) -> (Option<&'static str>, Outcome) {
        let ready = match entry.ready().await {
            Ok(ready) => ready,
            Err(error) => return (Some(error.code()), Outcome::refused(&entry.refusal(&error))),
        };
        // It may have been held back since, or not be there any more.
        if !ready.description.extensions.has(id) {
            let text = format!("Method not found: {}", beginning(&call.method));
            return (None, Outcome::refused(&RpcError::new(RpcError::METHOD_NOT_FOUND, text)));
        }
        let uri = call.params.as_deref().and_then(uri_of);
        if let Some(held) = held_at(&ready, call.params.as_deref()) {
            let exposed = uri.as_deref().unwrap_or_default();
            return (Some(held.code()), Outcome::refused(&held.to_rpc(&entry.name, exposed)));
        }
        let wanted = uri.as_deref().map_or(Wanted::Declared(id), Wanted::Uri);
        (None, self.pass(entry, &ready, wanted, call).await)
    }
}
