//! One audit row for each call of a tool, for what is done to a task and its end, and for each method of an extension.

use std::{cell::Cell, time::UNIX_EPOCH};

use gigmcp_mcp::{BoxFuture, CallBegun, CallObserver, CallRecord, CallVerdict, NotObserved};

use crate::{
    output::whole,
    spec::{Owner, ProfileSlug},
    store::{Asker, AuditRow, Profile, Store},
    traces::Traces,
};

tokio::task_local! {
    /// Whether the trail was asked, when the token was looked at, if it takes the row of one more call.
    static ASKED: Cell<bool>;
}

/// Does what makes one call, of which the trail was asked already.
pub(crate) async fn asked<F: Future>(asked: bool, work: F) -> F::Output {
    ASKED.scope(Cell::new(asked), work).await
}

/// Once; further calls ask for themselves, as does what goes on in a task of its own.
fn is_asked() -> bool {
    ASKED.try_with(|asked| asked.replace(false)).unwrap_or(false)
}

/// Writes one audit row for each of them.
pub(crate) struct ToolAudit {
    store: Store,
    owner: Owner,
    profile: ProfileSlug,
    traces: Traces,
}

impl ToolAudit {
    pub(crate) fn new(store: &Store, profile: &Profile, traces: Traces) -> Self {
        let store = store.in_turn_of(Asker::Profile(profile.slug.clone()));
        Self { store, owner: profile.owner.clone(), profile: profile.slug.clone(), traces }
    }
}

impl CallObserver for ToolAudit {
    fn ready<'a>(&'a self) -> BoxFuture<'a, Result<(), NotObserved>> {
        Box::pin(async {
            if is_asked() && !self.store.is_audit_lost() {
                return Ok(());
            }
            self.store.takes_audit().await.map_err(|error| {
                tracing::error!("a call is refused, as it could not be audited: {}", whole(&error));
                NotObserved
            })
        })
    }

    fn begun(&self, begun: &CallBegun) {
        self.traces.call_begins(begun);
    }

    fn finished<'a>(&'a self, record: &'a CallRecord) -> BoxFuture<'a, ()> {
        Box::pin(async {
            self.traces.call_ended(record);
            // The tool has run; refusing the answer now would not undo it.
            if let Err(error) = self.store.add_audit(self.row(record)).await {
                tracing::error!("a call of {} could not be audited: {}", record.exposed, whole(&error));
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
            CallVerdict::Abandoned => "abandoned".to_owned(),
            _ => "unknown".to_owned(),
        };
        // What a task comes to is found with the call that it was.
        let of_tool = &*record.method == "tools/call";
        let kind = if of_tool {
            "tool"
        } else if record.method.starts_with("tasks/") {
            "task"
        } else {
            "extension"
        };
        let subject =
            if of_tool { record.exposed.to_string() } else { format!("{} {}", record.method, record.exposed) };
        let bytes = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let began = record.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        AuditRow {
            at_ms: i64::try_from(began.as_millis()).unwrap_or(i64::MAX),
            kind: kind.to_owned(),
            owner: self.owner.to_string(),
            profile: self.profile.to_string(),
            server: record.server.as_ref().map(ToString::to_string).unwrap_or_default(),
            instance: record.instance.as_deref().unwrap_or_default().to_owned(),
            subject: subject.trim_end().escape_default().to_string(),
            verdict,
            status: None,
            credentials: String::new(),
            bytes_up: bytes(record.request_bytes),
            bytes_down: bytes(record.response_bytes),
            duration_us: i64::try_from(record.duration.as_micros()).unwrap_or(i64::MAX),
            alarm: false,
            policy_version: None,
            calls: Some(record.origin.unwrap_or(record.id).to_string()),
            request: None,
            definition: record.definition.map(|digest| digest.to_string()),
            arguments: Some(format!("sha256:{}", hex::encode(record.arguments))),
        }
    }
}

#[cfg(test)]
mod of_tasks;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gigmcp_mcp::Aggregator;
    use serde_json::value::RawValue;

    use super::*;
    use crate::spec::ServerName;

    /// How many changes are made at once.
    const ONE_TRANSACTION: usize = 32;

    #[tokio::test]
    async fn the_calls_of_one_profile_do_not_wait_for_those_of_another() {
        let (store, _directory) = Store::open_for_test();
        let mut endpoints = Vec::new();
        for slug in ["loud", "quiet"] {
            let slug: ProfileSlug = slug.parse().expect("a profile name");
            let members: Vec<ServerName> = Vec::new();
            store.create_profile(slug.clone(), Owner::local(), members, slug.to_string()).await.expect("a new profile");
            let profile = store.profile(slug).await.expect("it was created");
            let aggregator =
                Aggregator::builder().observed_by(Arc::new(ToolAudit::new(&store, &profile, Traces::default())));
            endpoints.push(Arc::new(aggregator.build().expect("no server twice")));
        }
        let held = store.hold().await;
        let mut calls = Vec::new();
        for (called, endpoint) in [(1000, &endpoints[0]), (1, &endpoints[1])] {
            for _ in 0..called {
                let endpoint = Arc::clone(endpoint);
                let params = RawValue::from_string(r#"{"name": "no_tool"}"#.to_owned()).expect("JSON");
                calls.push(tokio::spawn(async move { drop(endpoint.call_tool(Some(&params)).await) }));
            }
            while store.waiting() < calls.len() {
                tokio::task::yield_now().await;
            }
        }
        drop(held);
        for call in calls {
            call.await.expect("it does not panic");
        }
        let written = store.audit_tail(2000).await.expect("it can be read");
        assert_eq!(written.len(), 1001, "no row is lost");
        let quiet = written.iter().position(|row| row.row.profile == "quiet").expect("it was called");
        assert!(quiet < 2 * ONE_TRANSACTION, "{quiet}");
    }
}
