//! One request to the server, from its turn to its answer or its end.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, sleep, timeout_at},
};

use super::{
    StdioUpstream,
    notes::progress_token,
    pending::{Caller, Owner},
    shared::Shared,
};
use crate::{
    message::{Verdict, write_notification, write_request},
    object::quoted,
    sink::{ClientContext, ClientId},
    upstream::{Call, CallError},
    version::Era,
};

/// A request to the server.
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) params: Option<&'a RawValue>,
    pub(super) caller: Option<Caller>,
    /// Whose it is, if it is only subscribed to again.
    pub(super) again: Option<Owner>,
    pub(super) context: Option<&'a ClientContext>,
    pub(super) giving_up: GivingUp,
}

impl StdioUpstream {
    pub(super) async fn verdict(&self, call: &Call, context: Option<&ClientContext>) -> Result<Verdict, CallError> {
        let timeout = call.timeout.map_or(self.limits.call_timeout, |timeout| timeout.min(self.limits.call_timeout));
        let params = call.params.as_deref();
        // What a client asks for belongs to it also if there is no way back: nobody else must get what comes of it.
        // What is only subscribed to again is under way for nobody.
        let is_again = call.sink.is_none() && call.client.is_none() && &*call.method == "resources/subscribe";
        let again = is_again.then(|| whose(call).1);
        let of_client = !is_again && (call.sink.is_some() || call.client.is_some() || call.context.is_some());
        let token = call.sink.as_ref().and(params).and_then(progress_token);
        let caller = of_client.then(|| Caller::new(call.sink.clone(), whose(call), token));
        let giving_up = GivingUp::TellingTheServer;
        self.request(Asked { method: &call.method, params, caller, again, context, giving_up }, timeout).await
    }

    pub(super) async fn request(&self, asked: Asked<'_>, timeout: Duration) -> Result<Verdict, CallError> {
        let last = Instant::now() + self.limits.max_call_time.max(timeout);
        let mut deadline = Instant::now() + timeout;
        let entered = AtomicU64::new(0);
        let mut exchange = std::pin::pin!(self.exchange(asked, &entered));
        loop {
            if let Ok(answer) = timeout_at(deadline, &mut exchange).await {
                return answer;
            }
            let now = Instant::now();
            let entered = entered.load(Ordering::Relaxed);
            match self.shared.pending.lives_until(entered) {
                // What lets it live on may come to an end before that time, so it is looked at again.
                Some(until) if until > now && last > now => {
                    deadline = until.min(last).min(now + self.limits.call_timeout);
                }
                // Our own ids begin with 1.
                _ if entered == 0 => return Err(CallError::NoTurn { after: timeout }),
                _ => return Err(CallError::Timeout { after: timeout }),
            }
        }
    }

    /// The turn of a call of which the server may ask something. None beside a question that another client has not answered
    /// yet: that may take minutes, and the server may remember something for this one that no other process would. What the
    /// server asks while both are under way reaches nobody; so one without a session waits a little before, as many questions
    /// are answered by programs.
    async fn turn(&self, client: Option<ClientId>) -> Result<Option<SemaphorePermit<'_>>, CallError> {
        let pending = &self.shared.pending;
        let turn = async {
            let turn = self.turn.acquire().await.map_err(|_| CallError::Exited)?;
            // Those that began before it was known hold no turn.
            pending.alone(None).await;
            Ok(Some(turn))
        };
        let beside = async {
            if client.is_none() {
                sleep(PATIENCE).await;
            }
            pending.asks_another_than(client).await;
        };
        tokio::select! {
            biased;
            turn = turn => turn,
            () = beside => Ok(None),
        }
    }

    async fn exchange(&self, asked: Asked<'_>, entered: &AtomicU64) -> Result<Verdict, CallError> {
        let Asked { method, params, caller, again, context, giving_up } = asked;
        let _turn = match &caller {
            Some(caller) if caller.can_be_asked() && self.is_interactive() => self.turn(caller.client()).await?,
            _ => None,
        };
        let _slot = self.in_flight.acquire().await.map_err(|_| CallError::Exited)?;
        let wants_progress = caller.as_ref().is_some_and(Caller::wants_progress);
        let (id, answer) = self.shared.pending.enter(caller)?;
        if let Some(owner) = again {
            self.shared.pending.is_again(id, owner);
        }
        entered.store(id, Ordering::Relaxed);
        let mut waiting = Waiting {
            shared: &self.shared,
            id,
            giving_up: GivingUp::Silently, // until the server may have heard of it
        };
        let own = match self.shared.era {
            Era::Legacy => params.filter(|_| wants_progress).and_then(|params| self.shared.own_token(id, params)),
            Era::Modern => Some(self.shared.dressed(id, params, wants_progress, context)),
        };
        let line = write_request(id, method, own.as_deref().or(params));
        self.shared.send(line).await?;
        waiting.giving_up = giving_up;
        answer.await.unwrap_or(Err(CallError::Exited))
    }

    pub(super) async fn notify(&self, method: &str) -> Result<(), CallError> {
        self.shared.send(write_notification(method, None)).await
    }
}

/// In which session a request is made, and whose it is.
pub(super) fn whose(call: &Call) -> (Option<ClientId>, Owner) {
    (call.client, call.context.as_deref().and_then(|context| context.owner.clone()))
}

/// A request under way. Dropped before its answer came, it is given up.
struct Waiting<'a> {
    shared: &'a Shared,
    id: u64,
    giving_up: GivingUp,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum GivingUp {
    TellingTheServer,
    /// `initialize` must not be cancelled, and what was not sent need not be.
    Silently,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let pending = &self.shared.pending;
        let was_waiting = match self.giving_up {
            GivingUp::TellingTheServer => pending.give_up(self.id, self.shared.limits.given_up_for),
            GivingUp::Silently => pending.forget(self.id),
        };
        match self.giving_up {
            GivingUp::TellingTheServer if was_waiting => {
                let reason = quoted("the request was given up");
                let params = format!(r#"{{"requestId":{},"reason":{reason}}}"#, self.id);
                let params = RawValue::from_string(params).expect("an integer and a string are JSON");
                let line = write_notification("notifications/cancelled", Some(&params));
                self.shared.send_now(line);
            }
            GivingUp::TellingTheServer | GivingUp::Silently => {}
        }
    }
}

/// How long a call without a session waits for its turn before it goes beside a question.
const PATIENCE: Duration = Duration::from_secs(2);
