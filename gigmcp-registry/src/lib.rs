#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod digest;
mod egress_host;
mod index;
mod keys;
mod manifest;
mod name;
mod signatures;
mod strict_json;
mod verify;
mod version;

pub use digest::{Digest, InvalidDigest};
pub use egress_host::{EgressHost, InvalidEgressHost};
pub use index::{Index, IndexFault, InvalidIndex, Server};
pub use keys::{InvalidKey, InvalidTrustRoot, KeyId, PublicKey, SigningKey, TrustRoot};
pub use manifest::{
    Builder, Category, Credential, CredentialKind, Fault, Image, Inject, InvalidManifest, Manifest, ManifestHash,
    Problem, Source, Tier, Tool,
};
pub use name::{CredentialId, InvalidCredentialId, InvalidServerName, InvalidToolName, ServerName, ToolName};
pub use signatures::{InvalidSignatures, Signature, Signatures};
pub use verify::{Freshness, MAX_INDEX_BYTES, Seen, SignedIndex, Verified, VerifyError};
pub use version::{InvalidVersion, Version};

#[cfg(feature = "oci")]
mod extract;
#[cfg(all(feature = "oci", any(fuzzing, test)))]
#[doc(hidden)]
pub mod fuzzing_oci {
    pub use crate::extract::laws::registry_tar;
}
#[cfg(feature = "oci")]
mod oci;
#[cfg(feature = "oci")]
mod remote;
#[cfg(feature = "oci")]
mod remove;
#[cfg(feature = "oci")]
mod seal;
#[cfg(feature = "oci")]
mod store;
#[cfg(feature = "oci")]
mod tar;

#[cfg(feature = "oci")]
pub use {
    extract::{Compression, Dropped, Exceeded, ExtractError, Extracted, ImageLimits, Layer, extract},
    oci::{
        DocumentFault, ImageConfig, ImageReference, Installed, Installer, InvalidReference, Platform, Progress,
        PullError, PullEvent, Registry, Repository,
    },
    remote::{
        AddressCheck, Anonymous, BoxFuture, CredentialUnavailable, RedirectFault, RegistryCredential,
        RegistryCredentials, Remote, RemoteBuildError, RemoteBuilder, RemoteError, Timeouts,
    },
    seal::{SealError, TreeDigest},
    store::{Collected, Keep, Lease, LeaseError, Store, StoreError},
    tar::LayerRefusal,
};
