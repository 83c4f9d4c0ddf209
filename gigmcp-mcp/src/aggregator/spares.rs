//! A server beside itself: while one process works on a call that may ask its client, another takes the next.

use std::{collections::HashMap, sync::Arc};

use tokio::{sync::Mutex, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    backend::{BackendError, Entry, RESUMING, Ready, revisions},
    follow::follow_spare,
    hub::set_level,
    pins::{Held, Judged, Key, Pins, Process, key},
};
use crate::{
    catalogue::Catalogue,
    definition::{Defined, DefinitionDigest},
    upstream::{Call, List, Upstream},
};

/// The processes beside the first.
#[derive(Default)]
pub(super) struct Spares(Mutex<Vec<Spare>>);

struct Spare {
    upstream: Arc<dyn Upstream>,
    /// What it says of itself, if it is pinned.
    checked: Option<Checked>,
    _follower: Option<AbortOnDropHandle<()>>,
}

/// What a process says of itself, as it was read at these revisions.
struct Checked {
    agreed: HashMap<Key, DefinitionDigest>,
    held: Held,
    revisions: [u64; List::ALL.len()],
    judged_at: u64,
}

/// What a call is of.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// A tool or prompt of which the first process says this.
    Said(&'a Defined),
    /// The server's own URI.
    Uri(&'a str),
}

impl Entry {
    /// Which process takes a call: the first, unless it is occupied and another is free or can be started. One that says
    /// something else of what is called than was agreed to does not get the call.
    pub(super) async fn upstream_for(
        self: &Arc<Self>,
        ready: &Ready,
        call: &Call,
        wanted: Wanted<'_>,
    ) -> Arc<dyn Upstream> {
        let first = || Arc::clone(&ready.upstream);
        if call.sink.is_none() || !ready.upstream.is_occupied() {
            return first();
        }
        self.spare(ready, wanted).await.unwrap_or_else(first)
    }

    async fn spare(self: &Arc<Self>, ready: &Ready, wanted: Wanted<'_>) -> Option<Arc<dyn Upstream>> {
        let mut spares = self.spares.0.lock().await;
        spares.retain(|spare| spare.upstream.is_open());
        let mut unfit = false;
        for spare in spares.iter_mut().filter(|spare| !spare.upstream.is_occupied()) {
            match self.fits(spare, wanted).await {
                true => return Some(Arc::clone(&spare.upstream)),
                false => unfit = true,
            }
        }
        // Another one would say the same.
        if unfit || spares.len() >= self.limits.max_spares {
            return None;
        }
        let mut spare = self.start_spare(ready).await?;
        let upstream = self.fits(&mut spare, wanted).await.then(|| Arc::clone(&spare.upstream));
        spares.push(spare);
        upstream
    }

    async fn start_spare(self: &Arc<Self>, ready: &Ready) -> Option<Spare> {
        let started = timeout(self.limits.launch_timeout, self.launch.launch_beside()).await;
        let upstream = match started {
            Ok(Ok(upstream)) => upstream?,
            Ok(Err(error)) => {
                tracing::warn!(server = %self.name, error = &error as &dyn std::error::Error, "not started once more");
                return None;
            }
            Err(_) => return None,
        };
        if let Some(level) = self.hub.level().filter(|_| ready.description.capabilities.logging) {
            drop(upstream.call(set_level(level).with_timeout(RESUMING)).await);
        }
        let follower = upstream.events().map(|events| tokio::spawn(follow_spare(Arc::downgrade(self), events)));
        Some(Spare { upstream, checked: None, _follower: follower.map(AbortOnDropHandle::new) })
    }

    /// Whether a process says of what is called what was agreed to.
    async fn fits(&self, spare: &mut Spare, wanted: Wanted<'_>) -> bool {
        let Some(pins) = &self.policy.pins else { return true };
        let upstream = &*spare.upstream;
        let current =
            |checked: &Checked| checked.revisions == revisions(upstream) && checked.judged_at == pins.revision();
        if !spare.checked.as_ref().is_some_and(current) {
            spare.checked = match self.check(upstream, pins).await {
                Ok(checked) => Some(checked),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(server = %self.name, error, "what one more process says of itself is not known");
                    None
                }
            };
        }
        let fits = spare.checked.as_ref().is_some_and(|checked| checked.fits(wanted, pins.follows()));
        if !fits {
            tracing::warn!(server = %self.name, "one more process does not say of itself what was agreed to");
        }
        fits
    }

    async fn check(&self, upstream: &dyn Upstream, pins: &Arc<dyn Pins>) -> Result<Checked, BackendError> {
        let revisions = revisions(upstream);
        let description = Arc::new(upstream.describe().await);
        let (capabilities, limits) = (description.capabilities, &self.limits.catalogue);
        let catalogue = Catalogue::read(&self.name, upstream, capabilities, limits, None, &List::ALL)
            .await
            .map_err(BackendError::Catalogue)?;
        let Judged { catalogue, held, revision, .. } =
            Judged::of(Some(pins), &description, &catalogue, Process::Beside).await?;
        let agreed = catalogue.said().iter().map(|said| (key(said), said.digest)).collect();
        Ok(Checked { agreed, held, revisions, judged_at: revision })
    }
}

impl Checked {
    fn fits(&self, wanted: Wanted<'_>, follows: bool) -> bool {
        match wanted {
            Wanted::Said(said) => self.agreed.get(&key(said)).is_some_and(|digest| follows || *digest == said.digest),
            Wanted::Uri(uri) => self.held.located(uri).is_none(),
        }
    }
}
