//! From a vendor's OpenAPI document to a toolspec. What a toolspec cannot say is told, never guessed.
//!
//! Source: OpenAPI specification 3.0.4 and 3.1.1.

mod operation;
mod schema;
mod security;
mod text;

use serde_json::{Map, Value, json};

use crate::name::ServerName;
use crate::toolspec::Toolspec;
use crate::version::Version;
use crate::yaml::{self, Limits, Node, NodeValue};

/// What is made of an OpenAPI document, and for whom.
#[derive(Clone, Debug)]
pub struct OpenApiImport<'a> {
    /// The document, JSON or YAML.
    pub document: &'a [u8],
    /// The operations that become tools, by `operationId` or as `GET /path`.
    pub tools: &'a [String],
    /// The server's name.
    pub name: &'a ServerName,
    /// The server's version.
    pub version: Version,
    /// Where requests go, if the document does not say, or should not.
    pub server: Option<&'a str>,
}

/// A toolspec, a manifest to begin with, and what is not in them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImportedTools {
    /// The toolspec.
    pub toolspec: Toolspec,
    /// The manifest in YAML: source, image and tier are to be looked at, and are not from the document.
    pub manifest: String,
    /// What was left out, and where.
    pub notes: Vec<String>,
}

impl OpenApiImport<'_> {
    /// Makes a toolspec of version 2.
    ///
    /// # Errors
    /// [`OpenApiError`] with everything that stands in the way; a tool that would lack something is not made.
    pub fn run(&self) -> Result<ImportedTools, OpenApiError> {
        let root = read(self.document)?;
        let version = root["openapi"].as_str().unwrap_or_default();
        if !(version.starts_with("3.0.") || version.starts_with("3.1.")) {
            return Err(OpenApiError::Version(version.to_owned()));
        }
        let mut import = Import { root: &root, notes: Vec::new(), faults: Vec::new() };
        let mut tools = Vec::new();
        let mut credentials: Map<String, Value> = Map::new();
        for wanted in self.tools {
            let Some(found) = operation::find(&root, wanted) else {
                import.faults.push(format!("there is no operation `{wanted}`; these are: {}", operation::names(&root)));
                continue;
            };
            if let Some((tool, server)) = import.tool(&found, self.server) {
                tools.push((tool, server));
                import.security(&found, &mut credentials);
            }
        }
        let mut told = std::collections::HashSet::new();
        import.notes.retain(|note| told.insert(note.clone()));
        if !import.faults.is_empty() {
            return Err(OpenApiError::Unsupported(import.faults));
        }
        self.finish(tools, credentials, import.notes)
    }

    fn finish(
        &self,
        tools: Vec<(Value, String)>,
        credentials: Map<String, Value>,
        notes: Vec<String>,
    ) -> Result<ImportedTools, OpenApiError> {
        let Some((_, server)) = tools.first() else {
            return Err(OpenApiError::Unsupported(vec!["no operation is named".to_owned()]));
        };
        let (server, mut hosts, mut listed, mut names) = (server.clone(), Vec::new(), Vec::new(), Vec::new());
        for (mut tool, own) in tools {
            if own != server {
                tool["baseUrl"] = own.as_str().into();
            }
            let host = own.trim_start_matches("https://").to_owned();
            if !hosts.contains(&host) {
                hosts.push(host);
            }
            names.push(json!({ "name": tool["name"], "default": tool["method"] == "GET" }));
            listed.push(tool);
        }
        let head = json!({ "schemaVersion": 2, "name": self.name.as_str(), "version": self.version.to_string() });
        let mut toolspec = head.clone();
        toolspec["baseUrl"] = server.into();
        toolspec["tools"] = listed.into();
        let toolspec = Toolspec::from_json(toolspec.to_string().as_bytes());
        let toolspec = toolspec.map_err(|error| OpenApiError::Result(Box::new(error)))?;
        let mut manifest = head;
        manifest["source"] = json!({ "repo": "github.com/OWNER/REPOSITORY", "tag": format!("v{}", self.version) });
        manifest["image"] = json!({
            "ref": format!("ghcr.io/OWNER/{}-mcp", self.name), "digest": format!("sha256:{}", "0".repeat(64)),
            "entrypoint": "/app/server", "builder": "toolpack",
        });
        manifest["tier"] = "sealed".into();
        let several = hosts.len() > 1;
        let bind = json!([{ "hosts": hosts }]);
        manifest["entitlements"] = json!({ "egress": hosts });
        let credentials = credentials.into_iter().map(|(_, mut credential)| {
            if several {
                credential["bind"] = bind.clone();
            }
            if credential["type"] == "oauth2" {
                credential["provider"] = self.name.as_str().into();
                credential["vendor"] = self.name.as_str().into();
            }
            credential
        });
        let credentials: Vec<_> = credentials.collect();
        if !credentials.is_empty() {
            manifest["credentials"] = credentials.into();
        }
        manifest["tools"] = names.into();
        Ok(ImportedTools { toolspec, manifest: yaml::print(&manifest), notes })
    }
}

