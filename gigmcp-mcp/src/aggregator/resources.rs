//! What is asked by URI: reading resources and subscribing to them.

use std::{cell::Cell, sync::Arc};

use serde_json::{json, value::RawValue};
use tokio::runtime::Handle;

use super::{
    Aggregator,
    backend::{Entry, Ready},
    hub::{Hub, Subscribed, of_uri, prefixed},
    lists::Gathered,
    offer::Offer,
    passing::uri_of,
    pointing::MAX_WORK,
    skill_files::agreed,
    skill_uris,
    spares::Wanted,
};
use crate::{
    catalogue::TooLong,
    message::{RpcError, error_code},
    object::{Members, items},
    sink::ClientId,
    upstream::{Call, Outcome, Upstream},
};

/// A server that may have a resource, and under which URI.
pub(super) struct Location {
    pub(super) entry: Arc<Entry>,
    /// The server's own URI.
    pub(super) uri: Box<str>,
}

impl Location {
    /// The server, running; it does not hold back what is asked for.
    pub(super) async fn reach(&self, exposed: &str) -> Result<Arc<Ready>, RpcError> {
        let ready = self.entry.ready().await.map_err(|error| self.entry.refusal(&error))?;
        // Whoever may use some of its tools may not read what they point at.
        if !ready.description.capabilities.resources {
            return Err(is_missing(exposed));
        }
        let held = ready.held.located(&self.uri).filter(|_| !ready.lists_uri(&self.uri));
        match held.or_else(|| ready.held_skill(&self.uri)) {
            Some(held) => Err(held.to_rpc(&self.entry.name, exposed)),
            None => Ok(ready),
        }
    }
}

impl Aggregator {
    /// Which servers may have a resource, the likeliest first: who lists it; whose name it begins with; who has named it in
    /// a result; whose template fits; and the only server with resources, if there is only one.
    /// Only if there is none, who holds it back.
    pub(super) async fn locate(&self, uri: &str) -> Vec<Location> {
        // Before anybody is asked: whoever lists such a URI has no right to it.
        if let Some((entry, own)) = self.named_in(uri) {
            return vec![Location { entry: Arc::clone(entry), uri: own }];
        }
        let mut known = Vec::new();
        for entry in &self.entries {
            known.extend(entry.known().await.map(|offer| (Arc::clone(entry), offer)));
        }
        if self.hub.is_misleading(uri, &Cell::new(MAX_WORK)) {
            return self.prefixed(uri).await.into_iter().collect();
        }
        let found = self.locate_among(&known, uri).await;
        if !found.is_empty() {
            return found;
        }
        // Whoever holds it back says so, unless it has agreed to say something else by now.
        let own = |entry: &Entry| uri.strip_prefix(&prefixed(entry.name.as_str(), "")).unwrap_or(uri).to_owned();
        let holds = known.iter().find(|(entry, offer)| offer.held.located(&own(entry)).is_some());
        let at = |entry: &Arc<Entry>| Location { entry: Arc::clone(entry), uri: own(entry).into() };
        holds.map(|(entry, _)| at(entry)).into_iter().collect()
    }

    async fn locate_among(&self, known: &[(Arc<Entry>, Arc<Offer>)], uri: &str) -> Vec<Location> {
        let at = |entry: &Arc<Entry>| Location { entry: Arc::clone(entry), uri: uri.into() };
        let listed = |servers: &[(Arc<Entry>, Arc<Offer>)]| {
            let lists = servers.iter().find(|(_, offer)| offer.lists_uri(uri));
            lists.map(|(entry, _)| at(entry)).into_iter().collect::<Vec<_>>()
        };
        let found = listed(known);
        if !found.is_empty() {
            return found;
        }
        if let Some(location) = self.prefixed(uri).await {
            return vec![location];
        }
        // Whoever names what another one has gets no reads of it: its link has its name in front.
        if let Some(owner) = self.hub.links.owner(uri)
            && !self.hub.is_anothers(owner, uri)
            && self.entries[owner].offer().await.is_ok_and(|offer| offer.description.capabilities.resources)
        {
            return vec![at(&self.entries[owner])];
        }
        let Gathered { servers, .. } = self.gather(self.limits.list_wait).await;
        let found = listed(&servers);
        if !found.is_empty() {
            return found;
        }
        let with_resources: Vec<_> =
            servers.iter().filter(|(_, offer)| offer.description.capabilities.resources).collect();
        match &with_resources[..] {
            [(only, _)] => vec![at(only)],
            several => {
                let fits = several.iter().filter(|(_, offer)| offer.catalogue.templates.matches(uri));
                fits.map(|(entry, _)| at(entry)).collect()
            }
        }
    }

