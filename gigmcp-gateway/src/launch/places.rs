//! How many processes of servers run at once, and which of them end when nobody uses them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use gigmcp_mcp::LaunchError;
use tokio::{
    sync::Notify,
    time::{self, Instant, MissedTickBehavior},
};

use crate::spec::{Owner, ProfileSlug};

/// Who has a place.
pub(crate) trait Occupant: Send + Sync {
    /// Since when nobody uses it. None while somebody does.
    fn idle_since(&self) -> Option<Instant>;

    /// How long it may go on so, if not for ever.
    fn idle_limit(&self) -> Option<Duration>;

    /// Whether it has something to tell without being asked, so that it ends only if there is no other place.
    fn is_listened_to(&self) -> bool;

    /// Ends it and gives its place up, unless somebody has used it since that moment.
    fn retire(&self, idle_since: Instant) -> bool;
}

/// The places of one gateway.
pub(crate) struct Places {
    table: Mutex<Table>,
    /// A place is free again, or somebody may have to give his up.
    changed: Notify,
    max: usize,
    of_owner: usize,
}

/// Who wants a place.
#[derive(Clone, Debug)]
pub(crate) struct Wants {
    pub(crate) owner: Owner,
    pub(crate) profile: ProfileSlug,
    /// How many the profile may have.
    pub(crate) of_profile: usize,
}

#[derive(Default)]
struct Table {
    last: u64,
    taken: HashMap<u64, Taken>,
}

struct Taken {
    owner: Owner,
    profile: ProfileSlug,
    /// Nobody yet, while it starts.
    by: Option<Weak<dyn Occupant>>,
}

/// A place; free again when dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    id: u64,
}

/// All places are taken, and nobody can be made to give one up.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Full {
    #[error(
        "all {max} processes that the servers of profile {profile} may have are in use; call again when another call has ended (`gigmcp-gateway profile set {profile} max_servers=NUMBER` allows more)"
    )]
    Profile { profile: ProfileSlug, max: usize },
    #[error(
        "all {max} processes that the servers of one person may have are in use; call again when another call has ended (GIG_MAX_SERVERS_PER_USER allows more)"
    )]
    Owner { max: usize },
    #[error(
        "all {max} processes that servers may have are in use; call again when another call has ended (GIG_MAX_SERVERS allows more)"
    )]
    All { max: usize },
}

impl From<Full> for LaunchError {
    fn from(full: Full) -> Self {
        // The server has done nothing wrong.
        Self::new("start", "too-many-servers", full.to_string()).at_once()
    }
}

impl Places {
    /// So many in all, and so many of one owner's profiles together.
    pub(crate) fn shared(max: usize, of_owner: usize) -> Arc<Self> {
        Arc::new(Self { table: Mutex::default(), changed: Notify::new(), max, of_owner })
    }

