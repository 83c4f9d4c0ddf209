//! The manifest as JSON carries it: field names and order of the format, values still text.
//!
//! Every field has a default, so that what is missing is reported by validation together with everything else.
//! The order of fields and what is left out when empty decide the hashes.

use serde::{Deserialize, Serialize};

use super::{Credential, Inject, Manifest, Tool};
use crate::strict_json::Object;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Document {
    pub(super) schema_version: u64,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) source: Object<SourceDocument>,
    pub(super) image: Object<ImageDocument>,
    pub(super) tier: String,
    pub(super) entitlements: Object<EntitlementsDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) credentials: Vec<Object<CredentialDocument>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tools: Vec<Object<ToolDocument>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) display_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) category: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) icon: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SourceDocument {
    pub(super) repo: String,
    pub(super) tag: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) package: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ImageDocument {
    #[serde(rename = "ref")]
    pub(super) reference: String,
    pub(super) digest: String,
    pub(super) entrypoint: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) builder: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct EntitlementsDocument {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) egress: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CredentialDocument {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) provider: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) scopes: Vec<String>,
    pub(super) inject: Object<InjectDocument>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) vendor: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct InjectDocument {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) header: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) format: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) env: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ToolDocument {
    pub(super) name: String,
    pub(super) default: bool,
}

impl From<&Manifest> for Document {
    fn from(manifest: &Manifest) -> Self {
        let text = |optional: &Option<String>| optional.clone().unwrap_or_default();
        Self {
            schema_version: 1,
            name: manifest.name.to_string(),
            version: manifest.version.to_string(),
            source: Object(SourceDocument {
                repo: manifest.source.repo.clone(),
                tag: manifest.source.tag.clone(),
                package: text(&manifest.source.package),
            }),
            image: Object(ImageDocument {
                reference: manifest.image.reference.clone(),
                digest: manifest.image.digest.to_string(),
                entrypoint: manifest.image.entrypoint.clone(),
                builder: manifest.image.builder.map_or_else(String::new, |builder| builder.as_str().into()),
            }),
            tier: manifest.tier.as_str().into(),
            entitlements: Object(EntitlementsDocument {
                egress: manifest.egress.iter().map(ToString::to_string).collect(),
            }),
            credentials: manifest.credentials.iter().map(|credential| Object(credential.into())).collect(),
            tools: manifest.tools.iter().map(|tool| Object(tool.into())).collect(),
            display_name: text(&manifest.display_name),
            description: text(&manifest.description),
            category: manifest.category.map_or_else(String::new, |category| category.as_str().into()),
            icon: text(&manifest.icon),
        }
    }
}

impl From<&Credential> for CredentialDocument {
    fn from(credential: &Credential) -> Self {
        let inject = match credential.inject.clone() {
            Inject::Header { name, format } => InjectDocument { header: name, format, env: String::new() },
            Inject::Env { name } => InjectDocument { env: name, ..InjectDocument::default() },
        };
        Self {
            id: credential.id.to_string(),
            kind: credential.kind.as_str().into(),
            provider: credential.provider.clone(),
            scopes: credential.scopes.clone(),
            inject: Object(inject),
            vendor: credential.vendor.clone().unwrap_or_default(),
        }
    }
}

impl From<&Tool> for ToolDocument {
    fn from(tool: &Tool) -> Self {
        Self { name: tool.name.to_string(), default: tool.default }
    }
}
