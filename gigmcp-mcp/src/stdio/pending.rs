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
    aggregator::Talk,
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
    /// A request has ended, or has made its server ask.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    waiting: HashMap<u64, Entry>,
    /// What the server may still be working on, though nobody waits for it, and until when. Each owner has so many; for more, none
    /// of theirs are sent, as what is not known of would take everybody's questions away.
    given_up: HashMap<Owner, HashMap<u64, (Option<ClientId>, Instant)>>,
    /// Until when the server may be at what each client has told it.
    told: HashMap<Owner, HashMap<Option<ClientId>, Instant>>,
    /// Whose tasks are waited for.
    tasks: HashMap<u64, ClientId>,
    closed: bool,
}

/// Whose a request is, in whatever session; nothing if nobody has said.
pub(crate) type Owner = Option<Arc<str>>;

/// A client, and whose it is.
pub(crate) type Whose = (Option<ClientId>, Owner);

#[derive(Debug)]
struct Entry {
    answer: oneshot::Sender<Answer>,
    caller: Option<Caller>,
    /// Whose it is, if it is only subscribed to again: under way for nobody, and yet the server may log something of it.
    again: Option<Owner>,
}

/// Who made a request, and how it goes.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The way back, if there is one.
    sink: Option<Arc<dyn Sink>>,
    client: Option<ClientId>,
    owner: Owner,
    /// The client's own progress token, as written.
    token: Option<Box<RawValue>>,
    progress: f64,
    lives_until: Option<Instant>,
    asked: usize,
    /// Of these, those that its client has not answered yet.
    open: usize,
    /// How much its server may say of extensions in it.
    notices: Talk,
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

/// Whom a line of the server's log is for.
#[derive(Debug)]
pub(crate) enum Listener {
    /// No call is under way.
    Nobody,
    /// The client whose calls are the only ones under way, if there is a way back to it.
    One(Option<Arc<dyn Sink>>),
    /// Any of several.
    Unknown,
}

/// A request that made its server ask something.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) id: u64,
    pub(crate) sink: Arc<dyn Sink>,
    /// Of none, whose client has told the server something.
    pub(crate) told_by: Option<Whose>,
    pub(crate) ended: CancellationToken,
}

impl Caller {
    pub(crate) fn new(sink: Option<Arc<dyn Sink>>, (client, owner): Whose, token: Option<Box<RawValue>>) -> Self {
        Self {
            sink,
            client,
            owner,
            token,
            progress: f64::NEG_INFINITY,
            lives_until: None,
            asked: 0,
            open: 0,
            notices: Talk::default(),
            ended: Ended::default(),
        }
    }
}

impl Caller {
    /// Lets it live on for so long, or for as long as another question of it that is open does.
    fn lives_on(&mut self, life: Duration) {
        let until = Instant::now() + life;
        let others = self.lives_until.filter(|_| self.open > 0);
        self.lives_until = others.max(Some(until));
    }

    pub(crate) fn wants_progress(&self) -> bool {
        self.token.is_some()
    }

    pub(crate) fn client(&self) -> Option<ClientId> {
        self.client
    }

    pub(crate) fn can_be_asked(&self) -> bool {
        self.sink.as_ref().is_some_and(|sink| sink.can_be_asked())
    }
}

impl Pending {
    /// A new id and the place where its answer will come.
    ///
    /// # Errors
    /// If the server is gone, or may still be at too much that this owner has given up.
    pub(crate) fn enter(&self, caller: Option<Caller>) -> Result<(u64, oneshot::Receiver<Answer>), CallError> {
        let mut table = self.lock();
        if table.closed {
            return Err(CallError::Exited);
        }
        if let Some(caller) = &caller
            && table.has_given_up_too_much(&caller.owner)
        {
            return Err(CallError::GivenUp { calls: MAX_GIVEN_UP });
        }
        table.last += 1;
        let id = table.last;
        let (answer, receiver) = oneshot::channel();
        table.waiting.insert(id, Entry { answer, caller, again: None });
        Ok((id, receiver))
    }

    /// Notes that what was entered is only subscribed to again, and whose it is.
    pub(crate) fn is_again(&self, id: u64, owner: Owner) {
        if let Some(entry) = self.lock().waiting.get_mut(&id) {
            entry.again = Some(owner);
        }
    }

