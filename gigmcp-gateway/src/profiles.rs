//! The aggregators of the profiles, each kept as long as its servers stay what they are.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gigmcp_egress::Identity;
use gigmcp_mcp::{
    Aggregator, AggregatorBuilder, AggregatorLimits, Backend, CatalogueStore, FlowPolicy, Launch, Pins, Prefixes,
    ServerId, ServerPolicy,
};
use tokio::{task::JoinSet, time::Instant};

mod found;
mod said;

pub(crate) use self::found::Found;
use self::said::Said;
use crate::{
    launch::{Defaults, LONGEST_START, Places, QUEUE, ServerLaunch},
    output::whole,
    people::{Reach, TokenScope},
    pins::KeptPins,
    settings::Settings,
    spec::{MemberSettings, Owner, ProfileSettings, ProfileSlug, ServerName},
    store::{Edition, Profile, ProfileId, Store, StoreError},
    supervisor::Supervisor,
    tool_audit::ToolAudit,
};

/// The aggregators of all profiles that were called.
pub(crate) struct Profiles {
    supervisor: Arc<Supervisor>,
    places: Arc<Places>,
    defaults: Defaults,
    entries: Mutex<HashMap<ProfileSlug, Entry>>,
}

/// One profile's aggregator and what it was made from.
struct Entry {
    id: ProfileId,
    servers: BTreeMap<ServerName, Arc<ServerLaunch>>,
    said: Arc<Said>,
    pins: BTreeMap<ServerName, Arc<KeptPins>>,
    settings: ProfileSettings,
    aggregator: Arc<Aggregator>,
    /// For tokens that are good for less: the same servers, as far as the token reaches. As many as a profile has tokens.
    scoped: HashMap<TokenScope, Arc<Aggregator>>,
    called: Instant,
}

/// Of each owner, how often the pins of each server have changed.
type Generations = HashMap<Owner, HashMap<ServerName, u64>>;

impl Profiles {
    pub(crate) fn new(supervisor: Arc<Supervisor>, settings: &Settings) -> Self {
        let defaults = Defaults {
            start_timeout: Duration::from_secs(settings.start_timeout),
            idle: (settings.idle_timeout > 0).then(|| Duration::from_secs(settings.idle_timeout)),
        };
        let [max, of_owner] = [settings.max_servers, settings.max_servers_per_user];
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let places = Places::shared(number(max), number(of_owner));
        Self { supervisor, places, defaults, entries: Mutex::default() }
    }

    /// Ends servers that nobody uses; never returns.
    pub(crate) async fn reap(&self) {
        self.places.reap().await;
    }

    /// The aggregator of a profile as it was read for this call, so a change takes effect at the next one; servers that
    /// did not change keep running.
    pub(crate) async fn aggregator(&self, profile: &Profile) -> Result<Arc<Aggregator>, StoreError> {
        if let Some(aggregator) = self.current(profile) {
            return Ok(aggregator);
        }
        let said = Said::of(self.store(), profile).await?;
        let mut entries = self.entries();
        let before = entries.get(&profile.slug).filter(|entry| entry.id == profile.id);
        if let Some(entry) = before.filter(|entry| entry.matches(profile)) {
            return Ok(Arc::clone(&entry.aggregator)); // somebody was faster
        }
        let entry = self.entry(profile, before, said);
        let aggregator = Arc::clone(&entry.aggregator);
        let kept = entry.servers.clone();
        if let Some(replaced) = entries.insert(profile.slug.clone(), entry) {
            replaced.is_replaced();
            replaced.end_all_but(&kept);
        }
        Ok(aggregator)
    }

    /// The aggregator that is there, if it is of the profile as it is now.
    fn current(&self, profile: &Profile) -> Option<Arc<Aggregator>> {
        let entries = self.entries();
        let entry = entries.get(&profile.slug).filter(|entry| entry.id == profile.id && entry.matches(profile))?;
        Some(Arc::clone(&entry.aggregator))
    }

    /// The same for somebody who calls.
    async fn called(&self, profile: &Profile) -> Result<Arc<Aggregator>, StoreError> {
        let aggregator = self.aggregator(profile).await?;
        if let Some(entry) = self.entries().get_mut(&profile.slug) {
            entry.called = Instant::now();
        }
        Ok(aggregator)
    }

