//! Notifications of extensions: nothing else in the protocol knows them, and they may hold anything.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::value::RawValue;

use super::{limits::Counters, notes::MAX_EVENT_BYTES, pending::Listener, shared::Shared};
use crate::{
    message::{Notification, write_notification},
    object::{Members, is_object},
    sink::ClientContext,
    upstream::Call,
    version::Era,
};

/// Who has ever asked a process for anything. What it says on its own may be of any of them.
#[derive(Debug, Default)]
pub(super) struct Owners(Mutex<Known>);

#[derive(Debug, Default)]
enum Known {
    #[default]
    Nobody,
    /// Only such as have not said who they are.
    Unnamed,
    One(Arc<str>),
    /// Or one, and somebody who has not said who it is.
    Several,
}

impl Owners {
    /// Somebody asks for something, or tells something.
    pub(super) fn note(&self, call: &Call) {
        let of_client = call.sink.is_some() || call.client.is_some() || call.context.is_some();
        // What is subscribed to again, after a start, was of somebody.
        if !of_client && &*call.method != "resources/subscribe" {
            return;
        }
        let owner = call.context.as_deref().and_then(|context| context.owner.as_ref());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*known, owner) {
            (Known::Nobody, Some(owner)) => *known = Known::One(Arc::clone(owner)),
            (Known::Nobody | Known::Unnamed, None) => *known = Known::Unnamed,
            (Known::One(only), Some(owner)) if only == owner => {}
            _ => *known = Known::Several,
        }
    }

    /// The only one, if there is only one.
    pub(super) fn only(&self) -> Option<Arc<str>> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Known::One(owner) => Some(Arc::clone(owner)),
            Known::Nobody | Known::Unnamed | Known::Several => None,
        }
    }

    /// Whether nobody who has asked has said who it is: whoever runs this keeps nobody from what is another's.
    pub(super) fn are_unnamed(&self) -> bool {
        matches!(&*self.0.lock().unwrap_or_else(PoisonError::into_inner), Known::Unnamed)
    }
}

impl Shared {
    /// Whether an extension that the server has declared owns a notification.
    pub(super) fn is_of_extension(&self, method: &str) -> bool {
        self.declared.get().is_some_and(|declared| declared.owner_of_notice(method).is_some())
    }

    pub(super) fn hear_of_extension(&self, notification: Notification) {
        if self.pass_on(notification).is_none() {
            Counters::add(&self.counters.dropped_notices);
        }
    }

    /// To the call that it names; else to the only one who has ever asked this process for anything, by a call of theirs that is
    /// under way if there is one. What may be of several reaches nobody.
    fn pass_on(&self, notification: Notification) -> Option<()> {
        let bytes = notification.params.as_ref().map_or(0, |params| params.get().len());
        if bytes > MAX_EVENT_BYTES || !self.is_of_extension(&notification.method) {
            return None;
        }
        let params = notification.params.as_deref();
        match params.map_or(Some(Named::Nothing), named)? {
            Named::Token(token) => {
                let (sink, theirs) = self.pending.named(self.tokens.call_of(&token)?, bytes)?;
                let params = with_token(params?, &theirs)?;
                sink.notify(Notification { params: Some(params), ..notification });
            }
            Named::Nothing => {
                let may = self.notices.lock().unwrap_or_else(PoisonError::into_inner).may_go_on(bytes);
                // What it says on its own may be of anybody who has ever asked it, whoever asks it now.
                let owner = self.owners.only().filter(|_| may)?;
                match self.pending.listener() {
                    Listener::One(Some(sink)) => sink.notify(notification),
                    _ => self.publish(notification, Some(owner)),
                }
            }
        }
        Some(())
    }

    /// Tells the server what a client says of an extension.
    pub(super) fn tell_of_extension(&self, told: &Call) {
        let params = match self.era {
            Era::Legacy => told.params.clone(),
            Era::Modern => {
                let context = told.context.as_deref().cloned();
                let context = context.map(|context| ClientContext { responses: None, state: None, ..context });
                Some(self.dressed(0, told.params.as_deref(), false, context.as_ref()))
            }
        };
        self.send_if_room(write_notification(&told.method, params.as_deref()));
    }
}

/// Which call parameters say that they belong to.
enum Named {
    Token(String),
    Nothing,
}

/// None if they cannot be read, or name something that is no token of ours.
fn named(params: &RawValue) -> Option<Named> {
    if !is_object(params) {
        return Some(Named::Nothing);
    }
    let members = Members::of(params).ok()?;
    let meta = members.value("_meta").filter(|meta| is_object(meta)).map(Members::of).transpose().ok()?;
    let token = meta.as_ref().and_then(|meta| meta.value(TOKEN)).or(members.value(TOKEN));
    match token {
        Some(token) => Some(Named::Token(crate::object::string(token)?.into_owned())),
        None => Some(Named::Nothing),
    }
}

/// Parameters with the client's own token, wherever ours is.
fn with_token(params: &RawValue, theirs: &RawValue) -> Option<Box<RawValue>> {
    let mut told = params.to_owned();
    let members = Members::of(params).ok()?;
    if members.value(TOKEN).is_some() {
        told = members.with_raw(TOKEN, theirs.get())?;
    }
    let members = Members::of(&told).ok()?;
    let meta = members.value("_meta").filter(|meta| is_object(meta)).map(Members::of).transpose().ok()?;
    let meta = meta.filter(|meta| meta.value(TOKEN).is_some()).and_then(|meta| meta.with_raw(TOKEN, theirs.get()));
    let with_meta = meta.and_then(|meta| members.with_raw("_meta", meta.get()));
    Some(with_meta.unwrap_or_else(|| told.clone()))
}

const TOKEN: &str = "progressToken";
