//! The manifest as YAML and JSON carry it: field names and order of the format, values still text.
//!
//! Every field has a default, so that what is missing is reported by validation together with everything else.
//! The order of fields and what is left out when empty decide the hashes. The comments on the fields are what editors show.

mod parts;
mod print;

pub(crate) use parts::*;

use serde::{Deserialize, Serialize};

use crate::strict_json::{Object, given};

/// A manifest: what a server is, where its image comes from, what it asks for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Manifest"))]
#[cfg_attr(test, schemars(extend("required" = ["schemaVersion", "name", "version", "source", "image", "tier"])))]
pub(crate) struct Document {
    /// The version of this format: 1 or 2.
    #[cfg_attr(test, schemars(extend("enum" = [1, 2])))]
    pub(super) schema_version: u64,
    /// The server's name, prefix of its tools: 1 to 32 lower-case letters, digits and inner hyphens.
    #[cfg_attr(test, schemars(length(max = 32), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")))]
    pub(super) name: String,
    /// MAJOR.MINOR.PATCH.
    #[cfg_attr(test, schemars(regex(pattern = r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$")))]
    pub(super) version: String,
    /// Where the source code is.
    pub(super) source: Object<SourceDocument>,
    /// Where the image is, and which.
    pub(super) image: Object<ImageDocument>,
    /// `sealed`: never holds a real credential. `entrusted`: gets it in its environment.
    #[cfg_attr(test, schemars(with = "super::Tier"))]
    pub(super) tier: String,
    /// What it asks to reach.
    pub(super) entitlements: Object<EntitlementsDocument>,
    /// The credentials it asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) credentials: Vec<Object<CredentialDocument>>,
    /// The tools it has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tools: Vec<Object<ToolDocument>>,
    /// Its name for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[cfg_attr(test, schemars(length(max = 128)))]
    pub(super) display_name: String,
    /// One paragraph for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[cfg_attr(test, schemars(length(max = 4096)))]
    pub(super) description: String,
    /// Where it stands in the catalogue.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[cfg_attr(test, schemars(with = "super::Category"))]
    pub(super) category: String,
    /// A picture's address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) icon: String,
    /// Version 2: what each user says at installation, such as a tenant's subdomain. Written `{name}` where it is used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) variables: Vec<Object<VariableDocument>>,
    /// Version 2: how the program is started.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "RuntimeDocument"))]
    pub(super) runtime: Option<Object<RuntimeDocument>>,
    /// Version 2: how much it needs. An operator may give less.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "LimitsDocument"))]
    pub(super) limits: Option<Object<LimitsDocument>>,
    /// Version 2: directories it may write to, empty at every start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) writable: Vec<Object<DirectoryDocument>>,
    /// Version 2: one directory that outlives it, for each user.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "DirectoryDocument"))]
    pub(super) state: Option<Object<DirectoryDocument>>,
}
