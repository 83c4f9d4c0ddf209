//! Starting a server, and reading what it lists.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{task::JoinSet, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    AggregatorLimits,
    backend::{Entry, Ready},
    fault::BackendError,
    follow::follow,
    hub::{Hub, Subscribed, set_level},
    identity::ProcessId,
    offer::{Offer, Said},
    pins::Process,
    working::Ending,
};
use crate::{
    catalogue::Catalogue,
    describe::Description,
    guard::Guard,
    name::Naming,
    upstream::{Launch, LaunchError, List, Upstream},
};

/// What starting a server needs, without holding its entry.
pub(super) struct Start {
    naming: Naming,
    index: usize,
    launch: Arc<dyn Launch>,
    limits: AggregatorLimits,
    hub: Arc<Hub>,
    guard: Arc<Guard>,
    /// A skill is not what it was, though nobody has said so.
    skills_doubted: bool,
}

impl Start {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            naming: entry.naming.clone(),
            index: entry.index,
            launch: Arc::clone(&entry.launch),
            limits: entry.limits,
            hub: Arc::clone(&entry.hub),
            guard: Arc::clone(&entry.guard),
            skills_doubted: entry.takes_doubt(),
        }
    }

    pub(super) async fn start(&self, entry: &Weak<Entry>) -> Result<Arc<Ready>, BackendError> {
        let upstream = timeout(self.limits.launch_timeout, self.launch.launch())
            .await
            .unwrap_or_else(|_| Err(too_slow(self.limits.launch_timeout)))
            .map_err(BackendError::Launch)?;
        let _hold = upstream.hold().ok_or_else(BackendError::interrupted)?;
        let description = Arc::new(upstream.describe().await);
        // Before anything is read: what happens meanwhile is not lost.
        let process = ProcessId::of(&*upstream);
        let ending = Ending { hub: Arc::downgrade(&self.hub), server: self.index, process: process.clone() };
        let follower = upstream.events().map(|events| tokio::spawn(follow(Weak::clone(entry), events, ending)));
        self.set_level(&*upstream, &description).await;
        let follower = follower.map(|task| Arc::new(AbortOnDropHandle::new(task)));
        let ready = self.lists((upstream, process), description, follower, None).await?;
        self.resume(&ready).await;
        Ok(ready)
    }

    /// Reads again what has changed.
    pub(super) async fn read(&self, ready: &Ready) -> Result<Arc<Ready>, BackendError> {
        let _hold = ready.upstream.hold().ok_or_else(BackendError::interrupted)?;
        let (upstream, description) = (Arc::clone(&ready.upstream), Arc::clone(&ready.said.description));
        self.lists((upstream, ready.process.clone()), description, ready.follower.clone(), Some(ready)).await
    }

    async fn lists(
        &self,
        (upstream, process): (Arc<dyn Upstream>, ProcessId),
        description: Arc<Description>,
        follower: Option<Arc<AbortOnDropHandle<()>>>,
        before: Option<&Ready>,
    ) -> Result<Arc<Ready>, BackendError> {
        // Before the lists: a change during the reading makes them stale, never lost.
        let revisions = revisions(&*upstream);
        let changed = |list: &List| {
            before.is_none_or(|before| before.revisions[*list as usize] != revisions[*list as usize])
                || *list == List::Resources && self.skills_doubted
        };
        let changed: Vec<List> = List::ALL.into_iter().filter(changed).collect();
        let health = before.map(|before| Arc::clone(&before.health)).unwrap_or_default();
        let before = before.map(|before| &before.said.catalogue);
        let limits = &self.limits.catalogue;
        let catalogue =
            Catalogue::read((&self.naming, &self.guard), &*upstream, &description, limits, before, &changed)
                .await
                .map_err(BackendError::Catalogue)?;
        let said = Said { description, catalogue };
        let offer = Arc::new(Offer::judged(said, self.guard.policy(), Process::First).await?);
        Ok(Arc::new(Ready { upstream, process, offer, health, revisions, follower }))
    }

    /// Tells a server that has just started what clients had told the one before it. It works without, too.
    async fn set_level(&self, upstream: &dyn Upstream, description: &Description) {
        if let Some(level) = self.hub.level().filter(|_| description.capabilities.logging) {
            drop(upstream.call(set_level(level).with_timeout(RESUMING)).await);
        }
    }

    /// The same of what was subscribed to, without what is held back now.
    async fn resume(&self, Ready { upstream, offer, .. }: &Ready) {
        if offer.description.capabilities.subscribe {
            let shown = |uri: &str| {
                (offer.lists_uri(uri) || offer.held.located(uri).is_none()) && offer.held_skill(uri).is_none()
            };
            let uris: Vec<_> = self.hub.to_resume(self.index).into_iter().filter(|uri| shown(uri)).collect();
            if !uris.is_empty() {
                let again = subscribed_again(Arc::downgrade(upstream), Arc::clone(&self.hub), self.index, uris);
                // There may be thousands. What takes longer goes on meanwhile: calls wait for this.
                drop(timeout(RESUMING, tokio::spawn(again)).await);
            }
        }
    }
}

/// Subscribes to what somebody is still subscribed to, as long as the server runs.
async fn subscribed_again(upstream: Weak<dyn Upstream>, hub: Arc<Hub>, server: usize, uris: Vec<Box<str>>) {
    let mut under_way = JoinSet::new();
    for uri in uris {
        if under_way.len() >= AT_A_TIME {
            under_way.join_next().await;
        }
        let Some(upstream) = upstream.upgrade() else { return };
        let calls = hub.subscribes_again(&Subscribed { server, uri });
        under_way.spawn(async move {
            for call in calls {
                drop(upstream.call(call.with_timeout(RESUMING)).await);
            }
        });
    }
    while under_way.join_next().await.is_some() {}
}

/// Requests to one server that has just started.
const AT_A_TIME: usize = 32;

pub(super) fn revisions(upstream: &dyn Upstream) -> [u64; List::ALL.len()] {
    List::ALL.map(|list| upstream.revision(list))
}

/// How long a server may take for each thing it is told of earlier.
pub(super) const RESUMING: Duration = Duration::from_secs(5);

fn too_slow(after: Duration) -> LaunchError {
    let detail = format!("not ready within {} s", after.as_secs_f32());
    LaunchError::new("start", "server-timeout", detail)
}
