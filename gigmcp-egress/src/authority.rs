use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use crate::ca::{CertificateAuthority, MintError};
use crate::name::HostName;
use crate::pattern::HostPattern;
use crate::trust::TrustPaths;
use crate::{jks, roots};

/// The certificate authority of one sandbox, made by [`EgressProxy::authority`](crate::EgressProxy::authority) before the
/// sandbox starts, so that what must be trusted can be put inside.
///
/// It signs for the hosts it was made for and no others, and its certificate says so: a host that is allowed later is refused
/// until the sandbox starts again. Clones are the same authority, for a sandbox whose sockets are attached more than once.
#[derive(Clone)]
pub struct SandboxAuthority {
    ca: Arc<CertificateAuthority>,
    machine_roots: Arc<[CertificateDer<'static>]>,
}

impl SandboxAuthority {
    pub(crate) fn generate(
        hosts: impl IntoIterator<Item = HostPattern>,
        machine_roots: Arc<[CertificateDer<'static>]>,
    ) -> Result<Self, MintError> {
        let ca = Arc::new(CertificateAuthority::generate(hosts.into_iter().collect())?);
        Ok(Self { ca, machine_roots })
    }

    /// The authority alone, as PEM, for programs that add it to what they trust.
    pub fn ca_pem(&self) -> Vec<u8> {
        roots::pem([self.ca.certificate()])
    }

    /// The public roots of this machine and the authority, which comes last, as PEM. What upstreams are verified with besides
    /// is not in it: the sandbox never sees their certificates.
    pub fn ca_bundle_pem(&self) -> Vec<u8> {
        roots::pem(self.trusted())
    }

    /// The same as a Java trust store of the type JKS, which every JDK reads, with the password
    /// [`TrustPaths::JAVA_PASSWORD`].
    pub fn java_trust_store(&self) -> Vec<u8> {
        jks::trust_store(self.trusted(), TrustPaths::JAVA_PASSWORD)
    }

    /// What to put where inside the sandbox, for the environment that [`TrustPaths::environment`] gives.
    pub fn files(&self, paths: &TrustPaths) -> [(String, Vec<u8>); 3] {
        [
            (paths.bundle(), self.ca_bundle_pem()),
            (paths.authority(), self.ca_pem()),
            (paths.java_store(), self.java_trust_store()),
        ]
    }

    pub(crate) fn mint(&self, host: &HostName) -> Result<CertifiedKey, MintError> {
        self.ca.mint(host)
    }

    fn trusted(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.machine_roots.iter().chain([self.ca.certificate()])
    }
}

impl fmt::Debug for SandboxAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxAuthority").finish_non_exhaustive()
    }
}

/// An authority could not be made: the random source or the signer failed.
#[derive(Debug, thiserror::Error)]
#[error("making the certificate authority of a sandbox")]
pub struct AuthorityError {
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl From<MintError> for AuthorityError {
    fn from(error: MintError) -> Self {
        Self { source: Box::new(error) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_holds_the_machines_roots_and_the_authority_last() {
        let other = SandboxAuthority::generate([], Arc::default()).unwrap();
        let machine: Arc<[_]> = [other.ca.certificate().clone()].into();
        let authority = SandboxAuthority::generate(["api.example.com".parse().unwrap()], machine).unwrap();
        let read = roots::read_pem(&authority.ca_bundle_pem()).unwrap();
        assert_eq!(read, [other.ca.certificate().clone(), authority.ca.certificate().clone()]);
        assert_eq!(roots::read_pem(&authority.ca_pem()).unwrap(), [authority.ca.certificate().clone()]);
        assert_ne!(read[0], read[1], "each sandbox has an authority of its own");
    }
}
