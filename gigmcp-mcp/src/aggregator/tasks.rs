//! Tasks: work that goes on in a server after the answer. Clients know a task as `<server>.<token>`: the token holds the
//! server's own id and the process that has it, and opens only for whom it was made.

mod listeners;
mod origin;

use std::{sync::Arc, time::Duration};

use serde_json::value::RawValue;

use self::{
    listeners::Listener,
    origin::{Origin, bound},
};
pub(super) use self::{listeners::TaskListeners, origin::Task};
use super::{
    Aggregator,
    backend::Entry,
    checked::fitting,
    health::Borrowed,
    identity::{Caller, ProcessId},
    named::Route,
    not_observed,
    observer::Observation,
    offer::Offer,
    passing::labelled_requests,
};
use crate::{
    extension::{TASKS, required},
    http::ClientCapabilities,
    mend::mended_result,
    message::{Notification, RpcError, beginning},
    object::{Members, quoted, string},
    seal::Sealer,
    sink::{Asked, ClientContext, ClientId},
    upstream::{Call, CallId, Event, Outcome},
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
        let params = members.with("taskId", &origin.id);
        // A process that has ended has no tasks, and the one after it has others, perhaps under the same ids.
        let Some(held) = entry.process(&origin.process) else {
            return refused(RpcError::INVALID_PARAMS, "there is no such task any more: its server has ended");
        };
        let work = Work { entry, origin, exposed: (*exposed).into() };
        match &*call.method {
            SUBSCRIBE => self.follow_task(&work, &held, call.client).await,
            "tasks/get" => self.asked_of_task(&work, &held, Call { params, ..call }).await,
            _ => self.told_to_task(&work, &held, Call { params, ..call }).await,
        }
    }

    /// What changes a task is taken note of, like the call that made it.
    async fn told_to_task(&self, work: &Work<'_>, held: &Borrowed, call: Call) -> Outcome {
        let mut observation = Observation::begin(self.observer.as_ref(), &call.method, call.params.as_deref());
        work.note(&mut observation);
        if let Err(error) = observation.ready().await {
            let refused = not_observed(error);
            observation.end(Some(super::NOT_OBSERVED), &refused).await;
            return refused;
        }
        // Answers may hold what was read elsewhere.
        let admitted = match &*call.method {
            "tasks/update" => {
                let (entry, caller) = (work.entry, Caller::of(&call));
                let guarded = (&*entry.guard, entry.policy().labels);
                self.hub.flow.admit(&entry.name, guarded, &caller, call.sink.as_deref()).await
            }
            _ => Ok(()),
        };
        let (failure, outcome) = match admitted {
            Ok(()) => (None, self.asked_of_task(work, held, call).await),
            Err((code, refused)) => (Some(code), refused),
        };
        observation.end(failure, &outcome).await;
        outcome
    }

    async fn asked_of_task(&self, work: &Work<'_>, held: &Borrowed, call: Call) -> Outcome {
        let context = call.context.clone();
        match held.call(call).await {
            Outcome::Complete(result) => {
                let (entry, task) = (work.entry, work.task());
                let told = told(entry, &task, &work.origin.tool, &work.exposed, &result).await;
                self.hub.task_is_told(&task, &result).await;
                let told = told.and_then(|told| {
                    let context = context.as_deref();
                    ClientCapabilities::of(context).allow_all(&told).map(|()| told)
                });
                match told {
                    Ok(told) => {
                        let inlined = Members::of(&told).ok().and_then(|members| members.value("result"));
                        if let Some((inlined, offer)) = inlined.zip(entry.offer_now()) {
                            self.learn(entry.index, &offer, inlined);
                        }
                        Outcome::Complete(told)
                    }
                    Err(error) => Outcome::refused(&error),
                }
            }
            Outcome::Failed(error) => Outcome::refused(&error.to_rpc(&work.entry.name)),
            Outcome::Error(error) => Outcome::Error(error),
            Outcome::InputRequired(_) | Outcome::Task(_) => {
                Outcome::refused(&RpcError::new(RpcError::INTERNAL_ERROR, "the server answers as if it were a call"))
            }
        }
    }

    async fn follow_task(&self, work: &Work<'_>, held: &Borrowed, client: Option<ClientId>) -> Outcome {
        let listener = Listener { exposed: work.exposed.clone(), tool: work.origin.tool.clone() };
        let task = work.task();
        if let Some(client) = client
            && !self.hub.tasks.add(task.clone(), client, listener)
        {
            return Outcome::refused(&RpcError::new(RpcError::INTERNAL_ERROR, "too many tasks are listened to"));
        }
        match held.call(of_task(SUBSCRIBE, &task.id)).await {
            Outcome::Failed(error) => Outcome::refused(&error.to_rpc(&work.entry.name)),
            outcome => outcome,
        }
    }

    /// A task that a call has become, as its client knows it. Nobody ends its server for lack of use until it is over.
    pub(super) async fn task_made(
        &self,
        route: &Route<'_>,
        held: &Borrowed,
        call: (CallId, Option<&ClientContext>),
        result: &RawValue,
    ) -> Outcome {
        let (entry, (call, context)) = (route.entry, call);
        let malformed = || RpcError::new(RpcError::INTERNAL_ERROR, "the server made a task in a malformed way");
        let members = Members::of(result).ok();
        let id = members.as_ref().and_then(|members| members.string("taskId"));
        let Some(id) = id.filter(|id| id.len() <= MAX_ID_BYTES) else { return Outcome::refused(&malformed()) };
        let origin = Origin { process: held.process.clone(), tool: route.said.name.clone(), call, id: (*id).into() };
        let token = Sealer::of_process().seal(&bound(entry.name.as_str(), context), &origin.to_bytes());
        let exposed = format!("{}.{token}", entry.name).into();
        let work = Work { entry, origin, exposed };
        let mut observation = Observation::begin(self.observer.as_ref(), TASK_END, None);
        work.note(&mut observation);
        if let Some(hold) = held.upstream.hold() {
            let kept = members.and_then(|members| members.value("ttlMs")?.get().parse::<f64>().ok());
            let kept = kept.filter(|ttl| *ttl >= 0.0).and_then(|ttl| Duration::try_from_secs_f64(ttl / 1000.0).ok());
            let longest = kept.map_or(self.limits.max_task_time, |kept| kept.min(self.limits.max_task_time));
            self.hub.task_begins(work.task(), hold, longest, observation);
        }
        let told = told(entry, &work.task(), &work.origin.tool, &work.exposed, result).await;
        let told = told.and_then(|told| ClientCapabilities::of(context).allow_all(&told).map(|()| told));
        match told {
            Ok(told) => Outcome::Task(told),
            Err(error) => Outcome::refused(&error),
        }
    }

    /// Ends what only this client listened to.
    pub(super) fn forget_tasks(&self, client: ClientId) {
        let over = self.hub.tasks.forget(client);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        for Task { server, process, id } in over {
            if let Some(held) = self.entries[server].process(&process) {
                runtime.spawn(async move { held.call(of_task(UNSUBSCRIBE, &id)).await });
            }
        }
    }

    fn opened(&self, exposed: &str, context: Option<&ClientContext>) -> Option<(&Arc<Entry>, Origin)> {
        let (server, token) = exposed.split_once('.')?;
        let entry = &self.entries[*self.by_name.get(server)?];
        let plain = Sealer::of_process().open(&bound(entry.name.as_str(), context), token)?;
        Some((entry, Origin::from_bytes(&plain)?))
    }
}

