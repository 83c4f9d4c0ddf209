//! Methods of extensions that we know nothing of. They reach the one server that has declared the extension.

use super::{Aggregator, lists::Gathered, spares::Wanted};
use crate::{
    extension::Extensions,
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
        let declared = Extensions::read(&context.capabilities);
        let Some(id) = declared.owner_of(&call.method) else { return unknown() };
        let Gathered { servers, .. } = self.gather(self.limits.list_wait).await;
        let having: Vec<_> = servers.iter().filter(|(_, offer)| offer.description.extensions.has(id)).collect();
        match &having[..] {
            [] => unknown(),
            [(entry, _)] => match entry.ready().await {
                Ok(ready) => self.pass(entry, &ready, Wanted::Nothing, call.clone()).await,
                Err(error) => Outcome::refused(&entry.refusal(&error)),
            },
            several => {
                let names: Vec<_> = several.iter().map(|(entry, _)| entry.name.as_str()).collect();
                let text = format!("several servers have {id}, and nothing tells which is meant: {}", names.join(", "));
                Outcome::refused(&RpcError::new(RpcError::INVALID_PARAMS, text))
            }
        }
    }
}
