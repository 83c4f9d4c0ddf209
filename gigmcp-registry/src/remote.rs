//! Registries over the network.
//!
//! A client of our own, because of what has to be refused: answers without end, redirects and token services that would be
//! given a credential of somebody else, addresses that nobody may reach. It only ever asks for what is known by its digest,
//! and gives only what has the digest it says.
//!
//! Source: OCI distribution specification 1.1; Docker registry token authentication.

mod address;
mod answer;
mod authorize;
mod blob;
mod builder;
mod challenge;
mod connect;
mod content;
mod credential;
mod error;
mod fetch;
#[cfg(feature = "build")]
mod get;
mod push;
mod timeouts;
mod url;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rustls::ClientConfig;

pub use address::AddressCheck;
pub use builder::{RemoteBuildError, RemoteBuilder};
pub use credential::{Anonymous, BoxFuture, CredentialUnavailable, RegistryCredential, RegistryCredentials};
pub use error::{RedirectFault, RemoteError};
pub use push::{PushError, PushTarget, Pushed};
pub use timeouts::Timeouts;

use crate::digest::Digest;
use crate::oci::{ImageReference, Kind, PullError, Registry};
use authorize::Tokens;

/// A client of registries. Clones share what they know.
#[derive(Clone)]
pub struct Remote(Arc<Inner>);

struct Inner {
    tls: Arc<ClientConfig>,
    addresses: Arc<dyn AddressCheck>,
    credentials: Arc<dyn RegistryCredentials>,
    mirrors: HashMap<Registry, Vec<Registry>>,
    plain_http: HashSet<Registry>,
    timeouts: Timeouts,
    tokens: Tokens,
}

impl Remote {
    /// A client that dials addresses that pass this check, and authenticates with these credentials.
    pub fn builder(
        addresses: impl AddressCheck + 'static,
        credentials: impl RegistryCredentials + 'static,
    ) -> RemoteBuilder {
        RemoteBuilder::new(Arc::new(addresses), Arc::new(credentials))
    }

    /// Something small, whole. It is not verified here, but what is too large never comes to be held.
    pub(crate) async fn small(
        &self,
        image: &ImageReference,
        digest: Digest,
        limit: u64,
        kind: Kind,
    ) -> Result<Vec<u8>, PullError> {
        let mut last = PullError::Missing { digest };
        for registry in self.places(&image.registry) {
            match self.small_from(registry, image, digest, limit, kind).await {
                // A mirror that lies is passed over like one that does not answer.
                Ok(content) if Digest::of(&content) == digest => return Ok(content),
                Ok(content) => last = PullError::WrongDigest { expected: digest, found: Digest::of(&content) },
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The mirrors of a registry, and the registry.
    fn places<'a>(&'a self, registry: &'a Registry) -> impl Iterator<Item = &'a Registry> {
        self.0.mirrors.get(registry).into_iter().flatten().chain([registry])
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("mirrors", &self.0.mirrors).finish_non_exhaustive()
    }
}
