//! A server beside itself: while one process works on a call that may ask its client, another takes the next.

use std::{collections::HashMap, sync::Arc};

use tokio::{sync::Mutex, time::timeout};
use tokio_util::task::AbortOnDropHandle;

pub(super) use self::table::Spares;
use super::{
    backend::{Entry, Ready},
    fault::BackendError,
    follow::follow_spare,
    health::{Borrowed, Health},
    hub::set_level,
    identity::{Caller, ProcessId},
    offer::Offer,
    pins::{Held, Judged, Key, Pins, Process, key},
    start::{RESUMING, revisions},
    working::Ending,
};
use crate::{
    catalogue::Catalogue,
    definition::{Defined, DefinitionDigest},
    extension::Extensions,
    upstream::{Call, List, Upstream},
};

mod table;

/// A process beside the first.
struct Spare {
    upstream: Arc<dyn Upstream>,
    process: ProcessId,
    health: Arc<Health>,
    /// What it says of itself, if it is pinned.
    checked: Mutex<Option<Checked>>,
    _follower: Option<AbortOnDropHandle<()>>,
}

/// What a process says of itself, as it was read at these revisions.
struct Checked {
    agreed: HashMap<Key, DefinitionDigest>,
    held: Held,
    /// Those of which it declares what was agreed to.
    extensions: Extensions,
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
    /// What is declared of the extension of this name, and nothing more that anybody agrees to.
    Declared(&'a str),
}

impl Wanted<'_> {
    /// Whether clients are shown it as it is wanted.
    pub(super) fn is_offered(self, offer: &Offer, follows: bool) -> bool {
        match self {
            Self::Said(said) => offer.shows(said, follows),
            Self::Uri(uri) => offer.lists_uri(uri) || offer.held.located(uri).is_none(),
            Self::Declared(id) => offer.description.extensions.has(id),
        }
    }
}

impl Entry {
    /// Which process takes a call: the one that its session's calls went to before, as the server may keep something in memory
    /// for it; else the first, unless it is occupied and another is free or can be started. One that was ended for lack of use
    /// in the very moment is started again. One that says something else of what is called than was agreed to does not get the
    /// call.
    ///
    /// # Errors
    /// If there is none.
    pub(super) async fn upstream_for(
        self: &Arc<Self>,
        ready: &Ready,
        call: &Call,
        wanted: Wanted<'_>,
    ) -> Result<Borrowed, BackendError> {
        let caller = Caller::of(call);
        let kept = if self.policy().stateless { None } else { self.spares.bound(&caller) };
        let beside = kept.as_ref().filter(|process| **process != ready.process).and_then(|kept| self.spares.find(kept));
        if let Some(spare) = &beside
            && let Some(held) = self.held(&spare.upstream, &spare.process, &spare.health)
            && self.fits(spare, wanted).await
        {
            return Ok(held);
        }
        if kept.as_ref() != Some(&ready.process)
            && call.sink.as_ref().is_some_and(|sink| sink.can_be_asked())
            && ready.upstream.is_occupied()
            && let Some(spare) = self.spare(ready, wanted).await
        {
            self.spares.bind(caller, &spare.process);
            return Ok(spare);
        }
        let first = self.first(ready, wanted).await?;
        self.spares.bind(caller, &first.process);
        Ok(first)
    }

    async fn first(self: &Arc<Self>, ready: &Ready, wanted: Wanted<'_>) -> Result<Borrowed, BackendError> {
        if let Some(held) = self.held(&ready.upstream, &ready.process, &ready.health) {
            return Ok(held);
        }
        for _ in 0..RETIRED_IN_A_ROW {
            let again = self.ready().await?;
            if let Some(held) = self.held(&again.upstream, &again.process, &again.health) {
                let pins = self.policy().pins.as_ref();
                // The next call is told why.
                let fits = pins.is_none_or(|pins| wanted.is_offered(&again, pins.follows()));
                return fits.then_some(held).ok_or_else(BackendError::interrupted);
            }
        }
        Err(BackendError::interrupted())
    }

    /// The process of this name, if it runs.
    pub(super) fn process(&self, process: &ProcessId) -> Option<Borrowed> {
        match self.running().filter(|ready| ready.process == *process) {
            Some(ready) => self.held(&ready.upstream, &ready.process, &ready.health),
            None => {
                let spare = self.spares.find(process)?;
                self.held(&spare.upstream, &spare.process, &spare.health)
            }
        }
    }

