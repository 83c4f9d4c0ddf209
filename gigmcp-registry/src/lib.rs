#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod canonical;
mod client;
mod diagnostic;
mod diff;
mod digest;
mod editor_schema;
mod egress_host;
mod envelope;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod keys;
mod lint;
mod manifest;
mod moment;
mod name;
#[cfg(feature = "openapi")]
mod openapi;
mod original;
mod report;
mod root;
mod seen;
mod signatures;
mod strict_json;
mod template;
mod threshold;
#[cfg(any(feature = "https", feature = "oci"))]
mod tls;
mod toolspec;
mod transport;
mod verify;
mod version;
mod yaml;

pub use digest::{Digest, InvalidDigest};
pub use egress_host::{EgressHost, InvalidEgressHost, UnusableHost};
pub use manifest::{
    Builder, Category, Credential, CredentialKind, Fault, Image, Inject, InvalidManifest, Manifest, ManifestHash,
    Problem, Source, Tier, Tool,
};

// From schema version 2, and what reads and checks documents.
pub use diagnostic::{Diagnostic, Diagnostics, Place, Rule, Severity};
pub use editor_schema::{MANIFEST_SCHEMA, TOOLSPEC_SCHEMA};
pub use lint::{Denylist, InvalidDenylist, Linter};
pub use manifest::{
    Allowance, Alphabet, BasicPart, Binding, Directory, InvalidValue, InvalidValueReason, InvalidVariableName, Method,
    PlaceholderShape, RequestRule, ResourceLimits, Runtime, RuntimeProfile, TcpRule, Values, Variable, VariableKind,
    VariableName,
};
pub use report::{Checked, Colour, Report};
pub use template::{InvalidTemplate, Template};
pub use toolspec::{
    ArrayStyle, Auth, BaseUrl, Constant, Encoding, Pagination, PaginationKind, Param, ParamPlace, Part, Property,
    ResponseSelection, Schema, SchemaKind, ToolRequest, Toolspec,
};

pub use name::{CredentialId, InvalidCredentialId, InvalidServerName, InvalidToolName, ServerName, ToolName};
pub use version::{InvalidVersion, Version};

#[cfg(feature = "openapi")]
pub use openapi::{ImportedTools, OpenApiError, OpenApiImport};

// Keys, signatures, the signed index.
pub use client::{IndexClient, InvalidState, OpenError, RefreshError, Refreshed, State, StateError, StateFile};
pub use diff::{Bearing, Change, IndexDiff, ManifestDiff, VersionChange};
pub use envelope::Envelope;
pub use index::{BuildIndexError, Index, IndexBuilder, IndexFault, InvalidIndex, Server};
pub use keys::{InvalidKey, InvalidTrustRoot, KeyId, PublicKey, SigningKey, TrustRoot};
pub use root::{InvalidRoot, MAX_ROOT_BYTES, Root, RootError, SignedRoot};
pub use seen::{InvalidSeen, Seen};
pub use signatures::{InvalidSignatures, Signature, Signatures};
pub use threshold::Untrusted;
pub use transport::{Download, Fetched, Files, FilesError, RegistryFile, TooLong, Transport};
#[cfg(feature = "https")]
pub use transport::{HttpError, Https, HttpsError, InvalidHttps};
pub use verify::{Freshness, MAX_CLOCK_SKEW, MAX_INDEX_BYTES, SignedIndex, Verified, VerifyError};

#[cfg(feature = "build")]
pub mod build;
#[cfg(feature = "oci")]
mod extract;
#[cfg(all(feature = "oci", any(fuzzing, test)))]
#[doc(hidden)]
pub mod fuzzing_oci {
    pub use crate::extract::laws::registry_tar;
}
#[cfg(feature = "oci")]
mod lock;
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
        DocumentFault, ImageConfig, ImageReference, Installed, Installer, InvalidReference, LayoutImage, Platform,
        Progress, PullError, PullEvent, Registry, Repository, layout_images,
    },
    remote::{
        AddressCheck, Anonymous, BoxFuture, CredentialUnavailable, PushError, PushTarget, Pushed, RedirectFault,
        RegistryCredential, RegistryCredentials, Remote, RemoteBuildError, RemoteBuilder, RemoteError, Timeouts,
    },
    seal::{SealError, TreeDigest},
    store::{Collected, Keep, Lease, LeaseError, Store, StoreError},
    tar::LayerRefusal,
};
