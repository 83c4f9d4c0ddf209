//! A server that works on a task is not ended for lack of use, although nobody waits for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::value::RawValue;
use tokio::time::{Duration, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{hub::Hub, tasks::Task};
use crate::{object::Members, upstream::Hold};

/// The tasks that are not over, as far as is known.
#[derive(Debug, Default)]
pub(super) struct Working(Mutex<HashMap<Task, Held>>);

#[derive(Debug)]
struct Held {
    _hold: Hold,
    _end: AbortOnDropHandle<()>,
}

impl Hub {
    /// A task has begun. Its server is held until it is over, and no longer than this.
    pub(super) fn task_begins(self: &Arc<Self>, task: Task, hold: Hold, longest: Duration) {
        let (hub, over) = (Arc::downgrade(self), task.clone());
        let mut working = self.working.lock();
        if working.len() >= MAX_HELD {
            return;
        }
        let end = tokio::spawn(async move {
            sleep(longest).await;
            if let Some(hub) = hub.upgrade() {
                drop(hub.working.lock().remove(&over));
            }
        });
        working.insert(task, Held { _hold: hold, _end: AbortOnDropHandle::new(end) });
    }

    /// Something is told of a task: it may be over.
    pub(super) fn task_is_told(&self, task: &Task, told: &RawValue) {
        let status = Members::of(told).ok().and_then(|members| members.string("status").map(String::from));
        if matches!(status.as_deref(), Some("completed" | "failed" | "cancelled")) {
            let held = self.working.lock().remove(task);
            drop(held); // and not under the lock
        }
    }
}

impl Working {
    fn lock(&self) -> MutexGuard<'_, HashMap<Task, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of all servers of a profile together; the servers of more are not held.
const MAX_HELD: usize = 1024;
