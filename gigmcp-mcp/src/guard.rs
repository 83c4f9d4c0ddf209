//! What stands between one server and everybody else: all that it says goes through here, and nothing of it goes by.

mod definitions;
mod findings;
mod launch;
mod questions;
mod secret;
mod sink;
mod size;

use std::sync::Arc;

use serde_json::value::RawValue;

pub use self::findings::{Finding, Findings};
pub(crate) use self::{findings::Tally, size::depth};
use crate::{
    aggregator::{OutputText, ServerPolicy},
    hygiene::{Leave, Removal, Rewritten, cleaned_json, counted},
    message::Notification,
    name::ServerId,
    object::Members,
    upstream::{CallError, Launch, Outcome},
};

/// What is demanded of one server, and what was found.
#[derive(Debug)]
pub(crate) struct Guard {
    server: ServerId,
    policy: ServerPolicy,
    pub(crate) tally: Tally,
}

impl Guard {
    pub(crate) fn new(server: ServerId, policy: ServerPolicy) -> Arc<Self> {
        Arc::new(Self { tally: Tally::new(server.clone()), server, policy })
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

    /// A notification as it may be shown.
    pub(crate) fn notification(&self, notification: Notification) -> Notification {
        let params = notification.params.filter(|params| size::is_shallow(params.get(), self.policy.limits.nesting));
        let params = params.map(|params| self.shown(params, NOTHING));
        Notification { params, ..notification }
    }

    /// What a call came to, as it may be passed on.
    fn outcome(&self, method: &str, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Complete(result) if method.ends_with("/list") => Outcome::Complete(self.list(method, result)),
            Outcome::Complete(result) => self.result(method, result),
            Outcome::InputRequired(result) => self.input_required(result),
            Outcome::Task(result) if !size::is_shallow(result.get(), self.policy.limits.nesting) => {
                broken("the result is nested too deeply")
            }
            // Its id goes back to the server as it came.
            Outcome::Task(result) => Outcome::Task(self.shown(result, &|_, name| name == "taskId")),
            Outcome::Error(error) if !size::is_shallow(error.get(), self.policy.limits.nesting) => {
                broken("the error is nested too deeply")
            }
            Outcome::Error(error) => Outcome::Error(self.shown(error, NOTHING)),
            Outcome::Failed(error) => Outcome::Failed(error),
        }
    }

    fn result(&self, method: &str, result: Box<RawValue>) -> Outcome {
        let limits = &self.policy.limits;
        if !size::is_shallow(result.get(), limits.nesting) {
            self.tally.add(Finding::ResultRefused, 1);
            return broken("the result is nested too deeply");
        }
        let result = match self.policy.output {
            OutputText::Clean => match self.rewritten(&result, NOTHING) {
                // What was two members may be one now, and two readers would read two things.
                Some(clean) if clean.keys && Members::of(&clean.json).is_err() => {
                    return broken("the result names a member twice");
                }
                Some(clean) => clean.json,
                None => result,
            },
            OutputText::AsWritten => result,
        };
        match size::fitted(method, &result, limits, &self.tally) {
            Ok(None) => Outcome::Complete(result),
            Ok(Some(fitted)) => Outcome::Complete(fitted),
            Err(limit_bytes) => {
                self.tally.add(Finding::ResultRefused, 1);
                Outcome::Failed(CallError::TooLong { limit_bytes })
            }
        }
    }

    /// A server's own state goes back to it as it came, and so do the names of its questions.
    fn input_required(&self, result: Box<RawValue>) -> Outcome {
        if !size::is_shallow(result.get(), self.policy.limits.nesting) {
            return broken("the result is nested too deeply");
        }
        let result = match self.rewritten(&result, &|depth, name| depth == 1 && name == "requestState") {
            Some(clean) if clean.keys => return broken("the name of a question holds what is not to be seen"),
            Some(clean) => clean.json,
            None => result,
        };
        match self.questions(&result) {
            Ok(None) => Outcome::InputRequired(result),
            Ok(Some(result)) => Outcome::InputRequired(result),
            Err(error) => Outcome::refused(&error),
        }
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

fn broken(reason: &'static str) -> Outcome {
    Outcome::Failed(CallError::Protocol { reason })
}

const NOTHING: Leave<'_> = &|_, _| false;
