#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod body;
mod context;
mod key;
mod key_file;
mod key_ring;
mod sealed;
mod secret;
mod vault;

#[cfg(test)]
mod vectors;

pub use context::{Context, InvalidName, PolicyHash, Purpose, SecretId, TenantId, VaultId};
pub use key::KeyId;
pub use key_file::{KeyFileError, MalformedKeyFile};
pub use key_ring::{InvalidKeyRing, KeyRing};
pub use sealed::{MAX_SECRET_BYTES, Sealed};
pub use secret::{NotUtf8, SecretBytes, SecretString};
pub use vault::{OpenError, RewrapError, SealError, Vault};
