//! Whether a server still answers anything.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::identity::ProcessId;
use crate::{
    name::ServerId,
    upstream::{Call, CallError, Hold, Outcome, Upstream},
};

/// How many calls of one process have timed out in a row.
#[derive(Debug, Default)]
pub(super) struct Health(AtomicU32);

/// A process that a call goes to, and that nobody ends for lack of use meanwhile.
pub(super) struct Borrowed {
    pub(super) upstream: Arc<dyn Upstream>,
    pub(super) process: ProcessId,
    pub(super) server: ServerId,
    pub(super) health: Arc<Health>,
    pub(super) max_timeouts: u32,
    pub(super) _hold: Hold,
}

impl Borrowed {
    /// Makes the call. After too many in a row that were not answered in time, a server that does not even answer `ping`
    /// is ended, so that the next call starts it again.
    pub(super) async fn call(&self, call: Call) -> Outcome {
        let outcome = self.upstream.call(call).await;
        match &outcome {
            Outcome::Failed(CallError::Timeout { .. }) => {
                let before = self.health.0.fetch_add(1, Ordering::AcqRel);
                if before + 1 == self.max_timeouts.max(1) {
                    let (upstream, health) = (Arc::clone(&self.upstream), Arc::clone(&self.health));
                    tokio::spawn(end_if_it_hangs(self.server.clone(), upstream, health));
                }
            }
            Outcome::Failed(_) => {}
            _ => self.health.0.store(0, Ordering::Release),
        }
        outcome
    }
}

async fn end_if_it_hangs(server: ServerId, upstream: Arc<dyn Upstream>, health: Arc<Health>) {
    let Some(_hold) = upstream.hold() else { return };
    let answered = upstream.call(Call::new("ping", None).with_timeout(PING)).await;
    // That it does not know the question is an answer.
    if let Outcome::Failed(error) = answered {
        tracing::warn!(%server, "ended, because it answers nothing any more: {error}");
        upstream.end();
    }
    health.0.store(0, Ordering::Release);
}

/// How long a server that works may take to say so.
const PING: Duration = Duration::from_secs(5);
