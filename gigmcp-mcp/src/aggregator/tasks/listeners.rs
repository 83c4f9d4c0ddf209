//! Who listens to which task, and what tasks have asked for.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::Task;
use crate::{aggregator::identity::ProcessId, message::RpcError, object::Members, sink::ClientId};

/// Who listens to which task, and what tasks have asked for; nothing of a process that has ended.
#[derive(Debug, Default)]
pub(in crate::aggregator) struct TaskListeners(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    listeners: HashMap<Task, BTreeMap<ClientId, Listener>>,
    samplings: HashMap<Task, HashSet<[u8; 32]>>,
}

/// How a task is known to who listens.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Listener {
    pub(super) exposed: Box<str>,
    /// The tool that was called.
    pub(super) tool: Box<str>,
}

impl TaskListeners {
    /// Whether there was room.
    pub(super) fn add(&self, task: Task, client: ClientId, listener: Listener) -> bool {
        let listeners = &mut self.lock().listeners;
        if listeners.len() >= MAX_LISTENED && !listeners.contains_key(&task) {
            return false;
        }
        listeners.entry(task).or_default().insert(client, listener);
        true
    }

    /// Each of the ids under which it is listened to, once.
    pub(super) fn of(&self, task: &Task) -> BTreeSet<Listener> {
        self.lock().listeners.get(task).map(|clients| clients.values().cloned().collect()).unwrap_or_default()
    }

    /// Forgets a client; what nobody listens to any more.
    pub(super) fn forget(&self, client: ClientId) -> Vec<Task> {
        let mut over = Vec::new();
        self.lock().listeners.retain(|task, clients| {
            if clients.remove(&client).is_some() && clients.is_empty() {
                over.push(task.clone());
            }
            !clients.is_empty()
        });
        over
    }

    /// A process has ended, and its tasks with it.
    pub(in crate::aggregator) fn end(&self, server: usize, process: &ProcessId) {
        let mut known = self.lock();
        let goes_on = |task: &Task| task.server != server || task.process != *process;
        known.listeners.retain(|task, _| goes_on(task));
        known.samplings.retain(|task, _| goes_on(task));
    }

    /// A task asks for no more samplings in all its life than a call may.
    pub(super) fn asks(&self, task: &Task, told: &RawValue, most: usize) -> Result<(), RpcError> {
        let members = Members::of(told).ok();
        let Some(requests) = members.and_then(|members| Members::of(members.value("inputRequests")?).ok()) else {
            return Ok(());
        };
        let samplings = requests.iter().filter(|(_, request)| {
            let method = Members::of(request).ok().and_then(|request| request.string("method").map(String::from));
            method.as_deref() == Some("sampling/createMessage")
        });
        // The same question may be told again.
        let samplings = samplings.map(|(key, request)| Sha256::digest(format!("{key}\0{request}")).into());
        let samplings: Vec<[u8; 32]> = samplings.collect();
        if samplings.is_empty() {
            return Ok(());
        }
        let known = &mut self.lock().samplings;
        let room = known.len() < MAX_LISTENED || known.contains_key(task);
        let asked = known.entry(task.clone()).or_default();
        if asked.len() <= most {
            asked.extend(samplings);
        }
        let refused = !room || asked.len() > most;
        if !room {
            known.remove(task);
        }
        match refused {
            true => Err(RpcError::new(RpcError::INVALID_PARAMS, "the task has asked for too many samplings")),
            false => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of all clients of a profile together.
const MAX_LISTENED: usize = 10_000;
