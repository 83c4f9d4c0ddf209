//! What the handlers work on.

use std::sync::Arc;

use super::{
    desk::Desk,
    door::Front,
    error::{ApiError, Code},
};
use crate::{
    front::Stats,
    host::Host,
    oidc::Oidc,
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
    /// Who vouches for people besides the gateway itself, if anybody.
    pub(crate) oidc: Option<Arc<Oidc>>,
    /// Whether passwords are asked for here.
    pub(crate) local_login: bool,
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
        // `Settings::check` has refused what is none.
        let oidc = settings.oidc.config(settings.public_url.as_ref()).ok().flatten();
        Self {
            people,
            profiles,
            front: Front::new(settings),
            desk: Desk::default(),
            oidc: oidc.map(|config| Arc::new(Oidc::new(config))),
            local_login: settings.oidc.is_local(),
            http: Arc::default(),
            supervisor,
        }
    }

    /// Refuses what is done with passwords where nobody signs in with one.
    pub(crate) fn asks_for_passwords(&self) -> Result<(), ApiError> {
        match self.local_login {
            true => Ok(()),
            false => {
                Err(ApiError::new(Code::Forbidden, "people sign in by the identity provider here, not with a password"))
            }
        }
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