    /// A URI that begins with a server's name, because another one has the same.
    async fn prefixed(&self, uri: &str) -> Option<Location> {
        let (server, rest) = uri.split_once('+')?;
        let entry = &self.entries[*self.by_name.get(server)?];
        let offer = entry.offer().await.ok()?;
        let is_linked = || self.hub.links.has(entry.index, rest) && offer.description.capabilities.resources;
        let its_own = offer.lists_uri(rest) || offer.catalogue.templates.matches(rest) || is_linked();
        its_own.then(|| Location { entry: Arc::clone(entry), uri: rest.into() })
    }

    pub(super) async fn read_resource(&self, call: Call) -> Outcome {
        let Some(exposed) = call.params.as_deref().and_then(uri_of) else { return no_uri() };
        let mut locations = self.locate(&exposed).await.into_iter().peekable();
        while let Some(location) = locations.next() {
            let Location { entry, uri } = &location;
            let outcome = match location.reach(&exposed).await {
                Ok(ready) => {
                    let read = self.pass(entry, &ready, Wanted::Uri(uri), renamed(&call, uri)).await;
                    agreed(entry, &ready, (uri, &exposed), read)
                }
                Err(_) if locations.peek().is_some() => continue,
                Err(error) => Outcome::refused(&error),
            };
            match outcome {
                Outcome::Error(error) if locations.peek().is_some() && is_not_found(&error) => {}
                Outcome::Complete(result) if **uri != *exposed => {
                    return Outcome::Complete(under(&result, uri, &exposed).unwrap_or(result));
                }
                outcome => return outcome,
            }
        }
        not_found(&exposed)
    }

    pub(super) async fn subscribe(&self, call: Call) -> Outcome {
        let Some(exposed) = call.params.as_deref().and_then(uri_of) else { return no_uri() };
        let Some(location) = self.locate(&exposed).await.into_iter().next() else {
            return not_found(&exposed);
        };
        if exposed.len() > MAX_URI_BYTES {
            return Outcome::refused(&RpcError::new(RpcError::INVALID_PARAMS, "params.uri is too long"));
        }
        let ready = match location.reach(&exposed).await {
            Ok(ready) => ready,
            Err(error) => return Outcome::refused(&error),
        };
        let Location { entry, uri } = location;
        if !ready.description.capabilities.subscribe {
            let text = format!("server {} has no subscriptions", entry.name);
            return Outcome::refused(&RpcError::new(RpcError::METHOD_NOT_FOUND, text));
        }
        let to = Subscribed { server: entry.index, uri: uri.clone() };
        let owner = call.context.as_deref().and_then(|context| context.owner.clone());
        match self.hub.subscribe(to.clone(), (call.client, owner), &exposed) {
            Some(true) => {
                let mut noted = Noted {
                    hub: &self.hub,
                    to: &to,
                    client: call.client,
                    upstream: Arc::clone(&ready.upstream),
                    holds: false,
                };
                let outcome = self.pass(&entry, &ready, Wanted::Uri(&uri), renamed(&call, &uri)).await;
                noted.holds = matches!(outcome, Outcome::Complete(_));
                outcome
            }
            Some(false) => nothing(),
            None => Outcome::refused(&RpcError::new(RpcError::INTERNAL_ERROR, "there are too many subscriptions")),
        }
    }

    pub(super) async fn unsubscribe(&self, call: Call) -> Outcome {
        let Some(exposed) = call.params.as_deref().and_then(uri_of) else { return no_uri() };
        let place = self.locate(&exposed).await.into_iter().next();
        let place = place.map(|Location { entry, uri }| Subscribed { server: entry.index, uri });
        // It may not be there any more, or be another server's by now.
        let known = |to: &Subscribed| self.is_known_as(to, &exposed);
        let Some(to) = self.hub.subscribed_by(call.client, place.as_ref(), known).or(place) else {
            return not_found(&exposed);
        };
        let (entry, uri) = (&self.entries[to.server], &to.uri);
        let last = self.hub.unsubscribe(&to, call.client);
        match entry.running().filter(|_| last) {
            // What else the client says is judged by nobody here.
            Some(ready) => {
                let params = of_uri(&call.method, uri).params;
                self.pass(entry, &ready, Wanted::Uri(uri), Call { params, ..call.clone() }).await
            }
            // A server that does not run has forgotten it by itself.
            None => nothing(),
        }
    }

    /// Whether a client may have called a resource so, be it as its server does, or with the server's name.
    fn is_known_as(&self, Subscribed { server, uri }: &Subscribed, exposed: &str) -> bool {
        let name = self.entries[*server].name.as_str();
        **uri == *exposed || prefixed(name, uri) == exposed || skill_uris::exposed(name, uri) == exposed
    }

