//! Where a task comes from: what the token of its client holds.

use std::sync::Arc;

use crate::{aggregator::identity::ProcessId, sink::ClientContext, upstream::CallId};

/// A task of one process of a server, under the server's own id.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(in crate::aggregator) struct Task {
    pub(in crate::aggregator) server: usize,
    pub(in crate::aggregator) process: ProcessId,
    pub(in crate::aggregator) id: Box<str>,
}

impl Task {
    pub(in crate::aggregator) fn own(&self) -> (ProcessId, Box<str>) {
        (self.process.clone(), self.id.clone())
    }
}

/// All that is to be known of a task later. The client keeps it, sealed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Origin {
    pub(super) process: ProcessId,
    /// The tool that was called, by the server's own name.
    pub(super) tool: Box<str>,
    /// The call that it was.
    pub(super) call: CallId,
    /// The server's own id.
    pub(super) id: Box<str>,
}

impl Origin {
    pub(super) fn task(&self, server: usize) -> Task {
        Task { server, process: self.process.clone(), id: self.id.clone() }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let parts = (self.process.as_str(), &self.tool, self.call.to_string(), &self.id);
        serde_json::to_vec(&parts).expect("texts are JSON")
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (process, tool, call, id): (String, Box<str>, String, Box<str>) = serde_json::from_slice(bytes).ok()?;
        Some(Self { process: ProcessId::named(&process), tool, call: CallId::read(&call)?, id })
    }
}

/// What a token is bound to.
pub(super) fn bound<'a>(server: &'a str, context: Option<&'a ClientContext>) -> [&'a str; 3] {
    let owner: Option<&Arc<str>> = context.and_then(|context| context.owner.as_ref());
    ["task", owner.map_or("", |owner| owner), server]
}
