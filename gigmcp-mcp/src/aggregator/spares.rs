//! A server beside itself: while one process works on a call that may ask its client, another takes the next.

use std::{collections::HashMap, sync::Arc};

use tokio::{sync::Mutex, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    backend::{Entry, Ready},
    fault::BackendError,
    follow::follow_spare,
    health::{Borrowed, Health},
    hub::set_level,
    offer::Offer,
    pins::{Held, Judged, Key, Pins, Process, key},
    start::{RESUMING, revisions},
};
use crate::{
    catalogue::Catalogue,
    definition::{Defined, DefinitionDigest},
    upstream::{Call, Hold, List, Upstream},
};

/// The processes beside the first.
#[derive(Default)]
pub(super) struct Spares(Mutex<Vec<Spare>>);

struct Spare {
    upstream: Arc<dyn Upstream>,
    health: Arc<Health>,
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
    /// Nothing that anybody agrees to by itself.
    Nothing,
}

impl Wanted<'_> {
    /// Whether clients are shown it as it is wanted.
    fn is_offered(self, offer: &Offer, follows: bool) -> bool {
        match self {
            Self::Said(said) => offer.shows(said, follows),
            Self::Uri(uri) => offer.lists_uri(uri) || offer.held.located(uri).is_none(),
            Self::Nothing => true,
        }
    }
}

impl Entry {
    /// Which process takes a call: the first, unless it is occupied and another is free or can be started. One that was
    /// ended for lack of use in the very moment is started again. One that says something else of what is called than was
    /// agreed to does not get the call.
    ///
    /// # Errors
    /// If there is none.
    pub(super) async fn upstream_for(
        self: &Arc<Self>,
        ready: &Ready,
        call: &Call,
        wanted: Wanted<'_>,
    ) -> Result<Borrowed, BackendError> {
        if call.sink.is_some()
            && ready.upstream.is_occupied()
            && let Some(spare) = self.spare(ready, wanted).await
        {
            return Ok(spare);
        }
        if let Some(held) = self.held(&ready.upstream, &ready.health) {
            return Ok(held);
        }
        for _ in 0..RETIRED_IN_A_ROW {
            let again = self.ready().await?;
            if let Some(held) = self.held(&again.upstream, &again.health) {
                let pins = self.policy().pins.as_ref();
                // The next call is told why.
                let fits = pins.is_none_or(|pins| wanted.is_offered(&again, pins.follows()));
                return fits.then_some(held).ok_or_else(BackendError::interrupted);
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

    async fn spare(self: &Arc<Self>, ready: &Ready, wanted: Wanted<'_>) -> Option<Borrowed> {
        let mut spares = self.spares.0.lock().await;
        spares.retain(|spare| spare.upstream.is_open());
        let mut unfit = false;
        for spare in spares.iter_mut().filter(|spare| !spare.upstream.is_occupied()) {
            // Nobody ends it while it is asked what it says.
            let Some(held) = self.held(&spare.upstream, &spare.health) else { continue };
            match self.fits(spare, wanted).await {
                true => return Some(held),
                false => unfit = true,
            }
        }
        // Another one would say the same.
        if unfit || spares.len() >= self.policy().spares.unwrap_or(self.limits.max_spares) {
            return None;
        }
        let (mut spare, held) = self.start_spare(ready).await?;
        let fits = self.fits(&mut spare, wanted).await;
        spares.push(spare);
        fits.then_some(held)
    }

    async fn start_spare(self: &Arc<Self>, ready: &Ready) -> Option<(Spare, Borrowed)> {
        let started = timeout(self.limits.launch_timeout, self.launch.launch_beside()).await;
        let upstream = match started {
            Ok(Ok(upstream)) => upstream?,
            Ok(Err(error)) => {
                tracing::warn!(server = %self.name, error = &error as &dyn std::error::Error, "not started once more");
                return None;
            }
            Err(_) => return None,
        };
        let hold = upstream.hold()?;
        if let Some(level) = self.hub.level().filter(|_| ready.description.capabilities.logging) {
            drop(upstream.call(set_level(level).with_timeout(RESUMING)).await);
        }
        let follower = upstream.events().map(|events| tokio::spawn(follow_spare(Arc::downgrade(self), events)));
        let health = Arc::<Health>::default();
        let held = self.held_by(hold, &upstream, &health);
        let spare = Spare { upstream, health, checked: None, _follower: follower.map(AbortOnDropHandle::new) };
        Some((spare, held))
    }

    /// Whether a process says of what is called what was agreed to.
    async fn fits(&self, spare: &mut Spare, wanted: Wanted<'_>) -> bool {
        let Some(pins) = &self.policy().pins else { return true };
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
        let catalogue = Catalogue::read(&self.naming, upstream, capabilities, limits, None, &List::ALL)
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
            Wanted::Nothing => true,
        }
    }
}

/// How often a server may be ended for lack of use just before it is used.
const RETIRED_IN_A_ROW: usize = 3;
