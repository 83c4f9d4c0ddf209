//! One server of an aggregator: started when needed, once, and again after it died.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    AggregatorLimits, Backend, ServerPolicy,
    flight::Flight,
    follow::follow,
    hub::{Hub, of_uri, set_level},
    spares::Spares,
};
use crate::{
    catalogue::{Catalogue, CatalogueError, OddItem, Remedy},
    describe::Description,
    message::RpcError,
    name::{Naming, ServerId},
    upstream::{BoxFuture, Launch, LaunchError, List, Upstream, failure},
};

/// A server that runs, and its lists as read at these revisions.
pub(super) struct Ready {
    pub(super) upstream: Arc<dyn Upstream>,
    pub(super) description: Arc<Description>,
    pub(super) catalogue: Catalogue,
    revisions: [u64; List::ALL.len()],
    follower: Option<Arc<AbortOnDropHandle<()>>>,
}

pub(super) struct Entry {
    pub(super) name: ServerId,
    pub(super) naming: Naming,
    pub(super) index: usize,
    pub(super) hub: Arc<Hub>,
    /// A list was answered without this server.
    missed: AtomicBool,
    /// What clients may have seen of it last.
    seen: Mutex<Option<Catalogue>>,
    pub(super) launch: Arc<dyn Launch>,
    /// What is demanded of it.
    #[allow(dead_code, reason = "the names in it were taken out before")]
    pub(super) policy: ServerPolicy,
    pub(super) limits: AggregatorLimits,
    pub(super) spares: Spares,
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
        let Backend { name, launch, policy } = backend;
        Self {
            policy,
            name,
            naming,
            index,
            hub: Arc::clone(hub),
            missed: AtomicBool::new(false),
            seen: Mutex::default(),
            launch,
            limits,
            spares: Spares::default(),
            state: Mutex::new(State::Cold),
            flight: Flight::idle(),
        }
    }

    /// The server with a current list of its tools. What needs to be done for that starts now, in
    /// a task of its own; the future only waits for it.
    pub(super) fn ready(self: &Arc<Self>) -> BoxFuture<'static, Result<Arc<Ready>, BackendError>> {
        if let Some(known) = self.known() {
            return Box::pin(async { known });
        }
        let joined = self.flight.join(|| Self::prepare(Arc::downgrade(self)));
        Box::pin(async { joined.await.unwrap_or_else(|| Err(BackendError::interrupted())) })
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
        drop(dead); // ends what is left of the server, and not under the lock
        None
    }

    pub(super) fn is_stale(&self, ready: &Ready) -> bool {
        !ready.upstream.is_open() || revisions(&*ready.upstream) != ready.revisions
    }

    /// Reads a changed list again, in a task of its own; whether there was anything to read.
    pub(super) fn read_again(self: &Arc<Self>) -> bool {
        let stale = self.running().is_some_and(|ready| self.is_stale(&ready));
        if stale {
            drop(self.ready());
        }
        stale
    }

    /// A list is answered without this server, so it will be news.
    pub(super) fn is_missed(&self) {
        self.missed.store(true, Ordering::Release);
    }

    pub(super) fn fault(&self, kind: FaultKind) -> Fault {
        Fault { server: self.name.clone(), kind }
    }

    pub(super) fn faults_of(&self, ready: &Ready) -> Vec<Fault> {
        let errors = ready.catalogue.errors().iter().cloned().map(FaultKind::Catalogue);
        let odd = ready.catalogue.odd().cloned().map(FaultKind::Item);
        errors.chain(odd).map(|kind| self.fault(kind)).collect()
    }

    pub(super) fn known_faults(&self) -> Vec<Fault> {
        match &*self.lock() {
            State::Cold => Vec::new(),
            State::Ready(ready) => self.faults_of(ready),
            State::Failed { error, .. } => vec![self.fault(FaultKind::from(error))],
        }
    }

    /// The answer that needs no work: a running server with a current list, or a failure that is
    /// too young to be tried again.
    fn known(&self) -> Option<Result<Arc<Ready>, BackendError>> {
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
            None => start.start(&entry).await,
        };
        if let Some(entry) = entry.upgrade() {
            entry.remember(&prepared);
        }
        prepared
    }

    fn remember(&self, prepared: &Result<Arc<Ready>, BackendError>) {
        let mut state = self.lock();
        let next = match prepared {
            Ok(ready) => State::Ready(Arc::clone(ready)),
            Err(error) => {
                tracing::warn!(server = %self.name, error = error as &dyn std::error::Error, "server failed");
                let failures = match &*state {
                    State::Failed { failures, .. } => failures.saturating_add(1),
                    State::Cold | State::Ready(_) => 0,
                };
                let doubled = self.limits.relaunch_backoff * 2_u32.saturating_pow(failures.min(16));
                let wait = doubled.min(self.limits.max_relaunch_backoff);
                State::Failed { error: error.clone(), failures, retry_at: Instant::now() + wait }
            }
        };
        let replaced = std::mem::replace(&mut *state, next);
        drop(state);
        drop(replaced); // may end a server, and not under the lock
        if let Ok(ready) = prepared {
            self.announce(&ready.catalogue);
        }
    }

    /// Tells clients which lists are not what they may have seen.
    fn announce(&self, catalogue: &Catalogue) {
        let missed = self.missed.swap(false, Ordering::AcqRel);
        let before = self.seen.lock().unwrap_or_else(PoisonError::into_inner).replace(catalogue.clone());
        let changed = match before {
            Some(before) => catalogue.differences(&before),
            None if missed => catalogue.differences(&Catalogue::default()),
            None => Vec::new(),
        };
        changed.into_iter().for_each(|list| self.hub.publish_changed(list));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What starting a server needs, without holding its entry.
struct Start {
    naming: Naming,
    index: usize,
    launch: Arc<dyn Launch>,
    limits: AggregatorLimits,
    hub: Arc<Hub>,
}

impl Start {
    fn of(entry: &Entry) -> Self {
        Self {
            naming: entry.naming.clone(),
            index: entry.index,
            launch: Arc::clone(&entry.launch),
            limits: entry.limits,
            hub: Arc::clone(&entry.hub),
        }
    }

    async fn start(&self, entry: &Weak<Entry>) -> Result<Arc<Ready>, BackendError> {
        let upstream = timeout(self.limits.launch_timeout, self.launch.launch())
            .await
            .unwrap_or_else(|_| Err(too_slow(self.limits.launch_timeout)))
            .map_err(BackendError::Launch)?;
        let description = Arc::new(upstream.describe().await);
        // Before anything is read: what happens meanwhile is not lost.
        let follower = upstream.events().map(|events| tokio::spawn(follow(Weak::clone(entry), events)));
        self.resume(&*upstream, &description).await;
        let follower = follower.map(|task| Arc::new(AbortOnDropHandle::new(task)));
        self.lists(upstream, description, follower, None).await
    }

    /// Reads again what has changed.
    async fn read(&self, ready: &Ready) -> Result<Arc<Ready>, BackendError> {
        let (upstream, description) = (Arc::clone(&ready.upstream), Arc::clone(&ready.description));
        self.lists(upstream, description, ready.follower.clone(), Some(ready)).await
    }

    async fn lists(
        &self,
        upstream: Arc<dyn Upstream>,
        description: Arc<Description>,
        follower: Option<Arc<AbortOnDropHandle<()>>>,
        before: Option<&Ready>,
    ) -> Result<Arc<Ready>, BackendError> {
        // Before the lists: a change during the reading makes them stale, never lost.
        let revisions = revisions(&*upstream);
        let changed =
            |list: &List| before.is_none_or(|before| before.revisions[*list as usize] != revisions[*list as usize]);
        let changed: Vec<List> = List::ALL.into_iter().filter(changed).collect();
        let before = before.map(|before| &before.catalogue);
        let (capabilities, limits) = (description.capabilities, &self.limits.catalogue);
        let catalogue = Catalogue::read(&self.naming, &*upstream, capabilities, limits, before, &changed)
            .await
            .map_err(BackendError::Catalogue)?;
        Ok(Arc::new(Ready { upstream, description, catalogue, revisions, follower }))
    }

    /// Tells a server that has just started what clients had told the one before it. It works without, too.
    async fn resume(&self, upstream: &dyn Upstream, description: &Description) {
        if let Some(level) = self.hub.level().filter(|_| description.capabilities.logging) {
            drop(upstream.call(set_level(level).with_timeout(RESUMING)).await);
        }
        if description.capabilities.subscribe {
            for uri in self.hub.to_resume(self.index) {
                drop(upstream.call(of_uri("resources/subscribe", &uri).with_timeout(RESUMING)).await);
            }
        }
    }
}

fn revisions(upstream: &dyn Upstream) -> [u64; List::ALL.len()] {
    List::ALL.map(|list| upstream.revision(list))
}

/// How long a server may take for each thing it is told of earlier.
pub(super) const RESUMING: Duration = Duration::from_secs(5);

fn too_slow(after: Duration) -> LaunchError {
    let detail = format!("not ready within {} s", after.as_secs_f32());
    LaunchError::new("start", "server-timeout", detail)
}

/// Why a server cannot be used now.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum BackendError {
    #[error(transparent)]
    Launch(LaunchError),
    #[error(transparent)]
    Catalogue(CatalogueError),
}