    /// So many in all.
    #[cfg(test)]
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Self::shared(max, usize::MAX)
    }

    /// A place for a server of a profile. If there is none, the one that was not used for longest gives its up; if all are in
    /// use, it waits. Who has all that they may have takes nothing from others.
    pub(crate) async fn take(self: &Arc<Self>, wants: &Wants, wait: Duration) -> Result<Place, Full> {
        let deadline = Instant::now() + wait;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let full = match self.try_take(wants) {
                Ok(place) => return Ok(place),
                Err(full) if Instant::now() >= deadline => return Err(full),
                Err(full) => full,
            };
            tracing::debug!(profile = %wants.profile, "a server waits for its place: {full}");
            // Who was used a moment ago can give his place up a moment later, and tells nobody.
            let soon = deadline.min(Instant::now() + SETTLED);
            tokio::select! {
                () = changed => {}
                () = time::sleep_until(soon) => {}
            }
        }
    }

    /// The same without waiting.
    pub(crate) fn try_take(self: &Arc<Self>, wants: &Wants) -> Result<Place, Full> {
        loop {
            let full = match self.free(wants) {
                Ok(place) => return Ok(place),
                Err(full) => full,
            };
            let within = |taken: &Taken| match full {
                Full::Profile { .. } => taken.profile == wants.profile,
                Full::Owner { .. } => taken.owner == wants.owner,
                Full::All { .. } => true,
            };
            let idlest = self.lock().idlest(within);
            // Not under the lock: whoever retires gives his place up.
            let Some((occupant, since)) = idlest else { return Err(full) };
            occupant.retire(since);
        }
    }

    /// One that nobody has to give up.
    pub(crate) fn free(self: &Arc<Self>, wants: &Wants) -> Result<Place, Full> {
        let Wants { owner, profile, of_profile } = wants;
        let mut table = self.lock();
        let count = |of: &dyn Fn(&Taken) -> bool| table.taken.values().filter(|taken| of(taken)).count();
        if count(&|taken| taken.profile == *profile) >= *of_profile {
            return Err(Full::Profile { profile: profile.clone(), max: *of_profile });
        }
        if count(&|taken| taken.owner == *owner) >= self.of_owner {
            return Err(Full::Owner { max: self.of_owner });
        }
        if table.taken.len() >= self.max {
            return Err(Full::All { max: self.max });
        }
        table.last += 1;
        let id = table.last;
        table.taken.insert(id, Taken { owner: owner.clone(), profile: profile.clone(), by: None });
        Ok(Place { places: Arc::clone(self), id })
    }

    /// Ends what was not used for too long, again and again; never returns.
    pub(crate) async fn reap(&self) {
        let mut clock = time::interval(REAP_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            self.reap_once();
        }
    }

    fn reap_once(&self) {
        let occupants = self.lock().occupants(|_| true);
        for occupant in occupants {
            if let (Some(since), Some(limit)) = (occupant.idle_since(), occupant.idle_limit())
                && since.elapsed() >= limit
                && !occupant.is_listened_to()
            {
                occupant.retire(since);
            }
        }
    }

    /// Somebody is not used any more.
    pub(crate) fn has_changed(&self) {
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn occupants(&self, within: impl Fn(&Taken) -> bool) -> Vec<Arc<dyn Occupant>> {
        let taken = self.taken.values().filter(|taken| within(taken));
        taken.filter_map(|taken| taken.by.as_ref()?.upgrade()).collect()
    }

    /// Who was not used for longest, and since when; whoever is listened to comes last.
    fn idlest(&self, within: impl Fn(&Taken) -> bool) -> Option<(Arc<dyn Occupant>, Instant)> {
        let idle = self.occupants(within).into_iter().filter_map(|occupant| {
            let since = occupant.idle_since().filter(|since| since.elapsed() >= SETTLED)?;
            Some((occupant, since))
        });
        idle.min_by_key(|(occupant, since)| (occupant.is_listened_to(), *since))
    }
}

impl Place {
    /// Who has it now.
    pub(crate) fn occupy(&self, by: Weak<dyn Occupant>) {
        if let Some(taken) = self.places.lock().taken.get_mut(&self.id) {
            taken.by = Some(by);
        }
    }

    /// The places that it is one of.
    pub(crate) fn places(&self) -> &Arc<Places> {
        &self.places
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().taken.remove(&self.id);
        self.places.has_changed();
    }
}

