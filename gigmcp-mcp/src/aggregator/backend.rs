//! One server of an aggregator: started when needed, once, and again after it died.

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::OnceCell, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{
    AggregatorLimits, Backend, CatalogueStore, ServerPolicy,
    fault::{BackendError, Fault, FaultKind},
    flight::Flight,
    health::Health,
    hub::Hub,
    identity::ProcessId,
    offer::Offer,
    pins::{HeldItem, Process},
    restarts::Restarts,
    spares::Spares,
    start::{Start, revisions},
};
use crate::{
    catalogue::{Catalogue, NamedList},
    guard::Guard,
    message::RpcError,
    name::{Naming, ServerId},
    upstream::{Again, BoxFuture, Launch, List, Upstream},
};

/// A server that runs, and its lists as read at these revisions.
pub(super) struct Ready {
    pub(super) upstream: Arc<dyn Upstream>,
    pub(super) process: ProcessId,
    pub(super) offer: Arc<Offer>,
    pub(super) health: Arc<Health>,
    pub(super) revisions: [u64; List::ALL.len()],
    pub(super) follower: Option<Arc<AbortOnDropHandle<()>>>,
}

impl Deref for Ready {
    type Target = Offer;

    fn deref(&self) -> &Offer {
        &self.offer
    }
}

pub(super) struct Entry {
    pub(super) name: ServerId,
    pub(super) naming: Naming,
    pub(super) index: usize,
    pub(super) hub: Arc<Hub>,
    /// Whether it was ever started, or found running, by this aggregator.
    touched: AtomicBool,
    /// A list was answered without this server.
    missed: AtomicBool,
    /// A skill is not what it was, though nobody has said so.
    skills_doubted: AtomicBool,
    /// What clients may have seen of it last.
    offered: Mutex<Option<Arc<Offer>>>,
    store: Option<Arc<dyn CatalogueStore>>,
    /// Whether the store was asked.
    loaded: OnceCell<()>,
    pub(super) launch: Arc<dyn Launch>,
    /// What is demanded of it, and what was found.
    pub(super) guard: Arc<Guard>,
    pub(super) limits: AggregatorLimits,
    pub(super) spares: Spares,
    restarts: Mutex<Restarts>,
    state: Mutex<State>,
    flight: Flight<Result<Arc<Ready>, BackendError>>,
}

enum State {
    Cold,
    Ready(Arc<Ready>),
    Failed { error: BackendError, failures: u32, retry_at: Instant },
}

impl Entry {
    pub(super) fn new(
        backend: Backend,
        naming: Naming,
        index: usize,
        limits: AggregatorLimits,
        hub: &Arc<Hub>,
    ) -> Self {
        let Backend { name, launch, policy, store } = backend;
        let guard = Guard::new(name.clone(), policy.of(&name));
        let launch = guard.around(launch);
        Self {
            guard,
            name,
            naming,
            index,
            hub: Arc::clone(hub),
            touched: AtomicBool::new(false),
            missed: AtomicBool::new(false),
            skills_doubted: AtomicBool::new(false),
            offered: Mutex::default(),
            store,
            loaded: OnceCell::new(),
            launch,
            limits,
            spares: Spares::default(),
            restarts: Mutex::default(),
            state: Mutex::new(State::Cold),
            flight: Flight::idle(),
        }
    }

