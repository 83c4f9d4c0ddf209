//! The requests that wait for an answer.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::{message::Verdict, upstream::CallError};

/// What the reader tells a waiting request.
pub(crate) type Answer = Result<Verdict, CallError>;

/// The table of waiting requests, keyed by our own ids.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    closed: bool,
}

impl Pending {
    /// A new id and the place where its answer will come; `None` once the server is gone.
    pub(crate) fn enter(&self) -> Option<(u64, oneshot::Receiver<Answer>)> {
        let mut table = self.lock();
        if table.closed {
            return None;
        }
        table.last += 1;
        let id = table.last;
        let (sender, receiver) = oneshot::channel();
        table.waiting.insert(id, sender);
        Some((id, receiver))
    }

    /// Hands an answer to whoever waits for it; whether anybody does.
    pub(crate) fn settle(&self, id: u64, answer: Answer) -> bool {
        let waiting = self.lock().waiting.remove(&id);
        waiting.is_some_and(|sender| sender.send(answer).is_ok())
    }

    /// Gives a request up; whether it was still waiting.
    pub(crate) fn forget(&self, id: u64) -> bool {
        self.lock().waiting.remove(&id).is_some()
    }

    /// Fails every waiting request.
    pub(crate) fn fail_all(&self, error: &CallError) {
        let waiting = std::mem::take(&mut self.lock().waiting);
        for sender in waiting.into_values() {
            // The other end may just have given up.
            let _ = sender.send(Err(error.clone()));
        }
    }

    /// Fails every waiting request, and from now on there are none.
    pub(crate) fn close(&self, error: &CallError) {
        self.lock().closed = true;
        self.fail_all(error);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing in here panics between two changes that belong together.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
