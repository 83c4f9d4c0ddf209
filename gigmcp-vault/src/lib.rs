#![doc = include_str!("../README.md")]
#![deny(unsafe_code)] // `memory` alone allows it

mod body;
mod context;
mod exposure;
mod key;
mod key_file;
mod key_ring;
mod key_wrap;
mod memory;
#[cfg(feature = "recovery")]
mod recovery;
mod sealed;
mod secret;
mod secret_source;
mod vault;

#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod primitives;
#[cfg(test)]
mod residue;
#[cfg(test)]
mod vectors;

pub use context::{Context, InvalidName, PolicyHash, Purpose, SecretId, TenantId, VaultId};
pub use exposure::{AuditSink, Exposure, Reason};
pub use key::KeyId;
pub use key_file::{KeyFileError, MalformedKeyFile, Readers};
pub use key_ring::{InvalidKeyRing, KeyRing};
pub use key_wrap::{
    Argon2Cost, BoxFuture, InvalidArgon2Cost, InvalidKey, KeyWrap, KeyWrapError, LocalKey, MAX_WRAPPED_BYTES,
    Passphrase, PassphraseTooShort,
};
#[cfg(feature = "vault-transit")]
pub use key_wrap::{InvalidTransit, Transit};
pub use memory::{MemoryProtection, memory_protection};
#[cfg(feature = "recovery")]
pub use recovery::RecoveryError;
pub use sealed::{MAX_SECRET_BYTES, Sealed};
pub use secret::{NotUtf8, SecretBytes, SecretString};
pub use secret_source::{SecretSource, SourceError};
pub use vault::{OpenError, RewrapError, SealError, Vault};
