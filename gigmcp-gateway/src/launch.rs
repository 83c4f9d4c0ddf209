//! Starts the servers of a profile, and ends them.

pub(crate) mod era;
pub(crate) mod places;
mod server;
mod start;
mod terms;
mod told;
mod uses;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gigmcp_egress::Identity;
use gigmcp_mcp::{BoxFuture, CatalogueStore, Known, Launch, LaunchError, Turns, Upstream};

pub(crate) use self::{
    places::Places,
    start::LONGEST_START,
    terms::{Defaults, Terms},
};
use self::{server::Server, start::Starter};
use crate::{
    output::whole,
    spec::{MemberSettings, ProfileSettings, ServerName},
    store::{CatalogueKey, Edition, Profile},
    supervisor::Supervisor,
};

/// Starts one server of one profile when it is first needed.
///
/// It keeps what it started, and what that listed, so that a new aggregator of the same profile takes over both.
pub(crate) struct ServerLaunch {
    starter: Arc<Starter>,
    places: Arc<Places>,
    running: Mutex<Option<Arc<Server>>>,
    /// Held by whoever starts it: the aggregator of before and the new one may both want to.
    starting: tokio::sync::Mutex<()>,
    /// The same server once more, for calls that may ask their client something.
    beside: Mutex<Vec<Weak<Server>>>,
    known: Mutex<Option<Known>>,
    ended: AtomicBool,
}

impl ServerLaunch {
    /// Starts nothing yet.
    pub(crate) fn new(
        supervisor: Arc<Supervisor>,
        places: Arc<Places>,
        profile: &Profile,
        (server, edition): (ServerName, Edition),
        member: &MemberSettings,
        defaults: Defaults,
    ) -> Self {
        let starter = Starter {
            supervisor,
            profile: profile.slug.clone(),
            owner: profile.owner.clone(),
            server,
            edition,
            start_timeout: defaults.start_timeout,
            terms: Arc::new(Terms::new(defaults, &profile.settings, member)),
        };
        Self {
            starter: Arc::new(starter),
            places,
            running: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
            beside: Mutex::default(),
            known: Mutex::default(),
            ended: AtomicBool::new(false),
        }
    }

    /// Which instances of the server this starts.
    pub(crate) fn edition(&self) -> Edition {
        self.starter.edition
    }

    /// Whether a process of it runs, or is being started.
    pub(crate) fn is_at_work(&self) -> bool {
        let beside = self.beside().iter().any(|server| server.strong_count() > 0);
        beside || self.slot().is_some() || self.starting.try_lock().is_err()
    }

    /// Its profile says something else now; what runs goes on.
    pub(crate) fn set(&self, defaults: Defaults, profile: &ProfileSettings, member: &MemberSettings) {
        self.starter.terms.set(defaults, profile, member);
    }
}

impl Launch for ServerLaunch {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(async {
            let _starting = self.starting.lock().await;
            self.check_wanted()?;
            if let Some(server) = self.running() {
                return Ok(server as Arc<dyn Upstream>);
            }
            let spec = self.starter.spec().await?;
            let place = self.places.take(&self.starter.wants(), QUEUE).await?;
            let server = self.starter.start(spec, Turns::Together, place).await?;
            *self.slot() = Some(Arc::clone(&server));
            // It may have been taken out of the profile while it started.
            self.check_wanted().inspect_err(|_| self.end())?;
            Ok(server as Arc<dyn Upstream>)
        })
    }

    fn launch_beside<'a>(&'a self) -> BoxFuture<'a, Result<Option<Arc<dyn Upstream>>, LaunchError>> {
        Box::pin(async {
            self.check_wanted()?;
            let spec = self.starter.spec().await?;
            if spec.state.is_some() || spec.kept.is_some() {
                return Ok(None); // two processes would write to the same files
            }
            // Who would have to wait for a place can as well wait for the first process.
            let Ok(place) = self.places.try_take(&self.starter.wants()) else {
                return Ok(None);
            };
            let server = self.starter.start(spec, Turns::OneByOne, place).await?;
            let mut beside = self.beside();
            beside.retain(|server| server.strong_count() > 0);
            beside.push(Arc::downgrade(&server));
            drop(beside);
            self.check_wanted().inspect_err(|_| self.end())?;
            Ok(Some(server as Arc<dyn Upstream>))
        })
    }
}

