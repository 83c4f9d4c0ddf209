//! What can be wrong with a manifest.

use std::fmt;

use gigmcp_egress::{InvalidFieldName, InvalidJsonPointer, InvalidPathPattern};

use super::variable::{InvalidValueReason, InvalidVariableName};
use crate::diagnostic::Diagnostics;
use crate::digest::InvalidDigest;
use crate::egress_host::InvalidEgressHost;
use crate::name::{InvalidCredentialId, InvalidServerName, InvalidToolName};
use crate::template::InvalidTemplate;
use crate::version::InvalidVersion;

/// Why a text is not a manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidManifest {
    /// Not JSON of the right shape; the cause names line and column.
    #[error("the manifest is not JSON of its format")]
    Syntax(#[from] serde_json::Error),
    /// The values are wrong; all of them are listed.
    #[error("the manifest has {} faults: {}", .0.len(), List(.0))]
    Faults(Vec<Fault>),
    /// The YAML, its fields or the values are wrong; all of it is listed, with its place.
    #[error("the manifest {0}")]
    Text(Diagnostics),
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct Fault {
    /// The field, for example `credentials[0].inject.header`.
    pub path: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The schema version is not one that this program knows.
    #[error("schema version {found} is not supported, only 1 and 2 are")]
    SchemaVersion {
        /// The version found; 0 if there was none.
        found: u64,
    },
    /// The field is required.
    #[error("is required")]
    Missing,
    /// The value is not one of the words of the format.
    #[error("is none of {}", .allowed.join(", "))]
    Word {
        /// The word found.
        found: String,
        /// The words of the format.
        allowed: &'static [&'static str],
    },
    /// Not a server name.
    #[error(transparent)]
    ServerName(#[from] InvalidServerName),
    /// Not a version.
    #[error(transparent)]
    Version(#[from] InvalidVersion),
    /// Not a digest.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
    /// Not an egress host.
    #[error(transparent)]
    EgressHost(#[from] InvalidEgressHost),
    /// Not a credential id.
    #[error(transparent)]
    CredentialId(#[from] InvalidCredentialId),
    /// Not a tool name.
    #[error(transparent)]
    ToolName(#[from] InvalidToolName),
    /// Too long, or with characters that a line of plain text does not have.
    #[error("is longer than {max_bytes} bytes or has control characters")]
    Text {
        /// The longest text allowed here.
        max_bytes: usize,
    },
    /// Spaces, control characters, non-ASCII, or a leading hyphen where a program would read an option.
    #[error("is not one plain ASCII word, or starts with a hyphen")]
    PlainWord,
    /// Not an absolute path, or one that wanders.
    #[error("is not an absolute path of plain segments")]
    Entrypoint,
    /// The bundle would cover the root directory.
    #[error("must be in a directory of its own, because the bundle's directory is mounted whole")]
    EntrypointInRoot,
    /// Not a directory inside the repository.
    #[error("is not a relative path of letters, digits, `.`, `_` and `-` without `..`")]
    Package,
    /// Not a lower-case slug.
    #[error("is not lower-case letters, digits and inner hyphens")]
    Slug,
    /// Not a header name.
    #[error("is not a header name")]
    HeaderName,
    /// A header that frames or routes the request.
    #[error("is a header that frames or routes the request, which no credential goes into")]
    ReservedHeader,
    /// Not a header value with one hole.
    #[error("is not printable ASCII with `{{token}}` exactly once")]
    Format,
    /// Not the name of an environment variable.
    #[error("is not an upper-case variable name")]
    EnvName,
    /// A variable that changes how programs are loaded or reach the network.
    #[error("is a variable that steers the loader, a runtime or the network")]
    ReservedEnv,
    /// The same value stands earlier in the list.
    #[error("occurs twice")]
    Repeated,
    /// The tier does not allow it.
    #[error("is not allowed in the {tier} tier")]
    NotInTier {
        /// The manifest's tier.
        tier: &'static str,
    },
    /// An OAuth credential needs a vendor.
    #[error("is required for credentials of type oauth2")]
    VendorMissing,
    /// Only schema version 2 has this.
    #[error("needs `schemaVersion: 2`")]
    NeedsVersion2,
    /// A list that nobody can review.
    #[error("has more than {max} items")]
    TooMany {
        /// The most.
        max: usize,
    },
    /// A number out of its bounds.
    #[error("is not from {min} to {max}")]
    Range {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// Not the name of a variable.
    #[error(transparent)]
    VariableName(#[from] InvalidVariableName),
    /// Not a value of the variable whose choice it is.
    #[error("{0}")]
    Choice(InvalidValueReason),
    /// Not text with holes.
    #[error(transparent)]
    Template(#[from] InvalidTemplate),
    /// A hole that no variable fills.
    #[error("uses `{{{variable}}}`, which is not in `variables`")]
    UnknownVariable {
        /// What is in the hole.
        variable: String,
    },
    /// Not a path pattern.
    #[error(transparent)]
    PathPattern(#[from] InvalidPathPattern),
    /// Not the name of a query parameter or form field.
    #[error(transparent)]
    FieldName(#[from] InvalidFieldName),
    /// Not a pointer into JSON.
    #[error(transparent)]
    JsonPointer(#[from] InvalidJsonPointer),
    /// A credential has one place.
    #[error("is a second place for one credential")]
    SecondPlace,
    /// Not what a segment of a path may begin with.
    #[error("is not letters, digits and -._~, at most 64")]
    PathPrefix,
    /// Not what a key may begin with.
    #[error("is not printable ASCII without blanks, at most 64")]
    KeyPrefix,
    /// The credential would go to every host.
    #[error("is required where the entitlements have more than one host: say which of them the credential is for")]
    UnboundCredential,
    /// The entitlements do not allow this.
    #[error("is not allowed by the entitlements")]
    OutsideOfEntitlements,
    /// Bytes that are not read go to one host.
    #[error("has a wildcard, which hosts that are reached over plain TCP must not have")]
    TcpWildcard,
    /// A directory of the system, or not an absolute path.
    #[error("is not an absolute path of plain segments outside of /proc, /sys, /dev and the system's own directories")]
    WritablePath,
    /// One directory would hide the other.
    #[error("is, or is in, a directory that is listed before, or has one in it")]
    OverlappingDirectory,
    /// A base URL is less than a URL.
    #[error("is not `https://` and a lower-case host name, without port, path, query and user")]
    BaseUrl,
    /// Version 2 names the credential.
    #[error("is of version 1; write `auths`, each with its `credential` and `inject`")]
    AuthOfVersion1,
    /// A request has no environment.
    #[error("is no place in a request")]
    EnvInRequest,
    /// A constant is text, a number or a boolean.
    #[error("is not text, a number or a boolean")]
    NotScalar,
    /// Not the path of one request.
    #[error("is not a path of plain segments; a query is made of parameters")]
    ToolPath,
    /// A hole that nothing fills.
    #[error("has the hole `{{{hole}}}`, which no parameter in the path fills")]
    HoleWithoutParam {
        /// What is in the hole.
        hole: String,
    },
    /// A parameter that the path has no hole for.
    #[error("is in the path, which has no hole for it")]
    ParamWithoutHole,
    /// A path is never without one of its segments.
    #[error("must be true, because the path is never without it")]
    PathParamOptional,
    /// Such requests have no body.
    #[error("is in the body, which only POST, PUT and PATCH have")]
    BodyWithoutBody,
    /// Where a credential is put, a model says nothing.
    #[error("is where the credential is put")]
    PlaceOfAuth,
    /// Not the name of something in a request.
    #[error("is not a name: one line of at most 128 bytes without blanks around it")]
    ParamName,
    /// Not a name that models can say.
    #[error("is not letters, digits and _.-, at most 64, as models need it; give the other name in `as`")]
    ModelName,
    /// The field does not belong there.
    #[error("does not apply to {kind}")]
    NotForType {
        /// What it does not apply to.
        kind: &'static str,
    },
    /// A lower bound above the upper one.
    #[error("is above its upper bound")]
    BoundsCrossed,
    /// Not what the parameter may be.
    #[error("is not a value of this type and its bounds")]
    NotOfSchema,
    /// Only parts of a multipart body are files.
    #[error("is only for text in the body of a tool with `encoding: multipart`")]
    NotMultipart,
    /// Not plain enough for the head of a part.
    #[error("is not letters, digits and -._+/, at most 128")]
    PartHead,
    /// The page is not a model's to say.
    #[error("is a parameter as well; the engine says the page, not the model")]
    PageIsParam,
    /// The toolspec is of another server or version.
    #[error("differs from the manifest")]
    NotManifests,
    /// The toolspec has more tools than the manifest.
    #[error("is not a tool of the manifest")]
    UnknownTool,
    /// The toolspec has fewer tools than the manifest.
    #[error("has no tool {name:?}, which the manifest lists")]
    ToolMissing {
        /// Its name.
        name: String,
    },
    /// A request would be refused.
    #[error("goes to {host}, which the manifest's egress does not allow")]
    HostNotAllowed {
        /// The host.
        host: String,
    },
    /// A sealed server writes its placeholder where the manifest says.
    #[error("is for entrusted servers; a sealed one puts its credential where the manifest says")]
    AuthInSealed,
    /// Nobody says where the credential goes.
    #[error("is required: the server is entrusted with a credential and nothing says where it goes")]
    AuthMissing,
    /// The manifest has no such credential.
    #[error("is not a credential of the manifest")]
    UnknownCredential,
    /// The document's place in the index says something else.
    #[error("differs from its key in the index")]
    NotItsKey,
}

struct List<'a>(&'a [Fault]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}
