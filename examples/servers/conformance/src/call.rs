//! One request, and what its handler can do besides answering.

use std::{
    sync::{Arc, mpsc::RecvTimeoutError},
    thread,
    time::Duration,
};

use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    outcome::Stop,
    questions::Question,
    server::{Era, Server},
    state,
};

/// A request under way.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) server: Arc<Server>,
    pub(crate) era: Era,
    pub(crate) id: Value,
    pub(crate) params: Value,
    /// The same as it was written.
    pub(crate) written: Option<Box<RawValue>>,
    /// Answers that the client sent with the request.
    answers: Map<String, Value>,
    /// What the state belongs to, if this request keeps one.
    subject: Option<String>,
}

impl Call {
    pub(crate) fn new(server: &Arc<Server>, era: Era, id: Value, written: Option<Box<RawValue>>) -> Result<Self, Stop> {
        let params = written.as_deref().map_or(Ok(json!({})), |written| serde_json::from_str(written.get()));
        let params: Value = params.map_err(|_| Stop::invalid("`params` is no JSON"))?;
        if !params.is_object() {
            return Err(Stop::invalid("`params` is no object"));
        }
        let server = Arc::clone(server);
        Ok(Self { server, era, id, params, written, answers: Map::new(), subject: None })
    }

    /// Takes the answers that came with the request. With `keeps_state` they count only together with the state that
    /// was given out with the questions.
    pub(crate) fn take_answers(&mut self, subject: &str, keeps_state: bool) -> Result<(), Stop> {
        let given = match self.params.get("inputResponses") {
            None => Map::new(),
            Some(Value::Object(given)) => given.clone(),
            Some(_) => return Err(Stop::invalid("`inputResponses` is no object")),
        };
        if !keeps_state {
            self.answers = given;
            return Ok(());
        }
        self.subject = Some(subject.to_owned());
        if let Some(state) = self.params.get("requestState") {
            let earlier = state.as_str().and_then(|state| state::open(subject, state));
            self.answers = earlier.ok_or_else(|| Stop::invalid("`requestState` is not one that was given out"))?;
            self.answers.extend(given);
        }
        Ok(())
    }

    /// Asks the client, all questions at once, and gives the answers in the same order.
    pub(crate) fn ask(&self, questions: &[Question]) -> Result<Vec<Value>, Stop> {
        for question in questions {
            if !self.declared(question.capability()) {
                return Err(match self.era {
                    Era::Modern => Stop::missing(question.capability()),
                    Era::Legacy => Stop::Tool(format!("the client does not support {}", question.capability())),
                });
            }
        }
        match self.era {
            Era::Modern => self.ask_by_result(questions),
            Era::Legacy => self.ask_by_request(questions),
        }
    }

    /// The client answers when it sends the request again.
    fn ask_by_result(&self, questions: &[Question]) -> Result<Vec<Value>, Stop> {
        let (mut answers, mut requests) = (Vec::new(), Map::new());
        for question in questions {
            match self.answers.get(question.key) {
                Some(answer) if question.fits(answer) => answers.push(answer.clone()),
                Some(_) => return Err(Stop::invalid(&format!("the answer to `{}` has another shape", question.key))),
                None => {
                    requests.insert(question.key.to_owned(), question.to_json());
                }
            }
        }
        if requests.is_empty() {
            return Ok(answers);
        }
        let state = self.subject.as_deref().map(|subject| state::seal(subject, &self.answers));
        Err(Stop::Input { requests, state })
    }

    /// The client answers while the request waits.
    fn ask_by_request(&self, questions: &[Question]) -> Result<Vec<Value>, Stop> {
        let asked: Vec<_> = questions.iter().map(|question| self.server.ask(question)).collect();
        let mut answers = Vec::new();
        for (question, asked) in questions.iter().zip(&asked) {
            let answer = loop {
                match asked.answer.recv_timeout(Duration::from_millis(50)) {
                    Ok(answer) => break answer,
                    Err(RecvTimeoutError::Timeout) if !self.cancelled() => {}
                    Err(_) => return Err(Stop::Cancelled),
                }
            };
            match answer {
                Ok(answer) if question.fits(&answer) => answers.push(answer),
                Ok(_) => return Err(Stop::Tool(format!("the answer to {} has another shape", question.method))),
                Err(error) => return Err(Stop::Tool(format!("{} was refused: {}", question.method, error["message"]))),
            }
        }
        Ok(answers)
    }

    /// Whether the client can be asked for this.
    pub(crate) fn declared(&self, capability: &str) -> bool {
        match self.era {
            Era::Modern => self.params["_meta"][CLIENT_CAPABILITIES].get(capability).is_some(),
            Era::Legacy => self.server.client_declared(capability),
        }
    }

    /// Sends a log message, if the client wants one of this level.
    pub(crate) fn log(&self, level: &str, data: &str) {
        let threshold = match self.era {
            Era::Modern => self.params["_meta"][LOG_LEVEL].as_str().map(str::to_owned),
            Era::Legacy => Some(self.server.log_level()),
        };
        let rank = |level: &str| LEVELS.iter().position(|known| *known == level);
        if threshold.is_some_and(|threshold| rank(level) >= rank(&threshold)) {
            let params = json!({ "level": level, "logger": "conformance", "data": data });
            self.server.output.notify("notifications/message", &params);
        }
    }

    /// Sends progress, if the client gave a token for it.
    pub(crate) fn progress(&self, progress: u32) {
        if let Some(token) = self.params["_meta"].get("progressToken") {
            let params = json!({ "progressToken": token, "progress": progress, "total": 100,
                "message": format!("{progress} of 100") });
            self.server.output.notify("notifications/progress", &params);
        }
    }

    /// Works for a moment.
    pub(crate) fn work(&self) {
        thread::sleep(Duration::from_millis(50));
    }

    pub(crate) fn cancelled(&self) -> bool {
        self.server.was_cancelled(&self.id)
    }
}

pub(crate) const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];
pub(crate) const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub(crate) const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
pub(crate) const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
pub(crate) const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
