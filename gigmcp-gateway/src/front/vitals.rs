//! How a connection is doing: what is under way on it, and how long nothing was.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{refused::Refused, stats::Stats};

/// How one connection is doing.
#[derive(Debug)]
pub(super) struct Vitals {
    state: Mutex<State>,
    max_abandoned: u64,
    /// Told when its client does what no client does.
    abused: Notify,
    stats: Arc<Stats>,
}

#[derive(Debug)]
struct State {
    under_way: usize,
    quiet_since: Instant,
    /// Answers of which a part was handed out and no more was asked for since.
    unread: HashMap<u64, Instant>,
    /// Requests whose body is waited for, and since when.
    awaited: HashMap<u64, Instant>,
    begun: u64,
    abandoned: u64,
    refused: Option<Refused>,
}

impl Vitals {
    pub(super) fn new(max_abandoned: u64, stats: Arc<Stats>) -> Arc<Self> {
        let state = State {
            under_way: 0,
            quiet_since: Instant::now(),
            unread: HashMap::new(),
            awaited: HashMap::new(),
            begun: 0,
            abandoned: 0,
            refused: None,
        };
        Arc::new(Self { state: Mutex::new(state), max_abandoned, abused: Notify::new(), stats })
    }

    /// A request is under way until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = self.lock();
        state.under_way += 1;
        state.begun += 1;
        self.stats.begun();
        UnderWay { vitals: Arc::clone(self), id: state.begun, answered: false }
    }

    /// How long no request has been under way.
    pub(super) fn quiet_for(&self) -> Option<Duration> {
        let state = self.lock();
        (state.under_way == 0).then(|| state.quiet_since.elapsed())
    }

    /// How long some answer has been waiting for its client to read on.
    pub(super) fn unread_for(&self) -> Option<Duration> {
        self.lock().unread.values().min().map(Instant::elapsed)
    }

    /// How long a body has been waited for, if all that is under way waits for one.
    pub(super) fn starved_for(&self) -> Option<Duration> {
        let state = self.lock();
        let all = state.under_way > 0 && state.awaited.len() == state.under_way;
        // The longest: a new request now and then makes the old ones no younger.
        state.awaited.values().min().filter(|_| all).map(Instant::elapsed)
    }

    /// The next request is one that is refused.
    pub(super) fn refuse(&self, refused: Refused) {
        self.lock().refused = Some(refused);
    }

    /// Why the request that just came is refused, if it is.
    pub(super) fn take_refused(&self) -> Option<Refused> {
        self.lock().refused.take()
    }

    /// Ready when the client does what no client does.
    pub(super) async fn abused(&self) {
        self.abused.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    vitals: Arc<Vitals>,
    id: u64,
    answered: bool,
}

impl UnderWay {
    /// Its answer began.
    pub(super) fn answered(&mut self) {
        self.answered = true;
    }

    /// For its body.
    pub(super) fn body(&self) -> Awaited {
        Awaited { vitals: Arc::clone(&self.vitals), id: self.id, begun: false }
    }

    /// Whether it is the client that is waited for.
    pub(super) fn unread(&self, is_unread: bool) {
        let mut state = self.vitals.lock();
        match is_unread {
            true => state.unread.insert(self.id, Instant::now()),
            false => state.unread.remove(&self.id),
        };
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.vitals.lock();
        state.under_way -= 1;
        state.unread.remove(&self.id);
        state.awaited.remove(&self.id);
        if state.under_way == 0 {
            state.quiet_since = Instant::now();
        }
        if !self.answered {
            state.abandoned += 1;
            if state.abandoned > self.vitals.max_abandoned && state.abandoned * 2 > state.begun {
                self.vitals.abused.notify_one();
            }
        }
        drop(state);
        self.vitals.stats.ended();
    }
}

/// A body that may have to be waited for.
#[derive(Debug)]
pub(super) struct Awaited {
    vitals: Arc<Vitals>,
    id: u64,
    begun: bool,
}

impl Awaited {
    /// It is waited for, from the first time that this is said.
    pub(super) fn begin(&mut self) {
        if !self.begun {
            self.begun = true;
            self.vitals.lock().awaited.insert(self.id, Instant::now());
        }
    }

    /// It is there, or given up.
    pub(super) fn end(&mut self) {
        if self.begun {
            self.begun = false;
            self.vitals.lock().awaited.remove(&self.id);
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_abused(vitals: &Vitals) -> bool {
        use std::{future::Future, pin::pin, task::Context};
        pin!(vitals.abused()).poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_known_who_is_waited_for() {
        let vitals = Vitals::new(2, Arc::default());
        let second = Duration::from_secs(1);
        tokio::time::advance(second).await;
        assert_eq!((vitals.quiet_for(), vitals.unread_for()), (Some(second), None));
        let mut request = vitals.begin();
        request.answered();
        assert_eq!(vitals.quiet_for(), None);
        request.unread(true);
        tokio::time::advance(second).await;
        assert_eq!(vitals.unread_for(), Some(second));
        request.unread(false);
        assert_eq!(vitals.unread_for(), None, "twin: it read on");
        request.unread(true);
        drop(request);
        assert_eq!((vitals.quiet_for(), vitals.unread_for()), (Some(Duration::ZERO), None));
        assert!(!is_abused(&vitals));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_starves_only_if_all_on_it_waits_for_bodies() {
        let vitals = Vitals::new(2, Arc::default());
        let second = Duration::from_secs(1);
        assert_eq!(vitals.starved_for(), None, "nothing is under way");
        let (one, two) = (vitals.begin(), vitals.begin());
        let mut body = one.body();
        body.begin();
        tokio::time::advance(second).await;
        body.begin();
        assert_eq!(vitals.starved_for(), None, "twin: the other does something");
        drop(two);
        assert_eq!(vitals.starved_for(), Some(second), "since the first time");
        let three = vitals.begin();
        let mut fresh = three.body();
        fresh.begin();
        assert_eq!(vitals.starved_for(), Some(second), "a new one makes it no shorter");
        drop(fresh);
        assert_eq!(vitals.starved_for(), None, "twin: its body is there");
        drop(three);
        body.end();
        assert_eq!(vitals.starved_for(), None, "twin");
    }

    #[tokio::test(start_paused = true)]
    async fn who_mostly_gives_up_is_told_from_who_sometimes_does() {
        let patient = Vitals::new(2, Arc::default());
        for _ in 0..20 {
            patient.begin().answered();
            drop(patient.begin());
        }
        assert!(!is_abused(&patient), "twin");
        let hasty = Vitals::new(2, Arc::default());
        for _ in 0..3 {
            assert!(!is_abused(&hasty));
            drop(hasty.begin());
        }
        assert!(is_abused(&hasty));
    }
}
