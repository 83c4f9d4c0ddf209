//! The connection: what comes in, who handles it, and how the era is decided.

mod legacy;
mod modern;

use std::{
    collections::{HashMap, HashSet},
    io::{self, BufRead},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use serde_json::{Value, json};

use crate::{
    call::Call,
    catalogue::Catalogue,
    jobs::Jobs,
    noise,
    outcome::{INVALID_REQUEST, Outcome, PARSE_ERROR, Stop},
    questions::Question,
    skills,
    subscriptions::{Change, Subscriptions},
    wire::{Message, Output, locked, read_line},
};

/// What the server speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    Legacy,
    Modern,
    Dual,
    Noisy,
    Jobs,
}

impl Mode {
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "legacy" => Self::Legacy,
            "modern" => Self::Modern,
            "dual" => Self::Dual,
            "noisy" => Self::Noisy,
            "jobs" => Self::Jobs,
            _ => return None,
        })
    }
}

/// The two families of revisions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Era {
    /// With a session: until 2025-11-25.
    Legacy,
    /// Stateless: from 2026-07-28 on.
    Modern,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) mode: Mode,
    /// What the names of the tools had in front.
    pub(crate) prefix: String,
    pub(crate) has_skills: bool,
    pub(crate) jobs: Jobs,
    pub(crate) output: Output,
    pub(crate) catalogue: Catalogue,
    pub(crate) subscriptions: Subscriptions,
    /// What the session's client declared in `initialize`; nothing before it.
    client: Mutex<Option<Value>>,
    log_level: Mutex<String>,
    /// The era of the first message, which binds a server that knows both.
    era: Mutex<Option<Era>>,
    cancelled: Mutex<HashSet<String>>,
    pending: Mutex<HashMap<String, Sender<Result<Value, Value>>>>,
    next_id: AtomicU64,
    pub(crate) extra_tool: AtomicBool,
    pub(crate) extra_prompt: AtomicBool,
    pub(crate) extra_resource: AtomicBool,
}

/// A request of ours that has no answer yet.
pub(crate) struct Asked<'a> {
    pub(crate) answer: Receiver<Result<Value, Value>>,
    server: &'a Server,
    id: String,
}

impl Server {
    pub(crate) fn new(mode: Mode, word: Option<String>) -> Self {
        let has_skills = mode != Mode::Jobs && word.as_deref() == Some(skills::WORD);
        let prefix = word.filter(|_| mode == Mode::Jobs).map(|prefix| format!("{prefix}_")).unwrap_or_default();
        let mut catalogue = match mode {
            Mode::Noisy => Catalogue::of_the_noisy(),
            Mode::Jobs => Catalogue::of_jobs(&prefix),
            _ => Catalogue::of_the_suite(),
        };
        if has_skills {
            catalogue.resources.extend(skills::resources());
        }
        Self {
            mode,
            prefix,
            has_skills,
            jobs: Jobs::default(),
            output: Output::default(),
            catalogue,
            subscriptions: Subscriptions::default(),
            client: Mutex::default(),
            log_level: Mutex::new("info".to_owned()),
            era: Mutex::default(),
            cancelled: Mutex::default(),
            pending: Mutex::default(),
            next_id: AtomicU64::new(1),
            extra_tool: AtomicBool::new(false),
            extra_prompt: AtomicBool::new(false),
            extra_resource: AtomicBool::new(false),
        }
    }

    /// Answers until the input ends. What is under way then is given up.
    pub(crate) fn serve(self: Arc<Self>, mut input: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        while read_line(&mut input, &mut line)? {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match serde_json::from_slice::<Message>(&line) {
                Ok(message) => self.take(message),
                Err(error) if error.is_data() => {
                    self.output.error(&Value::Null, &json!({ "code": INVALID_REQUEST, "message": "Invalid Request" }));
                }
                Err(_) => self.output.error(&Value::Null, &json!({ "code": PARSE_ERROR, "message": "Parse error" })),
            }
        }
        Ok(())
    }

    fn take(self: &Arc<Self>, message: Message) {
        match (message.method, message.id) {
            (Some(method), Some(id)) if id.is_string() || id.is_i64() || id.is_u64() => {
                let (server, params) = (Arc::clone(self), message.params);
                // What must be decided in the order of the messages is decided here.
                let era = server.era_of(&method);
                if method == "initialize" || method == "subscriptions/listen" {
                    return server.answer(era, &method, id, params);
                }
                thread::spawn(move || server.answer(era, &method, id, params));
            }
            (Some(method), None) => self.notified(&method, message.params.map(|params| params.get().to_owned())),
            (None, Some(id)) => {
                let answer = message.result.map(Ok).or(message.error.map(Err));
                let waiting = locked(&self.pending).get(&id.to_string()).cloned();
                // An answer to nothing, or to what was given up.
                waiting.zip(answer).map(|(waiting, answer)| waiting.send(answer));
            }
            _ => self.output.error(&Value::Null, &json!({ "code": INVALID_REQUEST, "message": "Invalid Request" })),
        }
    }

