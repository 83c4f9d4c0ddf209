//! Notifications of the server.

use std::sync::{Arc, atomic::Ordering};

use serde_json::value::RawValue;

use super::{limits::Counters, pending::Listener, shared::Shared};
use crate::{
    message::Notification,
    object::{Members, is_object, string},
    upstream::{Event, List},
};

impl Shared {
    pub(super) fn hear(&self, mut notification: Notification) {
        if let Some(untagged) = notification.params.as_deref().and_then(untagged) {
            notification.params = Some(untagged);
        }
        match &*notification.method {
            "notifications/progress" => {
                if self.progress(&notification).is_none() {
                    Counters::add(&self.counters.idle_progress);
                }
            }
            "notifications/message" => self.log(notification),
            "notifications/cancelled" => self.withdrawn(&notification),
            "notifications/tasks"
                if notification.params.as_deref().is_some_and(|told| !self.asks_only_what_is_offered(told)) => {}
            "notifications/resources/updated" | "notifications/elicitation/complete" | "notifications/tasks" => {
                self.publish(notification, None);
            }
            method => {
                if let Some(list) = List::ALL.into_iter().find(|list| list.changed() == method) {
                    self.revisions[list as usize].fetch_add(1, Ordering::Release);
                    self.publish(Notification { params: None, ..notification }, None);
                } else {
                    self.hear_of_extension(notification);
                }
            }
        }
    }

    fn progress(&self, notification: &Notification) -> Option<()> {
        let members = Members::of(notification.params.as_deref()?).ok()?;
        let ours = members.string("progressToken")?;
        let id = self.tokens.call_of(&ours)?;
        // Only to be compared: what is passed on is the number as written.
        let value = members.value("progress")?.get().parse().ok()?;
        let (sink, token) = self.pending.progress(id, value, self.limits.call_timeout)?;
        let params = members.with_raw("progressToken", token.get())?;
        sink.notify(Notification { method: notification.method.clone(), params: Some(params) });
        Some(())
    }

    /// A line of the log says nothing of what caused it. One of no call may be of anybody who has ever asked this process for
    /// anything; before anybody has, it is of the start, and whoever runs the server has its standard error.
    fn log(&self, notification: Notification) {
        match (self.pending.listener(), self.owners.only()) {
            (Listener::One(Some(sink)), _) => sink.notify(notification),
            (Listener::One(None), _) => {}
            (Listener::Nobody, Some(owner)) => self.publish(notification, Some(owner)),
            (Listener::Nobody, None) if self.owners.are_unnamed() => self.publish(notification, None),
            (Listener::Nobody, None) | (Listener::Unknown, _) => Counters::add(&self.counters.ambiguous),
        }
    }

    /// For everybody who listens, or for this owner alone.
    pub(super) fn publish(&self, notification: Notification, owner: Option<Arc<str>>) {
        // What was not read yet is kept, by every one who listens.
        if notification.params.as_ref().is_some_and(|params| params.get().len() > MAX_EVENT_BYTES) {
            return Counters::add(&self.counters.oversized_events);
        }
        // Nobody may be listening.
        let _ = self.events.send(match owner {
            Some(owner) => Event::of(owner, notification),
            None => notification.into(),
        });
    }

    /// The parameters with a progress token that is ours alone, and the client's own. Absent stays absent.
    pub(super) fn own_token(&self, id: u64, params: &RawValue) -> Option<Box<RawValue>> {
        let members = Members::of(params).ok()?;
        let meta = members.value("_meta").filter(|meta| is_object(meta))?;
        let meta = Members::of(meta).ok()?.with("progressToken", &self.tokens.of_call(id))?;
        members.with_raw("_meta", meta.get())
    }
}

/// Parameters that no longer say to which stream they belong: that is one of ours, and a client may have another of this name.
fn untagged(params: &RawValue) -> Option<Box<RawValue>> {
    // A name may be spelled with escapes.
    if !params.get().contains("subscriptionId") && !params.get().contains(r"\u") {
        return None;
    }
    let members = Members::of(params).ok()?;
    let meta = Members::of(members.value("_meta").filter(|meta| is_object(meta))?).ok()?;
    meta.value(SUBSCRIPTION_ID)?;
    let meta = meta.without(SUBSCRIPTION_ID);
    match meta.get() {
        "{}" => Some(members.without("_meta")),
        meta => members.with_raw("_meta", meta),
    }
}

/// The progress token in parameters, as written.
pub(super) fn progress_token(params: &RawValue) -> Option<Box<RawValue>> {
    // Most calls have none, and reading all their arguments to find that out would be a waste. Who spells the name with
    // escapes gets no progress.
    if !params.get().contains("progressToken") {
        return None;
    }
    let members = Members::of(params).ok()?;
    let meta = members.value("_meta").filter(|meta| is_object(meta))?;
    let token = Members::of(meta).ok()?.value("progressToken")?;
    let valid = string(token).is_some() || token.get().parse::<f64>().is_ok();
    valid.then(|| token.to_owned())
}

const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
pub(super) const MAX_EVENT_BYTES: usize = 64 << 10;