/// How long a server is left alone after each use: it has just been started for somebody who is about to call it.
const SETTLED: Duration = Duration::from_secs(1);
const REAP_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct Fake {
        place: Mutex<Option<Place>>,
        idle_since: Mutex<Option<Instant>>,
        limit: Option<Duration>,
        listened_to: AtomicBool,
    }

    impl Fake {
        fn in_place(place: Place) -> Arc<Self> {
            let fake = Arc::new(Self {
                place: Mutex::new(None),
                idle_since: Mutex::new(Some(Instant::now())),
                limit: Some(Duration::from_secs(10)),
                listened_to: AtomicBool::new(false),
            });
            let weak: Weak<Self> = Arc::downgrade(&fake);
            place.occupy(weak);
            *fake.place.lock().expect("not poisoned") = Some(place);
            fake
        }

        fn is_used(&self, used: bool) {
            *self.idle_since.lock().expect("not poisoned") = (!used).then(Instant::now);
        }

        fn runs(&self) -> bool {
            self.place.lock().expect("not poisoned").is_some()
        }
    }

    impl Occupant for Fake {
        fn idle_since(&self) -> Option<Instant> {
            *self.idle_since.lock().expect("not poisoned")
        }

        fn idle_limit(&self) -> Option<Duration> {
            self.limit
        }

        fn is_listened_to(&self) -> bool {
            self.listened_to.load(Ordering::SeqCst)
        }

        fn retire(&self, since: Instant) -> bool {
            self.idle_since() == Some(since) && self.place.lock().expect("not poisoned").take().is_some()
        }
    }

    fn profile(name: &str) -> ProfileSlug {
        name.parse().expect("a profile name")
    }

    /// Each profile is its own owner's.
    fn wants(name: &str, of_profile: usize) -> Wants {
        Wants { owner: name.parse().expect("an owner"), profile: profile(name), of_profile }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_takes_more_than_one_persons_places_however_many_profiles_they_have() {
        let places = Places::shared(5, 2);
        let of = |owner: &str, name: &str| Wants { owner: owner.parse().expect("an owner"), ..wants(name, 9) };
        let busy = |wants: &Wants| {
            let fake = Fake::in_place(places.try_take(wants).expect("there is room"));
            fake.is_used(true);
            fake
        };
        let mine = [busy(&of("ann", "one")), busy(&of("ann", "two"))];
        let refused = places.try_take(&of("ann", "three")).err();
        assert_eq!(refused, Some(Full::Owner { max: 2 }));
        let others = [busy(&of("bob", "four")), busy(&of("bob", "five"))];
        others[0].is_used(false);
        mine[0].is_used(false);
        time::advance(SETTLED).await;
        let place = places.try_take(&of("ann", "three")).expect("her own server gives way");
        assert!(!mine[0].runs() && others[0].runs(), "and nobody else's");
        drop(place);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_not_used_for_longest_gives_its_place_up() {
        let places = Places::new(3);
        let mut fakes = Vec::new();
        for name in ["one", "one", "two"] {
            fakes.push(Fake::in_place(places.try_take(&wants(name, 9)).expect("there is room")));
            time::advance(Duration::from_secs(2)).await;
        }
        fakes[0].is_used(false); // a moment ago
        let third = Fake::in_place(places.try_take(&wants("two", 9)).expect("somebody is idle"));
        assert_eq!(fakes.iter().map(|fake| fake.runs()).collect::<Vec<_>>(), [true, false, true]);
        // A profile that has all it may have takes nothing from others.
        third.is_used(true);
        let refused = places.try_take(&wants("one", 1)).err();
        assert_eq!(refused, Some(Full::Profile { profile: profile("one"), max: 1 }));
        time::advance(SETTLED).await;
        let place = places.try_take(&wants("one", 1)).expect("its own server gives way");
        assert_eq!(fakes.iter().map(|fake| fake.runs()).collect::<Vec<_>>(), [false, false, true]);
        drop(place);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_used_is_waited_for_and_who_is_listened_to_ends_last() {
        let places = Places::new(2);
        let take = async || places.take(&wants("one", 9), Duration::from_secs(20)).await;
        let listened = Fake::in_place(take().await.expect("there is room"));
        listened.listened_to.store(true, Ordering::SeqCst);
        time::advance(Duration::from_secs(5)).await;
        let busy = Fake::in_place(take().await.expect("there is room"));
        busy.is_used(true);
        listened.is_used(true);
        let began = Instant::now();
        assert_eq!(take().await.err(), Some(Full::All { max: 2 }));
        assert_eq!(began.elapsed(), Duration::from_secs(20));
        // Twin: one is done meanwhile.
        let (place, ()) = tokio::join!(take(), async {
            time::sleep(Duration::from_secs(3)).await;
            listened.is_used(false);
            busy.is_used(false);
            places.has_changed();
        });
        assert!(place.is_ok() && listened.runs() && !busy.runs());
        let error = LaunchError::from(Full::All { max: 2 });
        assert_eq!((error.code, error.again), ("too-many-servers", gigmcp_mcp::Again::AtOnce));
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_not_used_for_too_long_ends() {
        let places = Places::new(9);
        let take = || Fake::in_place(places.try_take(&wants("one", 9)).expect("there is room"));
        let (idle, busy, listened) = (take(), take(), take());
        busy.is_used(true);
        listened.listened_to.store(true, Ordering::SeqCst);
        time::advance(Duration::from_secs(9)).await;
        places.reap_once();
        assert!(idle.runs(), "not yet");
        time::advance(Duration::from_secs(1)).await;
        places.reap_once();
        assert!(!idle.runs() && busy.runs() && listened.runs());
        let starting = places.try_take(&wants("one", 9)).expect("there is room");
        time::advance(Duration::from_secs(100)).await;
        places.reap_once();
        drop(starting);
        assert_eq!(places.lock().taken.len(), 2);
    }
}
