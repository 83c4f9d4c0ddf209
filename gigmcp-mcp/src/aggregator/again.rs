//! What was allowed when it began is judged again before it goes on: tasks, and calls whose client was asked meanwhile.

use std::sync::Arc;

use super::{
    Aggregator,
    backend::{Entry, Ready},
    fault::BackendError,
    health::Borrowed,
    named::{Refusal, disabled},
    offer::Offer,
    spares::Wanted,
};
use crate::{definition::DefinitionKind, message::RpcError, upstream::Call};

impl Entry {
    /// Whether what began by this tool may go on: the tool is not held back, not switched off, and one of those that may be used
    /// here. `tool` is the server's own name.
    pub(super) async fn allows(self: &Arc<Self>, tool: &str) -> Result<(), Refusal<'_>> {
        let offer = match self.running() {
            Some(ready) if self.policy().pins.is_none() || !self.is_stale(&ready) => Ok(Arc::clone(&ready.offer)),
            Some(_) => self.ready().await.map(|ready| Arc::clone(&ready.offer)),
            // It may go on in a process beside the first, and nothing has to be started to know.
            None => match self.known().await {
                Some(known) => Ok(known),
                None => self.ready().await.map(|ready| Arc::clone(&ready.offer)),
            },
        };
        let offer = offer.map_err(|error| Refusal {
            entry: Some(self),
            code: Some(error.code()),
            error: self.refusal(&error),
        })?;
        self.allows_by(&offer, tool)
    }

    /// The same without asking anybody: not if it is in doubt.
    pub(super) fn allows_now(&self, tool: &str) -> bool {
        let in_doubt = self.running().is_some_and(|ready| self.is_in_doubt(&ready));
        !in_doubt && self.offer_now().is_some_and(|offer| self.allows_by(&offer, tool).is_ok())
    }

    fn allows_by(&self, offer: &Offer, tool: &str) -> Result<(), Refusal<'_>> {
        let policy = self.policy();
        if let Some(named) = offer.catalogue.tools.find_own(tool) {
            return if policy.is_disabled(named) { Err(disabled(self, &named.exposed)) } else { Ok(()) };
        }
        let held = offer.held.own(DefinitionKind::Tool, tool);
        if let Some((held, exposed)) = held.and_then(|name| Some((offer.held.named(DefinitionKind::Tool, name)?, name)))
        {
            let error = held.to_rpc(&self.name, exposed);
            return Err(Refusal { entry: Some(self), code: Some(held.code()), error });
        }
        // A server may take a tool out of its list while it works. Where somebody has agreed to what it lists, this is no way out.
        let gone = offer.said.catalogue.tools.find_own(tool).is_none();
        let pinned = policy.pins.as_ref().is_some_and(|pins| !pins.follows());
        if gone && !pinned && self.may_use(tool) && !policy.disabled.contains(tool) {
            return Ok(());
        }
        let error = RpcError::new(RpcError::INVALID_PARAMS, "there is no such task: its tool is not there any more");
        Err(Refusal { entry: Some(self), code: None, error })
    }

    /// Whether this tool is one of those that may be used here, whatever has become of it.
    pub(super) fn may_use(&self, tool: &str) -> bool {
        self.policy().only.as_ref().is_none_or(|only| only.contains(tool))
    }
}

impl Aggregator {
    /// Whether what was judged here before is worth anything: not if another aggregator has taken over, which may judge
    /// otherwise.
    pub(super) fn still_serves(&self) -> Result<(), Withdrawn> {
        if self.hub.is_replaced() { Err((Some(CHANGED), changed_meanwhile())) } else { Ok(()) }
    }

    /// A process for something whose client was asked meanwhile, which may have taken minutes: only if what is wanted is still
    /// offered as it was when the server was `ready`.
    pub(super) async fn borrowed_again(
        &self,
        entry: &Arc<Entry>,
        ready: &Ready,
        (call, wanted): (&Call, Wanted<'_>),
    ) -> Result<Borrowed, Withdrawn> {
        self.still_serves()?;
        let refused = |error: BackendError| (Some(error.code()), entry.refusal(&error));
        let again = entry.ready().await.map_err(refused)?;
        let follows = entry.policy().pins.as_ref().is_none_or(|pins| pins.follows());
        // Of what an extension's method reaches, nothing tells whether it is the same.
        let named = !matches!(wanted, Wanted::Declared(_));
        let same = Arc::ptr_eq(&ready.offer, &again.offer) || named && wanted.is_offered(&again, follows);
        if !same {
            return Err((Some(CHANGED), changed_meanwhile()));
        }
        entry.upstream_for(&again, call, wanted).await.map_err(refused)
    }
}

/// Why something may not go on: the stable code, and what the client gets.
pub(super) type Withdrawn = (Option<&'static str>, RpcError);

fn changed_meanwhile() -> RpcError {
    let text = "what was called may have changed while its user was asked, so it was not called; call it again";
    RpcError::new(RpcError::INTERNAL_ERROR, text).with_data(&serde_json::json!({ "code": CHANGED }))
}

/// The stable code of a call that was allowed when it was made, and is not known to be any more.
const CHANGED: &str = "changed-meanwhile";
