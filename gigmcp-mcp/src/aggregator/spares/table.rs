//! The processes beside the first, and whose calls go to which.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Spare;
use crate::{
    aggregator::identity::{Caller, ProcessId},
    sink::ClientId,
};

/// The processes beside the first. No lock is held while one is started.
#[derive(Default)]
pub(in crate::aggregator) struct Spares(Mutex<Table>);

#[derive(Default)]
struct Table {
    running: Vec<Arc<Spare>>,
    starting: usize,
    /// Which process the calls of each session go to: the first, or one beside it. One that has ended is none.
    bound: HashMap<Caller, ProcessId>,
}

/// Room for one more, while it is started.
pub(super) struct Place<'a>(&'a Spares);

impl Spares {
    pub(super) fn find(&self, process: &ProcessId) -> Option<Arc<Spare>> {
        let table = self.lock();
        table.running.iter().find(|spare| spare.process == *process && spare.upstream.is_open()).cloned()
    }

    /// Those that would work at once.
    pub(super) fn free(&self) -> Vec<Arc<Spare>> {
        let (ended, free): (Vec<_>, Vec<_>) = {
            let mut table = self.lock();
            let (open, ended) =
                std::mem::take(&mut table.running).into_iter().partition(|spare| spare.upstream.is_open());
            table.running = open;
            let free = table.running.iter().filter(|spare| !spare.upstream.is_occupied()).cloned().collect();
            (ended, free)
        };
        drop::<Vec<Arc<Spare>>>(ended); // which may end what is left of them, and not under the lock
        free
    }

    /// Room for one more, if there are fewer than these.
    pub(super) fn place(&self, most: usize) -> Option<Place<'_>> {
        let mut table = self.lock();
        if table.running.len() + table.starting >= most {
            return None;
        }
        table.starting += 1;
        Some(Place(self))
    }

    pub(super) fn bound(&self, caller: &Caller) -> Option<ProcessId> {
        self.lock().bound.get(caller).cloned()
    }

    pub(super) fn bind(&self, caller: Caller, process: &ProcessId) {
        let mut table = self.lock();
        // Requests without a session stand alone: what a server would have to remember is in each. One that waits for its client
        // must not keep all others of its owner waiting.
        let Caller::Client(_) = caller else { return };
        if table.bound.len() >= MAX_BOUND && !table.bound.contains_key(&caller) {
            return;
        }
        if table.bound.get(&caller) != Some(process) {
            table.bound.insert(caller, process.clone());
        }
    }

    /// A client has gone.
    pub(in crate::aggregator) fn forget(&self, client: ClientId) {
        self.lock().bound.remove(&Caller::Client(client));
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    pub(super) fn take(self, spare: Arc<Spare>) {
        self.0.lock().running.push(spare);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.lock().starting -= 1;
    }
}

/// Of one server; the calls of more go to any process.
const MAX_BOUND: usize = 20_000;
