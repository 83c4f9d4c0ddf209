//! The toolspec as YAML and JSON carry it. The comments on the fields are what editors show.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manifest::InjectDocument;
use crate::strict_json::{Object, given};

/// A toolspec: tools as one HTTP request each.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Toolspec"))]
#[cfg_attr(test, schemars(extend("required" = ["schemaVersion", "name", "version", "baseUrl", "tools"])))]
pub(crate) struct ToolspecDocument {
    /// The version of this format: 1 or 2.
    #[cfg_attr(test, schemars(extend("enum" = [1, 2])))]
    pub(crate) schema_version: u64,
    /// The server's name, as in its manifest.
    pub(crate) name: String,
    /// The server's version, as in its manifest.
    pub(crate) version: String,
    /// `https://` and a host, nothing else; in version 2 with `{variables}` of the manifest.
    #[cfg_attr(test, schemars(regex(pattern = "^https://[^/?#@:]+$")))]
    pub(crate) base_url: String,
    /// Version 1, entrusted servers only: where the credential is put.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "InjectDocument"))]
    pub(crate) auth: Option<Object<InjectDocument>>,
    /// Version 2, entrusted servers only: where each credential is put.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) auths: Vec<Object<AuthDocument>>,
    /// Version 2: what every request has, and no model sees.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) constants: Vec<Object<ConstantDocument>>,
    /// The tools.
    pub(crate) tools: Vec<Object<ToolRequestDocument>>,
}

/// Where a credential is put.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["credential", "inject"])))]
pub(crate) struct AuthDocument {
    /// Its id in the manifest.
    pub(crate) credential: String,
    /// The place.
    pub(crate) inject: Object<InjectDocument>,
}

/// One tool.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(extend("required" = ["name", "description", "method", "path"])))]
pub(crate) struct ToolRequestDocument {
    /// Its name, as in the manifest.
    pub(crate) name: String,
    /// What it does, for models.
    pub(crate) description: String,
    /// The request's method.
    #[cfg_attr(test, schemars(extend("enum" = ["GET", "POST", "PUT", "PATCH", "DELETE"])))]
    pub(crate) method: String,
    /// The request's path, with a `{hole}` for each parameter in it.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    pub(crate) path: String,
    /// Where this request goes, if elsewhere.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) base_url: String,
    /// How the body is written; `json` if absent. Version 2: `multipart`.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[cfg_attr(test, schemars(with = "super::Encoding"))]
    pub(crate) encoding: String,
    /// What a model says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) params: Vec<Object<ParamDocument>>,
    /// Version 2: what every request of this tool has, and no model sees.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) constants: Vec<Object<ConstantDocument>>,
    /// Version 2: what of the answer is shown.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "ResponseDocument"))]
    pub(crate) response: Option<Object<ResponseDocument>>,
    /// Version 2: how further pages are asked for.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "PaginationDocument"))]
    pub(crate) pagination: Option<Object<PaginationDocument>>,
}

/// A parameter, a property of one, or what the items of one are.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["type"])))]
pub(crate) struct ParamDocument {
    /// Its name for models. Items have none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Where it is put; only of parameters.
    #[serde(rename = "in", skip_serializing_if = "String::is_empty")]
    #[cfg_attr(test, schemars(with = "super::ParamPlace"))]
    pub(crate) place: String,
    /// Its type.
    #[serde(rename = "type")]
    #[cfg_attr(test, schemars(extend("enum" = ["string", "integer", "number", "boolean", "object", "array"])))]
    pub(crate) kind: String,
    /// Whether it must be said.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) required: bool,
    /// What it is, for models.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    /// Version 2: its name in the request, if another one; in a JSON body also a pointer, such as `/parent/id`, which makes the
    /// objects on its way.
    #[serde(rename = "as", skip_serializing_if = "String::is_empty")]
    pub(crate) wire_name: String,
    /// Version 2: the values there are.
    #[serde(rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub(crate) choices: Vec<Value>,
    /// Version 2: what it is if nothing is said.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Value"))]
    pub(crate) default: Option<Value>,
    /// Version 2: the least number.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "f64"))]
    pub(crate) minimum: Option<f64>,
    /// Version 2: the greatest number.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "f64"))]
    pub(crate) maximum: Option<f64>,
    /// Version 2: the fewest characters.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "u64"))]
    pub(crate) min_length: Option<u64>,
    /// Version 2: the most characters.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "u64"))]
    pub(crate) max_length: Option<u64>,
    /// Version 2: the fewest items.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "u64"))]
    pub(crate) min_items: Option<u64>,
    /// Version 2: the most items.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "u64"))]
    pub(crate) max_items: Option<u64>,
    /// Version 2: what the items of an array are.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Box<ParamDocument>"))]
    pub(crate) items: Option<Box<Object<ParamDocument>>>,
    /// Version 2: the properties of an object.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) properties: Vec<Object<ParamDocument>>,
    /// Version 2: how an array is written outside of a JSON body.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[cfg_attr(test, schemars(with = "super::ArrayStyle"))]
    pub(crate) style: String,
    /// Version 2: the name of the file that a part of a multipart body is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) file_name: String,
    /// Version 2: the media type of that file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) content_type: String,
}

/// Something that every request has.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["name", "in", "value"])))]
pub(crate) struct ConstantDocument {
    /// Its name in the request.
    pub(crate) name: String,
    /// Where it is put.
    #[serde(rename = "in")]
    #[cfg_attr(test, schemars(with = "super::ParamPlace"))]
    pub(crate) place: String,
    /// Its value; text with `{variables}` of the manifest, a number or a boolean.
    #[cfg_attr(test, schemars(extend("type" = ["string", "number", "boolean"])))]
    pub(crate) value: Value,
}

/// What of an answer is shown.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ResponseDocument {
    /// The part that is shown, as a JSON pointer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) select: String,
    /// The fields of that part, or of each of its items, that are shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) fields: Vec<String>,
    /// The longest answer.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "u64"))]
    pub(crate) max_bytes: Option<u64>,
}

/// How further pages are asked for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["type", "maxPages"])))]
pub(crate) struct PaginationDocument {
    /// How.
    #[serde(rename = "type")]
    #[cfg_attr(test, schemars(with = "super::PaginationKind"))]
    pub(crate) kind: String,
    /// The query parameter that says which page; not for `link`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) param: String,
    /// Where the answer says what the next page is, as a JSON pointer; required for `cursor`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) next: String,
    /// The most pages of one call.
    #[cfg_attr(test, schemars(range(min = 1, max = 100)))]
    pub(crate) max_pages: u64,
}
