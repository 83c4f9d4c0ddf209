//! A 32-byte key that someone else keeps for us: in the environment, a file, a credential of systemd.

use std::fmt;

use super::{BoxFuture, KeyWrap, KeyWrapError};
use crate::context::{Context, PolicyHash};
use crate::key::{Key, KeyId};
use crate::key_ring::KeyRing;
use crate::memory::leaving_no_trace;
use crate::sealed::Sealed;
use crate::secret::{SecretBytes, SecretString};
use crate::vault::{SealError, Vault};

/// Wraps with a 32-byte key. See [`SecretSource`](crate::SecretSource) for where to read it from.
///
/// ```no_run
/// use gigmcp_vault::{KeyRing, LocalKey, SecretSource};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let key = LocalKey::from_hex(&SecretSource::Environment("MASTER_KEY".into()).read()?)?;
/// let ring = KeyRing::load_or_create_wrapped("/var/lib/example/keys", &key).await?;
/// # Ok(())
/// # }
/// ```
pub struct LocalKey(Vault);

impl LocalKey {
    /// Takes 32 bytes from a cryptographic random generator.
    ///
    /// # Errors
    /// [`InvalidKey`] if there are not 32.
    pub fn new(key: &SecretBytes) -> Result<Self, InvalidKey> {
        let ring = KeyRing::from_key(ONLY_KEY, 1, key).map_err(|_| InvalidKey)?;
        Ok(Self(Vault::new(ring)))
    }

    /// Takes 64 hex digits, as `openssl rand -hex 32` prints them.
    ///
    /// # Errors
    /// [`InvalidKey`] for everything else.
    pub fn from_hex(digits: &SecretString) -> Result<Self, InvalidKey> {
        let key = leaving_no_trace(|| Key::fill(|place| hex::decode_to_slice(digits.as_str(), place)));
        let key = key.map_err(|_| InvalidKey)?;
        Ok(Self::of(key))
    }

    pub(super) fn of(key: Key) -> Self {
        Self(Vault::new(KeyRing::of(ONLY_KEY, key)))
    }

    /// A sealed secret in hex, bound to what it is for.
    pub(super) fn wrap_as(&self, purpose: &Purpose<'_>, key: &SecretBytes) -> Result<String, KeyWrapError> {
        let sealed = self.0.seal_borrowed(&purpose.context(), key).map_err(|error| match error {
            SealError::Random(source) => KeyWrapError::Random(source),
            SealError::TooLong { .. } => KeyWrapError::Refused, // not a key
        })?;
        Ok(hex::encode(sealed.as_bytes()))
    }

    pub(super) fn unwrap_as(&self, purpose: &Purpose<'_>, wrapped: &str) -> Result<SecretBytes, KeyWrapError> {
        let bytes = hex::decode(wrapped).map_err(|_| KeyWrapError::Refused)?;
        if hex::encode(&bytes) != wrapped {
            return Err(KeyWrapError::Refused); // in capitals
        }
        let opened = Sealed::from_bytes(&bytes).and_then(|sealed| self.0.open(&purpose.context(), &sealed));
        opened.map_err(|_| KeyWrapError::Refused)
    }
}

impl KeyWrap for LocalKey {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn wrap<'a>(&'a self, key: &'a SecretBytes) -> BoxFuture<'a, Result<String, KeyWrapError>> {
        Box::pin(async { self.wrap_as(&PURPOSE, key) })
    }

    fn unwrap<'a>(&'a self, wrapped: &'a str) -> BoxFuture<'a, Result<SecretBytes, KeyWrapError>> {
        Box::pin(async { self.unwrap_as(&PURPOSE, wrapped) })
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalKey(..)")
    }
}

/// Which kind of wrap it is, and with which parameters: a wrapped key opens as nothing else.
pub(super) struct Purpose<'a> {
    pub(super) kind: &'static str,
    pub(super) parameters: &'a [&'a str],
}

impl Purpose<'_> {
    fn context(&self) -> Context {
        Context::of_key_file("file-key", self.kind, PolicyHash::of(&[(self.kind, self.parameters)]))
    }
}

/// The key is not 32 bytes, or not 64 hex digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a key is 32 random bytes, written as 64 hex digits (openssl rand -hex 32)")]
pub struct InvalidKey;

const KIND: &str = "local";
const PURPOSE: Purpose<'_> = Purpose { kind: KIND, parameters: &[] };
/// Its name says nothing: there is one, and it fits or does not.
const ONLY_KEY: KeyId = KeyId::from_bytes([0; 16]);
