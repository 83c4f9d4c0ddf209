//! A server that works on a task is not ended for lack of use, although nobody waits for it; and its end is taken note of.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::value::RawValue;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Duration, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    hub::Hub,
    identity::ProcessId,
    observer::Observation,
    tasks::{Owner, Shares, Task},
};
use crate::{
    message::RpcError,
    name::ServerId,
    object::Members,
    upstream::{Event, Hold, Outcome},
};

/// The tasks that are not over, as far as is known, of all aggregators over the same servers: they go on when one takes the place
/// of another.
#[derive(Debug)]
pub(super) struct Working(Mutex<Known>);

#[derive(Debug)]
struct Known {
    tasks: HashMap<Key, Held>,
    shares: Shares<ServerId>,
}

/// Servers have other places in other aggregators.
type Key = (ServerId, (ProcessId, Box<str>));

struct Held {
    owner: Owner,
    _hold: Hold,
    _end: AbortOnDropHandle<()>,
    /// What is told of its end: given up, if nothing else is known when this is dropped.
    observation: Observation,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}

impl Hub {
    /// A task has begun. Its server is held until it is over, and no longer than this, or than its process is there.
    pub(super) fn task_begins(
        self: &Arc<Self>,
        (task, owner): (Task, Owner),
        hold: Hold,
        longest: Duration,
        observation: Observation,
    ) {
        let Some(entry) = self.entries().find(|entry| entry.index == task.server) else { return };
        let Some(process) = entry.process(&task.process) else { return };
        let key = (entry.name.clone(), task.own());
        let (working, over) = (Arc::downgrade(&self.working), key.clone());
        let mut known = self.working.lock();
        if known.tasks.contains_key(&key) || !known.shares.take(&key.0, &owner) {
            return;
        }
        let events = process.upstream.events();
        let end = tokio::spawn(async move {
            drop(timeout(longest, ended(events)).await);
            if let Some(working) = working.upgrade() {
                let held = working.lock().remove(&over);
                drop(held); // and not under the lock
            }
        });
        known.tasks.insert(key, Held { owner, _hold: hold, _end: AbortOnDropHandle::new(end), observation });
    }

    /// Something is told of a task: it may be over.
    pub(super) async fn task_is_told(&self, server: &ServerId, task: &Task, told: &RawValue) {
        let Ok(members) = Members::of(told) else { return };
        let Some(status) = members.string("status").filter(|status| ENDS.contains(&&**status)) else { return };
        self.ledger.ends(server, task);
        let Some(held) = self.working.lock().remove(&(server.clone(), task.own())) else { return };
        let member = |name| members.value(name).map(ToOwned::to_owned);
        let outcome = match &*status {
            "completed" => Outcome::Complete(member("result").unwrap_or_else(|| told.to_owned())),
            "cancelled" => Outcome::refused(&RpcError::new(RpcError::REQUEST_CANCELLED, "the task was cancelled")),
            _ => Outcome::Error(member("error").unwrap_or_else(|| told.to_owned())),
        };
        held.observation.end(None, &outcome).await;
    }

    /// Nobody follows a task.
    pub(super) fn task_is_given_up(&self, server: &ServerId, task: &Task) {
        self.ledger.ends(server, task);
        let held = self.working.lock().remove(&(server.clone(), task.own()));
        drop(held); // and not under the lock
    }

    /// Nobody follows a process any more: it has ended, and its tasks with it, unless only this aggregator has.
    fn is_not_followed(&self, server: usize, process: &ProcessId) {
        self.tasks.end(server, process);
        let Some(name) = self.entries().find(|entry| entry.index == server).map(|entry| entry.name.clone()) else {
            return;
        };
        if self.is_replaced() {
            return;
        }
        let mut known = self.working.lock();
        let of_process = |key: &&Key| key.0 == name && key.1.0 == *process;
        let over: Vec<Key> = known.tasks.keys().filter(of_process).cloned().collect();
        let over: Vec<Held> = over.iter().filter_map(|task| known.remove(task)).collect();
        drop(known);
        drop(over); // and not under the lock
    }
}

/// Until nothing is left of a process.
async fn ended(events: Option<Receiver<Event>>) {
    let Some(mut events) = events else { return std::future::pending().await };
    while !matches!(events.recv().await, Err(RecvError::Closed)) {}
}

/// Tells the hub when it is dropped, with whoever follows a process.
pub(super) struct Ending {
    pub(super) hub: std::sync::Weak<Hub>,
    pub(super) server: usize,
    pub(super) process: ProcessId,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.is_not_followed(self.server, &self.process);
        }
    }
}

impl Default for Working {
    fn default() -> Self {
        Self(Mutex::new(Known { tasks: HashMap::new(), shares: Shares::new(MAX_HELD) }))
    }
}

impl Working {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn remove(&mut self, task: &Key) -> Option<Held> {
        let held = self.tasks.remove(task)?;
        self.shares.give_back(&task.0, &held.owner);
        Some(held)
    }
}

/// What is said of a task that is over.
const ENDS: [&str; 3] = ["completed", "failed", "cancelled"];
/// Of one server; for more it is not held.
const MAX_HELD: usize = 1024;
