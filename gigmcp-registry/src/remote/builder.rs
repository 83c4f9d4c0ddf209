use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};

use super::authorize::Tokens;
use super::{AddressCheck, Inner, RegistryCredentials, Remote, Timeouts};
use crate::{oci::Registry, tls};

/// Makes a [`Remote`].
pub struct RemoteBuilder {
    addresses: Arc<dyn AddressCheck>,
    credentials: Arc<dyn RegistryCredentials>,
    mirrors: HashMap<Registry, Vec<Registry>>,
    plain_http: HashSet<Registry>,
    timeouts: Timeouts,
    roots_pem: Vec<u8>,
}

impl RemoteBuilder {
    pub(super) fn new(addresses: Arc<dyn AddressCheck>, credentials: Arc<dyn RegistryCredentials>) -> Self {
        Self {
            addresses,
            credentials,
            mirrors: HashMap::new(),
            plain_http: HashSet::new(),
            timeouts: Timeouts::default(),
            roots_pem: Vec::new(),
        }
    }

    /// Asks `mirror` before `of`; of several, in the order that they are given. What a mirror gives is verified like anything
    /// else, and if it gives something else or nothing, the next one is asked.
    #[must_use]
    pub fn mirror(mut self, of: Registry, mirror: Registry) -> Self {
        self.mirrors.entry(of).or_default().push(mirror);
        self
    }

    /// Trusts these certificate authorities beside the machine's.
    #[must_use]
    pub fn roots_pem(mut self, pem: &[u8]) -> Self {
        self.roots_pem.extend_from_slice(pem);
        self.roots_pem.push(b'\n');
        self
    }

    /// With other times than [`Timeouts::default`].
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Speaks plain HTTP with this registry: whoever is on the way sees the images, and the credential. That the content is
    /// the one that was asked for is verified all the same.
    #[must_use]
    pub fn danger_plain_http(mut self, registry: Registry) -> Self {
        self.plain_http.insert(registry);
        self
    }

    /// The client.
    ///
    /// # Errors
    /// [`RemoteBuildError`] if a certificate authority cannot be read, or there is none to trust.
    pub fn build(self) -> Result<Remote, RemoteBuildError> {
        let mut roots = tls::machine_roots();
        for root in CertificateDer::pem_slice_iter(&self.roots_pem) {
            roots.add(root.map_err(RemoteBuildError::Pem)?).map_err(RemoteBuildError::Root)?;
        }
        if roots.is_empty() {
            return Err(RemoteBuildError::NoRoots);
        }
        let Self { addresses, credentials, mirrors, plain_http, timeouts, .. } = self;
        let tokens = Tokens::default();
        Ok(Remote(Arc::new(Inner {
            tls: tls::trusting(roots),
            addresses,
            credentials,
            mirrors,
            plain_http,
            timeouts,
            tokens,
        })))
    }
}

impl std::fmt::Debug for RemoteBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteBuilder").field("mirrors", &self.mirrors).finish_non_exhaustive()
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteBuildError {
    /// What should be certificates is no PEM.
    #[error("reading certificate authorities")]
    Pem(#[source] pem::Error),
    /// A certificate is none that can be trusted.
    #[error("trusting a certificate authority")]
    Root(#[source] rustls::Error),
    /// This machine trusts nobody, and nobody was named.
    #[error("there is no certificate authority to trust")]
    NoRoots,
}
