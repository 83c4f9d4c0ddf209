use std::future::Future;
use std::pin::Pin;

use zeroize::Zeroizing;

use crate::oci::Registry;

/// A future that can be kept behind a trait.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where the credentials of private registries come from.
pub trait RegistryCredentials: Send + Sync {
    /// The credential for `registry`, if there is one that may be sent to `to`.
    ///
    /// `to` is the registry itself, or the token service that the registry names: Docker Hub's is `auth.docker.io`. A registry
    /// can name any, so answer by both, with the credential of `registry` if `to` is its own service, and never with one of `to`
    /// for another registry: that one would be given the token that is bought with it. It is never sent anywhere else, nor over
    /// plain HTTP unless that was allowed for `to`.
    fn credential<'a>(
        &'a self,
        registry: &'a Registry,
        to: &'a Registry,
    ) -> BoxFuture<'a, Result<Option<RegistryCredential>, CredentialUnavailable>>;
}

/// No credential for anybody.
#[derive(Clone, Copy, Debug)]
pub struct Anonymous;

impl RegistryCredentials for Anonymous {
    fn credential<'a>(
        &'a self,
        _registry: &'a Registry,
        _to: &'a Registry,
    ) -> BoxFuture<'a, Result<Option<RegistryCredential>, CredentialUnavailable>> {
        Box::pin(async { Ok(None) })
    }
}

/// A user's name and password, or a token in place of that. Wiped when it is dropped.
pub struct RegistryCredential {
    user: Zeroizing<String>,
    password: Zeroizing<String>,
}

impl RegistryCredential {
    /// What is sent as HTTP's basic authentication.
    #[must_use]
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: Zeroizing::new(user.into()), password: Zeroizing::new(password.into()) }
    }

    pub(super) fn basic(&self) -> Zeroizing<String> {
        use base64::Engine as _;
        let pair = Zeroizing::new(format!("{}:{}", *self.user, *self.password));
        let encoded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(pair.as_bytes()));
        Zeroizing::new(format!("Basic {}", *encoded))
    }
}

impl std::fmt::Debug for RegistryCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RegistryCredential(..)")
    }
}

/// There may be a credential, but it cannot be had now. Nothing is asked without it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the credential is not available")]
pub struct CredentialUnavailable;
