//! Tools that answer with a task of the older era, which hardly any client knows: the task is waited for inside the call, and
//! how far it is told as progress.

use std::{mem, sync::Arc};

use serde_json::value::RawValue;
use tokio::{
    runtime::Handle,
    time::{Duration, Instant, sleep},
};

use super::{backend::Entry, health::Borrowed};
use crate::{
    message::{Notification, RpcError},
    object::{Members, is_object, quoted, string},
    sink::{ClientId, Sink},
    upstream::{Call, CallError, Hold, Outcome, Upstream},
};

/// Makes a call of this tool. With `as_task`, it can be called in no other way. If it may not be used any more before its task is
/// over, the task is given up.
pub(super) async fn call(
    of: (&Arc<Entry>, &str),
    held: &Borrowed,
    mut call: Call,
    (as_task, longest): (bool, Duration),
) -> Outcome {
    if as_task {
        let members = call.params.as_deref().and_then(|params| Members::of(params).ok());
        call.params = members.map(|members| members.set("task", &format!(r#"{{"ttl":{}}}"#, longest.as_millis())));
    }
    let token = call.params.as_deref().and_then(progress_token);
    // Also one without a session: what the task asks for is told apart from what others' calls ask for.
    let client = call.client.unwrap_or_else(ClientId::new);
    let (sink, made) = (call.sink.clone(), Call { params: None, client: Some(client), ..call.clone() });
    let outcome = held.call(call).await;
    let Outcome::Complete(result) = &outcome else { return outcome };
    let Some(task) = Task::created(result) else { return outcome };
    let progress = sink.zip(token).map(|(sink, token)| Progress { sink, token, steps: 0 });
    let working = held.upstream.works_for(client);
    let mut waiting = Waiting { upstream: Arc::clone(&held.upstream), id: Some(task.id.clone()), working };
    match wait(of, held, (task, made), progress, Instant::now() + longest).await {
        Ok(ended) => {
            if !matches!(ended, Outcome::Failed(CallError::Timeout { .. } | CallError::NoTurn { .. })) {
                waiting.id = None;
            }
            ended
        }
        Err(withdrawn) => Outcome::refused(&withdrawn),
    }
}

/// Waits for the end of a task.
///
/// # Errors
/// If its tool may not be used any more.
async fn wait(
    (entry, tool): (&Arc<Entry>, &str),
    held: &Borrowed,
    (mut task, made): (Task, Call),
    mut progress: Option<Progress>,
    last: Instant,
) -> Result<Outcome, RpcError> {
    let begun = Instant::now();
    loop {
        if let Some(progress) = &mut progress {
            progress.tell(&task);
        }
        entry.allows(tool).await.map_err(|refusal| refusal.error)?;
        if task.has_more_to_say() {
            // What the task asks for is asked while its result is waited for.
            let call = Call { method: "tasks/result".into(), params: Some(task.params()), ..made.clone() };
            match held.upstream.call(call).await {
                // It goes on for longer than one request may take.
                Outcome::Failed(CallError::Timeout { .. } | CallError::NoTurn { .. }) => {}
                outcome => return Ok(outcome),
            }
        }
        if Instant::now() >= last {
            return Ok(Outcome::Failed(CallError::Timeout { after: begun.elapsed() }));
        }
        sleep(task.poll).await;
        match held.call(Call::new("tasks/get", Some(task.params()))).await {
            Outcome::Complete(result) => match task.update(&result) {
                Some(()) => {}
                None => return Ok(broken()),
            },
            outcome => return Ok(outcome),
        }
    }
}

fn broken() -> Outcome {
    let text = "the server tells of its task in a malformed way";
    Outcome::refused(&RpcError::new(RpcError::INTERNAL_ERROR, text))
}

/// A task of the older era.
struct Task {
    id: String,
    status: String,
    message: Option<String>,
    poll: Duration,
}

impl Task {
    /// Out of a result that is one of a tool that has made a task, and not of the tool itself.
    fn created(result: &RawValue) -> Option<Self> {
        if !result.get().contains("\"taskId\"") {
            return None;
        }
        let members = Members::of(result).ok()?;
        let task =
            members.value("task").filter(|_| members.value("content").is_none()).filter(|task| is_object(task))?;
        let id = Members::of(task).ok()?.string("taskId")?.into_owned();
        let mut created = Self { id, status: String::new(), message: None, poll: LONGEST_POLL };
        created.update(task)?;
        Some(created)
    }

    fn update(&mut self, told: &RawValue) -> Option<()> {
        let members = Members::of(told).ok()?;
        self.status = members.string("status")?.into_owned();
        self.message = members.string("statusMessage").map(|text| text.chars().take(MAX_MESSAGE).collect());
        let poll = members.value("pollInterval").and_then(|poll| poll.get().parse::<f64>().ok());
        let poll = poll.map_or(USUAL_POLL, |poll| Duration::from_millis(poll.clamp(0.0, 60_000.0) as u64));
        self.poll = poll.clamp(SHORTEST_POLL, LONGEST_POLL);
        Some(())
    }

    /// Whether it is over, or waits for somebody to answer what it asks.
    fn has_more_to_say(&self) -> bool {
        self.status != "working"
    }

    fn params(&self) -> Box<RawValue> {
        of_task(&self.id)
    }
}

fn of_task(id: &str) -> Box<RawValue> {
    RawValue::from_string(format!(r#"{{"taskId":{}}}"#, quoted(id))).expect("it is JSON")
}

/// Where it is told how far a task is.
struct Progress {
    sink: Arc<dyn Sink>,
    token: Box<RawValue>,
    steps: u64,
}

impl Progress {
    fn tell(&mut self, task: &Task) {
        self.steps += 1;
        let message = quoted(task.message.as_deref().unwrap_or(&task.status));
        let params = format!(r#"{{"progressToken":{},"progress":{},"message":{message}}}"#, self.token, self.steps);
        let params = RawValue::from_string(params).expect("it is JSON");
        self.sink.notify(Notification { method: "notifications/progress".into(), params: Some(params) });
    }
}

/// A task that nobody waits for any more is given up when this is dropped.
struct Waiting {
    upstream: Arc<dyn Upstream>,
    id: Option<String>,
    working: Hold,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), Handle::try_current()) else { return };
        let upstream = Arc::clone(&self.upstream);
        let (hold, working, life) = (upstream.hold(), mem::take(&mut self.working), upstream.given_up_for());
        runtime.spawn(async move {
            upstream.call(Call::new("tasks/cancel", Some(of_task(&id)))).await;
            drop((upstream, hold));
            // Some go on though they were told to stop.
            sleep(life).await;
            drop(working);
        });
    }
}

/// The token under which a client wants to hear of progress, as written.
fn progress_token(params: &RawValue) -> Option<Box<RawValue>> {
    let meta = Members::of(params).ok()?.value("_meta").filter(|meta| is_object(meta))?;
    let token = Members::of(meta).ok()?.value("progressToken")?;
    (string(token).is_some() || token.get().parse::<f64>().is_ok()).then(|| token.to_owned())
}

const USUAL_POLL: Duration = Duration::from_secs(1);
const SHORTEST_POLL: Duration = Duration::from_millis(50);
const LONGEST_POLL: Duration = Duration::from_secs(10);
const MAX_MESSAGE: usize = 1024;
