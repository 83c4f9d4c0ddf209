//! Requests of the server itself.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use serde_json::json;
use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    TOLD,
    limits::Counters,
    notes::progress_token,
    pending::{Asking, Cause, Whose},
    shared::Shared,
};
use crate::{
    message::{Notification, Request, RequestId, RpcError, Verdict, write_notification, write_response},
    object::Members,
    sink::{Hearing, Sink, Treatment},
    version::Era,
};

/// The server's requests that clients have not answered yet.
#[derive(Debug, Default)]
pub(super) struct Asks {
    under_way: Mutex<HashMap<RequestId, CancellationToken>>,
    /// Whose roots have changed last, and how it is asked for them.
    changed_roots: Mutex<Option<Teller>>,
}

/// A client that has told something, and how it is asked.
type Teller = (Arc<dyn Sink>, Whose);

impl Asks {
    fn begin(&self, id: &RequestId, max: usize) -> Option<CancellationToken> {
        let mut under_way = self.lock();
        if under_way.len() >= max {
            return None;
        }
        match under_way.entry(id.clone()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(free) => Some(free.insert(CancellationToken::new()).clone()),
        }
    }

    fn end(&self, id: &RequestId) {
        self.lock().remove(id);
    }

    fn withdraw(&self, id: &RequestId) {
        if let Some(token) = self.lock().remove(id) {
            token.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, CancellationToken>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client has told that its roots have changed; it is asked for them once.
    pub(super) fn expect_roots(&self, sink: Option<Arc<dyn Sink>>, whose: Whose) {
        *self.changed_roots.lock().unwrap_or_else(PoisonError::into_inner) = sink.map(|sink| (sink, whose));
    }

    fn take_changed_roots(&self) -> Option<Teller> {
        self.changed_roots.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Shared {
    /// Answers a request of the server, or lets a client answer it. Never waits.
    pub(super) fn answer(self: &Arc<Self>, request: Request) {
        let treatment = match self.features.treat(&request.method) {
            Treatment::Refuse if self.is_of_clients_extension(&request.method) => Treatment::Forward,
            treatment => treatment,
        };
        let error = match treatment {
            Treatment::Answer(result) => {
                return self.send_now(write_response(Some(&request.id), &Verdict::Result(result)));
            }
            // Servers of the newer era have no requests.
            Treatment::Forward if self.era == Era::Modern => {
                RpcError::new(RpcError::METHOD_NOT_FOUND, "method not found")
            }
            Treatment::Refuse => RpcError::new(RpcError::METHOD_NOT_FOUND, "method not found"),
            Treatment::Forward => match self.put_to_client(&request) {
                Ok(()) => return,
                Err(reason @ AMBIGUOUS) => {
                    RpcError::new(RpcError::INTERNAL_ERROR, reason).with_data(&json!({ "code": "request-ambiguous" }))
                }
                Err(reason) => RpcError::new(RpcError::INTERNAL_ERROR, reason),
            },
        };
        Counters::add(&self.counters.refused_requests);
        self.send_now(write_response(Some(&request.id), &Verdict::refused(&error)));
    }

    /// Whether a request is of an extension that the server has declared, and so has a client whose call is under way. Without one,
    /// the server learns what a client without the extension would tell it, and its calls go on together.
    fn is_of_clients_extension(&self, method: &str) -> bool {
        self.declared.get().is_some_and(|declared| declared.owner_of_request(method).is_some())
            && self.pending.sinks().iter().any(|sink| sink.has_extension_of(method))
    }

    fn put_to_client(self: &Arc<Self>, request: &Request) -> Result<(), &'static str> {
        let limits = &self.limits;
        let asking = match self.pending.cause(limits.max_asks_per_call, limits.ask_timeout + limits.call_timeout) {
            Cause::One(asking) => {
                // It will ask again, and then there must be no other call that it could belong to.
                self.interactive.store(true, Ordering::Release);
                asking
            }
            Cause::None => {
                let of_roots = (&*request.method == "roots/list").then(|| self.asks.take_changed_roots()).flatten();
                let (sink, whose) = of_roots.ok_or("no call is under way that this request could belong to")?;
                Asking { id: 0, sink, told_by: Some(whose), ended: CancellationToken::new() }
            }
            Cause::TooMany => return Err("the call has made too many requests"),
            Cause::Many => {
                Counters::add(&self.counters.ambiguous);
                self.interactive.store(true, Ordering::Release);
                return Err(AMBIGUOUS);
            }
        };
        let Some(withdrawn) = self.asks.begin(&request.id, limits.max_asks) else {
            self.pending.does_not_ask(asking.id);
            return Err("too many requests of the server wait");
        };
        tokio::spawn(Arc::clone(self).ask(request.clone(), asking, withdrawn));
        Ok(())
    }

    /// Puts one request to the client, in a task of its own: nobody else waits for people.
    async fn ask(self: Arc<Self>, request: Request, asking: Asking, withdrawn: CancellationToken) {
        let id = request.id.clone();
        let given_up = |reason| Some(Verdict::refused(&RpcError::new(RpcError::INTERNAL_ERROR, reason)));
        let verdict = tokio::select! {
            answered = timeout(self.limits.ask_timeout, self.put(request, &*asking.sink)) => {
                answered.map_or_else(|_| given_up("the client did not answer in time"), Some)
            }
            () = asking.ended.cancelled() => given_up("the call is over"),
            () = withdrawn.cancelled() => None,
            () = self.closed.cancelled() => None,
        };
        self.pending.go_on(asking.id, self.limits.call_timeout);
        let Some(verdict) = verdict else { return };
        if asking.id != 0 {
            // What others have called meanwhile ends first, if that is soon: while several calls are under way, the server's next
            // question would be nobody's.
            drop(timeout(BESIDE_FOR, self.pending.alone(Some(asking.id))).await);
        }
        // What it says next may be of that; where it is not known how many others it is of, nothing more is told.
        if asking.told_by.is_some_and(|whose| !self.pending.is_told(whose, TOLD)) {
            self.asks.end(&id);
            return Counters::add(&self.counters.unwritten);
        }
        // The id may be that of another question by now.
        if withdrawn.is_cancelled() {
            return;
        }
        self.asks.end(&id);
        let line = write_response(Some(&id), &verdict);
        // A server that does not read what it asked for has ended, or is told nothing more.
        let sent = timeout(self.limits.call_timeout, self.send(line)).await;
        if !matches!(sent, Ok(Ok(()))) {
            Counters::add(&self.counters.unwritten);
        }
    }

    /// Puts one request to the client, and tells the server how far the client is if it wants to hear that.
    async fn put(&self, request: Request, sink: &dyn Sink) -> Verdict {
        let Some(token) = request.params.as_deref().and_then(progress_token) else { return sink.ask(request).await };
        let (hearing, mut heard) = Hearing::open();
        let mut asking = sink.ask_following(request, hearing);
        loop {
            let progress = tokio::select! {
                biased; // what was said before the answer comes before it
                Some(progress) = heard.recv() => progress,
                answer = &mut asking => return answer,
            };
            if let Ok(members) = Members::of(&progress) {
                let params = members.set("progressToken", token.get());
                self.send_if_room(write_notification("notifications/progress", Some(&params)));
            }
        }
    }

    /// The server no longer wants an answer.
    pub(super) fn withdrawn(&self, notification: &Notification) {
        let id = notification
            .params
            .as_deref()
            .and_then(|params| Members::of(params).ok())
            .and_then(|members| RequestId::from_raw(members.value("requestId")?));
        if let Some(id) = id {
            self.asks.withdraw(&id);
        }
    }
}

/// How long an answer waits for what was called while its client thought about it.
const BESIDE_FOR: Duration = Duration::from_secs(1);
/// Why a request reaches no client when calls of several are under way, or of one that was given up and may go on.
const AMBIGUOUS: &str = "several calls are under way, and nothing tells to which this request belongs";
