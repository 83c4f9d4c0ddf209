//! What is told of each call of a tool.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{
    attended::Attended,
    definition::{Definition, DefinitionDigest},
    message::error_code,
    name::ServerId,
    object::Members,
    upstream::{BoxFuture, CallId, Outcome},
};

/// Is told of every `tools/call`, of what is done to tasks and how they end, and of every method of an extension: after the
/// outcome is known and before the client gets it.
pub trait CallObserver: Send + Sync {
    /// Whether the next call will be taken note of. Asked before a server is started or called; an error refuses the call, and
    /// that is told as well. The default never refuses.
    fn ready<'a>(&'a self) -> BoxFuture<'a, Result<(), NotObserved>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Takes note of one call. The client waits until the future completes; of a call that was given up, nobody waits.
    fn finished<'a>(&'a self, record: &'a CallRecord) -> BoxFuture<'a, ()>;
}

/// A call would not be taken note of.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the call cannot be recorded")]
pub struct NotObserved;

/// One call of a tool, or what has come of one. It holds no arguments and no results.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallRecord {
    /// Tells it apart from every other.
    pub id: CallId,
    /// What was asked for: `tools/call`, `tasks/update`, `tasks/cancel`, a method of an extension; or `tasks/end`, which nobody
    /// asks for: a task is over, and the rest says how.
    pub method: Box<str>,
    /// Of what is told of a task, the call that it was.
    pub origin: Option<CallId>,
    /// When it began.
    pub began: SystemTime,
    /// How long it took, a start of the server included.
    pub duration: Duration,
    /// The name of the tool that the client called, cut to 128 characters; nothing for a method of an extension.
    pub exposed: Box<str>,
    /// The server it led to, if to any.
    pub server: Option<ServerId>,
    /// Which running server that was, if it says so ([`Upstream::instance`](crate::Upstream::instance)).
    pub instance: Option<Box<str>>,
    /// The server's own name for the tool, if the server was asked.
    pub tool: Option<Box<str>>,
    /// The digest of the tool's definition, as the client was shown it, if the server was asked.
    pub definition: Option<DefinitionDigest>,
    /// The SHA-256 of the arguments as the client wrote them, or of its answers to a task, or of all parameters of another
    /// method; of nothing if there were none.
    pub arguments: [u8; 32],
    /// What became of it.
    pub verdict: CallVerdict,
    /// Size of the parameters.
    pub request_bytes: usize,
    /// Size of the result or error object.
    pub response_bytes: usize,
}

/// What became of a call.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CallVerdict {
    /// The tool answered.
    Ok,
    /// The tool answered that it failed (`isError`).
    ToolError,
    /// The call was answered with a JSON-RPC error: the server's, or ours for a call that does not
    /// fit any tool.
    Error {
        /// Its code, if it has one.
        code: Option<i64>,
    },
    /// The server could not be started or did not answer, or the call was refused.
    Failed {
        /// The stable code that the client got too.
        code: &'static str,
    },
    /// The client cancelled it, or nobody waited for it any more. Whether it had an effect is unknown.
    Abandoned,
}

/// A call that is told of once, however it ends: by [`end`](Self::end), or when it is dropped.
pub(super) struct Observation {
    observer: Option<Arc<dyn CallObserver>>,
    record: Option<CallRecord>,
    clock: Instant,
}

impl Observation {
    pub(super) fn begin(observer: Option<&Arc<dyn CallObserver>>, method: &str, params: Option<&RawValue>) -> Self {
        let members = params.and_then(|params| Members::of(params).ok());
        let exposed = members.as_ref().filter(|_| method == "tools/call").and_then(|members| members.string("name"));
        let exposed = exposed.map(|name| name.chars().take(128).collect::<String>());
        let arguments = match method {
            "tools/call" => members.as_ref().and_then(|members| members.value("arguments")),
            "tasks/update" => members.as_ref().and_then(|members| members.value("inputResponses")),
            _ => params,
        };
        // It is read by nobody if nobody observes.
        let arguments = arguments.map(RawValue::get).filter(|_| observer.is_some()).unwrap_or_default();
        let record = CallRecord {
            id: CallId::next(),
            method: method.chars().take(128).collect::<String>().into(),
            origin: None,
            began: SystemTime::now(),
            duration: Duration::ZERO,
            exposed: exposed.unwrap_or_default().into(),
            server: None,
            instance: None,
            tool: None,
            definition: None,
            arguments: Sha256::digest(arguments).into(),
            verdict: CallVerdict::Abandoned,
            request_bytes: params.map_or(0, |params| params.get().len()),
            response_bytes: 0,
        };
        Self { observer: observer.cloned(), record: Some(record), clock: Instant::now() }
    }

    pub(super) fn id(&self) -> CallId {
        self.record.as_ref().expect("it has not ended").id
    }

    /// It is of a task that this call of this tool was.
    pub(super) fn is_of_task(&mut self, origin: CallId, exposed: &str) {
        let record = self.record.as_mut().expect("it has not ended");
        (record.origin, record.exposed) = (Some(origin), exposed.into());
    }

    /// Where it leads.
    pub(super) fn leads_to(&mut self, server: &ServerId, reached: Option<(Option<&str>, &Definition)>) {
        let record = self.record.as_mut().expect("it has not ended");
        record.server = Some(server.clone());
        if let Some((instance, tool)) = reached {
            (record.instance, record.tool) = (instance.map(Into::into), Some(tool.name.clone()));
            record.definition = Some(tool.digest);
        }
    }

    pub(super) async fn ready(&self) -> Result<(), NotObserved> {
        match &self.observer {
            Some(observer) => observer.ready().await,
            None => Ok(()),
        }
    }

    pub(super) async fn end(mut self, failure: Option<&'static str>, outcome: &Outcome) {
        let (verdict, response_bytes) = match outcome {
            Outcome::Complete(result) if is_tool_error(result) => (CallVerdict::ToolError, result.get().len()),
            Outcome::Complete(result) | Outcome::InputRequired(result) | Outcome::Task(result) => {
                (CallVerdict::Ok, result.get().len())
            }
            Outcome::Error(error) => {
                let code = error_code(error);
                (CallVerdict::Error { code }, error.get().len())
            }
            Outcome::Failed(error) => (CallVerdict::Failed { code: error.code() }, 0),
        };
        if let Some(record) = &mut self.record {
            record.verdict = failure.map_or(verdict, |code| CallVerdict::Failed { code });
            record.response_bytes = response_bytes;
        }
        if let Some((observer, record)) = self.take() {
            // What was done is told also when nobody waits for it.
            Attended::new(async move { observer.finished(&record).await }).finish().await;
        }
    }

    fn take(&mut self) -> Option<(Arc<dyn CallObserver>, CallRecord)> {
        let mut record = self.record.take()?;
        record.duration = self.clock.elapsed();
        Some((self.observer.take()?, record))
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        if let Some((observer, record)) = self.take() {
            drop(Attended::new(async move { observer.finished(&record).await }));
        }
    }
}

fn is_tool_error(result: &RawValue) -> bool {
    let members = Members::of(result).ok();
    let flag = members.and_then(|members| members.value("isError"));
    flag.is_some_and(|flag| flag.get() == "true")
}
