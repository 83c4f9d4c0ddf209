//! Tasks: work that goes on in a server after the answer. Clients know a task as `<server>.<token>`: the token holds the
//! server's own id, and opens only for whom it was made.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::value::RawValue;

use super::{
    Aggregator,
    backend::{Entry, Ready},
    passing::labelled_requests,
};
use crate::{
    extension::{TASKS, required},
    mend::mended_result,
    message::{Notification, RpcError, beginning},
    name::ServerId,
    object::{Members, quoted, string},
    seal::Sealer,
    sink::{Asked, ClientContext, ClientId},
    upstream::{Call, Event, Outcome, Upstream},
};

/// Who listens to which task, and how it is known there.
#[derive(Debug, Default)]
pub(super) struct TaskListeners(Mutex<HashMap<Task, BTreeMap<ClientId, Box<str>>>>);

/// A task of one server, under the server's own id.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Task {
    server: usize,
    id: Box<str>,
}

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
        let Some((entry, id)) = opened else { return refused(RpcError::INVALID_PARAMS, "there is no such task") };
        let params = members.with("taskId", &id);
        // A server that does not run has no tasks.
        let running = entry.running().and_then(|ready| Some((ready.upstream.hold()?, ready)));
        let Some((_hold, ready)) = running else {
            return refused(RpcError::INVALID_PARAMS, "there is no such task any more: its server has ended");
        };
        let exposed: Box<str> = (*exposed).into();
        if &*call.method == SUBSCRIBE {
            return self.follow_task(entry, &ready, call.client, id, exposed).await;
        }
        let outcome = ready.upstream.call(Call { params, ..call.clone() }).await;
        if let Outcome::Complete(result) = &outcome {
            self.hub.task_is_told(&Task { server: entry.index, id }, result);
        }
        match outcome {
            Outcome::Complete(result) => match told(&entry.name, &result, &exposed) {
                Ok(told) => {
                    if let Some(inlined) = Members::of(&result).ok().and_then(|members| members.value("result")) {
                        self.hub.links.learn(entry.index, inlined);
                    }
                    Outcome::Complete(told)
                }
                Err(error) => Outcome::refused(&error),
            },
            Outcome::Failed(error) => Outcome::refused(&error.to_rpc(&entry.name)),
            outcome => outcome,
        }
    }

    async fn follow_task(
        &self,
        entry: &Arc<Entry>,
        ready: &Ready,
        client: Option<ClientId>,
        id: Box<str>,
        exposed: Box<str>,
    ) -> Outcome {
        let task = Task { server: entry.index, id };
        if let Some(client) = client
            && !self.hub.tasks.add(task.clone(), client, exposed)
        {
            return Outcome::refused(&RpcError::new(RpcError::INTERNAL_ERROR, "too many tasks are listened to"));
        }
        match ready.upstream.call(of_task(SUBSCRIBE, &task.id)).await {
            Outcome::Failed(error) => Outcome::refused(&error.to_rpc(&entry.name)),
            outcome => outcome,
        }
    }

    /// Nobody ends a server for lack of use that works on a task it has just made.
    pub(super) fn holds(&self, server: usize, upstream: &dyn Upstream, result: &RawValue) {
        let Ok(members) = Members::of(result) else { return };
        let Some((id, hold)) = members.string("taskId").zip(upstream.hold()) else { return };
        let kept = members.value("ttlMs").and_then(|ttl| ttl.get().parse::<f64>().ok()).filter(|ttl| *ttl >= 0.0);
        let kept = kept.and_then(|ttl| Duration::try_from_secs_f64(ttl / 1000.0).ok());
        let longest = kept.map_or(self.limits.max_task_time, |kept| kept.min(self.limits.max_task_time));
        self.hub.task_begins(Task { server, id: (*id).into() }, hold, longest);
    }

    /// Ends what only this client listened to.
    pub(super) fn forget_tasks(&self, client: ClientId) {
        let over = self.hub.tasks.forget(client);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        for Task { server, id } in over {
            if let Some(ready) = self.entries[server].running() {
                runtime.spawn(async move { ready.upstream.call(of_task(UNSUBSCRIBE, &id)).await });
            }
        }
    }

    fn opened(&self, exposed: &str, context: Option<&ClientContext>) -> Option<(&Arc<Entry>, Box<str>)> {
        let (server, token) = exposed.split_once('.')?;
        let entry = &self.entries[*self.by_name.get(server)?];
        let id = Sealer::of_process().open(&bound(entry.name.as_str(), context), token)?;
        Some((entry, String::from_utf8(id).ok()?.into()))
    }
}

