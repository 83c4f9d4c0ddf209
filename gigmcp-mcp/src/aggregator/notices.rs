//! Notifications of extensions, both ways.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{
    Aggregator, FlowLabels, NOT_OBSERVED,
    backend::{Entry, Ready},
    identity::Caller,
    not_observed,
    observer::Observation,
    offer::Offer,
    passing::uri_of,
    pins::HeldItem,
    resources::nothing,
    spares::Wanted,
};
use crate::{
    extension::Extensions,
    guard::Finding,
    message::{Notification, RpcError, beginning},
    upstream::{Call, Event, Outcome},
};

impl Entry {
    /// Whether clients may be told this: the extension is one that they are shown, and what it names is not held back.
    pub(super) fn shows_notice(&self, notification: &Notification) -> bool {
        let shown = self.shows(notification.params.as_deref(), |shown| shown.owner_of_notice(&notification.method));
        if !shown {
            self.guard.tally.add(Finding::NoticeRefused, 1);
        }
        shown
    }

    /// Whether a client may be asked this, by the same rule.
    pub(super) fn shows_question(&self, method: &str, params: Option<&RawValue>) -> bool {
        self.shows(params, |shown| shown.owner_of_request(method))
    }

    fn shows(&self, params: Option<&RawValue>, owner: impl Fn(&Extensions) -> Option<&str>) -> bool {
        let shows =
            |offer: Arc<Offer>| owner(&offer.description.extensions).is_some() && held_at(&offer, params).is_none();
        self.offer_now().is_some_and(shows)
    }

    /// Whether it may tell clients what they did not ask for. It may be of any tool, and not only of those that whoever listens
    /// here may use. Where it is judged what each session has read, nothing that would have to be judged reaches one that did not
    /// ask for it: not if any tool reads what counts, be it the server alone who says so.
    pub(super) fn may_tell_unasked(&self) -> bool {
        let policy = self.policy();
        let reads = |labels: FlowLabels| labels.reads_untrusted || labels.reads_private;
        let any_reads = || {
            let offer = self.offer_now();
            let tools = offer.iter().flat_map(|offer| offer.said.catalogue.tools.items());
            reads(policy.labels) || tools.into_iter().any(|tool| reads(policy.labels_of(Some(tool))))
        };
        policy.only.is_none() && !(self.hub.flow.asks() && any_reads())
    }

    /// What belongs to no call, for the only owner that it can be of.
    pub(super) fn notice_for(&self, owner: Option<&Arc<str>>, notification: &Notification) -> Option<Event> {
        if !self.may_tell_unasked() {
            self.guard.tally.add(Finding::NoticeRefused, 1);
            return None;
        }
        let owner = owner.filter(|_| self.shows_notice(notification))?;
        Some(Event::of(Arc::clone(owner), notification.clone()))
    }
}

/// What is held back of what parameters name.
pub(super) fn held_at<'a>(offer: &'a Offer, params: Option<&RawValue>) -> Option<&'a HeldItem> {
    let uri = params.and_then(uri_of)?;
    offer.held.located(&uri).filter(|_| !offer.lists_uri(&uri)).or_else(|| offer.held_skill(&uri))
}

impl Aggregator {
    /// What a client says of an extension reaches the one server that has declared it, if that runs. Of several, nothing tells
    /// which is meant; and none is started to be told something. Taken note of, like a request: it may do as much, and
    /// what is too much in a second is lost.
    pub(super) async fn notified(&self, call: Call) {
        let Some(context) = call.context.as_deref() else { return };
        let Some(id) = context.extensions().owner_of_notice(&call.method) else { return };
        // One that does not run counts too: what is meant for it must not reach another.
        let mut having = Vec::new();
        for entry in &self.entries {
            let offer = match entry.running() {
                Some(ready) => Some(Arc::clone(&ready.offer)),
                None => entry.known().await,
            };
            if offer.is_some_and(|offer| offer.description.extensions.has(id)) {
                having.push(entry);
            }
        }
        let [entry] = having[..] else { return };
        if entry.running().is_none() {
            return;
        }
        let bytes = call.params.as_ref().map_or(0, |params| params.get().len());
        if !self.hub.rates.may_tell(&entry.name, Caller::counted(&call), bytes) {
            return entry.guard.tally.add(Finding::RateLimited, 1);
        }
        let mut observation = Observation::begin(self.observer.as_ref(), &call.method, call.params.as_deref());
        observation.leads_to(&entry.name, None);
        let (failure, outcome) = match observation.ready().await {
            Ok(()) => self.told_to(entry, id, call.clone()).await,
            Err(error) => (Some(NOT_OBSERVED), not_observed(error)),
        };
        observation.end(failure, &outcome).await;
    }

    async fn told_to(&self, entry: &Arc<Entry>, id: &str, mut call: Call) -> (Option<&'static str>, Outcome) {
        let unknown = || {
            let text = format!("Method not found: {}", beginning(&call.method));
            (None, Outcome::refused(&RpcError::new(RpcError::METHOD_NOT_FOUND, text)))
        };
        let ready: Arc<Ready> = match entry.ready().await {
            Ok(ready) => ready,
            Err(error) => return (Some(error.code()), Outcome::refused(&entry.refusal(&error))),
        };
        if !ready.description.extensions.has(id) {
            return unknown();
        }
        if let Some(held) = held_at(&ready, call.params.as_deref()) {
            return (Some(held.code()), Outcome::refused(&held.to_rpc(&entry.name, id)));
        }
        if let Err(error) = entry.guard.takes(&call) {
            return (None, Outcome::refused(&error));
        }
        // Nobody can be asked about what wants no answer.
        let guarded = (&*entry.guard, entry.policy().labels);
        if let Err((code, refused)) = self.hub.flow.admit(&entry.name, guarded, &Caller::of(&call), None).await {
            return (Some(code), refused);
        }
        call.sink = None;
        match entry.upstream_for(&ready, &call, Wanted::Declared(id)).await {
            Ok(held) => {
                held.upstream.tell(call);
                (None, nothing())
            }
            Err(error) => (Some(error.code()), Outcome::refused(&entry.refusal(&error))),
        }
    }
}
