//! Who listens to which task.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    Task,
    shares::{Owner, Shares},
};
use crate::{aggregator::identity::ProcessId, sink::ClientId, upstream::CallId};

/// Who listens to which task; nothing of a process that has ended.
#[derive(Debug)]
pub(in crate::aggregator) struct TaskListeners(Mutex<Known>);

#[derive(Debug)]
struct Known {
    listeners: HashMap<Task, BTreeMap<ClientId, Listener>>,
    shares: Shares<usize>,
}

/// How a task is known to who listens.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Listener {
    pub(super) exposed: Box<str>,
    /// The tool that was called.
    pub(super) tool: Box<str>,
    /// The call that the task was.
    pub(super) call: CallId,
    pub(super) owner: Owner,
}

impl Default for TaskListeners {
    fn default() -> Self {
        Self(Mutex::new(Known { listeners: HashMap::new(), shares: Shares::new(MAX_LISTENERS) }))
    }
}

impl TaskListeners {
    /// Whether there was room.
    pub(super) fn add(&self, task: Task, client: ClientId, listener: Listener) -> bool {
        let Known { listeners, shares } = &mut *self.lock();
        let known = listeners.get(&task).is_some_and(|clients| clients.contains_key(&client));
        let room = known || shares.take(&task.server, &listener.owner);
        if room {
            listeners.entry(task).or_default().insert(client, listener);
        }
        room
    }

    /// A client does not listen to it after all; whether nobody does any more.
    pub(super) fn remove(&self, task: &Task, client: ClientId) -> bool {
        let mut known = self.lock();
        known.let_go(|of, listening| of == task && listening == client).contains(task)
    }

    /// Whether anybody listens to it.
    pub(super) fn has(&self, task: &Task) -> bool {
        self.lock().listeners.contains_key(task)
    }

    /// Each of the ids under which it is listened to, once.
    pub(super) fn of(&self, task: &Task) -> BTreeSet<Listener> {
        self.lock().listeners.get(task).map(|clients| clients.values().cloned().collect()).unwrap_or_default()
    }

    /// Forgets a client; what nobody listens to any more.
    pub(super) fn forget(&self, client: ClientId) -> Vec<Task> {
        self.lock().let_go(|_, listening| listening == client)
    }

    /// A process has ended, and its tasks with it.
    pub(in crate::aggregator) fn end(&self, server: usize, process: &ProcessId) {
        self.lock().let_go(|task, _| task.server == server && task.process == *process);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Forgets some; what nobody listens to any more.
    fn let_go(&mut self, goes: impl Fn(&Task, ClientId) -> bool) -> Vec<Task> {
        let Self { listeners, shares } = self;
        let mut over = Vec::new();
        listeners.retain(|task, clients| {
            clients.retain(|client, listener| {
                let stays = !goes(task, *client);
                if !stays {
                    shares.give_back(&task.server, &listener.owner);
                }
                stays
            });
            if clients.is_empty() {
                over.push(task.clone());
            }
            !clients.is_empty()
        });
        over
    }
}

/// To tasks of one server.
const MAX_LISTENERS: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn one_owner_listens_to_so_much_and_what_is_let_go_is_free_again() {
        let listeners = TaskListeners::default();
        let task = |id: usize| Task { server: 0, process: ProcessId::named("p"), id: id.to_string().into() };
        let of = |owner: &str| {
            let (exposed, tool, owner) = ("s.x".into(), "t".into(), Some(Arc::from(owner)));
            Listener { exposed, tool, call: CallId::next(), owner }
        };
        let (one, two) = (ClientId::new(), ClientId::new());
        let taken = (0..MAX_LISTENERS).filter(|id| listeners.add(task(*id), one, of("a"))).count();
        assert_eq!(taken, MAX_LISTENERS / 4);
        assert!(listeners.add(task(0), one, of("a")), "twin: the same again takes no place");
        assert!(!listeners.add(task(0), two, of("a")), "another stream of the same owner does");
        assert!(listeners.add(task(0), two, of("b")), "twin: another owner has its own");
        assert!(!listeners.remove(&task(0), one), "somebody else listens to it");
        assert!(listeners.add(task(MAX_LISTENERS), one, of("a")));
        assert_eq!(listeners.forget(one).len(), MAX_LISTENERS / 4);
        assert!(listeners.add(task(1), one, of("a")));
        listeners.end(0, &ProcessId::named("p"));
        assert!(listeners.lock().listeners.is_empty());
        assert!((0..MAX_LISTENERS / 4).all(|id| listeners.add(task(id), one, of("a"))));
    }
}
