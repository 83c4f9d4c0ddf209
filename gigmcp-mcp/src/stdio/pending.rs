//! The requests that wait for an answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::value::RawValue;
use tokio::{
    sync::{Notify, oneshot},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

use crate::{
    message::Verdict,
    sink::{ClientId, Sink},
    upstream::CallError,
};

/// What the reader tells a waiting request.
pub(crate) type Answer = Result<Verdict, CallError>;

/// The table of waiting requests, keyed by our own ids.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    table: Mutex<Table>,
    /// A request has ended.
    left: Notify,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    waiting: HashMap<u64, Entry>,
    closed: bool,
}

#[derive(Debug)]
struct Entry {
    answer: oneshot::Sender<Answer>,
    caller: Option<Caller>,
}

/// Who made a request, and how it goes.
#[derive(Debug)]
pub(crate) struct Caller {
    sink: Arc<dyn Sink>,
    client: Option<ClientId>,
    /// The client's own progress token, as written.
    token: Option<Box<RawValue>>,
    progress: f64,
    lives_until: Option<Instant>,
    asked: usize,
    ended: Ended,
}

/// Is cancelled when the request it belongs to is over.
#[derive(Debug, Default)]
struct Ended(Option<CancellationToken>);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(token) = &self.0 {
            token.cancel();
        }
    }
}

/// Which request made its server ask something.
#[derive(Debug)]
pub(crate) enum Cause {
    /// None is under way.
    None,
    /// It can only be this one.
    One(Asking),
    /// It may be any of several.
    Many,
    /// This one has caused too much already.
    TooMany,
}

/// A request that made its server ask something.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) id: u64,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) ended: CancellationToken,
}

impl Caller {
    pub(crate) fn new(sink: Arc<dyn Sink>, client: Option<ClientId>, token: Option<Box<RawValue>>) -> Self {
        Self { sink, client, token, progress: f64::NEG_INFINITY, lives_until: None, asked: 0, ended: Ended::default() }
    }
}

impl Caller {
    pub(crate) fn wants_progress(&self) -> bool {
        self.token.is_some()
    }
}

impl Pending {
    /// A new id and the place where its answer will come; `None` once the server is gone.
    pub(crate) fn enter(&self, caller: Option<Caller>) -> Option<(u64, oneshot::Receiver<Answer>)> {
        let mut table = self.lock();
        if table.closed {
            return None;
        }
        table.last += 1;
        let id = table.last;
        let (answer, receiver) = oneshot::channel();
        table.waiting.insert(id, Entry { answer, caller });
        Some((id, receiver))
    }

    /// Hands an answer to whoever waits for it; whether anybody does.
    pub(crate) fn settle(&self, id: u64, answer: Answer) -> bool {
        let waiting = self.lock().waiting.remove(&id);
        self.left.notify_waiters();
        waiting.is_some_and(|entry| entry.answer.send(answer).is_ok())
    }

    /// Gives a request up; whether it was still waiting.
    pub(crate) fn forget(&self, id: u64) -> bool {
        let was_waiting = self.lock().waiting.remove(&id).is_some();
        self.left.notify_waiters();
        was_waiting
    }

    /// Waits until no request of a client is under way. Cancel safe.
    pub(crate) async fn quiet(&self) {
        loop {
            let left = self.left.notified();
            if !self.has_callers() {
                return;
            }
            left.await;
        }
    }

    /// Fails every waiting request.
    pub(crate) fn fail_all(&self, error: &CallError) {
        let waiting = std::mem::take(&mut self.lock().waiting);
        self.left.notify_waiters();
        for entry in waiting.into_values() {
            // The other end may just have given up.
            let _ = entry.answer.send(Err(error.clone()));
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

    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Whether a request of a client is under way.
    pub(crate) fn has_callers(&self) -> bool {
        self.lock().waiting.values().any(|entry| entry.caller.is_some())
    }

    /// Notes progress of a request, which lets it live on for a while, and says where it is to be told and under which
    /// token. Nothing for a request that is over, wants none, or did not get on.
    pub(crate) fn progress(&self, id: u64, value: f64, life: Duration) -> Option<(Arc<dyn Sink>, Box<RawValue>)> {
        let mut table = self.lock();
        let caller = table.waiting.get_mut(&id)?.caller.as_mut()?;
        let token = caller.token.clone()?;
        if value <= caller.progress || value.is_nan() {
            return None;
        }
        caller.progress = value;
        caller.lives_until = Some(Instant::now() + life);
        Some((Arc::clone(&caller.sink), token))
    }

    /// Which request made the server ask; it lives for `life` from now on, while it waits for the answer.
    pub(crate) fn cause(&self, max_asked: usize, life: Duration) -> Cause {
        let mut table = self.lock();
        let mut callers = table.waiting.iter_mut().filter_map(|(id, entry)| Some((*id, entry.caller.as_mut()?)));
        let (id, caller) = match (callers.next(), callers.next()) {
            (None, _) => return Cause::None,
            (Some(_), Some(_)) => return Cause::Many,
            (Some(only), None) => only,
        };
        caller.asked += 1;
        if caller.asked > max_asked {
            return Cause::TooMany;
        }
        caller.lives_until = Some(Instant::now() + life);
        let ended = caller.ended.0.get_or_insert_default().clone();
        Cause::One(Asking { id, sink: Arc::clone(&caller.sink), ended })
    }

    /// Where a line of the server's log belongs: to a client if all requests under way are its own. `Err` if they are not,
    /// `Ok(None)` if there are none.
    pub(crate) fn listener(&self) -> Result<Option<Arc<dyn Sink>>, ()> {
        let table = self.lock();
        let mut callers = table.waiting.values().filter_map(|entry| entry.caller.as_ref());
        let Some(first) = callers.next() else { return Ok(None) };
        match callers.all(|other| other.client.is_some() && other.client == first.client) {
            true => Ok(Some(Arc::clone(&first.sink))),
            false => Err(()),
        }
    }

    /// Lets a request live on for `life`, because what it waited for has come.
    pub(crate) fn go_on(&self, id: u64, life: Duration) {
        if let Some(caller) = self.lock().waiting.get_mut(&id).and_then(|entry| entry.caller.as_mut()) {
            caller.lives_until = Some(Instant::now() + life);
        }
    }

    /// Until when a request may live beyond its own deadline.
    pub(crate) fn lives_until(&self, id: u64) -> Option<Instant> {
        self.lock().waiting.get(&id)?.caller.as_ref()?.lives_until
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing in here panics between two changes that belong together.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
