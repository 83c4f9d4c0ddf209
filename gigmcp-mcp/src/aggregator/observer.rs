//! What is told of each call of a tool.

use std::time::{Duration, Instant, SystemTime};

use serde_json::value::RawValue;

use crate::{message::error_code, name::ServerId, object::Members, upstream::BoxFuture, upstream::Outcome};

/// Is told of every `tools/call` after its outcome is known and before the client gets it.
pub trait CallObserver: Send + Sync {
    /// Takes note of one call. The client waits until the future completes.
    fn finished<'a>(&'a self, record: &'a CallRecord) -> BoxFuture<'a, ()>;
}

/// One call of a tool. It holds no arguments and no results.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallRecord {
    /// When it began.
    pub began: SystemTime,
    /// How long it took, a start of the server included.
    pub duration: Duration,
    /// The name the client called, cut to 128 characters.
    pub exposed: Box<str>,
    /// The server it led to, if to any.
    pub server: Option<ServerId>,
    /// The server's own name for the tool, if the server was asked.
    pub tool: Option<Box<str>>,
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
    /// The server could not be started or did not answer.
    Failed {
        /// The stable code that the client got too.
        code: &'static str,
    },
}

pub(super) struct Observation {
    began: SystemTime,
    clock: Instant,
    exposed: Box<str>,
    request_bytes: usize,
}

impl Observation {
    pub(super) fn begin(params: Option<&RawValue>) -> Self {
        let exposed = params
            .and_then(|params| Members::of(params).ok())
            .and_then(|members| members.string("name"))
            .map(|name| name.chars().take(128).collect::<String>());
        Self {
            began: SystemTime::now(),
            clock: Instant::now(),
            exposed: exposed.unwrap_or_default().into(),
            request_bytes: params.map_or(0, |params| params.get().len()),
        }
    }

    pub(super) fn end(
        self,
        server: Option<ServerId>,
        tool: Option<Box<str>>,
        failure: Option<&'static str>,
        outcome: &Outcome,
    ) -> CallRecord {
        let (verdict, response_bytes) = match outcome {
            Outcome::Complete(result) if is_tool_error(result) => (CallVerdict::ToolError, result.get().len()),
            Outcome::Complete(result) => (CallVerdict::Ok, result.get().len()),
            Outcome::Error(error) => {
                let code = error_code(error);
                (CallVerdict::Error { code }, error.get().len())
            }
            Outcome::Failed(error) => (CallVerdict::Failed { code: error.code() }, 0),
        };
        CallRecord {
            began: self.began,
            duration: self.clock.elapsed(),
            exposed: self.exposed,
            server,
            tool,
            verdict: failure.map_or(verdict, |code| CallVerdict::Failed { code }),
            request_bytes: self.request_bytes,
            response_bytes,
        }
    }
}

fn is_tool_error(result: &RawValue) -> bool {
    let members = Members::of(result).ok();
    let flag = members.and_then(|members| members.value("isError"));
    flag.is_some_and(|flag| flag.get() == "true")
}
