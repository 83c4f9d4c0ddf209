//! A server beside itself: while one process works on a call that may ask its client, another takes the next.

use std::sync::Arc;

use tokio::{sync::Mutex, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    backend::{Entry, Ready},
    fault::BackendError,
    follow::follow_spare,
    health::{Borrowed, Health},
    hub::set_level,
    start::RESUMING,
};
use crate::upstream::{Call, Hold, Upstream};

/// The processes beside the first.
#[derive(Default)]
pub(super) struct Spares(Mutex<Vec<Spare>>);

struct Spare {
    upstream: Arc<dyn Upstream>,
    health: Arc<Health>,
    _follower: Option<AbortOnDropHandle<()>>,
}

impl Entry {
    /// Which process takes a call: the first, unless it is occupied and another is free or can be started. One that was
    /// ended for lack of use in the very moment is started again.
    ///
    /// # Errors
    /// If that fails.
    pub(super) async fn upstream_for(self: &Arc<Self>, ready: &Ready, call: &Call) -> Result<Borrowed, BackendError> {
        if call.sink.is_some()
            && ready.upstream.is_occupied()
            && let Some(spare) = self.spare(ready).await
        {
            return Ok(spare);
        }
        if let Some(held) = self.held(&ready.upstream, &ready.health) {
            return Ok(held);
        }
        for _ in 0..RETIRED_IN_A_ROW {
            let again = self.ready().await?;
            if let Some(held) = self.held(&again.upstream, &again.health) {
                return Ok(held);
            }
        }
        Err(BackendError::interrupted())
    }

    fn held(&self, upstream: &Arc<dyn Upstream>, health: &Arc<Health>) -> Option<Borrowed> {
        upstream.hold().map(|hold| self.held_by(hold, upstream, health))
    }

    fn held_by(&self, hold: Hold, upstream: &Arc<dyn Upstream>, health: &Arc<Health>) -> Borrowed {
        Borrowed {
            upstream: Arc::clone(upstream),
            server: self.name.clone(),
            health: Arc::clone(health),
            max_timeouts: self.limits.max_timeouts,
            _hold: hold,
        }
    }

    async fn spare(self: &Arc<Self>, ready: &Ready) -> Option<Borrowed> {
        let mut spares = self.spares.0.lock().await;
        spares.retain(|spare| spare.upstream.is_open());
        let mut free = spares.iter().filter(|spare| !spare.upstream.is_occupied());
        if let Some(held) = free.find_map(|spare| self.held(&spare.upstream, &spare.health)) {
            return Some(held);
        }
        if spares.len() >= self.policy.spares.unwrap_or(self.limits.max_spares) {
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
        let hold = spare.hold()?;
        if let Some(level) = self.hub.level().filter(|_| ready.description.capabilities.logging) {
            drop(spare.call(set_level(level).with_timeout(RESUMING)).await);
        }
        let follower = spare.events().map(|events| tokio::spawn(follow_spare(Arc::downgrade(self), events)));
        let follower = follower.map(AbortOnDropHandle::new);
        let health = Arc::<Health>::default();
        let held = self.held_by(hold, &spare, &health);
        spares.push(Spare { upstream: spare, health, _follower: follower });
        Some(held)
    }
}

/// How often a server may be ended for lack of use just before it is used.
const RETIRED_IN_A_ROW: usize = 3;
