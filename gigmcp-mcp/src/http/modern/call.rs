//! One call, from its first attempt to its answer. What its server asks meanwhile ends the attempt with `input_required`; the
//! call is parked until the client comes back with the answers.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Notify, oneshot},
    time::{sleep, timeout},
};

use super::{
    check::Checked,
    finished,
    parked::{Parking, SoFar},
    result::{Cached, has_failed},
};
use crate::{
    attended::Attended,
    extension::Extensions,
    http::{
        Principal,
        body::Parts,
        client::{ClientCapabilities, Undeclared},
        session::renumber,
        shares::Taken,
    },
    level::LogLevel,
    message::{Notification, Request, RequestId, RpcError, Verdict, write_notification},
    object::{Members, is_object, quoted, string},
    seal::TOO_LONG,
    sink::{ClientContext, Sink},
    upstream::{BoxFuture, Call, Outcome, Upstream},
};

/// A request that was checked, and where its answer goes.
pub(in crate::http) struct Begun {
    pub(in crate::http) principal: Principal,
    pub(in crate::http) request: Request,
    pub(in crate::http::modern) checked: Checked,
    pub(in crate::http) parts: Parts,
    /// Whether the client reads streams.
    pub(in crate::http) events: bool,
    /// Its part of what its principal may have under way.
    pub(in crate::http) share: Option<Taken>,
}

/// A client that has come back.
#[derive(Debug)]
pub(super) struct Resumed {
    id: RequestId,
    parts: Parts,
    events: bool,
    context: ClientContext,
    share: Option<Taken>,
}

impl Begun {
    pub(super) fn into_resumed(self) -> Resumed {
        let Self { request, checked, parts, events, share, .. } = self;
        Resumed { id: request.id, parts, events, context: checked.context, share }
    }

    /// Makes the call. Whoever waits for its first message need not wait for its end.
    pub(super) fn start<U: Upstream + ?Sized + 'static>(
        self,
        upstream: &Arc<U>,
        parking: &Arc<Parking>,
        so_far: SoFar,
    ) -> Attended {
        let Self { principal, request, checked: Checked { params, context, .. }, parts, events, share } = self;
        let questions = Arc::new(Questions::default());
        let mut call = Call::new(request.method.clone(), Some(params.clone()));
        call.sink = Some(Arc::clone(&questions) as _);
        call.context = Some(Arc::new(context.clone()));
        call.samplings = Arc::new(AtomicUsize::new(so_far.samplings));
        questions.attach(&parts, events, &context);
        let (parking, samplings, rounds) = (Arc::clone(parking), Arc::clone(&call.samplings), so_far.rounds);
        let driver = Driver { principal, request, params, parts, questions, parking, share, samplings, rounds };
        let upstream = Arc::clone(upstream);
        Attended::new(async move { driver.drive(upstream.call(call)).await })
    }
}

struct Driver {
    principal: Principal,
    request: Request,
    params: Box<RawValue>,
    parts: Parts,
    questions: Arc<Questions>,
    parking: Arc<Parking>,
    share: Option<Taken>,
    /// How many the call has asked for, at earlier attempts too.
    samplings: Arc<AtomicUsize>,
    /// Of earlier attempts.
    rounds: usize,
}

impl Driver {
    /// Dropping the call gives it up, and its server is told so.
    async fn drive(mut self, mut call: BoxFuture<'_, Outcome>) {
        loop {
            let parts = self.parts.clone();
            tokio::select! {
                outcome = &mut call => return self.finish(outcome).await,
                () = self.questions.asked.notified() => {}
                // In this revision, a client that hangs up cancels.
                () = parts.closed() => return,
            }
            // Questions often come in groups.
            tokio::select! {
                outcome = &mut call => return self.finish(outcome).await,
                () = sleep(GATHERING) => {}
            }
            let Some(requests) = self.questions.open() else { continue };
            let parking = Arc::clone(&self.parking);
            // They are kept until the client comes back.
            let room = parking.room(&self.principal, requests.len());
            let parked = room.as_ref().and_then(|_| parking.park(&self.principal, &self.request, &self.params));
            let Some((ticket, token, mut resumed)) = parked else {
                let error = RpcError::new(RpcError::INTERNAL_ERROR, "too many calls wait for their clients");
                return self.send(StatusCode::OK, &Verdict::refused(&error)).await;
            };
            self.questions.detach();
            let result = format!(
                r#"{{"resultType":"input_required","inputRequests":{requests},"requestState":{}}}"#,
                quoted(&token)
            );
            let result = RawValue::from_string(result).expect("it is JSON");
            self.send(StatusCode::OK, &Verdict::Result(result)).await;
            let mut early = None;
            let mut coming = Box::pin(timeout(parking.limits.parked_for, &mut resumed));
            let came = tokio::select! {
                came = &mut coming => came,
                // The server did not wait. The client learns of it when it comes back.
                outcome = &mut call => {
                    early = Some(parking.keep(&self.principal, outcome));
                    coming.as_mut().await
                }
            };
            drop(coming);
            drop(ticket);
            // A client that comes back at this very moment has either been heard, or is told that it is too late.
            let came = came.ok().and_then(Result::ok).or_else(|| {
                resumed.close();
                resumed.try_recv().ok()
            });
            let Some(Resumed { id, parts, events, context, share }) = came else { return };
            (self.request.id, self.parts, self.share) = (id, parts, share);
            if let Some((outcome, _room)) = early {
                return self.finish(outcome).await;
            }
            self.questions.attach(&self.parts, events, &context);
        }
    }

