//! What stands between one server and everybody else: all that it says goes through here, and nothing of it goes by.

mod definitions;
mod findings;
mod hints;
mod launch;
mod questions;
mod secret;
mod sink;
mod size;
mod unchecked;
mod written;

use std::sync::{Arc, atomic::AtomicUsize};

use serde_json::value::RawValue;

use self::definitions::is_list;
pub use self::findings::{Finding, Findings};
pub(crate) use self::{findings::Tally, size::depth};
pub(crate) use self::{hints::Hints, questions::OURS};
use crate::{
    aggregator::{OutputText, ServerPolicy},
    catalogue::File,
    extension::is_of_protocol,
    hygiene::{Leave, Removal, Rewritten, cleaned_json, counted, is_dirty},
    message::{Notification, RpcError, Verdict},
    name::ServerId,
    object::{Members, is_object},
    upstream::{Call, CallError, Launch, Outcome},
};

/// What is demanded of one server, and what was found.
#[derive(Debug)]
pub(crate) struct Guard {
    server: ServerId,
    policy: ServerPolicy,
    pub(crate) tally: Tally,
    written: written::Written,
    unchecked: unchecked::Told,
}

impl Guard {
    pub(crate) fn new(server: ServerId, policy: ServerPolicy) -> Arc<Self> {
        Arc::new(Self {
            tally: Tally::new(server.clone()),
            server,
            policy,
            written: Default::default(),
            unchecked: Default::default(),
        })
    }

    pub(crate) fn policy(&self) -> &ServerPolicy {
        &self.policy
    }

    /// A launch of the same server, whose every word comes through this guard.
    pub(crate) fn around(self: &Arc<Self>, launch: Arc<dyn Launch>) -> Arc<dyn Launch> {
        Arc::new(launch::Guarded::new(Arc::clone(self), launch))
    }