    /// The server with a current list of its tools. What needs to be done for that starts now, in
    /// a task of its own; the future only waits for it.
    pub(super) fn ready(self: &Arc<Self>) -> BoxFuture<'static, Result<Arc<Ready>, BackendError>> {
        if let Some(settled) = self.settled() {
            return Box::pin(async { settled });
        }
        let joined = self.flight.join(|| Self::prepare(Arc::downgrade(self)));
        Box::pin(async { joined.await.unwrap_or_else(|| Err(BackendError::interrupted())) })
    }

    /// What clients are shown of it: what is known, if it does not run; only if nothing is, it is started. That begins now.
    pub(super) fn offer(self: &Arc<Self>) -> BoxFuture<'static, Result<Arc<Offer>, BackendError>> {
        let offer_of = |ready: &Arc<Ready>| Arc::clone(&ready.offer);
        if self.running().is_none() {
            if let Some(known) = self.known_now() {
                return Box::pin(async { Ok(known) });
            }
            if self.may_be_known() {
                let entry = Arc::clone(self);
                let loading = AbortOnDropHandle::new(tokio::spawn(async move {
                    let known = entry.known().await;
                    known.ok_or_else(|| entry.ready())
                }));
                return Box::pin(async move {
                    match loading.await {
                        Ok(Ok(known)) => Ok(known),
                        Ok(Err(starting)) => starting.await.map(|ready| offer_of(&ready)),
                        Err(_) => Err(BackendError::interrupted()),
                    }
                });
            }
        }
        let ready = self.ready();
        Box::pin(async move { ready.await.map(|ready| offer_of(&ready)) })
    }

    /// What is known of it, without starting it. What was kept, or what the pins may judge otherwise by now, is judged first;
    /// nothing is known if they cannot say.
    pub(super) async fn known(&self) -> Option<Arc<Offer>> {
        if let Some(store) = &self.store {
            let load = async || {
                let Some(known) = store.load().await else { return };
                let offer = Arc::new(Offer::unjudged(&self.naming, &self.guard, known));
                // What it has said itself meanwhile is newer.
                lock(&self.offered).get_or_insert(offer);
            };
            self.loaded.get_or_init(load).await;
        }
        let offer = lock(&self.offered).clone()?;
        if offer.is_judged(self.policy().pins.as_ref()) {
            return Some(offer);
        }
        match Offer::judged(offer.said.clone(), self.policy(), Process::Kept).await {
            Ok(judged) => self.judged_again(&offer, Arc::new(judged)),
            Err(error) => {
                tracing::debug!(server = %self.name, "what was kept of it is not shown: {error}");
                None
            }
        }
    }

    fn judged_again(&self, before: &Arc<Offer>, judged: Arc<Offer>) -> Option<Arc<Offer>> {
        {
            let mut offered = lock(&self.offered);
            if !offered.as_ref().is_some_and(|now| Arc::ptr_eq(now, before)) {
                // It has said something itself meanwhile, or somebody was faster.
                return offered.clone().filter(|now| now.is_judged(self.policy().pins.as_ref()));
            }
            *offered = Some(Arc::clone(&judged));
        }
        self.publish(Some(before), &judged);
        Some(judged)
    }

    /// The same without asking anybody.
    pub(super) fn known_now(&self) -> Option<Arc<Offer>> {
        lock(&self.offered).clone().filter(|offer| offer.is_judged(self.policy().pins.as_ref()))
    }

    /// Whether something may be known of it once somebody was asked.
    fn may_be_known(&self) -> bool {
        self.store.is_some() && !self.loaded.initialized() || lock(&self.offered).is_some()
    }

    /// What clients are shown of it now, whether it runs or not, without asking anybody.
    pub(super) fn offer_now(&self) -> Option<Arc<Offer>> {
        self.running().map(|ready| Arc::clone(&ready.offer)).or_else(|| self.known_now())
    }

    /// The server if it runs, whatever the age of its list.
    pub(super) fn running(&self) -> Option<Arc<Ready>> {
        let mut state = self.lock();
        let dead = match &*state {
            State::Ready(ready) if ready.upstream.is_open() => return Some(Arc::clone(ready)),
            State::Ready(_) => std::mem::replace(&mut *state, State::Cold),
            State::Cold | State::Failed { .. } => return None,
        };
        drop(state);
        if let State::Ready(ready) = &dead
            && !ready.upstream.is_retired()
        {
            lock(&self.restarts).ended(Instant::now(), self.limits.max_restarts);
        }
        drop(dead); // ends what is left of the server, and not under the lock
        None
    }

    /// Whether nobody has asked yet whether it runs.
    pub(super) fn is_untouched(&self) -> bool {
        !self.touched.load(Ordering::Acquire)
    }

    /// What is demanded of it.
    pub(super) fn policy(&self) -> &ServerPolicy {
        self.guard.policy()
    }

    /// The tools that it has, or had when it ran last.
    pub(super) fn known_tools(&self) -> Option<Arc<NamedList>> {
        let running = self.running().map(|ready| Arc::clone(&ready.offer)).filter(|offer| !self.is_to_judge(offer));
        running.or_else(|| self.known_now()).map(|offer| Arc::clone(&offer.catalogue.tools))
    }

    pub(super) fn is_stale(&self, ready: &Ready) -> bool {
        let changed = revisions(&*ready.upstream) != ready.revisions || self.skills_doubted.load(Ordering::Acquire);
        !ready.upstream.is_open() || changed || self.is_to_judge(ready)
    }

    /// Something of a skill is not as it was listed: the list is read again.
    pub(super) fn doubts_skills(self: &Arc<Self>) {
        self.skills_doubted.store(true, Ordering::Release);
        self.read_again();
    }

    pub(super) fn takes_doubt(&self) -> bool {
        self.skills_doubted.swap(false, Ordering::AcqRel)
    }

    /// Whether something may be agreed to that was not, or no longer.
    fn is_to_judge(&self, offer: &Offer) -> bool {
        !offer.is_judged(self.policy().pins.as_ref())
    }

    /// Whether a call has to wait until it is known what the server says now: it has said that a list has changed, and it is
    /// pinned to what it said before.
    pub(super) fn is_in_doubt(&self, ready: &Ready) -> bool {
        self.policy().pins.as_ref().is_some_and(|pins| !pins.follows()) && self.is_stale(ready)
    }

    /// Reads a changed list again, in a task of its own; whether there was anything to read.
    pub(super) fn read_again(self: &Arc<Self>) -> bool {
        let stale = self.running().is_some_and(|ready| self.is_stale(&ready));
        if stale {
            drop(self.ready());
        }
        stale
    }

    /// Judges again what is shown of it, in a task of its own, whether it runs or not.
    pub(super) fn judge_again(self: &Arc<Self>) {
        if self.running().is_some() {
            self.read_again();
        } else if lock(&self.offered).as_ref().is_some_and(|offer| self.is_to_judge(offer)) {
            let entry = Arc::clone(self);
            tokio::spawn(async move { entry.known().await });
        }
    }

    /// Until when whoever asks for something else waits for it, if that is so long: from its start on, and not each anew. One
    /// whose last start has failed has been waited for before.
    pub(super) fn waited_for(&self, wait: Duration) -> Instant {
        let wait = match &*self.lock() {
            State::Failed { .. } => wait.min(AFTER_A_FAILURE),
            State::Cold | State::Ready(_) => wait,
        };
        self.flight.since().unwrap_or_else(Instant::now) + wait
    }

    /// A list is answered without this server, so it will be news.
    pub(super) fn is_missed(&self) {
        self.missed.store(true, Ordering::Release);
    }

    pub(super) fn fault(&self, kind: FaultKind) -> Fault {
        Fault { server: self.name.clone(), kind }
    }

    /// What is wrong with what clients see of it, and with the server itself.
    pub(super) fn known_faults(&self) -> Vec<Fault> {
        let mut kinds = Vec::new();
        if let Some(offer) = self.known_now() {
            kinds.extend(offer.catalogue.errors().iter().cloned().map(FaultKind::Catalogue));
            kinds.extend(offer.catalogue.odd().cloned().map(FaultKind::Item));
            kinds.extend(offer.held.items().map(HeldItem::fault));
        }
        if let State::Failed { error, .. } = &*self.lock() {
            kinds.push(FaultKind::from(error));
        }
        kinds.into_iter().map(|kind| self.fault(kind)).collect()
    }

    /// What a client is told of a call for which the server could not be started.
    pub(super) fn refusal(&self, error: &BackendError) -> RpcError {
        let until = match &*self.lock() {
            State::Failed { retry_at, .. } => retry_at.saturating_duration_since(Instant::now()),
            State::Cold | State::Ready(_) => Duration::ZERO,
        };
        let next = match until.as_millis().div_ceil(1000) {
            0 => "the next call tries again".to_owned(),
            seconds => format!("a call after {seconds} s tries again"),
        };
        error.to_rpc(&self.name, &format!("; this call was not sent to it, and {next}"))
    }

    /// The answer that needs no work: a running server with a current list, or a failure that is
    /// too young to be tried again.
    fn settled(&self) -> Option<Result<Arc<Ready>, BackendError>> {
        if let Some(ready) = self.running() {
            return (!self.is_stale(&ready)).then_some(Ok(ready));
        }
        match &*self.lock() {
            State::Failed { error, retry_at, .. } if Instant::now() < *retry_at => Some(Err(error.clone())),
            State::Failed { .. } | State::Cold | State::Ready(_) => None,
        }
    }

    /// Starts the server if need be and reads its tools. Holds the entry only weakly while it
    /// waits, so that dropping the aggregator ends it.
    async fn prepare(entry: Weak<Self>) -> Result<Arc<Ready>, BackendError> {
        let Some((start, running)) = entry.upgrade().map(|entry| (Start::of(&entry), entry.running())) else {
            return Err(BackendError::interrupted());
        };
        let prepared = match running {
            Some(ready) => start.read(&ready).await,
            None => match entry.upgrade().and_then(|entry| entry.barred()) {
                Some(barred) => Err(barred),
                None => start.start(&entry).await,
            },
        };
        if let Some(entry) = entry.upgrade() {
            entry.remember(&prepared);
        }
        prepared
    }

    /// Why it is not started although it is needed, if it has ended too often.
    fn barred(&self) -> Option<BackendError> {
        let (max, window) = (self.limits.max_restarts, self.limits.restart_window);
        let until = lock(&self.restarts).barred_until(Instant::now(), max, window)?;
        Some(BackendError::Crashing { times: max, within: window, until })
    }

    fn remember(&self, prepared: &Result<Arc<Ready>, BackendError>) {
        if let Ok(ready) = prepared {
            self.touched.store(true, Ordering::Release);
            // Before anybody can find the server running: what is known is never older than what runs.
            self.announce(&ready.offer);
        }
        let mut state = self.lock();
        let next = match prepared {
            Ok(ready) => State::Ready(Arc::clone(ready)),
            Err(error) => {
                tracing::warn!(server = %self.name, error = error as &dyn std::error::Error, "server failed");
                self.failed(error, &state)
            }
        };
        let replaced = std::mem::replace(&mut *state, next);
        drop(state);
        drop(replaced); // may end a server, and not under the lock
        if prepared.is_ok() {
            self.log_faults();
        }
    }

    fn failed(&self, error: &BackendError, before: &State) -> State {
        let failures = match before {
            State::Failed { failures, .. } => failures.saturating_add(1),
            State::Cold | State::Ready(_) => 0,
        };
        let doubled = self.limits.relaunch_backoff * 2_u32.saturating_pow(failures.min(16));
        let later = Instant::now() + doubled.min(self.limits.max_relaunch_backoff);
        let retry_at = match error {
            BackendError::Launch(error) if error.again == Again::AtOnce => return State::Cold,
            BackendError::Crashing { until, .. } => *until,
            BackendError::Launch(_) | BackendError::Catalogue(_) | BackendError::Pins(_) => later,
        };
        State::Failed { error: error.clone(), failures, retry_at }
    }

    /// Tells clients which lists are not what they may have seen, and keeps what is new.
    fn announce(&self, offer: &Arc<Offer>) {
        let before = lock(&self.offered).replace(Arc::clone(offer));
        self.publish(before.as_deref(), offer);
        if let Some(store) = &self.store {
            let known = offer.to_known();
            if before.is_none_or(|before| !before.to_known().same(&known)) {
                store.keep(known);
            }
        }
    }

    fn publish(&self, before: Option<&Offer>, offer: &Offer) {
        let missed = self.missed.swap(false, Ordering::AcqRel);
        let changed = match before.filter(|before| before.was_judged()) {
            Some(before) => offer.catalogue.differences(&before.catalogue),
            None if missed => offer.catalogue.differences(&Catalogue::default()),
            None => Vec::new(),
        };
        changed.into_iter().for_each(|list| self.hub.publish_changed(list));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

const AFTER_A_FAILURE: Duration = Duration::from_secs(2);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
