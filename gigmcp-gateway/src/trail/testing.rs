//! Trails for tests.

use std::sync::{Arc, Mutex};

use ed25519_dalek::SigningKey;
use gigmcp_mcp::{Aggregator, BoxFuture, CallId, CallObserver, CallRecord};

use super::*;

/// A row that tells `subject` apart.
pub(crate) fn row(subject: &str) -> AuditRow {
    AuditRow {
        at_ms: 1,
        kind: "request".to_owned(),
        owner: "local".to_owned(),
        profile: "work".to_owned(),
        server: "tickets".to_owned(),
        instance: "tickets-1".to_owned(),
        subject: subject.to_owned(),
        verdict: "allowed".to_owned(),
        status: Some(200),
        credentials: "API_KEY".to_owned(),
        bytes_up: 1,
        bytes_down: 2,
        duration_us: 3,
        alarm: false,
        policy_version: Some(7),
        calls: None,
        request: None,
        definition: None,
        arguments: None,
    }
}

impl Signer {
    /// One that is not in any database.
    pub(crate) fn for_test(seed: u8) -> Self {
        Self::from_key(SigningKey::from_bytes(&[seed; 32]))
    }
}

/// Ids, as an aggregator gives them.
pub(crate) async fn call_ids(count: usize) -> Vec<CallId> {
    let noted = Arc::new(Noted::default());
    let aggregator = Aggregator::builder().observed_by(Arc::<Noted>::clone(&noted)).build().expect("no server twice");
    for _ in 0..count {
        aggregator.call_tool(None).await;
    }
    std::mem::take(&mut *noted.0.lock().expect("not poisoned"))
}

#[derive(Default)]
struct Noted(Mutex<Vec<CallId>>);

impl CallObserver for Noted {
    fn finished<'a>(&'a self, record: &'a CallRecord) -> BoxFuture<'a, ()> {
        self.0.lock().expect("not poisoned").push(record.id);
        Box::pin(std::future::ready(()))
    }
}