    /// Text for people or models, or for a log.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut removal = Removal::default();
        let clean = counted(text, &mut removal).into_owned();
        self.tally.removed(&removal);
        clean
    }

    /// What is declared of an extension, as it may be shown.
    fn declared(&self, id: &str, settings: Box<RawValue>) -> Option<Box<RawValue>> {
        let shown = self.rewritten(&settings, NOTHING);
        let odd = is_dirty(id) || shown.as_ref().is_some_and(|shown| shown.keys);
        if odd || !size::is_shallow(settings.get(), self.policy.limits.nesting) {
            self.tally.add(Finding::DefinitionLeftOut, 1);
            return None;
        }
        Some(shown.map_or(settings, |shown| shown.json))
    }

    /// What was written, if what is shown now was not clean. It says all that can be known of that: the same is always shown of
    /// it.
    pub(crate) fn written(&self, shown: &File) -> Option<File> {
        self.written.of(shown)
    }

    /// A notification as it may be shown.
    pub(crate) fn notification(&self, notification: Notification) -> Option<Notification> {
        if !is_of_protocol(&notification.method) {
            let shown = self.notice(notification);
            self.tally.add(Finding::NoticeRefused, u64::from(shown.is_none()));
            return shown;
        }
        let params = notification.params.filter(|params| size::is_shallow(params.get(), self.policy.limits.nesting));
        let params = match params {
            // Whoever is not told asks, and is told why not.
            Some(params) if &*notification.method == "notifications/tasks" => Some(self.of_task(params).ok()?),
            params => params.map(|params| self.shown(params, NOTHING)),
        };
        Some(Notification { params, ..notification })
    }

    /// One of an extension, whole or not at all: nobody here knows what a part of it would mean.
    fn notice(&self, notification: Notification) -> Option<Notification> {
        if is_dirty(&notification.method) {
            return None;
        }
        let Some(params) = notification.params else { return Some(notification) };
        if !size::is_shallow(params.get(), self.policy.limits.nesting) {
            return None;
        }
        let params = match self.rewritten(&params, NOTHING) {
            // What was two members may be one now, and two readers would read two things.
            Some(clean) if clean.keys && is_object(&clean.json) && Members::of(&clean.json).is_err() => return None,
            Some(clean) => clean.json,
            None => params,
        };
        Some(Notification { params: Some(params), ..notification })
    }

    /// Whether a server may hear of this: one that recurses into what a client has nested without end would end for all clients.
    pub(crate) fn takes(&self, call: &Call) -> Result<(), RpcError> {
        let context = call.context.as_deref();
        let said = context
            .into_iter()
            .flat_map(|context| context.responses.as_deref().into_iter().chain([&*context.capabilities]));
        let mut all = call.params.as_deref().into_iter().chain(said);
        match all.all(|json| size::is_shallow(json.get(), self.policy.limits.nesting)) {
            true => Ok(()),
            false => Err(RpcError::new(RpcError::INVALID_PARAMS, "params is nested too deeply")),
        }
    }

    /// The same of what a client answers.
    fn answer(&self, answer: Verdict) -> Verdict {
        let (Verdict::Result(json) | Verdict::Error(json)) = &answer;
        match size::is_shallow(json.get(), self.policy.limits.nesting) {
            true => answer,
            false => Verdict::refused(&RpcError::new(RpcError::INTERNAL_ERROR, "the answer is nested too deeply")),
        }
    }

    /// What a call came to, as it may be passed on. Whatever the method is: only lists of definitions are read by whoever
    /// judges them one by one. `samplings` is how many the call has asked for.
    fn outcome(&self, method: &str, outcome: Outcome, samplings: &AtomicUsize) -> Outcome {
        let judged = match outcome {
            Outcome::Complete(result) if is_list(method) => Ok(Outcome::Complete(result)),
            Outcome::Complete(result) if method.starts_with("tasks/") && method != "tasks/result" => {
                self.of_task(result).map(Outcome::Complete)
            }
            Outcome::Complete(result) => self.result(method, result).map(Outcome::Complete),
            Outcome::InputRequired(result) => self.input_required(result, samplings).map(Outcome::InputRequired),
            Outcome::Task(result) => self.of_task(result).map(Outcome::Task),
            Outcome::Error(error) => self.bounded(error).map(|error| Outcome::Error(self.shown(error, NOTHING))),
            Outcome::Failed(error) => Ok(Outcome::Failed(error)),
        };
        judged.unwrap_or_else(|refused| match refused {
            Refused::Broken(error) => Outcome::Failed(error),
            Refused::Asked(error) => Outcome::refused(&error),
        })
    }

    fn result(&self, method: &str, result: Box<RawValue>) -> Result<Box<RawValue>, Refused> {
        let result = self.shallow(result)?;
        // What is told of a skill is a definition, like a list of them.
        let is_definition = matches!(method, "skills/get" | "resources/directory/read");
        let result = match self.policy.output {
            OutputText::AsWritten if !is_definition => result,
            OutputText::Clean | OutputText::AsWritten => match self.rewritten(&result, NOTHING) {
                // What was two members may be one now, and two readers would read two things.
                Some(clean) if clean.keys && Members::of(&clean.json).is_err() => {
                    return Err(broken("the result names a member twice"));
                }
                Some(clean) => {
                    if method == "resources/read" && self.policy.pins.as_ref().is_some_and(|pins| !pins.follows()) {
                        self.written.note(&result, &clean.json);
                    }
                    clean.json
                }
                None => result,
            },
        };
        self.fitted(method, result)
    }

    /// What is told of a task, which may ask for something and have a result in it. Its id goes back to the server as it came.
    fn of_task(&self, told: Box<RawValue>) -> Result<Box<RawValue>, Refused> {
        let told = self.shallow(told)?;
        let as_written = self.policy.output == OutputText::AsWritten;
        let told = match self.rewritten(&told, &|depth, name| depth == 1 && name == "taskId") {
            Some(clean) if clean.keys && member(&told, "inputRequests").is_some() => {
                return Err(broken("the name of a question holds what is not to be seen"));
            }
            Some(clean) if clean.keys && Members::of(&clean.json).is_err() => {
                return Err(broken("the result names a member twice"));
            }
            Some(clean) => match member(&told, "result").filter(|_| as_written) {
                Some(result) => {
                    Members::of(&clean.json).ok().and_then(|members| members.with_raw("result", result.get()))
                }
                None => Some(clean.json),
            }
            .ok_or(broken("the result is no object, or names a member twice"))?,
            None => told,
        };
        // What it asks for is told again and again; who knows the task counts it.
        let told = self.questions(&told, &AtomicUsize::new(0))?.unwrap_or(told);
        let Some(result) = member(&told, "result") else { return self.within(told) };
        let fitted = self.fitted("tools/call", result.to_owned())?;
        let told = match fitted.get() == result.get() {
            true => told,
            false => {
                Members::of(&told).ok().and_then(|members| members.with_raw("result", fitted.get())).unwrap_or(told)
            }
        };
        self.within(told)
    }

    /// A server's own state goes back to it as it came, and so do the names of its questions.
    fn input_required(&self, result: Box<RawValue>, samplings: &AtomicUsize) -> Result<Box<RawValue>, Refused> {
        let result = self.bounded(result)?;
        let result = match self.rewritten(&result, &|depth, name| depth == 1 && name == "requestState") {
            Some(clean) if clean.keys => return Err(broken("the name of a question holds what is not to be seen")),
            Some(clean) => clean.json,
            None => result,
        };
        Ok(self.questions(&result, samplings)?.unwrap_or(result))
    }

    fn fitted(&self, method: &str, result: Box<RawValue>) -> Result<Box<RawValue>, Refused> {
        // Two readers would read two things: what is checked and changed of it would not be what a client sees.
        if is_object(&result) && Members::of(&result).is_err() {
            self.tally.add(Finding::ResultRefused, 1);
            return Err(broken("the result names a member twice, or has too many"));
        }
        match size::fitted(method, &result, &self.policy.limits, &self.tally) {
            Ok(fitted) => Ok(fitted.unwrap_or(result)),
            Err(limit_bytes) => Err(self.too_long(limit_bytes)),
        }
    }

    /// What is neither nested too deeply nor too large.
    fn bounded(&self, json: Box<RawValue>) -> Result<Box<RawValue>, Refused> {
        self.shallow(json).and_then(|json| self.within(json))
    }

    fn shallow(&self, json: Box<RawValue>) -> Result<Box<RawValue>, Refused> {
        if size::is_shallow(json.get(), self.policy.limits.nesting) {
            return Ok(json);
        }
        self.tally.add(Finding::ResultRefused, 1);
        Err(broken("the result is nested too deeply"))
    }

    fn within(&self, json: Box<RawValue>) -> Result<Box<RawValue>, Refused> {
        let limit_bytes = self.policy.limits.result_bytes;
        if json.get().len() > limit_bytes { Err(self.too_long(limit_bytes)) } else { Ok(json) }
    }

    fn too_long(&self, limit_bytes: usize) -> Refused {
        self.tally.add(Finding::ResultRefused, 1);
        Refused::Broken(CallError::TooLong { limit_bytes })
    }

    fn shown(&self, json: Box<RawValue>, leave: Leave<'_>) -> Box<RawValue> {
        self.rewritten(&json, leave).map_or(json, |clean| clean.json)
    }

    fn rewritten(&self, json: &RawValue, leave: Leave<'_>) -> Option<Rewritten> {
        let mut removal = Removal::default();
        let rewritten = cleaned_json(json, leave, &mut removal);
        self.tally.removed(&removal);
        rewritten
    }
}

/// Why something does not pass.
enum Refused {
    /// It is no answer that anybody could read.
    Broken(CallError),
    /// It asks a client for what a client is not to be asked for.
    Asked(RpcError),
}

impl From<RpcError> for Refused {
    fn from(error: RpcError) -> Self {
        Self::Asked(error)
    }
}

fn broken(reason: &'static str) -> Refused {
    Refused::Broken(CallError::Protocol { reason })
}

fn member<'a>(object: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    Members::of(object).ok()?.value(name)
}

const NOTHING: Leave<'_> = &|_, _| false;
