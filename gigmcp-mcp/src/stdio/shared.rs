//! What the two tasks at a server's pipes and the callers have in common.

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicBool, AtomicU64},
};

use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    asks::Asks,
    limits::{Counters, StdioLimits},
    modern::Listens,
    notices::Owners,
    pending::Pending,
    pump::Outgoing,
    tokens::Tokens,
};
use crate::{
    aggregator::Talk,
    extension::Extensions,
    sink::Features,
    upstream::{CallError, Event, List},
    version::Era,
};

/// What the two tasks and the callers have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) pending: Pending,
    pub(super) asks: Asks,
    /// Calls of clients go one at a time.
    pub(super) interactive: AtomicBool,
    pub(super) features: Features,
    pub(super) era: Era,
    pub(super) listens: Listens,
    pub(super) limits: StdioLimits,
    pub(super) outgoing: mpsc::Sender<Outgoing>,
    pub(super) write_budget: Arc<Semaphore>,
    pub(super) closed: CancellationToken,
    pub(super) revisions: [AtomicU64; List::ALL.len()],
    pub(super) events: broadcast::Sender<Event>,
    pub(super) tokens: Tokens,
    /// What the server has declared, once it has.
    pub(super) declared: OnceLock<Extensions>,
    pub(super) owners: Owners,
    /// How much it may say of extensions that is of no call.
    pub(super) notices: Mutex<Talk>,
    pub(super) counters: Counters,
}

impl Shared {
    /// Queues a line; waits while the server does not read.
    pub(super) async fn send(&self, line: Vec<u8>) -> Result<(), CallError> {
        let bytes = line.len().min(self.limits.max_queued_bytes);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let budget = Arc::clone(&self.write_budget).acquire_many_owned(permits).await.map_err(|_| CallError::Exited)?;
        let outgoing = Outgoing { line, _budget: Some(budget) };
        self.outgoing.send(outgoing).await.map_err(|_| CallError::Exited)
    }

    /// Queues a line if there is room; the reader and destructors cannot wait.
    pub(super) fn send_now(&self, line: Vec<u8>) {
        let outgoing = Outgoing { line, _budget: None };
        if self.outgoing.try_send(outgoing).is_err() {
            Counters::add(&self.counters.unwritten);
        }
    }

    /// The same for what a client says and nobody waits for: half of the queue is for the rest.
    pub(super) fn send_if_room(&self, line: Vec<u8>) {
        let permits = u32::try_from(line.len()).unwrap_or(u32::MAX);
        let is_free = self.outgoing.capacity() > self.outgoing.max_capacity() / 2;
        let room = is_free.then(|| Arc::clone(&self.write_budget).try_acquire_many_owned(permits).ok()).flatten();
        let sent = room.is_some_and(|room| self.outgoing.try_send(Outgoing { line, _budget: Some(room) }).is_ok());
        if !sent {
            Counters::add(&self.counters.unwritten);
        }
    }

    pub(super) fn close(&self) {
        self.pending.close(&CallError::Exited);
        self.closed.cancel();
    }
}
