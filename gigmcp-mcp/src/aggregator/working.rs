//! A server that works on a task is not ended for lack of use, although nobody waits for it; and its end is taken note of.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::value::RawValue;
use tokio::time::{Duration, sleep};
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
    upstream::{Hold, Outcome},
};

/// The tasks that are not over, as far as is known.
#[derive(Debug)]
pub(super) struct Working(Mutex<Known>);

#[derive(Debug)]
struct Known {
    tasks: HashMap<Task, Held>,
    shares: Shares<usize>,
}

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
    /// A task has begun. Its server is held until it is over, and no longer than this.
    pub(super) fn task_begins(
        self: &Arc<Self>,
        (task, owner): (Task, Owner),
        hold: Hold,
        longest: Duration,
        observation: Observation,
    ) {
        let (hub, over) = (Arc::downgrade(self), task.clone());
        let mut working = self.working.lock();
        if working.tasks.contains_key(&task) || !working.shares.take(&task.server, &owner) {
            return;
        }
        let end = tokio::spawn(async move {
            sleep(longest).await;
            if let Some(hub) = hub.upgrade() {
                let held = hub.working.lock().remove(&over);
                drop(held); // and not under the lock
            }
        });
        working.tasks.insert(task, Held { owner, _hold: hold, _end: AbortOnDropHandle::new(end), observation });
    }

    /// Something is told of a task: it may be over.
    pub(super) async fn task_is_told(&self, server: &ServerId, task: &Task, told: &RawValue) {
        let Ok(members) = Members::of(told) else { return };
        let Some(status) = members.string("status").filter(|status| ENDS.contains(&&**status)) else { return };
        self.ledger.ends(server, task);
        let Some(held) = self.working.lock().remove(task) else { return };
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
        let held = self.working.lock().remove(task);
        drop(held); // and not under the lock
    }

    /// A process has ended, and its tasks with it.
    pub(super) fn process_ends(&self, server: usize, process: &ProcessId) {
        self.tasks.end(server, process);
        let mut working = self.working.lock();
        let over: Vec<Task> =
            working.tasks.keys().filter(|task| task.server == server && task.process == *process).cloned().collect();
        let over: Vec<Held> = over.iter().filter_map(|task| working.remove(task)).collect();
        drop(working);
        drop(over); // and not under the lock
    }
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
            hub.process_ends(self.server, &self.process);
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
    fn remove(&mut self, task: &Task) -> Option<Held> {
        let held = self.tasks.remove(task)?;
        self.shares.give_back(&task.server, &held.owner);
        Some(held)
    }
}

/// What is said of a task that is over.
const ENDS: [&str; 3] = ["completed", "failed", "cancelled"];
/// Of one server; for more it is not held.
const MAX_HELD: usize = 1024;
