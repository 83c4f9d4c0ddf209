//! What a server is, where its image comes from, and what it asks for.

mod credential;
mod document;
mod entitlement;
mod faults;
mod hash;
mod problem;
mod resources;
mod rules;
mod validate;
mod variable;
mod words;

pub use credential::{Binding, Credential, Inject, PlaceholderShape};
pub use entitlement::{RequestRule, TcpRule};
pub use hash::ManifestHash;
pub use problem::{Fault, InvalidManifest, Problem};
pub use resources::{Directory, ResourceLimits, Runtime};
pub use variable::{InvalidValue, InvalidValueReason, InvalidVariableName, Values, Variable, VariableName};
pub use words::{
    Allowance, Alphabet, BasicPart, Builder, Category, CredentialKind, Method, RuntimeProfile, Tier, VariableKind,
};

pub(crate) use credential::place;
pub(crate) use document::{Document, InjectDocument};
pub(crate) use faults::Faults;
pub(crate) use rules::{header_name, line, paragraph};
pub(crate) use validate::validate;
pub(crate) use words::words;

use crate::digest::Digest;
use crate::egress_host::EgressHost;
use crate::name::{ServerName, ToolName};
use crate::strict_json::Object;
use crate::version::Version;
use crate::yaml;

/// A manifest of schema version 1 or 2, every field checked.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Manifest {
    /// The version of the format it was written in; what is said to be from version 2 is empty in version 1.
    pub schema_version: u64,
    /// The server's name, prefix of its tools.
    pub name: ServerName,
    /// The version described here.
    pub version: Version,
    /// Where the source code is.
    pub source: Source,
    /// Where the image is, and which.
    pub image: Image,
    /// Whether the server may hold real credentials.
    pub tier: Tier,
    /// The hosts it asks to reach over HTTPS with any request, in the manifest's order.
    pub egress: Vec<EgressHost>,
    /// The hosts it asks to reach with some requests only. From version 2.
    pub rules: Vec<RequestRule>,
    /// The hosts it asks to reach that do not speak HTTP; none unless it is entrusted. From version 2.
    pub tcp: Vec<TcpRule>,
    /// The credentials it asks for; ids are unique.
    pub credentials: Vec<Credential>,
    /// The tools it has; names are unique.
    pub tools: Vec<Tool>,
    /// Name for people; absent if empty.
    pub display_name: Option<String>,
    /// One paragraph for people.
    pub description: Option<String>,
    /// Where it stands in the catalogue.
    pub category: Option<Category>,
    /// A picture's address.
    pub icon: Option<String>,
    /// What each user says at installation; names are unique. From version 2.
    pub variables: Vec<Variable>,
    /// How the program is started. From version 2.
    pub runtime: Option<Runtime>,
    /// How much it needs. From version 2.
    pub limits: Option<ResourceLimits>,
    /// Directories it may write to, empty at every start. From version 2.
    pub writable: Vec<Directory>,
    /// A directory that outlives it, one for each user. From version 2.
    pub state: Option<Directory>,
}

impl Manifest {
    /// Reads a manifest from JSON. Unknown fields, repeated keys and arrays in place of objects are errors.
    ///
    /// # Errors
    /// [`InvalidManifest::Syntax`] for the first thing that is not such JSON; otherwise [`InvalidManifest::Faults`] with
    /// everything that is wrong with the values.
    pub fn from_json(text: &[u8]) -> Result<Self, InvalidManifest> {
        let Object(document) = serde_json::from_slice(text)?;
        validate(document).map_err(InvalidManifest::Faults)
    }

    /// Reads a manifest from YAML, of which only what every program reads in the same way is taken: no anchors, aliases, tags,
    /// directives or further documents, no repeated keys, and no word that YAML 1.1 takes for something else (`on`, `012`).
    ///
    /// # Errors
    /// [`InvalidManifest::Text`] with everything that is wrong, each with line, column and what to write instead.
    pub fn from_yaml(text: &[u8]) -> Result<Self, InvalidManifest> {
        crate::diagnostic::parse(text, validate).map_err(|diagnostics| InvalidManifest::Text(diagnostics.into()))
    }

    /// The manifest as YAML; read again, it is the same manifest.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        yaml::print(&Document::from(self))
    }
}

/// A manifest as compact JSON.
#[cfg(any(fuzzing, test))]
pub(crate) fn to_json(manifest: &Manifest) -> String {
    serde_json::to_string(&Document::from(manifest)).expect("text, numbers and lists always have JSON")
}

/// Where a server's source code is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    /// The repository, for example `github.com/example/notes-mcp`.
    pub repo: String,
    /// The tag that was built.
    pub tag: String,
    /// The directory to build, relative to the repository's root; the root if absent.
    pub package: Option<String>,
}

/// Where a server's image is, and which.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Image {
    /// Registry and repository, without digest.
    pub reference: String,
    /// The digest of the multi-architecture index.
    pub digest: Digest,
    /// The program to start, an absolute path inside the image without `.` and `..`.
    pub entrypoint: String,
    /// How the image was built; [`Builder::GoStatic`] if absent.
    pub builder: Option<Builder>,
}

/// A tool of a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tool {
    /// Its name within the server.
    pub name: ToolName,
    /// Whether it is switched on from the start.
    pub default: bool,
    /// The digest of its definition as the server lists it; another one is not shown to a model. From schema version 2.
    pub definition: Option<Digest>,
    /// Whether it changes nothing, wherever it is called. From schema version 2.
    pub read_only: bool,
}
