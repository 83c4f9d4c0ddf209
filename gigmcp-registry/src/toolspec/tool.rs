//! One tool: one request.

use gigmcp_egress::JsonPointer;
use serde_json::{Map, Value};

use super::BaseUrl;
use super::schema::Schema;
use crate::manifest::{Method, words};
use crate::name::ToolName;
use crate::template::Template;

/// A tool, as one request with holes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ToolRequest {
    /// Its name, as in the manifest.
    pub name: ToolName,
    /// What it does, for models.
    pub description: String,
    /// The request's method.
    pub method: Method,
    /// The request's path; each hole is a parameter or constant in [`ParamPlace::Path`].
    pub path: Template,
    /// Where this request goes, if elsewhere.
    pub base_url: Option<BaseUrl>,
    /// How the body is written.
    pub encoding: Encoding,
    /// What a model says; names are unique.
    pub params: Vec<Param>,
    /// What every request of this tool has. From version 2.
    pub constants: Vec<Constant>,
    /// What of the answer is shown. From version 2.
    pub response: Option<ResponseSelection>,
    /// How further pages are asked for. From version 2.
    pub pagination: Option<Pagination>,
}

impl ToolRequest {
    /// The JSON Schema of its arguments, as `tools/list` shows it: always an object.
    #[must_use]
    pub fn input_schema(&self) -> Value {
        let properties: Map<_, _> =
            self.params.iter().map(|param| (param.name.clone(), param.schema.to_json_schema())).collect();
        let required: Vec<_> = self.params.iter().filter(|param| param.required).map(|param| &param.name).collect();
        let mut schema =
            serde_json::json!({ "type": "object", "properties": properties, "additionalProperties": false });
        if !required.is_empty() {
            schema["required"] = required.into_iter().cloned().collect::<Vec<_>>().into();
        }
        schema
    }
}

/// Something a model says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Param {
    /// Its name for models.
    pub name: String,
    /// Its name in the request, if another one. From version 2.
    pub wire_name: Option<String>,
    /// Where it is put.
    pub place: ParamPlace,
    /// What it may be.
    pub schema: Schema,
    /// Whether it must be said.
    pub required: bool,
    /// How a list is written outside of a JSON body. From version 2.
    pub style: Option<ArrayStyle>,
    /// What a part of a multipart body is besides its text. From version 2.
    pub part: Option<Part>,
}

impl Param {
    /// Its name in the request.
    #[must_use]
    pub fn spelled(&self) -> &str {
        self.wire_name.as_deref().unwrap_or(&self.name)
    }
}

/// A part of a multipart body that is a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// The file's name.
    pub file_name: String,
    /// Its media type.
    pub content_type: Option<String>,
}

/// Something that every request has, and no model sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Its name in the request.
    pub name: String,
    /// Where it is put.
    pub place: ParamPlace,
    /// Its value: text, in which variables of the manifest may stand, or a number or boolean.
    pub value: Value,
}

impl Constant {
    /// The variables of the manifest in its text.
    pub fn variables(&self) -> impl Iterator<Item = String> {
        let template = self.value.as_str().and_then(|text| Template::parse(text).ok());
        let holes: Vec<_> = template.iter().flat_map(Template::holes).map(str::to_owned).collect();
        holes.into_iter()
    }
}

/// What of an answer is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResponseSelection {
    /// The part that is shown; all if absent.
    pub select: Option<JsonPointer>,
    /// The fields of that part, or of each of its items, that are shown; all if empty.
    pub fields: Vec<String>,
    /// The longest answer, in bytes.
    pub max_bytes: Option<u64>,
}

/// How further pages are asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pagination {
    /// How.
    pub kind: PaginationKind,
    /// The query parameter that says which page; absent for links.
    pub param: Option<String>,
    /// Where the answer says what the next page is.
    pub next: Option<JsonPointer>,
    /// The most pages of one call.
    pub max_pages: u64,
}

words! {
    /// Where a parameter is put.
    ParamPlace {
        /// Into a hole of the path.
        Path = "path",
        /// Into the query.
        Query = "query",
        /// Into a header.
        Header = "header",
        /// Into the body.
        Body = "body",
    }
}

words! {
    /// How a body is written.
    Encoding {
        /// As a JSON object.
        Json = "json",
        /// As a form.
        Form = "form",
        /// As parts.
        Multipart = "multipart",
    }
}

words! {
    /// How a list is written where there is no JSON.
    ArrayStyle {
        /// `a=1&a=2`.
        Repeat = "repeat",
        /// `a=1,2`.
        Comma = "comma",
        /// `a[]=1&a[]=2`.
        Brackets = "brackets",
    }
}

words! {
    /// How further pages are asked for.
    PaginationKind {
        /// By what the last page said.
        Cursor = "cursor",
        /// By number.
        Page = "page",
        /// By how many items came before.
        Offset = "offset",
        /// By the link of the last page, on the same host.
        Link = "link",
    }
}