    /// Ends what only this client was subscribed to.
    pub(super) fn forget(&self, client: ClientId) {
        let over = self.hub.forget(client);
        let Ok(runtime) = Handle::try_current() else {
            over.iter().for_each(|to| _ = self.hub.is_left(to));
            return;
        };
        for to in over {
            let (hub, running) = (Arc::clone(&self.hub), self.entries[to.server].running());
            runtime.spawn(async move {
                // Somebody may have come meanwhile, for whom it holds.
                if let (true, Some(ready)) = (hub.is_left(&to), running) {
                    ready.upstream.call(of_uri("resources/unsubscribe", &to.uri)).await;
                }
            });
        }
    }
}

/// A subscription that does not hold yet, and is gone if it never does: refused, or given up by its client. The next one
/// would not reach the server. Whoever has come meanwhile was told that it holds.
struct Noted<'a> {
    hub: &'a Arc<Hub>,
    to: &'a Subscribed,
    client: Option<ClientId>,
    upstream: Arc<dyn Upstream>,
    holds: bool,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if !self.holds {
            self.hub.unsubscribe(self.to, self.client);
            if let Ok(runtime) = Handle::try_current() {
                let (hub, to, upstream) = (Arc::clone(self.hub), self.to.clone(), Arc::clone(&self.upstream));
                runtime.spawn(async move { again_if_wanted(&hub, &*upstream, &to).await });
            }
        }
    }
}

/// Subscribes to what somebody is subscribed to although it has just ended: whoever came meanwhile was not told to the server.
async fn again_if_wanted(hub: &Hub, upstream: &dyn Upstream, to: &Subscribed) {
    for call in hub.subscribes_again(to) {
        drop(upstream.call(call).await);
    }
}

/// The call with the server's own URI.
pub(super) fn renamed(call: &Call, uri: &str) -> Call {
    let params = call.params.as_deref().and_then(|params| Members::of(params).ok()?.with("uri", uri));
    Call { params, ..call.clone() }
}

/// The contents of a resource under the URI that the client asked for.
fn under(result: &RawValue, own: &str, exposed: &str) -> Option<Box<RawValue>> {
    let members = Members::of(result).ok()?;
    let contents = items(members.value("contents")?, MAX_CONTENTS).ok()?;
    let mut renamed = Vec::new();
    for content in contents {
        let members = Members::of(content).ok()?;
        let same = members.string("uri").as_deref() == Some(own);
        renamed.push(if same { members.with("uri", exposed)?.get().to_owned() } else { content.get().to_owned() });
    }
    members.with_raw("contents", &format!("[{}]", renamed.join(",")))
}

fn not_found(uri: &str) -> Outcome {
    Outcome::refused(&is_missing(uri))
}

fn is_missing(uri: &str) -> RpcError {
    RpcError::new(RpcError::RESOURCE_NOT_FOUND, "Resource not found").with_data(&json!({ "uri": uri }))
}

/// Parts of one resource.
const MAX_CONTENTS: usize = 10_000;
/// Of a resource that is subscribed to: it is kept.
const MAX_URI_BYTES: usize = 8 << 10;

fn is_not_found(error: &RawValue) -> bool {
    matches!(error_code(error), Some(RpcError::RESOURCE_NOT_FOUND | RpcError::INVALID_PARAMS))
}

pub(super) fn no_uri() -> Outcome {
    let text = "params.uri is not a string, or a member is named twice";
    Outcome::refused(&RpcError::new(RpcError::INVALID_PARAMS, text))
}

pub(super) fn nothing() -> Outcome {
    Outcome::Complete(RawValue::from_string("{}".to_owned()).expect("it is JSON"))
}

impl Entry {
    /// Whether clients know a resource of this URI as this server's.
    pub(super) fn lists_uri(&self, uri: &str) -> bool {
        self.known_now().is_some_and(|offer| offer.lists_uri(uri))
    }

    /// Whether it has one by what is known of it.
    pub(super) fn has_within(&self, uri: &str, work: &Cell<usize>, too_long: TooLong) -> bool {
        self.offer_now().is_some_and(|offer| {
            offer.lists_uri(uri)
                || offer.held.located_within(uri, work, too_long).is_some()
                || offer.catalogue.templates.first(uri, work, too_long).is_some()
        })
    }

    /// Whether clients may read any resource of it.
    pub(super) fn has_resources(&self) -> bool {
        self.offer_now().is_some_and(|offer| offer.description.capabilities.resources)
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