    /// The era in which a request is answered.
    fn era_of(&self, method: &str) -> Era {
        match self.mode {
            Mode::Legacy | Mode::Noisy => Era::Legacy,
            Mode::Modern | Mode::Jobs => Era::Modern,
            Mode::Dual => {
                let first = if method == "initialize" { Era::Legacy } else { Era::Modern };
                *locked(&self.era).get_or_insert(first)
            }
        }
    }

    fn answer(self: &Arc<Self>, era: Era, method: &str, id: Value, params: Option<Box<serde_json::value::RawValue>>) {
        let outcome = Call::new(self, era, id.clone(), params).and_then(|call| match era {
            Era::Legacy => legacy::handle(method, call),
            Era::Modern => modern::handle(method, call).map(|result| result.unwrap_or_default()),
        });
        if locked(&self.cancelled).remove(&id.to_string()) {
            return;
        }
        match outcome {
            Ok(result) if result.is_empty() => {} // a stream stays open
            Ok(result) => self.output.result(&id, &result),
            Err(Stop::Error(error)) => self.output.error(&id, &error),
            Err(Stop::Tool(text)) => {
                let mut result = json!({ "content": [{ "type": "text", "text": text }], "isError": true });
                if era == Era::Modern {
                    result["resultType"] = json!("complete");
                }
                self.output.result(&id, &result.to_string());
            }
            Err(Stop::Input { requests, state }) => {
                let mut result = json!({ "resultType": "input_required", "inputRequests": requests });
                if let Some(state) = state {
                    result["requestState"] = json!(state);
                }
                self.output.result(&id, &result.to_string());
            }
            Err(Stop::Task(task)) => self.output.result(&id, &task.to_string()),
            Err(Stop::Cancelled) => {}
        }
    }

    fn notified(self: &Arc<Self>, method: &str, params: Option<String>) {
        let params: Value = params.and_then(|params| serde_json::from_str(&params).ok()).unwrap_or_default();
        match method {
            "notifications/cancelled" => {
                let id = &params["requestId"];
                self.subscriptions.end(id);
                locked(&self.cancelled).insert(id.to_string());
            }
            "notifications/initialized" if self.mode == Mode::Noisy => noise::start(self),
            _ => {}
        }
    }

    /// Sends a request of ours, in a session.
    pub(crate) fn ask(&self, question: &Question) -> Asked<'_> {
        let (sender, answer) = channel();
        let mut pending = locked(&self.pending);
        let mut id = json!(question.key);
        // An id that is in use cannot be used again.
        while !question.keyed && id.is_string() || pending.contains_key(&id.to_string()) {
            id = json!(self.next_id.fetch_add(1, Ordering::Relaxed));
        }
        pending.insert(id.to_string(), sender);
        drop(pending);
        self.output.request(&id, question.method, &question.params);
        Asked { answer, server: self, id: id.to_string() }
    }

    /// Tells whoever wants to know.
    pub(crate) fn tell(&self, era: Era, change: Change) {
        match era {
            Era::Legacy => self.subscriptions.tell_session(&self.output, change),
            Era::Modern => self.subscriptions.tell_streams(&self.output, change),
        }
    }

    pub(crate) fn client_declared(&self, capability: &str) -> bool {
        locked(&self.client).as_ref().is_some_and(|client| client.get(capability).is_some())
    }

    pub(crate) fn log_level(&self) -> String {
        locked(&self.log_level).clone()
    }

    pub(crate) fn was_cancelled(&self, id: &Value) -> bool {
        locked(&self.cancelled).contains(&id.to_string())
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        locked(&self.server.pending).remove(&self.id);
    }
}

/// What both eras answer alike.
fn common(method: &str, call: Call) -> Outcome {
    use crate::{completion, prompts, resources, tools};

    match method {
        "tools/list" => tools::list(&call),
        "tools/call" => tools::call(call),
        "prompts/list" => prompts::list(&call),
        "prompts/get" => prompts::get(call),
        "resources/list" => resources::list(&call),
        "resources/templates/list" => resources::templates(&call),
        "resources/read" => resources::read(&call),
        "completion/complete" => completion::complete(&call.params),
        "skills/list" | "skills/get" | "resources/directory/read" if call.server.has_skills => {
            skills::handle(method, &call)
        }
        _ => Err(Stop::no_method()),
    }
}

/// What the server can do, in either era.
fn capabilities() -> Value {
    json!({
        "tools": { "listChanged": true },
        "prompts": { "listChanged": true },
        "resources": { "subscribe": true, "listChanged": true },
        "logging": {},
        "completions": {},
        "experimental": { "com.example/kept": { "inside": { "number": 1.5 } } },
    })
}

fn server_info() -> Value {
    json!({ "name": "gigmcp-demo-conformance", "version": env!("CARGO_PKG_VERSION") })
}

const MODERN: &str = "2026-07-28";
/// The preferred one first.
const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
const INSTRUCTIONS: &str = "Tools for the conformance suite. None of them has an effect outside this process.";
