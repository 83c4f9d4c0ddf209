//! One server of an aggregator: started when needed, once, and again after it died.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::{AggregatorLimits, flight::Flight};
use crate::{
    catalogue::{Catalogue, CatalogueError, OddTool},
    message::RpcError,
    name::ServerId,
    upstream::{BoxFuture, Launch, LaunchError, List, Upstream, failure},
};

/// A server that runs, and its tools as read at `revision`.
pub(super) struct Ready {
    pub(super) upstream: Arc<dyn Upstream>,
    pub(super) catalogue: Arc<Catalogue>,
    revision: u64,
}

pub(super) struct Entry {
    pub(super) name: ServerId,
    launch: Arc<dyn Launch>,
    limits: AggregatorLimits,
    state: Mutex<State>,
    flight: Flight<Result<Arc<Ready>, BackendError>>,
}

enum State {
    Cold,
    Ready(Arc<Ready>),
    Failed { error: BackendError, failures: u32, retry_at: Instant },
}

impl Entry {
    pub(super) fn new(name: ServerId, launch: Arc<dyn Launch>, limits: AggregatorLimits) -> Self {
        Self { name, launch, limits, state: Mutex::new(State::Cold), flight: Flight::idle() }
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
        !ready.upstream.is_open() || ready.upstream.revision(List::Tools) != ready.revision
    }

    pub(super) fn fault(&self, kind: FaultKind) -> Fault {
        Fault { server: self.name.clone(), kind }
    }

    pub(super) fn odd_tools(&self, ready: &Ready) -> Vec<Fault> {
        let odd = ready.catalogue.odd().iter().cloned();
        odd.map(|odd| self.fault(FaultKind::Tool(odd))).collect()
    }

    pub(super) fn known_faults(&self) -> Vec<Fault> {
        match &*self.lock() {
            State::Cold => Vec::new(),
            State::Ready(ready) => self.odd_tools(ready),
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
        let Some((name, launch, limits, running)) = entry.upgrade().map(|entry| {
            let running = entry.running().map(|ready| Arc::clone(&ready.upstream));
            (entry.name.clone(), Arc::clone(&entry.launch), entry.limits, running)
        }) else {
            return Err(BackendError::interrupted());
        };
        let prepared = start_and_read(&name, &*launch, &limits, running).await;
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
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn start_and_read(
    name: &ServerId,
    launch: &dyn Launch,
    limits: &AggregatorLimits,
    running: Option<Arc<dyn Upstream>>,
) -> Result<Arc<Ready>, BackendError> {
    let upstream = match running {
        Some(upstream) => upstream,
        None => timeout(limits.launch_timeout, launch.launch())
            .await
            .unwrap_or_else(|_| Err(too_slow(limits.launch_timeout)))
            .map_err(BackendError::Launch)?,
    };
    // Read before the list: a change during the reading makes the list stale, never lost.
    let revision = upstream.revision(List::Tools);
    let catalogue = Catalogue::read(name, &*upstream, &limits.catalogue).await.map_err(BackendError::Catalogue)?;
    Ok(Arc::new(Ready { upstream, catalogue: Arc::new(catalogue), revision }))
}

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

/// Something that is missing from the list of tools, for the operator.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Whose fault it is.
    pub server: ServerId,
    /// What it is.
    pub kind: FaultKind,
}

/// What is missing from the list of tools, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FaultKind {
    /// The server did not start.
    Launch(LaunchError),
    /// The server runs, but its list could not be read.
    Catalogue(CatalogueError),
    /// The server was not ready when the list had to be answered; it goes on starting.
    StillStarting,
    /// One tool could not be offered.
    Tool(OddTool),
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Launch(error) => error.fmt(f),
            Self::Catalogue(error) => error.fmt(f),
            Self::StillStarting => f.write_str("still starting"),
            Self::Tool(odd) => write!(f, "tool {} of the list: {}", odd.position, odd.reason),
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
