//! What is asked by URI: reading resources and subscribing to them.

use std::sync::Arc;

use serde_json::{json, value::RawValue};
use tokio::runtime::Handle;

use super::{
    Aggregator,
    backend::{Entry, Ready},
    hub::{Subscribed, of_uri, prefixed},
    lists::Gathered,
    passing::uri_of,
    spares::Wanted,
};
use crate::{
    message::{RpcError, error_code},
    object::Members,
    sink::ClientId,
    upstream::{Call, Outcome},
};

/// A server that may have a resource, and under which URI.
pub(super) struct Location {
    pub(super) entry: Arc<Entry>,
    pub(super) ready: Arc<Ready>,
    /// The server's own URI.
    pub(super) uri: Box<str>,
}

impl Aggregator {
    /// Which servers may have a resource, the likeliest first: who lists it; whose name it begins with; who has named it in
    /// a result; whose template fits; and the only server with resources, if there is only one.
    /// None of them holds it back.
    pub(super) async fn locate(&self, uri: &str) -> Vec<Location> {
        let mut found = self.locate_any(uri).await;
        for location in &mut found {
            if location.entry.is_in_doubt(&location.ready)
                && let Ok(ready) = location.entry.ready().await
            {
                location.ready = ready;
            }
        }
        found.retain(|Location { ready, uri, .. }| ready.lists_uri(uri) || ready.held.located(uri).is_none());
        found
    }

    /// Why a resource cannot be asked for that a server has: it is held back.
    pub(super) fn held_back(&self, uri: &str) -> Option<RpcError> {
        let own = |entry: &Entry| uri.strip_prefix(&prefixed(entry.name.as_str(), "")).unwrap_or(uri).to_owned();
        self.entries.iter().find_map(|entry| {
            let ready = entry.running()?;
            Some(ready.held.located(&own(entry))?.to_rpc(&entry.name, uri))
        })
    }

    async fn locate_any(&self, uri: &str) -> Vec<Location> {
        let running = self.entries.iter().filter_map(|entry| Some((Arc::clone(entry), entry.running()?)));
        let running: Vec<_> = running.collect();
        let at = |(entry, ready): &(Arc<Entry>, Arc<Ready>)| Location {
            entry: Arc::clone(entry),
            ready: Arc::clone(ready),
            uri: uri.into(),
        };
        let listed = |servers: &[(Arc<Entry>, Arc<Ready>)]| {
            servers.iter().find(|(_, ready)| ready.lists_uri(uri)).map(at).into_iter().collect::<Vec<_>>()
        };
        let found = listed(&running);
        if !found.is_empty() {
            return found;
        }
        if let Some(location) = self.prefixed(uri).await {
            return vec![location];
        }
        if let Some(owner) = self.hub.links.owner(uri)
            && let Ok(ready) = self.entries[owner].ready().await
        {
            return vec![at(&(Arc::clone(&self.entries[owner]), ready))];
        }
        let Gathered { servers, .. } = self.gather(self.limits.list_wait).await;
        let found = listed(&servers);
        if !found.is_empty() {
            return found;
        }
        let with_resources: Vec<_> =
            servers.iter().filter(|(_, ready)| ready.description.capabilities.resources).collect();
        match &with_resources[..] {
            [only] => vec![at(only)],
            several => {
                let fits = several.iter().filter(|(_, ready)| ready.catalogue.templates.matches(uri));
                fits.map(|server| at(server)).collect()
            }
        }
    }

    /// A URI that begins with a server's name, because another one has the same.
    async fn prefixed(&self, uri: &str) -> Option<Location> {
        let (server, rest) = uri.split_once('+')?;
        let entry = &self.entries[*self.by_name.get(server)?];
        let ready = entry.ready().await.ok()?;
        let its_own = ready.lists_uri(rest) || ready.catalogue.templates.matches(rest);
        its_own.then(|| Location { entry: Arc::clone(entry), ready, uri: rest.into() })
    }

    pub(super) async fn read_resource(&self, call: Call) -> Outcome {
        let Some(exposed) = call.params.as_deref().and_then(uri_of) else { return no_uri() };
        let mut locations = self.locate(&exposed).await.into_iter().peekable();
        while let Some(Location { entry, ready, uri }) = locations.next() {
            let outcome = self.pass(&entry, &ready, Wanted::Uri(&uri), renamed(&call, &uri)).await;
            match outcome {
                Outcome::Error(error) if locations.peek().is_some() && is_not_found(&error) => {}
                Outcome::Complete(result) if *uri != *exposed => {
                    return Outcome::Complete(under(&result, &uri, &exposed).unwrap_or(result));
                }
                outcome => return outcome,
            }
        }
        self.not_found(&exposed)
    }