    fn held(&self, upstream: &Arc<dyn Upstream>, process: &ProcessId, health: &Arc<Health>) -> Option<Borrowed> {
        Some(Borrowed {
            _hold: upstream.hold()?,
            upstream: Arc::clone(upstream),
            process: process.clone(),
            server: self.name.clone(),
            health: Arc::clone(health),
            max_timeouts: self.limits.max_timeouts,
        })
    }

    async fn spare(self: &Arc<Self>, ready: &Ready, wanted: Wanted<'_>) -> Option<Borrowed> {
        let mut unfit = false;
        for spare in self.spares.free() {
            // Nobody ends it while it is asked what it says.
            let Some(held) = self.held(&spare.upstream, &spare.process, &spare.health) else { continue };
            match self.fits(&spare, wanted).await {
                true => return Some(held),
                false => unfit = true,
            }
        }
        // Another one would say the same.
        if unfit {
            return None;
        }
        let place = self.spares.place(self.policy().spares.unwrap_or(self.limits.max_spares))?;
        let spare = Arc::new(self.start_spare(ready).await?);
        let held = self.held(&spare.upstream, &spare.process, &spare.health)?;
        let fits = self.fits(&spare, wanted).await;
        place.take(spare);
        fits.then_some(held)
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
        let _hold = upstream.hold()?;
        if let Some(level) = self.hub.level().filter(|_| ready.description.capabilities.logging) {
            drop(upstream.call(set_level(level).with_timeout(RESUMING)).await);
        }
        let process = ProcessId::of(&*upstream);
        let ending = Ending { hub: Arc::downgrade(&self.hub), server: self.index, process: process.clone() };
        let follower = upstream.events().map(|events| tokio::spawn(follow_spare(Arc::downgrade(self), events, ending)));
        let (health, checked) = (Arc::default(), Mutex::default());
        Some(Spare { upstream, process, health, checked, _follower: follower.map(AbortOnDropHandle::new) })
    }

    /// Whether a process says of what is called what was agreed to.
    async fn fits(&self, spare: &Spare, wanted: Wanted<'_>) -> bool {
        let Some(pins) = &self.policy().pins else { return true };
        let upstream = &*spare.upstream;
        let mut known = spare.checked.lock().await;
        let current =
            |checked: &Checked| checked.revisions == revisions(upstream) && checked.judged_at == pins.revision();
        if !known.as_ref().is_some_and(current) {
            *known = match self.check(upstream, pins).await {
                Ok(checked) => Some(checked),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(server = %self.name, error, "what one more process says of itself is not known");
                    None
                }
            };
        }
        let fits = known.as_ref().is_some_and(|checked| checked.fits(wanted, pins.follows()));
        if !fits {
            tracing::warn!(server = %self.name, "one more process does not say of itself what was agreed to");
        }
        fits
    }

    async fn check(&self, upstream: &dyn Upstream, pins: &Arc<dyn Pins>) -> Result<Checked, BackendError> {
        let revisions = revisions(upstream);
        let description = Arc::new(upstream.describe().await);
        let limits = &self.limits.catalogue;
        let catalogue = Catalogue::read((&self.naming, &self.guard), upstream, &description, limits, None, &List::ALL)
            .await
            .map_err(BackendError::Catalogue)?;
        let Judged { description, catalogue, held, revision } =
            Judged::of(Some(pins), &description, &catalogue, Process::Beside).await?;
        let agreed = catalogue.said().iter().map(|said| (key(said), said.digest)).collect();
        let extensions = description.extensions.clone();
        Ok(Checked { agreed, held, extensions, revisions, judged_at: revision })
    }
}

impl Checked {
    fn fits(&self, wanted: Wanted<'_>, follows: bool) -> bool {
        match wanted {
            Wanted::Said(said) => self.agreed.get(&key(said)).is_some_and(|digest| follows || *digest == said.digest),
            Wanted::Uri(uri) => self.held.located(uri).is_none(),
            Wanted::Declared(id) => self.extensions.has(id),
        }
    }
}

/// How often a server may be ended for lack of use just before it is used.
const RETIRED_IN_A_ROW: usize = 3;
