//! What an event is about, read once for all who listen: there are thousands, and a server can make each event long.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    sync::{Arc, Weak},
};

use crate::{level::LogLevel, message::Notification, object::Members, upstream::Event};

/// What who listens goes by.
#[derive(Debug, Default)]
pub(super) struct Subject {
    pub(super) uri: Option<Box<str>>,
    pub(super) task: Option<Box<str>>,
    pub(super) level: Option<LogLevel>,
    pub(super) elicitation: Option<Box<str>>,
}

thread_local! {
    /// Of the last events; tasks of one thread hear them one after the other. What keeps nothing alive stands for no other event
    /// meanwhile.
    static LAST: RefCell<VecDeque<(Weak<Notification>, Rc<Subject>)>> = const { RefCell::new(VecDeque::new()) };
}

/// What this event is about.
pub(super) fn subject(event: &Event) -> Rc<Subject> {
    LAST.with_borrow_mut(|last| {
        if let Some((_, known)) = last.iter().find(|(known, _)| known.as_ptr() == Arc::as_ptr(event.shared())) {
            return Rc::clone(known);
        }
        let read = Rc::new(Subject::of(event));
        if last.len() >= KEPT {
            last.pop_front();
        }
        last.push_back((Arc::downgrade(event.shared()), Rc::clone(&read)));
        read
    })
}

/// Whether somebody has read it on this thread.
#[cfg(test)]
pub(super) fn is_known(event: &Event) -> bool {
    LAST.with_borrow(|last| last.iter().any(|(known, _)| known.as_ptr() == Arc::as_ptr(event.shared())))
}

impl Subject {
    fn of(event: &Event) -> Self {
        let members = event.params.as_deref().and_then(|params| Members::of(params).ok());
        let member = |name| members.as_ref().and_then(|members| members.string(name));
        Self {
            uri: member("uri").map(Into::into),
            task: member("taskId").map(Into::into),
            level: member("level").and_then(|level| level.parse().ok()),
            elicitation: member("elicitationId").map(Into::into),
        }
    }
}

/// As many as one server may tell in a second: each who listens hears all that has come before the next one does.
const KEPT: usize = 64;
