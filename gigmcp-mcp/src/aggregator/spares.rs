//! A server beside itself: while one process works on a call that may ask its client, another takes the next.

use std::sync::Arc;

use tokio::{sync::Mutex, time::timeout};

use super::{
    backend::{Entry, RESUMING, Ready},
    hub::set_level,
};
use crate::upstream::{Call, Upstream};

/// The processes beside the first.
#[derive(Default)]
pub(super) struct Spares(Mutex<Vec<Arc<dyn Upstream>>>);

impl Entry {
    /// Which process takes a call: the first, unless it is occupied and another is free or can be started.
    pub(super) async fn upstream_for(&self, ready: &Ready, call: &Call) -> Arc<dyn Upstream> {
        let first = || Arc::clone(&ready.upstream);
        if call.sink.is_none() || !ready.upstream.is_occupied() {
            return first();
        }
        self.spare(ready).await.unwrap_or_else(first)
    }

    async fn spare(&self, ready: &Ready) -> Option<Arc<dyn Upstream>> {
        let mut spares = self.spares.0.lock().await;
        spares.retain(|spare| spare.is_open());
        if let Some(free) = spares.iter().find(|spare| !spare.is_occupied()) {
            return Some(Arc::clone(free));
        }
        if spares.len() >= self.limits.max_spares {
            return None;
        }
        let started = timeout(self.limits.launch_timeout, self.launch.launch_beside()).await;
        let spare = match started {
            Ok(Ok(spare)) => spare?,
            Ok(Err(error)) => {
                tracing::warn!(server = %self.name, error = &error as &dyn std::error::Error, "not started once more");
                return None;
            }
            Err(_) => return None,
        };
        if let Some(level) = self.hub.level().filter(|_| ready.description.capabilities.logging) {
            drop(spare.call(set_level(level).with_timeout(RESUMING)).await);
        }
        spares.push(Arc::clone(&spare));
        Some(spare)
    }
}
