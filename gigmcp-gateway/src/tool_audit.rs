//! One audit row a tool call.

use std::time::UNIX_EPOCH;

use gigmcp_mcp::{BoxFuture, CallObserver, CallRecord, CallVerdict};

use crate::{
    spec::{Owner, ProfileSlug},
    store::{AuditRow, Profile, Store},
};

/// Writes one audit row a tool call.
pub(crate) struct ToolAudit {
    store: Store,
    owner: Owner,
    profile: ProfileSlug,
}

impl ToolAudit {
    pub(crate) fn new(store: Store, profile: &Profile) -> Self {
        Self { store, owner: profile.owner.clone(), profile: profile.slug.clone() }
    }
}

impl CallObserver for ToolAudit {
    fn finished<'a>(&'a self, record: &'a CallRecord) -> BoxFuture<'a, ()> {
        Box::pin(async {
            // The tool has run; refusing the answer now would not undo it.
            if let Err(error) = self.store.add_audit(self.row(record)).await {
                tracing::error!("a call of {} could not be audited: {error}", record.exposed);
            }
        })
    }
}

impl ToolAudit {
    fn row(&self, record: &CallRecord) -> AuditRow {
        let verdict = match &record.verdict {
            CallVerdict::Ok => "allowed".to_owned(),
            CallVerdict::ToolError => "tool-error".to_owned(),
            CallVerdict::Error { code } => code.map_or_else(|| "error".to_owned(), |code| format!("error{code}")),
            CallVerdict::Failed { code } => (*code).to_owned(),
            _ => "unknown".to_owned(),
        };
        let bytes = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let began = record.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        AuditRow {
            at_ms: i64::try_from(began.as_millis()).unwrap_or(i64::MAX),
            kind: "tool".to_owned(),
            owner: self.owner.to_string(),
            profile: self.profile.to_string(),
            server: record.server.as_ref().map(ToString::to_string).unwrap_or_default(),
            instance: String::new(),
            subject: record.exposed.escape_default().to_string(),
            verdict,
            status: None,
            credentials: String::new(),
            bytes_up: bytes(record.request_bytes),
            bytes_down: bytes(record.response_bytes),
            duration_us: i64::try_from(record.duration.as_micros()).unwrap_or(i64::MAX),
            alarm: false,
        }
    }
}
