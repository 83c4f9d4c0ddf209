//! Tasks: work that goes on in a server after the answer. Clients know a task as `<server>.<token>`: the token holds the
//! server's own id and the process that has it, and opens only for whom it was made.

mod ledger;
mod listeners;
mod origin;
mod shares;
mod told;
mod work;

use std::{sync::Arc, time::Duration};

use serde_json::value::RawValue;

use self::{
    ledger::Begun,
    listeners::Listener,
    origin::{Origin, bound},
    work::Work,
};
pub(super) use self::{
    ledger::Ledger,
    listeners::TaskListeners,
    origin::Task,
    shares::{Owner, Shares},
    told::notices,
};
use super::{
    Aggregator, FlowLabels,
    backend::Entry,
    checked::Unasked,
    flow::Admitted,
    health::Borrowed,
    identity::Caller,
    named::{Refusal, Route},
    not_observed,
    observer::Observation,
    passing::labelled_error,
};
use crate::{
    extension::{TASKS, required},
    http::ClientCapabilities,
    mend::mended,
    message::{RpcError, beginning},
    object::{Members, quoted},
    seal::Sealer,
    sink::{Asked, ClientContext, ClientId},
    upstream::{Call, CallId, Outcome},
};

impl Aggregator {
    /// `tasks/get`, `tasks/update`, `tasks/cancel`, and our own `tasks/subscribe`.
    pub(super) async fn task(&self, call: Call) -> Outcome {
        let refused = |code, text: &str| Outcome::refused(&RpcError::new(code, text));
        // The older era has another kind of task, which is not offered.
        let older = call.context.as_deref().is_none_or(|context| context.asked == Asked::BySink);
        if older || !matches!(&*call.method, "tasks/get" | "tasks/update" | "tasks/cancel" | SUBSCRIBE) {
            return refused(RpcError::METHOD_NOT_FOUND, &format!("Method not found: {}", beginning(&call.method)));
        }
        if !call.context.as_deref().is_some_and(ClientContext::follows_tasks) {
            return undeclared();
        }
        let members = call.params.as_deref().and_then(|params| Members::of(params).ok());
        let exposed = members.as_ref().and_then(|members| members.string("taskId"));
        let Some((members, exposed)) = members.zip(exposed) else {
            return refused(RpcError::INVALID_PARAMS, "params.taskId is not a string, or a member is named twice");
        };
        let opened = self.opened(&exposed, call.context.as_deref());
        let Some((entry, origin)) = opened else { return refused(RpcError::INVALID_PARAMS, "there is no such task") };
        // Where what is sent is judged, what nobody judges holds nothing that could be sent.
        let params = match &*call.method {
            "tasks/update" => members.with("taskId", &origin.id),
            method if self.hub.flow.asks() => of_task(method, &origin.id).params,
            _ => members.with("taskId", &origin.id),
        };
        let owner = call.context.as_deref().and_then(|context| context.owner.clone());
        let work = Work { entry, origin, exposed: (*exposed).into(), owner };
        let context = match &*call.method {
            "tasks/update" => call.context.clone(),
            _ => call.context.as_deref().map(|context| without_answers(context, self.hub.flow.asks())),
        };
        let call = Call { params, context, ..call };
        // A process that has ended has no tasks, and the one after it has others, perhaps under the same ids.
        let Some(held) = work.process().await else {
            return refused(RpcError::INVALID_PARAMS, "there is no such task any more: its server has ended");
        };
        match &*call.method {
            SUBSCRIBE => self.follow_task(&work, &held, call.client).await,
            "tasks/get" => {
                if let Err(refused) = self.may_look(&work, &call).await {
                    return refused;
                }
                self.asked_of_task(&work, &held, call).await
            }
            _ => self.told_to_task(&work, &held, call).await,
        }
    }

    /// Whether a task may still be looked at. What it tells counts as read.
    async fn may_look(&self, work: &Work<'_>, call: &Call) -> Result<(), Outcome> {
        work.entry.allows(&work.origin.tool).await.map_err(|refusal| Outcome::refused(&refusal.error))?;
        let labels = FlowLabels { can_send: false, ..work.labels() };
        let (entry, caller) = (work.entry, Caller::of(call));
        let read = self.hub.flow.admit(&entry.name, (&*entry.guard, labels), &caller, None).await;
        read.map(drop).map_err(|(_, refused)| refused)
    }

    /// What changes a task is taken note of, like the call that made it.
    async fn told_to_task(&self, work: &Work<'_>, held: &Borrowed, call: Call) -> Outcome {
        let with_answers = with_answers(&call);
        let params = with_answers.as_deref().or(call.params.as_deref());
        let mut observation = Observation::begin(self.observer.as_ref(), &call.method, params);
        work.note(&mut observation);
        if let Err(error) = observation.ready().await {
            let refused = not_observed(error);
            observation.end(Some(super::NOT_OBSERVED), &refused).await;
            return refused;
        }
        let (failure, outcome) = match self.may_tell(work, &call).await {
            Ok(()) => (None, self.asked_of_task(work, held, call).await),
            Err((code, refused)) => (code, refused),
        };
        observation.end(failure, &outcome).await;
        outcome
    }