/// What is being made, and what is wrong with it.
struct Import<'a> {
    root: &'a Value,
    notes: Vec<String>,
    faults: Vec<String>,
}

impl<'a> Import<'a> {
    /// What a `$ref` leads to, in this document.
    fn resolved(&mut self, at: &str, value: &'a Value) -> Option<&'a Value> {
        let mut value = value;
        for _ in 0..REFERENCES {
            let Some(reference) = value["$ref"].as_str() else { return Some(value) };
            let Some(found) = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) else {
                self.faults.push(format!("{at}: {reference} is not in the document"));
                return None;
            };
            value = found;
        }
        self.faults.push(format!("{at}: references lead in a circle"));
        None
    }
}

/// JSON, or YAML as strictly as our own files are read, with room for what vendors write.
fn read(document: &[u8]) -> Result<Value, OpenApiError> {
    if document.trim_ascii_start().starts_with(b"{") {
        return serde_json::from_slice(document).map_err(OpenApiError::Json);
    }
    let (root, faults) = yaml::tree(document, &Limits { bytes: 64 << 20, depth: 100, nodes: 5_000_000 });
    match root {
        Some(root) if faults.is_empty() => Ok(value(&root)),
        _ => {
            let line = |at: usize| document[..at.min(document.len())].iter().filter(|byte| **byte == b'\n').count() + 1;
            let told = |fault: &yaml::YamlFault| format!("line {}: {}", line(fault.span.start), fault.problem);
            Err(OpenApiError::Yaml(faults.iter().take(FAULTS).map(told).collect::<Vec<_>>().join("\n")))
        }
    }
}

fn value(node: &Node) -> Value {
    match &node.value {
        NodeValue::Absent => Value::Null,
        NodeValue::Bool(value) => (*value).into(),
        NodeValue::Integer(value) => (*value).into(),
        NodeValue::Float(value) => (*value).into(),
        NodeValue::Text(value) => value.as_str().into(),
        NodeValue::List(items) => items.iter().map(value).collect::<Vec<_>>().into(),
        NodeValue::Map(entries) => {
            entries.iter().map(|entry| (entry.key.clone(), value(&entry.value))).collect::<Map<_, _>>().into()
        }
    }
}

/// Why no toolspec was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenApiError {
    /// It is no JSON.
    #[error("reading the document")]
    Json(#[source] serde_json::Error),
    /// It is no YAML of the kind that every program reads alike.
    #[error("it is no YAML that every program reads in the same way; convert it to JSON\n{0}")]
    Yaml(String),
    /// It is no OpenAPI 3.0 or 3.1.
    #[error("its version of OpenAPI is {0:?}, and not 3.0 or 3.1")]
    Version(String),
    /// Operations that are not there, or that a toolspec cannot say.
    #[error("{}", .0.join("\n"))]
    Unsupported(Vec<String>),
    /// What was made of it is no toolspec.
    #[error("the document makes no toolspec")]
    Result(#[source] Box<crate::manifest::InvalidManifest>),
}

const REFERENCES: usize = 32;
const FAULTS: usize = 10;

#[cfg(test)]
mod tests;
