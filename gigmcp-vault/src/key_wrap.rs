//! What keeps a key ring while it lies in a file: a key, a passphrase or a key service.

mod local;
mod passphrase;
#[cfg(feature = "vault-transit")]
mod transit;

use std::error::Error;
use std::fmt;
use std::pin::Pin;

pub use local::{InvalidKey, LocalKey};
pub use passphrase::{Argon2Cost, InvalidArgon2Cost, Passphrase, PassphraseTooShort};
#[cfg(feature = "vault-transit")]
pub use transit::{InvalidTransit, Transit};

use crate::secret::SecretBytes;

/// The future that [`KeyWrap`] returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Wraps and unwraps the one key that a [wrapped key file](crate::KeyRing::load_wrapped) is encrypted with.
///
/// Asynchronous because a key service is asked over the network; those that compute do so within one poll. Asked when a
/// ring is loaded or saved, never when a secret is opened: a key service that is down stops no running vault.
pub trait KeyWrap: fmt::Debug + Send + Sync {
    /// Which kind this is, 1 to 32 of `a-z`, `0-9` and `-`. Stands in the file, so that a passphrase is not tried on what a
    /// key service wrapped.
    fn kind(&self) -> &'static str;

    /// Wraps a 32-byte key. The result is what [`unwrap`](Self::unwrap) needs: 1 to [`MAX_WRAPPED_BYTES`] bytes of
    /// printable ASCII without blanks.
    fn wrap<'a>(&'a self, key: &'a SecretBytes) -> BoxFuture<'a, Result<String, KeyWrapError>>;

    /// The key that was wrapped, from a text that anyone may have changed.
    fn unwrap<'a>(&'a self, wrapped: &'a str) -> BoxFuture<'a, Result<SecretBytes, KeyWrapError>>;

    /// Wraps the same key anew, with what would wrap a new one. A key service does so without showing us the key.
    fn rewrap<'a>(&'a self, wrapped: &'a str) -> BoxFuture<'a, Result<String, KeyWrapError>> {
        Box::pin(async move { self.wrap(&self.unwrap(wrapped).await?).await })
    }
}

/// The longest text that a [`KeyWrap`] may make of a key.
pub const MAX_WRAPPED_BYTES: usize = 16 << 10;

/// Why a key was not wrapped or unwrapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyWrapError {
    /// Another key or passphrase wrapped it, or it was changed since; on purpose not told apart.
    #[error("the wrapped key does not open: another key or passphrase wrapped it, or the file was changed")]
    Refused,
    /// It was wrapped with a version of the key that is not accepted any more.
    #[error("wrapped with version {version} of the key, but the minimum is {minimum}; restore a newer file")]
    TooOld {
        /// The version that wrapped it.
        version: u32,
        /// The oldest that is accepted.
        minimum: u32,
    },
    /// Opening it would take more memory or time than a passphrase may ask for, or less than is safe.
    #[error("the cost in the file is refused")]
    Cost(#[from] InvalidArgon2Cost),
    /// The key service did not answer, or there is not enough memory. Asking again may help.
    #[error("the key cannot be had now")]
    Unavailable {
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The key service answered and refused. Asking again will not help.
    #[error("the key service refused")]
    Denied {
        /// What it said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The kernel gave no random bytes.
    #[error("drawing random bytes")]
    Random(#[from] getrandom::Error),
}
