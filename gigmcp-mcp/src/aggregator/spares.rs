//! A server beside itself: while one process works on a call that may ask its client, another takes the next.

use std::sync::Arc;

use tokio::{sync::Mutex, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    backend::{Entry, RESUMING, Ready},
    follow::follow_spare,
    hub::set_level,
};
use crate::upstream::{Call, Upstream};

/// The processes beside the first.
#[derive(Default)]
pub(super) struct Spares(Mutex<Vec<Spare>>);

struct Spare {
    upstream: Arc<dyn Upstream>,
    _follower: Option<AbortOnDropHandle<()>>,
}

impl Entry {
    /// Which process takes a call: the first, unless it is occupied and another is free or can be started.
    pub(super) async fn upstream_for(self: &Arc<Self>, ready: &Ready, call: &Call) -> Arc<dyn Upstream> {
        let first = || Arc::clone(&ready.upstream);
        if call.sink.is_none() || !ready.upstream.is_occupied() {
            return first();
        }
        self.spare(ready).await.unwrap_or_else(first)
    }

    async fn spare(self: &Arc<Self>, ready: &Ready) -> Option<Arc<dyn Upstream>> {
        let mut spares = self.spares.0.lock().await;
        spares.retain(|spare| spare.upstream.is_open());
        if let Some(free) = spares.iter().find(|spare| !spare.upstream.is_occupied()) {
            return Some(Arc::clone(&free.upstream));
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
        let follower = spare.events().map(|events| tokio::spawn(follow_spare(Arc::downgrade(self), events)));
        let follower = follower.map(AbortOnDropHandle::new);
        spares.push(Spare { upstream: Arc::clone(&spare), _follower: follower });
        Some(spare)
    }
}
