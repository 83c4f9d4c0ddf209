//! Tools described as data: one HTTP request each, for the toolpack engine.

mod document;
mod pairing;
mod print;
mod schema;
mod tool;
mod validate;

pub use schema::{Property, Schema, SchemaKind};
pub use tool::{
    ArrayStyle, Constant, Encoding, Pagination, PaginationKind, Param, ParamPlace, Part, ResponseSelection, ToolRequest,
};

pub(crate) use document::ToolspecDocument;
pub(crate) use validate::validate;

use std::fmt;

use crate::diagnostic::{Diagnostic, parse};
use crate::manifest::{Fault, Faults, Inject, InvalidManifest, Manifest};
use crate::name::{CredentialId, ServerName};
use crate::strict_json::{self, Object};
use crate::template::Template;
use crate::version::Version;
use crate::yaml;

/// A toolspec of schema version 1 or 2, every field checked.
///
/// Whether it belongs to a manifest, and asks for nothing beyond it, is told by [`Toolspec::check_against`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Toolspec {
    /// The version of the format it was written in; what is said to be from version 2 is empty in version 1.
    pub schema_version: u64,
    /// The server it is for.
    pub name: ServerName,
    /// The version of the server it is for.
    pub version: Version,
    /// Where requests go, unless a tool says otherwise.
    pub base_url: BaseUrl,
    /// What an entrusted server puts where. A sealed one puts its placeholders where the manifest says.
    pub auths: Vec<Auth>,
    /// What every request has. From version 2.
    pub constants: Vec<Constant>,
    /// The tools; at least one, names are unique.
    pub tools: Vec<ToolRequest>,
}

impl Toolspec {
    /// Reads a toolspec from JSON. Unknown fields, repeated keys and arrays in place of objects are errors.
    ///
    /// # Errors
    /// As [`Manifest::from_json`].
    pub fn from_json(text: &[u8]) -> Result<Self, InvalidManifest> {
        strict_json::without_repeats(text)?;
        let Object(document) = serde_json::from_slice(text)?;
        validate(document).map_err(InvalidManifest::Faults)
    }

    /// Reads a toolspec from YAML, as strictly as [`Manifest::from_yaml`].
    ///
    /// # Errors
    /// [`InvalidManifest::Text`] with everything that is wrong, each with line, column and what to write instead.
    pub fn from_yaml(text: &[u8]) -> Result<Self, InvalidManifest> {
        parse(text, validate).map_err(|diagnostics: Vec<Diagnostic>| InvalidManifest::Text(diagnostics.into()))
    }

    /// The toolspec as YAML; read again, it is the same toolspec.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        yaml::print(&ToolspecDocument::from(self))
    }

    /// Everything in which it differs from the manifest of its server, or goes beyond it. Hosts are compared by the pattern that
    /// the proxy enforces, so that what passes here is not refused there.
    #[must_use]
    pub fn check_against(&self, manifest: &Manifest) -> Vec<Fault> {
        let mut faults = Faults::default();
        pairing::check(&mut faults, self, manifest);
        faults.0
    }
}

/// `https://` and a host, nothing else; from version 2, parts of the host may be variables of the manifest.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct BaseUrl(Template);

impl BaseUrl {
    /// The host, with its variables.
    #[must_use]
    pub fn host(&self) -> &Template {
        &self.0
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.0)
    }
}

/// Where an entrusted server puts a credential.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Auth {
    /// Which credential; absent in version 1, which has one.
    pub credential: Option<CredentialId>,
    /// Where; never [`Inject::Env`].
    pub place: Inject,
}