    async fn finish(&self, outcome: Outcome) {
        let cached = if &*self.request.method == "resources/read" { Cached::Once } else { Cached::Never };
        let (status, verdict) = match &outcome {
            Outcome::InputRequired(result) => match self.relayed(result) {
                Ok(result) => (StatusCode::OK, Verdict::Result(result)),
                Err(error) => (status_of(&error), Verdict::refused(&error)),
            },
            _ => finished(outcome, cached),
        };
        if let Some(undeclared) = self.questions.undeclared().filter(|_| has_failed(&verdict)) {
            return self.send(StatusCode::BAD_REQUEST, &Verdict::refused(&undeclared.explained())).await;
        }
        self.send(status, &verdict).await;
    }

    /// A modern server's own questions, with its state under our seal: to it, all our clients are one. It must ask only what
    /// the client has declared, and not for ever: what it has asked for until now comes back with the client.
    fn relayed(&self, result: &RawValue) -> Result<Box<RawValue>, RpcError> {
        let malformed = || RpcError::new(RpcError::INTERNAL_ERROR, "the server asks for input in a malformed way");
        let members = Members::of(result).map_err(|_| malformed())?;
        self.questions.capabilities().allow_all(result)?;
        let (requests, state) = (members.value("inputRequests"), members.value("requestState"));
        // Without a token of ours, the next attempt would count as the first.
        if requests.or(state).is_none() {
            return Err(malformed());
        }
        // Also one that asks for nothing and has only a state: its client comes back at once.
        let rounds = self.rounds + 1;
        if rounds > MAX_ROUNDS {
            return Err(RpcError::new(RpcError::INTERNAL_ERROR, "the server asks again and again"));
        }
        let so_far = SoFar { samplings: self.samplings.load(Ordering::Relaxed), rounds };
        let token = self.parking.server_state(&self.principal, &self.request, &self.params, (state, so_far));
        let too_long = || RpcError::new(RpcError::INTERNAL_ERROR, TOO_LONG);
        Ok(members.set("requestState", &quoted(&token.ok_or_else(too_long)?)))
    }

    async fn send(&self, status: StatusCode, verdict: &Verdict) {
        self.parts.answer(&self.request.id, status, verdict).await;
    }
}