    /// The same for a token that is good for less than all of it.
    pub(crate) async fn scoped(&self, profile: &Profile, scope: &TokenScope) -> Result<Arc<Aggregator>, StoreError> {
        let whole = self.called(profile).await?;
        if scope.is_whole() {
            return Ok(whole);
        }
        let mut entries = self.entries();
        let entry = entries.get_mut(&profile.slug).filter(|entry| entry.id == profile.id && entry.matches(profile));
        // Whoever changed it meanwhile has ended its servers.
        let Some(entry) = entry else { return Ok(Arc::new(Aggregator::new(Vec::new()).expect("no server twice"))) };
        if let Some(aggregator) = entry.scoped.get(scope) {
            return Ok(Arc::clone(aggregator));
        }
        if entry.scoped.len() >= MAX_SCOPES {
            // What is left of tokens that were revoked.
            entry.scoped.clear();
        }
        let aggregator = self.aggregate(profile, entry.members(), scope, (entry.is_meta(), Some(&*whole)));
        entry.scoped.insert(scope.clone(), Arc::clone(&aggregator));
        Ok(aggregator)
    }

    /// Ends the servers of profiles that changed, so that a revocation does not wait for a call. Other programs on the same
    /// SQLite file say nothing, so it looks by itself too.
    pub(crate) async fn follow_changes(&self) {
        let mut changes = self.store().changes();
        let mut told = None;
        loop {
            // The store outlives this.
            drop(tokio::time::timeout(REVOCATION_DELAY, changes.changed()).await);
            self.forget_unused();
            let slugs: Vec<ProfileSlug> = self.entries().keys().cloned().collect();
            let mut generations = HashMap::new();
            for (slug, found) in self.read_all(slugs).await {
                let followed = match found {
                    Ok(profile) => self.follow(&profile, &mut generations).await.map_err(Unread::Server),
                    Err(error) => Err(Unread::Profile(error)),
                };
                match followed {
                    Ok(()) => told = None,
                    Err(Unread::Profile(StoreError::Missing { .. })) => {
                        if let Some(entry) = self.entries().remove(&slug) {
                            entry.is_replaced();
                            entry.end_all_but(&BTreeMap::new());
                        }
                    }
                    Err(Unread::Profile(error) | Unread::Server(error)) => {
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

    /// Some at a time, so that many profiles are followed as soon as few, and others' turns come in between.
    async fn read_all(&self, slugs: Vec<ProfileSlug>) -> Vec<(ProfileSlug, Result<Profile, StoreError>)> {
        let mut read = Vec::with_capacity(slugs.len());
        for some in slugs.chunks(READ_AT_ONCE) {
            match self.store().some_profiles(some.to_vec()).await {
                Ok(found) => read.extend(found),
                Err(error) => {
                    tracing::error!("whether profiles have changed cannot be told: {}", whole(&error));
                    return read;
                }
            }
        }
        read
    }

    /// Forgets profiles that nobody uses: the next call makes all that is needed again.
    fn forget_unused(&self) {
        self.entries().retain(|_, entry| !entry.is_unused());
    }

    async fn follow(&self, profile: &Profile, generations: &mut Generations) -> Result<(), StoreError> {
        self.aggregator(profile).await?;
        self.look_at_pins(profile, generations).await;
        Ok(())
    }

    /// What was accepted is seen at once. Of each owner it is asked once.
    async fn look_at_pins(&self, profile: &Profile, known: &mut Generations) {
        if !known.contains_key(&profile.owner) {
            match self.store().pin_generations(profile.owner.clone()).await {
                Ok(generations) => drop(known.insert(profile.owner.clone(), generations)),
                // The next time; what is held back stays so until then.
                Err(error) => return tracing::debug!("whether pins have changed cannot be told: {}", whole(&error)),
            }
        }
        let Some(generations) = known.get(&profile.owner) else { return };
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(&profile.slug) else { return };
        let mut changed = false;
        for (server, pins) in &entry.pins {
            changed |= pins.saw(generations.get(server).copied().unwrap_or_default());
        }
        if changed {
            entry.aggregators().for_each(|aggregator| aggregator.recheck_pins());
        }
    }

    /// Ends one process of a server, if it runs here for a profile; gives what starts the next.
    pub(crate) fn end_instance(&self, id: &Identity) -> Option<Arc<ServerLaunch>> {
        let launches: Vec<_> = self.entries().values().flat_map(|entry| entry.servers.values().cloned()).collect();
        launches.into_iter().find(|launch| launch.end_instance(id))
    }

    /// What was found in what the servers of a profile say, since it was changed last; none if it was not used since.
    pub(crate) fn findings(&self, profile: &Profile) -> Option<Found> {
        let entries = self.entries();
        let entry = entries.get(&profile.slug).filter(|entry| entry.id == profile.id && entry.matches(profile))?;
        Some(Found::of(&entry.aggregator, entry.scoped.values()))
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

    fn entry(&self, profile: &Profile, before: Option<&Entry>, said: Said) -> Entry {
        let nothing = MemberSettings::default();
        let member = |name: &ServerName| profile.settings.servers.get(name.as_str()).unwrap_or(&nothing);
        let servers: BTreeMap<_, _> = profile
            .servers
            .iter()
            .map(|(name, edition)| {
                let kept = before.and_then(|entry| entry.servers.get(name)).filter(|kept| kept.edition() == *edition);
                let launch = match kept {
                    Some(kept) => {
                        kept.set(self.defaults, &profile.settings, member(name));
                        Arc::clone(kept)
                    }
                    None => Arc::new(self.launch(profile, (name.clone(), *edition), member(name))),
                };
                (name.clone(), launch)
            })
            .collect();
        let said = Arc::new(said);
        let pins: BTreeMap<_, _> = servers
            .iter()
            .map(|(name, launch)| {
                let pins = KeptPins::new(self.store(), profile, name.clone(), launch.edition().revision);
                (name.clone(), Arc::new(pins))
            })
            .collect();
        let members = Members { servers: &servers, said: &said, pins: &pins };
        let was = (before.is_some_and(Entry::is_meta), before.map(|entry| &*entry.aggregator));
        let aggregator = self.aggregate(profile, members, &TokenScope::default(), was);
        if aggregator.has_toxic_flow() && profile.settings.flow_policy() == FlowPolicy::Warn {
            tracing::warn!(
                profile = %profile.slug,
                "its servers together read strangers' text and private data, and can send; `gigmcp-gateway profile set {} flow=ask` asks first",
                profile.slug
            );
        }
        let settings = profile.settings.clone();
        let called = before.map_or_else(Instant::now, |entry| entry.called);
        Entry { id: profile.id, servers, said, pins, settings, aggregator, scoped: HashMap::new(), called }
    }

    /// The servers as far as a token is good for them.
    fn aggregate(
        &self,
        profile: &Profile,
        members: Members<'_>,
        scope: &TokenScope,
        (was_meta, before): (bool, Option<&Aggregator>),
    ) -> Arc<Aggregator> {
        let backends = members.servers.iter().filter_map(|(name, launch)| {
            let mut policy = members.said.policy(name, &profile.settings);
            policy.pins = members.pins.get(name).map(|pins| Arc::<KeptPins>::clone(pins) as Arc<dyn Pins>);
            if let Reach::Tools(tools) = scope.reach(name)? {
                policy.only = Some(tools.clone());
            }
            Some(backend(name, launch, policy))
        });
        let audit = ToolAudit::new(self.store(), profile, self.supervisor.traces.clone());
        let builder =
            named(Aggregator::builder(), profile).backends(backends).limits(limits()).observed_by(Arc::new(audit));
        let builder = builder.tool_mode(profile.settings.tool_mode()).always(profile.settings.always.clone());
        let builder = builder.flow(profile.settings.flow_policy());
        // A token for less, or a change of the profile, is no way to call more often.
        let builder = match before {
            Some(before) => builder.counting_with(before),
            None => builder,
        };
        Arc::new(builder.was_meta(was_meta).build().expect("a map has no name twice"))
    }

    fn launch(&self, profile: &Profile, server: (ServerName, Edition), member: &MemberSettings) -> ServerLaunch {
        let (supervisor, places) = (Arc::clone(&self.supervisor), Arc::clone(&self.places));
        ServerLaunch::new(supervisor, places, profile, server, member, self.defaults)
    }

    /// Where profiles and tokens stand.
    pub(crate) fn store(&self) -> &Store {
        &self.supervisor.host.store
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<ProfileSlug, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How clients see names: Claude Code calls a tool `mcp__<profile>__<name>`, and counts all of it.
fn named(builder: AggregatorBuilder, profile: &Profile) -> AggregatorBuilder {
    let settings = &profile.settings;
    let client_name = settings.client_name.as_deref().unwrap_or(profile.slug.as_str());
    let prefixes = if settings.prefix { Prefixes::Always } else { Prefixes::WhenNeeded };
    builder.prefixes(prefixes).client_prefix("mcp____".len() + client_name.chars().count())
}

/// What could not be read.
enum Unread {
    Profile(StoreError),
    Server(StoreError),
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

    fn members(&self) -> Members<'_> {
        Members { servers: &self.servers, said: &self.said, pins: &self.pins }
    }

    fn is_meta(&self) -> bool {
        self.aggregator.is_meta()
    }

    fn is_replaced(&self) {
        self.aggregators().for_each(|aggregator| aggregator.is_replaced());
    }

    fn aggregators(&self) -> impl Iterator<Item = &Arc<Aggregator>> {
        self.scoped.values().chain([&self.aggregator])
    }

    /// Nothing of it runs, nobody listens to it, and it was not called for a while: as long as a session may live, if it knows
    /// what sessions have read.
    fn is_unused(&self) -> bool {
        is_forgotten(self.called.elapsed(), self.aggregator.remembers_flow())
            && self.aggregators().all(|aggregator| Arc::strong_count(aggregator) == 1)
            && !self.servers.values().any(|launch| launch.is_at_work())
    }

    fn matches(&self, profile: &Profile) -> bool {
        let same = |(name, edition): &(ServerName, Edition)| {
            self.servers.get(name).is_some_and(|launch| launch.edition() == *edition)
        };
        self.settings == profile.settings
            && self.servers.len() == profile.servers.len()
            && profile.servers.iter().all(same)
    }
}

/// The servers of a profile, and what is known of each.
#[derive(Clone, Copy)]
struct Members<'a> {
    servers: &'a BTreeMap<ServerName, Arc<ServerLaunch>>,
    said: &'a Said,
    pins: &'a BTreeMap<ServerName, Arc<KeptPins>>,
}

fn backend(name: &ServerName, launch: &Arc<ServerLaunch>, policy: ServerPolicy) -> Backend {
    let store = Arc::<ServerLaunch>::clone(launch) as Arc<dyn CatalogueStore>;
    let launch = Arc::<ServerLaunch>::clone(launch) as Arc<dyn Launch>;
    Backend::new(server_id(name), launch).with_policy(policy).with_store(store)
}

/// A start watches its own time: each server says how much it needs.
fn limits() -> AggregatorLimits {
    AggregatorLimits { launch_timeout: QUEUE + LONGEST_START, ..AggregatorLimits::default() }
}

fn server_id(name: &ServerName) -> ServerId {
    name.as_str().parse().expect("a server name is a prefix of tool names")
}

fn is_forgotten(unused: Duration, remembers_flow: bool) -> bool {
    unused >= if remembers_flow { SESSION } else { FORGOTTEN }
}

/// How long what was made for a profile is kept that nobody calls.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// How long a session of a profile that nobody calls may live.
const SESSION: Duration = Duration::from_secs(12 * 3600);
/// How many profiles are looked at in one turn.
const READ_AT_ONCE: usize = 32;
/// How many different scopes of a profile's tokens are kept ready.
const MAX_SCOPES: usize = 64;
/// How long a server that was taken out of a profile may go on without being called.
const REVOCATION_DELAY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use gigmcp_mcp::StreamableHttpLimits;

    use super::*;

    #[test]
    fn what_sessions_have_read_is_kept_for_as_long_as_they_live() {
        assert!(SESSION >= StreamableHttpLimits::default().session_idle);
        for (unused, remembers, forgotten) in [
            (FORGOTTEN, true, false),
            (FORGOTTEN, false, true), // the twin
            (SESSION, true, true),    // nor for longer
            (Duration::ZERO, false, false),
        ] {
            assert_eq!(is_forgotten(unused, remembers), forgotten, "{unused:?}, {remembers}");
        }
    }
}
