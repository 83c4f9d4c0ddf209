#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod diagnostic;
mod digest;
mod editor_schema;
mod egress_host;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod keys;
mod lint;
mod manifest;
mod name;
mod report;
mod signatures;
mod strict_json;
mod template;
mod toolspec;
mod verify;
mod version;
mod yaml;

pub use digest::{Digest, InvalidDigest};
pub use egress_host::{EgressHost, InvalidEgressHost, UnusableHost};
pub use index::{Index, IndexFault, InvalidIndex, Server};
pub use keys::{InvalidKey, InvalidTrustRoot, KeyId, PublicKey, SigningKey, TrustRoot};
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
pub use signatures::{InvalidSignatures, Signature, Signatures};
pub use verify::{Freshness, MAX_INDEX_BYTES, Seen, SignedIndex, Verified, VerifyError};
pub use version::{InvalidVersion, Version};