    /// Hands an answer to whoever waits for it; whether anybody does.
    pub(crate) fn settle(&self, id: u64, answer: Answer) -> bool {
        let mut table = self.lock();
        // An answer that comes late tells at least that the server is done.
        table.given_up.values_mut().for_each(|calls| _ = calls.remove(&id));
        let waiting = table.waiting.remove(&id);
        drop(table);
        self.changed.notify_waiters();
        waiting.is_some_and(|entry| entry.answer.send(answer).is_ok())
    }

    /// Gives a request up; whether it was still waiting.
    pub(crate) fn forget(&self, id: u64) -> bool {
        let was_waiting = self.lock().waiting.remove(&id).is_some();
        self.changed.notify_waiters();
        was_waiting
    }

    /// The same for a request that the server may have begun to work on. Some do not stop when they are told to, so for
    /// `life` what they ask and log may be of this one.
    pub(crate) fn give_up(&self, id: u64, life: Duration) -> bool {
        let mut table = self.lock();
        let waiting = table.waiting.remove(&id);
        if let Some(caller) = waiting.as_ref().and_then(|entry| entry.caller.as_ref()) {
            let of_owner = table.given_up.entry(caller.owner.clone()).or_default();
            of_owner.insert(id, (caller.client, Instant::now() + life));
        }
        drop(table);
        self.changed.notify_waiters();
        waiting.is_some()
    }

    /// Notes that a client is about to tell the server something, which answers nothing: for `life` what it asks and logs may be of
    /// that. Whether it may: not if so many clients of this owner have done so that no more are known.
    pub(crate) fn is_told(&self, (client, owner): Whose, life: Duration) -> bool {
        let (mut table, now) = (self.lock(), Instant::now());
        let of_owner = table.told.entry(owner).or_default();
        of_owner.retain(|_, until| *until > now);
        let may = of_owner.len() < MAX_GIVEN_UP || of_owner.contains_key(&client);
        if may {
            of_owner.insert(client, now + life);
        }
        may
    }

    /// Notes that the server works for a client until [`works_no_more`](Self::works_no_more) is told this number.
    pub(crate) fn works_on(&self, client: ClientId) -> u64 {
        let mut table = self.lock();
        table.last += 1;
        let id = table.last;
        table.tasks.insert(id, client);
        id
    }

    pub(crate) fn works_no_more(&self, id: u64) {
        self.lock().tasks.remove(&id);
    }

    /// Waits until a client has not answered yet what its request made the server ask, and it is another than this one. Of two
    /// that have not said who they are, nothing tells that they are the same. Cancel safe.
    pub(crate) async fn asks_another_than(&self, client: Option<ClientId>) {
        loop {
            let changed = self.changed.notified();
            let asks = |caller: &Caller| caller.open > 0 && (client.is_none() || caller.client != client);
            if self.lock().waiting.values().any(|entry| entry.caller.as_ref().is_some_and(asks)) {
                return;
            }
            changed.await;
        }
    }

    /// Waits until no other request of a client is under way than this one, or none at all without one. Cancel safe.
    pub(crate) async fn alone(&self, id: Option<u64>) {
        loop {
            let changed = self.changed.notified();
            if !self.lock().waiting.iter().any(|(other, entry)| Some(*other) != id && entry.caller.is_some()) {
                return;
            }
            changed.await;
        }
    }