/// A task, and how its client knows it.
struct Work<'a> {
    entry: &'a Arc<Entry>,
    origin: Origin,
    exposed: Box<str>,
}

impl Work<'_> {
    fn task(&self) -> Task {
        self.origin.task(self.entry.index)
    }

    fn note(&self, observation: &mut Observation) {
        let Origin { process, tool, call, .. } = &self.origin;
        let offer = self.entry.offer_now();
        let named = offer.as_ref().and_then(|offer| offer.catalogue.tools.find_own(tool));
        observation.is_of_task(*call, named.map_or(tool, |named| &named.exposed));
        let instance = Some(process.as_str()).filter(|name| !name.starts_with('#'));
        match named {
            Some(named) => observation.leads_to(&self.entry.name, Some((instance, &named.said))),
            None => observation.leads_to(&self.entry.name, None),
        }
    }
}

/// What is told of a task, under the id that its client knows, with the server's name on what it asks, and with a result like
/// any other's. All that a server tells of a task comes through here: the answer that made it, answers, and notifications.
async fn told(
    entry: &Entry,
    task: &Task,
    tool: &str,
    exposed: &str,
    result: &RawValue,
) -> Result<Box<RawValue>, RpcError> {
    let malformed = |_| RpcError::new(RpcError::INTERNAL_ERROR, "the server tells of a task in a malformed way");
    entry.hub.tasks.asks(task, result, entry.policy().samplings_per_call)?;
    let mut told = labelled_requests(&entry.name, result)?.unwrap_or_else(|| result.to_owned());
    for name in ["taskId", "ttlMs", "pollIntervalMs", "result"] {
        let members = Members::of(&told).map_err(malformed)?;
        let Some(value) = members.value(name) else { continue };
        let json = match name {
            "taskId" => Some(quoted(exposed)),
            "result" => {
                let mended = mended_result("tools/call", None, value);
                let offer = entry.offer_now();
                let tools = offer.as_deref().map(|offer: &Offer| &*offer.catalogue.tools);
                let fitted = fitting(&entry.guard, tools, tool, mended.as_deref().unwrap_or(value)).await;
                fitted.or(mended).map(|result| result.get().to_owned())
            }
            _ => whole(value),
        };
        if let Some(json) = json {
            told = Members::of(&told).map_err(malformed)?.with_raw(name, &json).expect("it is there");
        }
    }
    Ok(told)
}

/// A number of milliseconds that is not a whole one, made one.
fn whole(value: &RawValue) -> Option<String> {
    let text = value.get();
    if text == "null" || text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: f64 = string(value).as_deref().unwrap_or(text).parse().ok()?;
    // Beyond that, a float is no whole number of milliseconds any more.
    (0.0..9.0e15).contains(&number).then(|| format!("{:.0}", number.ceil().max(1.0)))
}

/// Notifications of a task of this process, one for each id under which it is listened to.
pub(super) async fn notices(entry: &Entry, process: &ProcessId, event: &Notification) -> Vec<Event> {
    let Some(params) = event.params.as_deref() else { return Vec::new() };
    let id = Members::of(params).ok().and_then(|members| members.string("taskId").map(|id| id.into_owned()));
    let Some(id) = id else { return Vec::new() };
    let task = Task { server: entry.index, process: process.clone(), id: id.into() };
    let mut notices = Vec::new();
    for Listener { exposed, tool } in entry.hub.tasks.of(&task) {
        if let Ok(params) = told(entry, &task, &tool, &exposed, params).await {
            notices.push(Arc::new(Notification { method: event.method.clone(), params: Some(params) }));
        }
    }
    entry.hub.task_is_told(&task, params).await;
    notices
}

fn undeclared() -> Outcome {
    let mut error = RpcError::new(RpcError::MISSING_CAPABILITY, "Missing required client capability");
    error.data = Some(required(TASKS));
    Outcome::refused(&error)
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
