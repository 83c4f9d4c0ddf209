//! The tasks extension: work that goes on after the answer.

use std::{
    collections::HashMap,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    call::{CLIENT_CAPABILITIES, Call},
    outcome::{Outcome, Stop, text},
    questions::Question,
    wire::locked,
};

/// Every task there is, by its id.
#[derive(Debug, Default)]
pub(crate) struct Jobs(Mutex<HashMap<String, Job>>);

/// One task. What state it is in follows from the time and from what was answered.
#[derive(Debug)]
pub(crate) struct Job {
    begun: Instant,
    created: String,
    takes: Duration,
    questions: Vec<Question>,
    answers: Map<String, Value>,
    cancelled: bool,
    /// A result as text, or an error.
    end: Result<String, Value>,
}

impl Job {
    /// Ends at once.
    pub(crate) fn done(result: String) -> Self {
        Self::new(Ok(result))
    }

    fn new(end: Result<String, Value>) -> Self {
        let created = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let (questions, answers) = (Vec::new(), Map::new());
        Self { begun: Instant::now(), created, takes: Duration::ZERO, questions, answers, cancelled: false, end }
    }

    fn open(&self) -> Map<String, Value> {
        let open = self.questions.iter().filter(|question| !self.answers.contains_key(question.key));
        open.map(|question| (question.key.to_owned(), question.to_json())).collect()
    }

    fn state(&self, id: &str) -> Value {
        let (mut state, open) = (self.envelope(id, "working"), self.open());
        if self.cancelled {
            state["status"] = json!("cancelled");
        } else if !open.is_empty() {
            state["status"] = json!("input_required");
            state["inputRequests"] = Value::Object(open);
        } else if self.begun.elapsed() >= self.takes {
            match &self.end {
                Ok(result) => {
                    state["status"] = json!("completed");
                    state["result"] = serde_json::from_str(result).unwrap_or_default();
                    state["result"]["resultType"] = json!("complete");
                }
                Err(error) => {
                    state["status"] = json!("failed");
                    state["error"] = error.clone();
                }
            }
        }
        state
    }

    fn envelope(&self, id: &str, status: &str) -> Value {
        json!({
            "taskId": id,
            "status": status,
            "createdAt": self.created,
            "lastUpdatedAt": self.created,
            "ttlMs": 600_000,
            "pollIntervalMs": 100,
        })
    }
}

/// The tools with tasks.
pub(crate) fn call(call: &Call, name: &str) -> Outcome {
    let mut job = match name {
        "greet" => return Ok(text(&format!("Hello, {}!", call.params["arguments"]["name"].as_str().unwrap_or("you")))),
        "json_schema_2020_12_tool" => return Ok(text("called")),
        "slow_compute" | "confirm_delete" | "multi_input" => Job::done(text(&format!("{name} is done"))),
        "failing_job" => {
            Job::done(json!({ "content": [{ "type": "text", "text": "It failed" }], "isError": true }).to_string())
        }
        "protocol_error_job" => Job::new(Err(json!({ "code": -32603, "message": "The protocol failed" }))),
        _ => return Err(Stop::invalid(&format!("unknown tool `{name}`"))),
    };
    match name {
        "slow_compute" => job.takes = Duration::from_secs(call.params["arguments"]["seconds"].as_u64().unwrap_or(0)),
        "confirm_delete" => job.questions = vec![Question::field("confirm", "Delete it?", "confirm", "boolean")],
        "multi_input" => {
            job.questions =
                ["first", "second"].map(|key| Question::field(key, "What is your name?", "name", "string")).into();
        }
        "failing_job" if !follows(call) => return Err(missing()),
        _ => {}
    }
    if follows(call) {
        return begin(call, job).map_or(Err(Stop::Cancelled), Err);
    }
    call.ask(&job.questions)?;
    thread::sleep(job.takes);
    job.end.map_err(Stop::Error)
}

/// Makes a task of `job`, unless the client cannot follow one.
pub(crate) fn begin(call: &Call, job: Job) -> Option<Stop> {
    if !follows(call) {
        return None;
    }
    let mut random = [0; 16];
    getrandom::fill(&mut random).ok()?;
    let id = hex::encode(random);
    let mut created = job.envelope(&id, "working");
    created["resultType"] = json!("task");
    locked(&call.server.jobs.0).insert(id, job);
    Some(Stop::Task(created))
}

/// `tasks/get`, `tasks/update` and `tasks/cancel`.
pub(crate) fn handle(method: &str, call: &Call) -> Outcome {
    if !follows(call) {
        return Err(missing());
    }
    let id = call.params["taskId"].as_str().unwrap_or_default();
    let mut jobs = locked(&call.server.jobs.0);
    let job = jobs.get_mut(id).ok_or_else(|| Stop::invalid("there is no such task"))?;
    match method {
        "tasks/get" => return Ok(job.state(id).to_string()),
        "tasks/update" => {
            let Some(answers) = call.params["inputResponses"].as_object() else {
                return Err(Stop::invalid("`inputResponses` is missing or no object"));
            };
            for question in &job.questions {
                if let Some(answer) = answers.get(question.key).filter(|answer| question.fits(answer)) {
                    job.answers.insert(question.key.to_owned(), answer.clone());
                }
            }
        }
        // What has ended stays as it is.
        _ => job.cancelled |= !job.open().is_empty() || job.begun.elapsed() < job.takes,
    }
    Ok("{}".to_owned())
}

/// Whether the client declared the extension.
fn follows(call: &Call) -> bool {
    call.params["_meta"][CLIENT_CAPABILITIES]["extensions"].get(TASKS).is_some()
}

fn missing() -> Stop {
    let data = json!({ "requiredCapabilities": { "extensions": { TASKS: {} } } });
    Stop::Error(json!({ "code": -32021, "message": "the client did not declare the tasks extension", "data": data }))
}

pub(crate) const TASKS: &str = "io.modelcontextprotocol/tasks";