fn status_of(error: &RpcError) -> StatusCode {
    match error.code {
        RpcError::MISSING_CAPABILITY => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

/// What the server asks, what the client has answered, and where it listens now.
#[derive(Debug, Default)]
pub(super) struct Questions {
    state: Mutex<State>,
    asked: Notify,
    only_tells: bool,
}

#[derive(Debug, Default)]
struct State {
    stream: Option<Parts>,
    level: Option<LogLevel>,
    capabilities: ClientCapabilities,
    extensions: Extensions,
    answers: HashMap<String, Box<RawValue>>,
    open: Vec<Open>,
    undeclared: Option<Undeclared>,
}

#[derive(Debug)]
struct Open {
    key: String,
    request: Request,
    answer: oneshot::Sender<Verdict>,
}

impl Questions {
    /// Of a request that cannot go on later, so that nothing can be asked meanwhile.
    pub(super) fn none(parts: &Parts, context: &ClientContext) -> Arc<Self> {
        let only_tells = Self { only_tells: true, ..Self::default() };
        only_tells.attach(parts, true, context);
        only_tells.lock().capabilities = ClientCapabilities::default();
        Arc::new(only_tells)
    }

    /// The client is there, with these answers.
    fn attach(&self, parts: &Parts, events: bool, context: &ClientContext) {
        let mut state = self.lock();
        state.stream = events.then(|| parts.clone());
        state.level = context.level;
        state.capabilities = ClientCapabilities::read(Some(&context.capabilities));
        state.extensions = Extensions::read(&context.capabilities);
        state.answers.clear();
        if let Some(responses) = context.responses.as_deref().and_then(|raw| Members::of(raw).ok()) {
            state.answers.extend(responses.iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
        }
        let open = std::mem::take(&mut state.open);
        for open in open {
            match state.take_answer(&open.key, &open.request.method) {
                // Whoever asked may just have given up.
                Some(answer) => drop(open.answer.send(Verdict::Result(answer))),
                None => state.open.push(open),
            }
        }
        if !state.open.is_empty() {
            self.asked.notify_one();
        }
    }

    /// The client is not there.
    fn detach(&self) {
        self.lock().stream = None;
    }

    /// What waits for an answer, as `inputRequests`.
    fn open(&self) -> Option<String> {
        let mut state = self.lock();
        state.open.retain(|open| !open.answer.is_closed());
        let requests = state.open.iter().map(|open| {
            let params = open.request.params.as_deref().map_or("{}", RawValue::get);
            format!(r#"{}:{{"method":{},"params":{params}}}"#, quoted(&open.key), quoted(&open.request.method))
        });
        let requests: Vec<_> = requests.collect();
        (!requests.is_empty()).then(|| format!("{{{}}}", requests.join(",")))
    }

    fn capabilities(&self) -> ClientCapabilities {
        self.lock().capabilities
    }

    fn undeclared(&self) -> Option<Undeclared> {
        self.lock().undeclared
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The client's answer, if it has the shape of one.
    fn take_answer(&mut self, key: &str, method: &str) -> Option<Box<RawValue>> {
        let answer = self.answers.remove(key)?;
        let members = is_object(&answer).then(|| Members::of(&answer).ok()).flatten()?;
        let fits = match method {
            "elicitation/create" => members.string("action").is_some(),
            "sampling/createMessage" => members.string("role").is_some() && members.value("content").is_some(),
            _ => members.value("roots").is_some_and(|roots| roots.get().starts_with('[')),
        };
        drop(members);
        fits.then_some(answer)
    }

    /// A key that means the same at every attempt: the server's own, if it is text.
    fn key(&self, request: &Request) -> String {
        let own = serde_json::from_str::<&RawValue>(request.id.as_json()).ok().and_then(string).map(String::from);
        let key = own.unwrap_or_else(|| {
            let params = request.params.as_deref().map_or("", RawValue::get);
            let digest: [u8; 32] = Sha256::digest(params).into();
            let kind = request.method.split('/').next().unwrap_or_default();
            format!("{kind}-{:016x}", u64::from_be_bytes(*digest.first_chunk().expect("it is longer")))
        });
        let taken = |key: &str| self.open.iter().any(|open| open.key == key);
        (1..)
            .map(|n| if n == 1 { key.clone() } else { format!("{key}-{n}") })
            .find(|key| !taken(key))
            .expect("there is one")
    }
}

impl Sink for Questions {
    fn notify(&self, notification: Notification) {
        let state = self.lock();
        let wanted = match &*notification.method {
            "notifications/message" => {
                let params = notification.params.as_deref().and_then(|params| Members::of(params).ok());
                let level = params.and_then(|params| params.string("level")?.parse::<LogLevel>().ok());
                level.zip(state.level).is_some_and(|(level, wanted)| level >= wanted)
            }
            "notifications/progress" => true,
            method => state.extensions.owner_of_notice(method).is_some(),
        };
        if let Some(stream) = state.stream.as_ref().filter(|_| wanted) {
            stream.offer(write_notification(&notification.method, notification.params.as_deref()));
        }
    }

    fn can_be_asked(&self) -> bool {
        !self.only_tells
    }

    fn ask<'a>(&'a self, mut request: Request) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            // Of progress on it, a client without a session can tell nothing.
            if let Err(error) = renumber(&mut request, None) {
                return Verdict::refused(&error);
            }
            let answered = {
                let mut state = self.lock();
                if let Err(undeclared) = state.capabilities.allow(&request) {
                    state.undeclared = Some(undeclared);
                    return Verdict::refused(&undeclared.to_rpc());
                }
                let key = state.key(&request);
                if let Some(answer) = state.take_answer(&key, &request.method) {
                    return Verdict::Result(answer);
                }
                let (answer, answered) = oneshot::channel();
                state.open.push(Open { key, request, answer });
                answered
            };
            self.asked.notify_one();
            let gone = RpcError::new(RpcError::INTERNAL_ERROR, "the client did not come back");
            answered.await.unwrap_or_else(|_| Verdict::refused(&gone))
        })
    }
}

/// How long a server's questions are waited for, once there is one.
const GATHERING: Duration = Duration::from_millis(10);
/// How often a server may have its client come back before it answers. Whoever fills in a long form step by step is not at its end.
const MAX_ROUNDS: usize = 32;