impl CatalogueStore for ServerLaunch {
    fn load<'a>(&'a self) -> BoxFuture<'a, Option<Known>> {
        Box::pin(async {
            if let Some(known) = lock(&self.known).clone() {
                return Some(known);
            }
            let loaded = self.starter.supervisor.host.store.catalogue(self.catalogue_key()).await;
            let server = &self.starter.server;
            let text = loaded.unwrap_or_else(|error| {
                tracing::warn!(%server, "what it listed last cannot be read: {}", whole(&error));
                None
            })?;
            match Known::from_json(&text) {
                Ok(known) => Some(known),
                Err(error) => {
                    tracing::warn!(%server, "what it listed last cannot be read: {}", whole(&error));
                    None
                }
            }
        })
    }

    fn keep(&self, known: Known) {
        if self.check_wanted().is_err() {
            return; // it may be of somebody who was forgotten
        }
        let text = Some(known.to_json()).filter(|text| text.len() <= MAX_KNOWN_BYTES);
        let server = self.starter.server.clone();
        if text.is_none() {
            tracing::warn!(%server, "what it lists is too long to be kept: it is started for a list after the next start of the gateway");
        }
        *lock(&self.known) = Some(known);
        let told = server.clone();
        let done = move |kept: Result<(), crate::store::StoreError>| {
            if let Err(error) = kept {
                tracing::warn!(server = %told, "what it lists is not kept: {}", whole(&error));
            }
        };
        if let Err(error) = self.starter.supervisor.host.store.keep_catalogue(self.catalogue_key(), text, done) {
            tracing::warn!(%server, "what it lists is not kept: {}", whole(&error));
        }
    }
}

impl ServerLaunch {
    fn catalogue_key(&self) -> CatalogueKey {
        let Starter { owner, server, edition, .. } = &*self.starter;
        CatalogueKey { owner: owner.clone(), server: server.clone(), revision: edition.revision }
    }

    fn check_wanted(&self) -> Result<(), LaunchError> {
        match self.ended.load(Ordering::SeqCst) {
            true => Err(changed()),
            false => Ok(()),
        }
    }

    fn running(&self) -> Option<Arc<Server>> {
        // A dead server is forgotten here, which ends what is left of its sandbox.
        self.slot().take_if(|server| !server.is_open());
        self.slot().clone()
    }

    /// Ends the server, and starts none from now on.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        let beside = std::mem::take(&mut *self.beside());
        let beside = beside.iter().filter_map(Weak::upgrade);
        beside.chain(self.slot().take()).for_each(|server| server.end());
    }

    /// Ends one process of the server, calls under way included; whether it was one. The next call starts another.
    pub(crate) fn end_instance(&self, id: &Identity) -> bool {
        let is_it = |server: &Arc<Server>| server.instance == *id;
        let beside = self.beside().iter().filter_map(Weak::upgrade).find(is_it);
        let found = beside.or_else(|| self.slot().take_if(|server| is_it(server)));
        // Not under the lock: it gives its place up.
        found.inspect(|server| server.end_by_order()).is_some()
    }

    /// Lets the server end by itself for a while, and starts none from now on.
    pub(crate) async fn shut_down(&self) {
        self.ended.store(true, Ordering::SeqCst);
        let beside = std::mem::take(&mut *self.beside());
        for server in beside.iter().filter_map(Weak::upgrade) {
            server.end(); // whoever waits for an answer there has gone
        }
        let server = self.slot().take();
        if let Some(server) = server {
            server.shut_down().await;
        }
    }

    fn beside(&self) -> MutexGuard<'_, Vec<Weak<Server>>> {
        lock(&self.beside)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Server>>> {
        lock(&self.running)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn changed() -> LaunchError {
    LaunchError::new("start", "server-changed", "it was changed; call again").at_once()
}

/// How long a sandbox may take to end after the output of its server did.
const END: Duration = Duration::from_secs(5);
/// How long a start waits for a place.
pub(crate) const QUEUE: Duration = Duration::from_secs(20);
/// What is kept of one server's lists; against a server that fills the database.
const MAX_KNOWN_BYTES: usize = 4 << 20;
