//! Signing in by an OpenID Connect provider: what is asked of it, and what of its answers is believed.
//!
//! Nothing here knows accounts: it ends with somebody who is proven to be known to the provider ([`Proven`]). Whose account that is,
//! and whether they are let in, is decided in `people/identities.rs`.

mod admission;
mod config;
mod error;
mod flow;
mod grant;
mod http;
mod logout;
mod provider;
mod tokens;
mod verify;

pub(crate) use admission::{Admission, ClaimPath, Claims, NotAdmitted, RoleMapping};
pub(crate) use config::{Config, Issuer, NewAccounts, Reach};
pub(crate) use error::OidcError;
pub(crate) use flow::{FLOW_SECONDS, Flow, LocalPath, Purpose};
pub(crate) use grant::Grant;
pub(crate) use http::holds_authorities;
pub(crate) use tokens::Refreshed;

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::people::{Email, Role};
use provider::Provider;
pub(crate) use provider::ProviderError;

/// A provider that people sign in by.
pub(crate) struct Oidc {
    config: Config,
    provider: Provider,
    /// Exchanges of codes under way: whoever comes with codes makes us ask the provider.
    places: Semaphore,
}

/// What a browser comes back with.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) state: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) error: Option<String>,
}

/// Who somebody is to a provider. Never given to anybody else.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Identity {
    pub(crate) issuer: String,
    pub(crate) subject: String,
}

impl std::fmt::Display for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} of {}", self.subject, self.issuer)
    }
}

/// Somebody whom the provider vouches for.
#[derive(Debug)]
pub(crate) struct Proven {
    pub(crate) identity: Identity,
    /// Only if the provider says that it is verified.
    pub(crate) email: Option<Email>,
    pub(crate) name: Option<String>,
    /// What they are here, if the provider decides that; or why they are not let in.
    pub(crate) admitted: Result<Option<Role>, NotAdmitted>,
    /// The provider's name of their session with it.
    pub(crate) sid: Option<String>,
    pub(crate) grant: Grant,
}

impl Oidc {
    pub(crate) fn new(config: Config) -> Self {
        Self { provider: Provider::new(&config), places: Semaphore::new(MAX_EXCHANGES), config }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Asks the provider about itself for as long as the gateway runs; never returns.
    pub(crate) async fn follow(self: Arc<Self>) {
        self.provider.follow().await;
    }

    /// Whether the provider has said what is needed to sign in by it.
    pub(crate) fn is_ready(&self) -> bool {
        self.provider.known().is_ok()
    }

    #[cfg(test)]
    pub(crate) async fn discover(&self) -> Result<(), OidcError> {
        Ok(self.provider.discover().await?)
    }
}

/// At once. Each has at most three requests of 10 s.
const MAX_EXCHANGES: usize = 32;