    /// Whether this may be told to a task. To stop one that was begun is no use of its tool.
    async fn may_tell(&self, work: &Work<'_>, call: &Call) -> Result<(), (Option<&'static str>, Outcome)> {
        let (entry, tool) = (work.entry, &*work.origin.tool);
        let refused = |Refusal { code, error, .. }: Refusal<'_>| (code, Outcome::refused(&error));
        if &*call.method == "tasks/cancel" {
            let none = || (None, Outcome::refused(&RpcError::new(RpcError::INVALID_PARAMS, "there is no such task")));
            return if entry.may_use(tool) { Ok(()) } else { Err(none()) };
        }
        entry.allows(tool).await.map_err(refused)?;
        // Answers may hold what was read elsewhere.
        let guarded = (&*entry.guard, work.labels());
        let admitted = self.hub.flow.admit(&entry.name, guarded, &Caller::of(call), call.sink.as_deref()).await;
        match admitted.map_err(|(code, refused): Unasked| (Some(code), refused))? {
            Admitted::AtOnce => Ok(()),
            Admitted::Asked => {
                self.still_serves().map_err(|(code, error)| (code, Outcome::refused(&error)))?;
                entry.allows(tool).await.map_err(refused)
            }
        }
    }

    async fn asked_of_task(&self, work: &Work<'_>, held: &Borrowed, call: Call) -> Outcome {
        let (context, method) = (call.context.clone(), call.method.clone());
        match mended(&method, None, held.call(call).await) {
            Outcome::Complete(result) => {
                let (entry, task) = (work.entry, work.task());
                let told = work.told(&result).await;
                self.hub.task_is_told(&entry.name, &task, &result).await;
                let told = told.and_then(|told| {
                    let context = context.as_deref();
                    ClientCapabilities::of(context).allow_all(&told).map(|()| told)
                });
                match told {
                    Ok(told) => Outcome::Complete(told),
                    Err(error) => Outcome::refused(&error),
                }
            }
            outcome => settled(work.entry, outcome),
        }
    }

    async fn follow_task(&self, work: &Work<'_>, held: &Borrowed, client: Option<ClientId>) -> Outcome {
        if let Err(refusal) = work.entry.allows(&work.origin.tool).await {
            return Outcome::refused(&refusal.error);
        }
        let Origin { tool, call, .. } = &work.origin;
        let (exposed, owner) = (work.exposed.clone(), work.owner.clone());
        let listener = Listener { exposed, tool: tool.clone(), call: *call, owner };
        let task = work.task();
        if let Some(client) = client
            && !self.hub.tasks.add(task.clone(), client, listener)
        {
            return Outcome::refused(&RpcError::new(RpcError::INTERNAL_ERROR, "too many tasks are listened to"));
        }
        match held.call(of_task(SUBSCRIBE, &task.id)).await {
            Outcome::Complete(result) => Outcome::Complete(result),
            outcome => {
                if let Some(client) = client {
                    self.hub.tasks.remove(&task, client);
                }
                settled(work.entry, outcome)
            }
        }
    }

    /// A task that a call has become, as its client knows it. Nobody ends its server for lack of use until it is over.
    pub(super) async fn task_made(
        &self,
        route: &Route<'_>,
        held: &Borrowed,
        (call, samplings, context): (CallId, usize, Option<&ClientContext>),
        result: &RawValue,
    ) -> Outcome {
        let entry = route.entry;
        let malformed = || RpcError::new(RpcError::INTERNAL_ERROR, "the server made a task in a malformed way");
        let members = Members::of(result).ok();
        let id = members.as_ref().and_then(|members| members.string("taskId"));
        let Some(id) = id.filter(|id| id.len() <= MAX_ID_BYTES) else { return Outcome::refused(&malformed()) };
        let origin = Origin { process: held.process.clone(), tool: route.said.name.clone(), call, id: (*id).into() };
        let token = Sealer::of_process().seal(&bound(entry.name.as_str(), context), &origin.to_bytes());
        let exposed = format!("{}.{token}", entry.name).into();
        let owner = context.and_then(|context| context.owner.clone());
        let work = Work { entry, origin, exposed, owner: owner.clone() };
        let longest = longest(members.and_then(|members| members.value("ttlMs")), self.limits.max_task_time);
        let begun = Begun { owner: owner.clone(), call, longest, samplings };
        if let Err(error) = self.hub.ledger.begins(&entry.name, &work.task(), begun) {
            return Outcome::refused(&error);
        }
        let mut observation = Observation::begin(self.observer.as_ref(), TASK_END, None);
        work.note(&mut observation);
        if let Some(hold) = held.upstream.hold() {
            self.hub.task_begins((work.task(), owner), hold, longest, observation);
        }
        let told = work.told(result).await;
        let told = told.and_then(|told| ClientCapabilities::of(context).allow_all(&told).map(|()| told));
        match told {
            Ok(told) => Outcome::Task(told),
            Err(error) => {
                // Its client does not hear of it.
                self.hub.task_is_given_up(&entry.name, &work.task());
                if let Some(held) = entry.process(&held.process) {
                    let id = work.origin.id;
                    tokio::spawn(async move { held.call(of_task("tasks/cancel", &id)).await });
                }
                Outcome::refused(&error)
            }
        }
    }