impl BackendError {
    fn interrupted() -> Self {
        Self::Launch(LaunchError::new("start", "server-start-interrupted", "the start was interrupted"))
    }

    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Launch(error) => error.code,
            Self::Catalogue(error) => error.code(),
        }
    }

    pub(super) fn to_rpc(&self, server: &ServerId) -> RpcError {
        match self {
            Self::Launch(error) => error.to_rpc(server),
            Self::Catalogue(error) => failure(server, "tools/list", error.code(), &error.to_string()),
        }
    }
}

/// Something that is missing from a list, for the operator.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Whose fault it is.
    pub server: ServerId,
    /// What it is.
    pub kind: FaultKind,
}

/// What is missing from a list, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FaultKind {
    /// The server did not start.
    Launch(LaunchError),
    /// The server runs, but its list could not be read.
    Catalogue(CatalogueError),
    /// The server was not ready when the list had to be answered; it goes on starting.
    StillStarting,
    /// One item of a list is not as it should be.
    Item(OddItem),
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Launch(error) => error.fmt(f),
            Self::Catalogue(error) => error.fmt(f),
            Self::StillStarting => f.write_str("still starting"),
            Self::Item(odd) => {
                let remedy = if odd.remedy == Remedy::Mended { " (mended)" } else { "" };
                write!(f, "item {} of {}: {}{remedy}", odd.position, odd.list, odd.reason)
            }
        }
    }
}

impl From<&BackendError> for FaultKind {
    fn from(error: &BackendError) -> Self {
        match error {
            BackendError::Launch(error) => Self::Launch(error.clone()),
            BackendError::Catalogue(error) => Self::Catalogue(error.clone()),
        }
    }
}
