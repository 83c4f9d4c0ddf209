//! The aggregators of the profiles, each kept as long as its servers stay what they are.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gigmcp_mcp::{Aggregator, Backend, Launch, ServerId};
use tokio::task::JoinSet;

use crate::{
    launch::ServerLaunch,
    output::whole,
    people::TokenScope,
    scoped,
    spec::{ProfileSettings, ProfileSlug, ServerName},
    store::{Profile, ProfileId, Store, StoreError},
    supervisor::Supervisor,
    tool_audit::ToolAudit,
};

/// The aggregators of all profiles that were called.
pub(crate) struct Profiles {
    supervisor: Arc<Supervisor>,
    start_timeout: Duration,
    entries: Mutex<HashMap<ProfileSlug, Entry>>,
}

/// One profile's aggregator and what it was made from.
struct Entry {
    id: ProfileId,
    servers: BTreeMap<ServerName, Arc<ServerLaunch>>,
    settings: ProfileSettings,
    aggregator: Arc<Aggregator>,
    /// For tokens that are good for less: the same servers, as far as the token reaches. As many as a profile has tokens.
    scoped: HashMap<TokenScope, Arc<Aggregator>>,
}

impl Profiles {
    pub(crate) fn new(supervisor: Arc<Supervisor>, start_timeout: Duration) -> Self {
        Self { supervisor, start_timeout, entries: Mutex::default() }
    }

    /// The aggregator of a profile as it was read for this call, so a change takes effect at the next one; servers that
    /// did not change keep running.
    pub(crate) fn aggregator(&self, profile: &Profile) -> Arc<Aggregator> {
        let mut entries = self.entries();
        let before = entries.get(&profile.slug).filter(|entry| entry.id == profile.id);
        if let Some(entry) = before.filter(|entry| entry.matches(profile)) {
            return Arc::clone(&entry.aggregator);
        }
        let entry = self.entry(profile, before);
        let aggregator = Arc::clone(&entry.aggregator);
        let kept = entry.servers.clone();
        if let Some(replaced) = entries.insert(profile.slug.clone(), entry) {
            replaced.end_all_but(&kept);
        }
        aggregator
    }

    /// The same for a token that is good for less than all of it.
    pub(crate) fn scoped(&self, profile: &Profile, scope: &TokenScope) -> Arc<Aggregator> {
        let whole = self.aggregator(profile);
        if scope.is_whole() {
            return whole;
        }
        let mut entries = self.entries();
        // Whoever changed it meanwhile has ended its servers.
        let Some(entry) = entries.get_mut(&profile.slug).filter(|entry| entry.id == profile.id) else {
            return self.aggregate(profile, std::iter::empty());
        };
        if let Some(aggregator) = entry.scoped.get(scope) {
            return Arc::clone(aggregator);
        }
        if entry.scoped.len() >= MAX_SCOPES {
            // What is left of tokens that were revoked.
            entry.scoped.clear();
        }
        let reached = entry.servers.iter().filter_map(|(name, launch)| {
            let launch = Arc::<ServerLaunch>::clone(launch) as Arc<dyn Launch>;
            scope.reach(name).map(|reach| (name, scoped::limited(launch, reach)))
        });
        let aggregator = self.aggregate(profile, reached);
        entry.scoped.insert(scope.clone(), Arc::clone(&aggregator));
        aggregator
    }

    /// Ends the servers of profiles that changed, so that a revocation does not wait for a call. Other programs on the same
    /// SQLite file say nothing, so it looks by itself too.
    pub(crate) async fn follow_changes(&self) {
        let mut changes = self.store().changes();
        let mut told = None;
        loop {
            // The store outlives this.
            drop(tokio::time::timeout(REVOCATION_DELAY, changes.changed()).await);
            let slugs: Vec<ProfileSlug> = self.entries().keys().cloned().collect();
            for slug in slugs {
                match self.store().profile(slug.clone()).await {
                    Ok(profile) => {
                        told = None;
                        drop(self.aggregator(&profile));
                    }
                    Err(StoreError::Missing { .. }) => {
                        if let Some(entry) = self.entries().remove(&slug) {
                            entry.end_all_but(&BTreeMap::new());
                        }
                    }
                    Err(error) => {
                        // Once, and not every second.
                        let text = whole(&error);
                        if told.as_ref() != Some(&text) {
                            tracing::error!("whether profile {slug} has changed cannot be told: {text}");
                        }
                        told = Some(text);
                    }
                }
            }
        }
    }

    /// Asks every server to end, and makes those that do not within two seconds.
    pub(crate) async fn stop(&self) {
        let entries: Vec<Entry> = self.entries().drain().map(|(_, entry)| entry).collect();
        let mut ending = JoinSet::new();
        for launch in entries.iter().flat_map(|entry| entry.servers.values().cloned()) {
            ending.spawn(async move { launch.shut_down().await });
        }
        while ending.join_next().await.is_some() {}
    }

    fn entry(&self, profile: &Profile, before: Option<&Entry>) -> Entry {
        let servers: BTreeMap<_, _> = profile
            .servers
            .iter()
            .map(|(name, revision)| {
                let kept = before.and_then(|entry| entry.servers.get(name)).filter(|kept| kept.revision() == *revision);
                let launch = kept.map_or_else(|| Arc::new(self.launch(profile, name, *revision)), Arc::clone);
                (name.clone(), launch)
            })
            .collect();
        let launches =
            servers.iter().map(|(name, launch)| (name, Arc::<ServerLaunch>::clone(launch) as Arc<dyn Launch>));
        let aggregator = self.aggregate(profile, launches);
        Entry { id: profile.id, servers, settings: profile.settings.clone(), aggregator, scoped: HashMap::new() }
    }

    fn aggregate<'a>(
        &self,
        profile: &Profile,
        launches: impl Iterator<Item = (&'a ServerName, Arc<dyn Launch>)>,
    ) -> Arc<Aggregator> {
        let backends = launches.map(|(name, launch)| Backend::new(server_id(name), launch));
        let audit = ToolAudit::new(self.store(), profile);
        let aggregator = Aggregator::builder().backends(backends).observed_by(Arc::new(audit)).build();
        Arc::new(aggregator.expect("a map has no name twice"))
    }

    fn launch(&self, profile: &Profile, name: &ServerName, revision: i64) -> ServerLaunch {
        let supervisor = Arc::clone(&self.supervisor);
        ServerLaunch::new(supervisor, profile, name.clone(), revision, self.start_timeout)
    }

    /// Where profiles and tokens stand.
    pub(crate) fn store(&self) -> &Store {
        &self.supervisor.host.store
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<ProfileSlug, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Ends the servers that are not among `kept`, calls under way included.
    fn end_all_but(&self, kept: &BTreeMap<ServerName, Arc<ServerLaunch>>) {
        for (name, launch) in &self.servers {
            if !kept.get(name).is_some_and(|kept| Arc::ptr_eq(kept, launch)) {
                launch.end();
            }
        }
    }

    fn matches(&self, profile: &Profile) -> bool {
        let same = |(name, revision): &(ServerName, i64)| {
            self.servers.get(name).is_some_and(|launch| launch.revision() == *revision)
        };
        self.settings == profile.settings
            && self.servers.len() == profile.servers.len()
            && profile.servers.iter().all(same)
    }
}

fn server_id(name: &ServerName) -> ServerId {
    name.as_str().parse().expect("a server name is a prefix of tool names")
}

/// How many different scopes of a profile's tokens are kept ready.
const MAX_SCOPES: usize = 64;
/// How long a server that was taken out of a profile may go on without being called.
const REVOCATION_DELAY: Duration = Duration::from_secs(1);