    /// Ends what only this client listened to.
    pub(super) fn forget_tasks(&self, client: ClientId) {
        let over = self.hub.tasks.forget(client);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        for task in over {
            if let Some(held) = self.entries[task.server].process(&task.process) {
                let hub = Arc::clone(&self.hub);
                runtime.spawn(async move { unfollow(&hub.tasks, &held, &task).await });
            }
        }
    }

    /// Where an id leads, if it is this client's, and the server has not given it to another task since.
    fn opened(&self, exposed: &str, context: Option<&ClientContext>) -> Option<(&Arc<Entry>, Origin)> {
        let (server, token) = exposed.split_once('.')?;
        let entry = &self.entries[*self.by_name.get(server)?];
        let plain = Sealer::of_process().open(&bound(entry.name.as_str(), context), token)?;
        let origin = Origin::from_bytes(&plain)?;
        let own = self.hub.ledger.is_of(&entry.name, &origin.task(entry.index), origin.call);
        own.then_some((entry, origin))
    }
}

/// What a client gets for an answer of a server about a task that tells nothing of it.
fn settled(entry: &Entry, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failed(error) => Outcome::refused(&error.to_rpc(&entry.name)),
        Outcome::Error(error) => Outcome::Error(labelled_error(&entry.name, error)),
        Outcome::Complete(_) | Outcome::InputRequired(_) | Outcome::Task(_) => {
            Outcome::refused(&RpcError::new(RpcError::INTERNAL_ERROR, "the server answers as if it were a call"))
        }
    }
}

/// How long a server is held for a task: as long as it keeps the task, but for long enough to work on it. One that says it keeps
/// it for no time has said nothing of that.
fn longest(ttl: Option<&RawValue>, most: Duration) -> Duration {
    let milliseconds = ttl.and_then(|ttl| ttl.get().parse::<f64>().ok()).filter(|ttl| *ttl > 0.0);
    let kept = milliseconds.and_then(|ttl| Duration::try_from_secs_f64(ttl / 1000.0).ok());
    kept.map_or(most, |kept| kept.max(SHORTEST_HOLD).min(most))
}

fn undeclared() -> Outcome {
    let mut error = RpcError::new(RpcError::MISSING_CAPABILITY, "Missing required client capability");
    error.data = Some(required(TASKS));
    Outcome::refused(&error)
}

/// Whoever looks at a task, or stops it, answers nothing. What is sent to it is judged, and this would not be; `judged` says that
/// what a client declares in words of its own counts too.
fn without_answers(context: &ClientContext, judged: bool) -> Arc<ClientContext> {
    let mut left = ClientContext { responses: None, state: None, ..context.clone() };
    if judged {
        left.capabilities = ClientCapabilities::of(Some(context)).written(&[TASKS]);
    }
    Arc::new(left)
}

/// The parameters with the client's answers, which an endpoint has taken out of them.
fn with_answers(call: &Call) -> Option<Box<RawValue>> {
    let answers = call.context.as_deref()?.responses.as_deref()?;
    Some(Members::of(call.params.as_deref()?).ok()?.set("inputResponses", answers.get()))
}

/// Ends the stream of a task to which nobody listens any more. Somebody may begin to at any moment, and hears of it then.
async fn unfollow(listeners: &TaskListeners, held: &Borrowed, task: &Task) {
    if listeners.has(task) {
        return;
    }
    drop(held.call(of_task(UNSUBSCRIBE, &task.id)).await);
    if listeners.has(task) {
        drop(held.call(of_task(SUBSCRIBE, &task.id)).await);
    }
}

fn of_task(method: &str, id: &str) -> Call {
    let params = format!(r#"{{"taskId":{}}}"#, quoted(id));
    Call::new(method, Some(RawValue::from_string(params).expect("it is JSON")))
}

/// Not of the protocol: how a stream of notifications about one task begins and ends on this seam.
pub(crate) const SUBSCRIBE: &str = "tasks/subscribe";
pub(crate) const UNSUBSCRIBE: &str = "tasks/unsubscribe";
/// Not of the protocol: how the end of a task is called in records.
const TASK_END: &str = "tasks/end";
/// Longer ids would make headers that no intermediary passes on.
const MAX_ID_BYTES: usize = 1024;
/// Against a server that keeps its tasks for less time than it works on them.
const SHORTEST_HOLD: Duration = Duration::from_secs(60);
