//! What the handlers work on.

use std::sync::Arc;

use super::{desk::Desk, door::Front};
use crate::{
    front::Stats,
    host::Host,
    people::{People, Terms},
    profiles::Profiles,
    secrets::Secrets,
    settings::Settings,
    store::Store,
    supervisor::Supervisor,
};

/// The parts of the gateway that the API is about.
pub(crate) struct State {
    pub(crate) people: People,
    pub(crate) profiles: Arc<Profiles>,
    pub(crate) front: Front,
    pub(crate) desk: Desk,
    /// What is counted of connections and requests.
    pub(crate) http: Arc<Stats>,
    supervisor: Arc<Supervisor>,
}

impl State {
    pub(crate) fn new(supervisor: Arc<Supervisor>, settings: &Settings) -> Self {
        let people = People::new(supervisor.host.store.clone(), Terms::of(settings.session_ttl));
        Self::with_people(supervisor, people, settings)
    }

    /// The same with these people.
    pub(crate) fn with_people(supervisor: Arc<Supervisor>, people: People, settings: &Settings) -> Self {
        let profiles = Arc::new(Profiles::new(Arc::clone(&supervisor), settings));
        Self { people, profiles, front: Front::new(settings), desk: Desk::default(), http: Arc::default(), supervisor }
    }

    pub(crate) fn supervisor(&self) -> &Arc<Supervisor> {
        &self.supervisor
    }

    pub(crate) fn host(&self) -> &Host {
        &self.supervisor.host
    }

    pub(crate) fn store(&self) -> &Store {
        &self.supervisor.host.store
    }

    pub(crate) fn secrets(&self) -> &Secrets {
        &self.supervisor.secrets
    }
}