    /// Fails every waiting request.
    pub(crate) fn fail_all(&self, error: &CallError) {
        let waiting = std::mem::take(&mut self.lock().waiting);
        self.changed.notify_waiters();
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

    /// Whether the server may still be working on what nobody waits for.
    pub(crate) fn has_given_up(&self) -> bool {
        self.lock().works_for_anybody()
    }

    /// Notes progress of a request, which lets it live on for a while, and says where it is to be told and under which
    /// token. Nothing for a request that is over, wants none, or did not get on.
    pub(crate) fn progress(&self, id: u64, value: f64, life: Duration) -> Option<(Arc<dyn Sink>, Box<RawValue>)> {
        let mut table = self.lock();
        let caller = table.waiting.get_mut(&id)?.caller.as_mut()?;
        let (token, sink) = (caller.token.clone()?, caller.sink.clone()?);
        if value <= caller.progress || value.is_nan() {
            return None;
        }
        caller.progress = value;
        caller.lives_on(life);
        Some((sink, token))
    }

    /// The ways back to whoever has a request under way.
    pub(crate) fn sinks(&self) -> Vec<Arc<dyn Sink>> {
        let table = self.lock();
        table.waiting.values().filter_map(|entry| entry.caller.as_ref()?.sink.clone()).collect()
    }

    /// Where so many bytes that name a request are told, and under which token its client knows it. Nothing of one that is over, or
    /// of which too much was told.
    pub(crate) fn named(&self, id: u64, bytes: usize) -> Option<(Arc<dyn Sink>, Box<RawValue>)> {
        let mut table = self.lock();
        let caller = table.waiting.get_mut(&id)?.caller.as_mut()?;
        let way = (caller.sink.clone()?, caller.token.clone()?);
        caller.notices.may_go_on(bytes).then_some(way)
    }

    /// Which request made the server ask; it lives for `life` from now on, while it waits for the answer.
    pub(crate) fn cause(&self, max_asked: usize, life: Duration) -> Cause {
        let mut table = self.lock();
        let mut callers = table.waiting.iter().filter_map(|(id, entry)| Some((*id, entry.caller.as_ref()?)));
        let (id, client) = match (callers.next(), callers.next()) {
            (None, _) => return Cause::None,
            (Some(_), Some(_)) => return Cause::Many,
            (Some((id, only)), None) => (id, only.client),
        };
        if table.works_for_another_than(client) {
            return Cause::Many;
        }
        let caller = table.waiting.get_mut(&id).and_then(|entry| entry.caller.as_mut()).expect("it was just found");
        let Some(sink) = caller.sink.clone() else { return Cause::None };
        caller.asked += 1;
        if caller.asked > max_asked {
            return Cause::TooMany;
        }
        caller.open += 1;
        caller.lives_on(life);
        let ended = caller.ended.0.get_or_insert_default().clone();
        drop(table);
        self.changed.notify_waiters();
        Cause::One(Asking { id, sink, told_by: None, ended })
    }

    /// Where a line of the server's log belongs: to a client if all requests under way are its own.
    pub(crate) fn listener(&self) -> Listener {
        let mut table = self.lock();
        let mut callers = table.waiting.values().filter_map(|entry| entry.caller.as_ref());
        let Some(first) = callers.next() else {
            return if table.works_for_anybody() { Listener::Unknown } else { Listener::Nobody };
        };
        let (client, mut sink) = (first.client, first.sink.clone());
        let others = |entry: &Entry| entry.again.as_ref().is_some_and(|owner| *owner != first.owner);
        if table.waiting.values().any(others) {
            return Listener::Unknown;
        }
        for other in callers {
            if client.is_none() || other.client != client {
                return Listener::Unknown;
            }
            sink = sink.or_else(|| other.sink.clone());
        }
        if table.works_for_another_than(client) { Listener::Unknown } else { Listener::One(sink) }
    }

    /// Lets a request live on for `life`, because the answer to what it made the server ask has come.
    pub(crate) fn go_on(&self, id: u64, life: Duration) {
        if let Some(caller) = self.lock().waiting.get_mut(&id).and_then(|entry| entry.caller.as_mut()) {
            caller.open = caller.open.saturating_sub(1);
            caller.lives_on(life);
        }
    }

    /// What a request made the server ask was not put to its client after all.
    pub(crate) fn does_not_ask(&self, id: u64) {
        if let Some(caller) = self.lock().waiting.get_mut(&id).and_then(|entry| entry.caller.as_mut()) {
            caller.open = caller.open.saturating_sub(1);
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

impl Table {
    /// Whether the server may still be working on a call that was given up, on what it was told, or on a task.
    fn works_for_anybody(&mut self) -> bool {
        let now = Instant::now();
        self.given_up.retain(|_, calls| {
            calls.retain(|_, (_, until)| *until > now);
            !calls.is_empty()
        });
        self.told.retain(|_, clients| {
            clients.retain(|_, until| *until > now);
            !clients.is_empty()
        });
        !self.given_up.is_empty() || !self.told.is_empty() || !self.tasks.is_empty()
    }

    /// Whether one of these may be of another client.
    fn works_for_another_than(&mut self, client: Option<ClientId>) -> bool {
        self.works_for_anybody()
            && (client.is_none()
                || self.given_up.values().flat_map(HashMap::values).any(|(given_up, _)| *given_up != client)
                || self.told.values().flat_map(HashMap::keys).any(|told| *told != client)
                || self.tasks.values().any(|working| Some(*working) != client))
    }

    fn has_given_up_too_much(&mut self, owner: &Owner) -> bool {
        let Some(calls) = self.given_up.get_mut(owner).filter(|calls| calls.len() >= MAX_GIVEN_UP) else {
            return false;
        };
        let now = Instant::now();
        calls.retain(|_, (_, until)| *until > now);
        calls.len() >= MAX_GIVEN_UP
    }
}

/// Of one owner.
const MAX_GIVEN_UP: usize = 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;
    use crate::{
        message::{Notification, Request},
        upstream::BoxFuture,
    };

    #[derive(Debug)]
    struct There;

    impl Sink for There {
        fn notify(&self, _: Notification) {}

        fn ask<'a>(&'a self, _: Request) -> BoxFuture<'a, Verdict> {
            Box::pin(std::future::pending())
        }
    }

    const LIFE: Duration = Duration::from_secs(60);

    fn caller(owner: &str, client: ClientId) -> Option<Caller> {
        Some(Caller::new(Some(Arc::new(There)), (Some(client), Some(owner.into())), None))
    }

    /// Gives calls up for as long as it may, each in a session of its own; their ids.
    fn gives_up(pending: &Pending, owner: &str) -> Vec<u64> {
        let ids = std::iter::from_fn(|| {
            let (id, _) = pending.enter(caller(owner, ClientId::new())).ok()?;
            pending.give_up(id, LIFE).then_some(id)
        });
        ids.take(10 * MAX_GIVEN_UP).collect()
    }

    fn may_ask(pending: &Pending, owner: &str) -> bool {
        let (id, _answer) = pending.enter(caller(owner, ClientId::new())).unwrap();
        let cause = pending.cause(1, LIFE);
        pending.forget(id);
        matches!(cause, Cause::One(_))
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_calls_again_and_again_takes_nobodys_questions_away_for_longer_than_they_are_worked_on() {
        let pending = Pending::default();
        let given_up = gives_up(&pending, "one");
        assert_eq!(given_up.len(), MAX_GIVEN_UP);
        let refused = pending.enter(caller("one", ClientId::new())).map(drop);
        assert_eq!(refused, Err(CallError::GivenUp { calls: MAX_GIVEN_UP }));
        assert!(!may_ask(&pending, "two"), "the server may be at any of them");
        given_up.iter().for_each(|id| _ = pending.settle(*id, Err(CallError::Exited)));
        assert!(may_ask(&pending, "two"), "all were answered, late");
        assert_eq!(gives_up(&pending, "one").len(), MAX_GIVEN_UP, "twin: and so it may call again");
        assert_eq!(gives_up(&pending, "two").len(), MAX_GIVEN_UP, "twin: another has as many");
        tokio::time::advance(LIFE).await;
        assert!(may_ask(&pending, "two") && may_ask(&pending, "one"), "twin: they are over");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_lives_for_as_long_as_the_last_of_its_questions() {
        let pending = Pending::default();
        let (id, _answer) = pending.enter(caller("one", ClientId::new())).unwrap();
        let asks = || assert!(matches!(pending.cause(2, 10 * LIFE), Cause::One(_)));
        let lives_for = || pending.lives_until(id).map(|until| until - Instant::now());
        asks();
        asks();
        pending.go_on(id, LIFE);
        assert_eq!(lives_for(), Some(10 * LIFE), "the other is open");
        pending.go_on(id, LIFE);
        assert_eq!(lives_for(), Some(LIFE), "twin: none is");
    }

    #[test]
    fn what_is_logged_while_another_one_is_subscribed_again_is_nobodys() {
        for (owner, is_known) in [("two", false), ("one", true)] {
            let pending = Pending::default();
            let _call = pending.enter(caller("one", ClientId::new())).unwrap();
            let (again, _answer) = pending.enter(None).unwrap();
            pending.is_again(again, Some(owner.into()));
            assert_eq!(matches!(pending.listener(), Listener::One(_)), is_known, "{owner}");
            pending.settle(again, Err(CallError::Exited));
            assert!(matches!(pending.listener(), Listener::One(_)), "twin: it is over");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_sessions_of_one_owner_tell_a_server_something_at_a_time() {
        let (pending, one) = (Pending::default(), || Some("one".into()));
        let known = ClientId::new();
        assert!(pending.is_told((Some(known), one()), LIFE));
        let told = (0..10 * MAX_GIVEN_UP).filter(|_| pending.is_told((Some(ClientId::new()), one()), LIFE)).count();
        assert_eq!(told, MAX_GIVEN_UP - 1);
        assert!(pending.is_told((Some(known), one()), LIFE), "twin: one that is known");
        assert!(pending.is_told((Some(ClientId::new()), Some("two".into())), LIFE), "twin: another's");
        tokio::time::advance(LIFE).await;
        assert!(pending.is_told((Some(ClientId::new()), one()), LIFE), "twin: later");
    }
}