    pub(super) async fn subscribe(&self, call: Call) -> Outcome {
        let Some(exposed) = call.params.as_deref().and_then(uri_of) else { return no_uri() };
        let Some(Location { entry, ready, uri }) = self.locate(&exposed).await.into_iter().next() else {
            return self.not_found(&exposed);
        };
        if !ready.description.capabilities.subscribe {
            let text = format!("server {} has no subscriptions", entry.name);
            return Outcome::refused(&RpcError::new(RpcError::METHOD_NOT_FOUND, text));
        }
        let to = Subscribed { server: entry.index, uri: uri.clone() };
        match self.hub.subscribe(to.clone(), call.client) {
            Some(true) => {
                let outcome = self.pass(&entry, &ready, Wanted::Uri(&uri), renamed(&call, &uri)).await;
                if !matches!(outcome, Outcome::Complete(_)) {
                    self.hub.unsubscribe(&to, call.client);
                }
                outcome
            }
            Some(false) => nothing(),
            None => Outcome::refused(&RpcError::new(RpcError::INTERNAL_ERROR, "there are too many subscriptions")),
        }
    }

    pub(super) async fn unsubscribe(&self, call: Call) -> Outcome {
        let Some(exposed) = call.params.as_deref().and_then(uri_of) else { return no_uri() };
        let Some(Location { entry, ready, uri }) = self.locate(&exposed).await.into_iter().next() else {
            return self.not_found(&exposed);
        };
        match self.hub.unsubscribe(&Subscribed { server: entry.index, uri: uri.clone() }, call.client) {
            true => self.pass(&entry, &ready, Wanted::Uri(&uri), renamed(&call, &uri)).await,
            false => nothing(),
        }
    }

    fn not_found(&self, uri: &str) -> Outcome {
        let not_found =
            || RpcError::new(RpcError::RESOURCE_NOT_FOUND, "Resource not found").with_data(&json!({ "uri": uri }));
        Outcome::refused(&self.held_back(uri).unwrap_or_else(not_found))
    }

    /// Ends what only this client was subscribed to.
    pub(super) fn forget(&self, client: ClientId) {
        let over = self.hub.forget(client);
        let Ok(runtime) = Handle::try_current() else { return };
        for Subscribed { server, uri } in over {
            if let Some(ready) = self.entries[server].running() {
                runtime.spawn(async move { ready.upstream.call(of_uri("resources/unsubscribe", &uri)).await });
            }
        }
    }
}

impl Ready {
    /// Whether the server lists this resource, or exactly this template.
    pub(super) fn lists_uri(&self, uri: &str) -> bool {
        self.catalogue.resources.has(uri) || self.catalogue.templates.has(uri)
    }
}

/// The call with the server's own URI.
fn renamed(call: &Call, uri: &str) -> Call {
    let params = call.params.as_deref().and_then(|params| Members::of(params).ok()?.with("uri", uri));
    Call { params, ..call.clone() }
}

/// The contents of a resource under the URI that the client asked for.
fn under(result: &RawValue, own: &str, exposed: &str) -> Option<Box<RawValue>> {
    let members = Members::of(result).ok()?;
    let contents: Vec<&RawValue> = serde_json::from_str(members.value("contents")?.get()).ok()?;
    let mut renamed = Vec::new();
    for content in contents {
        let members = Members::of(content).ok()?;
        let same = members.string("uri").as_deref() == Some(own);
        renamed.push(if same { members.with("uri", exposed)?.get().to_owned() } else { content.get().to_owned() });
    }
    members.with_raw("contents", &format!("[{}]", renamed.join(",")))
}

fn is_not_found(error: &RawValue) -> bool {
    matches!(error_code(error), Some(RpcError::RESOURCE_NOT_FOUND | RpcError::INVALID_PARAMS))
}

fn no_uri() -> Outcome {
    let text = "params.uri is not a string, or a member is named twice";
    Outcome::refused(&RpcError::new(RpcError::INVALID_PARAMS, text))
}

pub(super) fn nothing() -> Outcome {
    Outcome::Complete(RawValue::from_string("{}".to_owned()).expect("it is JSON"))
}

impl Entry {
    /// Whether clients know a resource of this URI as this server's.
    pub(super) fn lists_uri(&self, uri: &str) -> bool {
        self.running().is_some_and(|ready| ready.lists_uri(uri))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[test]
    fn only_the_uri_that_was_changed_is_changed_back() {
        let result = r#"{ "x":1.0,"contents":[{"uri":"a:1","text":"a:1"},{ "uri":"a:2"}]}"#;
        let result = RawValue::from_string(result.to_owned()).unwrap();
        let expected = r#"{ "x":1.0,"contents":[{"uri":"s+a:1","text":"a:1"},{ "uri":"a:2"}]}"#;
        assert_eq!(under(&result, "a:1", &prefixed("s", "a:1")).unwrap().get(), expected);
    }
}
