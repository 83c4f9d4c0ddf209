#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod canonical;
mod client;
mod digest;
mod egress_host;
mod envelope;
mod index;
mod keys;
mod manifest;
mod moment;
mod name;
mod original;
mod root;
mod seen;
mod signatures;
mod strict_json;
mod threshold;
mod transport;
mod verify;
mod version;

pub use digest::{Digest, InvalidDigest};
pub use egress_host::{EgressHost, InvalidEgressHost};
pub use manifest::{
    Builder, Category, Credential, CredentialKind, Fault, Image, Inject, InvalidManifest, Manifest, ManifestHash,
    Problem, Source, Tier, Tool,
};
pub use name::{CredentialId, InvalidCredentialId, InvalidServerName, InvalidToolName, ServerName, ToolName};
pub use version::{InvalidVersion, Version};

// Keys, signatures, the signed index.
pub use client::{IndexClient, InvalidState, OpenError, RefreshError, Refreshed, State, StateError, StateFile};
pub use envelope::Envelope;
pub use index::{BuildIndexError, Index, IndexBuilder, IndexFault, InvalidIndex, Server};
pub use keys::{InvalidKey, InvalidTrustRoot, KeyId, PublicKey, SigningKey, TrustRoot};
pub use root::{InvalidRoot, MAX_ROOT_BYTES, Root, RootError, SignedRoot};
pub use seen::{InvalidSeen, Seen};
pub use signatures::{InvalidSignatures, Signature, Signatures};
pub use threshold::Untrusted;
pub use transport::{Directory, DirectoryError, Download, Fetched, RegistryFile, TooLong, Transport};
#[cfg(feature = "https")]
pub use transport::{HttpError, Https, HttpsError, InvalidHttps};
pub use verify::{Freshness, MAX_CLOCK_SKEW, MAX_INDEX_BYTES, SignedIndex, Verified, VerifyError};