/// A task that a call has become, as its client knows it.
pub(super) fn created(server: &ServerId, context: Option<&ClientContext>, result: &RawValue) -> Outcome {
    let malformed = || RpcError::new(RpcError::INTERNAL_ERROR, "the server made a task in a malformed way");
    let id = Members::of(result).ok().and_then(|members| members.string("taskId").map(|id| id.into_owned()));
    let Some(id) = id.filter(|id| id.len() <= MAX_ID_BYTES) else { return Outcome::refused(&malformed()) };
    let token = Sealer::of_process().seal(&bound(server.as_str(), context), id.as_bytes());
    match told(server, result, &format!("{server}.{token}")) {
        Ok(told) => Outcome::Task(told),
        Err(error) => Outcome::refused(&error),
    }
}

/// What is told of a task, under the id that its client knows, and with the server's name on what it asks.
fn told(server: &ServerId, result: &RawValue, exposed: &str) -> Result<Box<RawValue>, RpcError> {
    let malformed = |_| RpcError::new(RpcError::INTERNAL_ERROR, "the server tells of a task in a malformed way");
    let mut told = labelled_requests(server, result)?.unwrap_or_else(|| result.to_owned());
    for name in ["taskId", "ttlMs", "pollIntervalMs", "result"] {
        let members = Members::of(&told).map_err(malformed)?;
        let Some(value) = members.value(name) else { continue };
        let json = match name {
            "taskId" => quoted(exposed),
            "result" => match mended_result("tools/call", None, value) {
                Some(mended) => mended.get().to_owned(),
                None => continue,
            },
            _ => match whole(value) {
                Some(json) => json,
                None => continue,
            },
        };
        told = members.with_raw(name, &json).expect("it is there");
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

/// Notifications of a task, one for each client that listens to it.
pub(super) fn notices(entry: &Entry, event: &Notification) -> Vec<Event> {
    let Some(params) = event.params.as_deref() else { return Vec::new() };
    let id = Members::of(params).ok().and_then(|members| members.string("taskId").map(|id| id.into_owned()));
    let Some(id) = id else { return Vec::new() };
    let task = Task { server: entry.index, id: id.into() };
    entry.hub.task_is_told(&task, params);
    let notice = |exposed: Box<str>| {
        let params = told(&entry.name, params, &exposed).ok()?;
        Some(Arc::new(Notification { method: event.method.clone(), params: Some(params) }))
    };
    entry.hub.tasks.of(&task).into_iter().filter_map(notice).collect()
}

fn undeclared() -> Outcome {
    let mut error = RpcError::new(RpcError::MISSING_CAPABILITY, "Missing required client capability");
    error.data = Some(required(TASKS));
    Outcome::refused(&error)
}

fn bound<'a>(server: &'a str, context: Option<&'a ClientContext>) -> [&'a str; 3] {
    let owner = context.and_then(|context| context.owner.as_deref()).unwrap_or_default();
    ["task", owner, server]
}

fn of_task(method: &str, id: &str) -> Call {
    let params = format!(r#"{{"taskId":{}}}"#, quoted(id));
    Call::new(method, Some(RawValue::from_string(params).expect("it is JSON")))
}

impl TaskListeners {
    /// Whether there was room.
    fn add(&self, task: Task, client: ClientId, exposed: Box<str>) -> bool {
        let mut listeners = self.lock();
        if listeners.len() >= MAX_LISTENED && !listeners.contains_key(&task) {
            return false;
        }
        listeners.entry(task).or_default().insert(client, exposed);
        true
    }

    fn of(&self, task: &Task) -> Vec<Box<str>> {
        self.lock().get(task).map(|clients| clients.values().cloned().collect()).unwrap_or_default()
    }

    /// Forgets a client; what nobody listens to any more.
    fn forget(&self, client: ClientId) -> Vec<Task> {
        let mut over = Vec::new();
        self.lock().retain(|task, clients| {
            if clients.remove(&client).is_some() && clients.is_empty() {
                over.push(task.clone());
            }
            !clients.is_empty()
        });
        over
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Task, BTreeMap<ClientId, Box<str>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Not of the protocol: how a stream of notifications about one task begins and ends on this seam.
pub(crate) const SUBSCRIBE: &str = "tasks/subscribe";
pub(crate) const UNSUBSCRIBE: &str = "tasks/unsubscribe";
/// Longer ids would make headers that no intermediary passes on.
const MAX_ID_BYTES: usize = 1024;
/// Of all clients of a profile together.
const MAX_LISTENED: usize = 10_000;
