//! What a running server says without being asked.

use std::{
    collections::HashSet,
    sync::{Arc, Weak},
};

use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep_until},
};

use super::{
    backend::Entry,
    hub::Subscribed,
    identity::ProcessId,
    pace::{Settling, Talk},
    passing::{named, uri_of},
    tasks::notices,
    working::Ending,
};
use crate::{
    extension::is_of_protocol,
    message::Notification,
    object::Members,
    upstream::{Event, List},
};

/// Passes on what belongs to no call until the server ends. A changed list is read again first, a little later: changes
/// come in swarms, and clients are told only of those they would see.
pub(super) async fn follow(entry: Weak<Entry>, mut events: Receiver<Event>, of: Ending) {
    let mut due: Option<Instant> = None;
    let (mut settling, mut talk) = (Settling::default(), Talk::default());
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let Some(entry) = entry.upgrade() else { return };
                settling.read();
                // A reading that was under way may have begun before the change.
                due = entry.read_again().then(|| settling.changed());
                continue;
            }
        };
        let Some(entry) = entry.upgrade() else { return };
        match event {
            Ok(event) if List::ALL.iter().any(|list| list.changed() == &*event.method) => {
                due.get_or_insert_with(|| settling.changed());
            }
            Ok(event) => pass(&entry, &of.process, &event, &mut talk).await,
            // Among those it missed may have been any.
            Err(RecvError::Lagged(_)) => drop(due.get_or_insert_with(|| settling.changed())),
            Err(RecvError::Closed) => return,
        }
    }
}

/// The same for a process beside the first. The lists that clients see are the first one's, so what has changed here is only
/// told, and not even that of a server that is pinned: of its tools and prompts clients see nothing new.
pub(super) async fn follow_spare(entry: Weak<Entry>, mut events: Receiver<Event>, of: Ending) {
    let mut changed = HashSet::new();
    let mut due = None;
    let (mut settling, mut talk) = (Settling::default(), Talk::default());
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let Some(entry) = entry.upgrade() else { return };
                let pinned = entry.policy().pins.as_ref().is_some_and(|pins| !pins.follows());
                let seen = changed.drain().filter(|list| !pinned || *list == List::Resources);
                seen.for_each(|list| entry.hub.publish_changed(list));
                settling.read();
                due = None;
                continue;
            }
        };
        let Some(entry) = entry.upgrade() else { return };
        match event {
            Ok(event) => match List::ALL.into_iter().find(|list| list.changed() == &*event.method) {
                Some(list) => {
                    changed.insert(list);
                    due.get_or_insert_with(|| settling.changed());
                }
                None => pass(&entry, &of.process, &event, &mut talk).await,
            },
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn pass(entry: &Entry, process: &ProcessId, event: &Event, talk: &mut Talk) {
    if !talk.may_go_on(event.params.as_deref().map_or(0, |params| params.get().len())) {
        return;
    }
    let owner = event.owner();
    let of_owner = |event: Notification| match owner {
        Some(owner) => Event::of(Arc::clone(owner), event),
        None => event.into(),
    };
    let Some(event) = &entry.guard.notification(Notification::clone(event)) else { return };
    let event = match &*event.method {
        "notifications/tasks" => {
            return notices(entry, process, event).await.into_iter().for_each(|notice| entry.hub.publish(notice));
        }
        "notifications/message" if !entry.may_tell_unasked() => return,
        "notifications/message" => named(&entry.name, event.clone()),
        "notifications/resources/updated" => {
            let params = event.params.as_deref();
            let Some(own) = params.and_then(uri_of) else { return };
            // What nobody asked this server about may be a neighbour's.
            let to = Subscribed { server: entry.index, uri: own.as_str().into() };
            let told = |uri: &str| {
                let params = params.and_then(|params| Members::of(params).ok()?.with("uri", uri));
                of_owner(Notification { params, ..event.clone() })
            };
            let names = entry.hub.names_of(&to, entry.name.as_str());
            return names.iter().for_each(|uri| entry.hub.publish(told(uri)));
        }
        method if !is_of_protocol(method) => {
            return entry.notice_for(owner, event).into_iter().for_each(|notice| entry.hub.publish(notice));
        }
        _ => event.clone(),
    };
    entry.hub.publish(of_owner(event));
}
