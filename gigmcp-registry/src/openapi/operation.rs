//! One operation: one tool.

use serde_json::{Value, json};

use super::Import;
use super::text::{paragraph, param_name, tool_name};

/// An operation and where it stands.
pub(super) struct Operation<'a> {
    pub(super) method: String,
    pub(super) path: &'a str,
    /// What all operations of the path have.
    pub(super) around: &'a Value,
    pub(super) operation: &'a Value,
    id: String,
}

/// By its id, or by method and path.
pub(super) fn find<'a>(root: &'a Value, wanted: &str) -> Option<Operation<'a>> {
    all(root).find(|found| found.id == wanted || format!("{} {}", found.method, found.path) == wanted)
}

/// What could be asked for, in a message.
pub(super) fn names(root: &Value) -> String {
    let names: Vec<_> = all(root).map(|found| found.id).take(40).collect();
    names.join(", ")
}

fn all(root: &Value) -> impl Iterator<Item = Operation<'_>> {
    root["paths"].as_object().into_iter().flatten().flat_map(|(path, around)| {
        METHODS.iter().filter_map(move |method| {
            let operation = around.get(method)?;
            let method = method.to_ascii_uppercase();
            let id = operation["operationId"].as_str().map_or_else(|| format!("{method} {path}"), str::to_owned);
            Some(Operation { method, path, around, operation, id })
        })
    })
}

impl<'a> Import<'a> {
    /// The tool and the `https://` host its requests go to; nothing if something stands in the way, which is told.
    pub(super) fn tool(&mut self, found: &Operation<'a>, server: Option<&str>) -> Option<(Value, String)> {
        let faults = self.faults.len();
        let at = found.id.clone();
        let base = self.server(found, server);
        let mut params = self.parameters(found);
        let encoding = self.body(found, &mut params);
        self.distinct(&at, &mut params);
        let said = ["description", "summary"].into_iter().filter_map(|field| found.operation[field].as_str());
        let description = said.map(|text| paragraph(text, 1500)).find(|text| !text.is_empty());
        let description = description.unwrap_or_else(|| format!("{} {}", found.method, found.path));
        let (host, prefix) = base.filter(|_| self.faults.len() == faults)?;
        let mut tool = json!({
            "name": tool_name(&found.id), "description": description, "method": found.method,
            "path": format!("{prefix}{}", found.path),
        });
        if let Some(encoding) = encoding {
            tool["encoding"] = encoding.into();
        }
        if !params.is_empty() {
            tool["params"] = params.into();
        }
        Some((tool, host))
    }

    /// The host with its scheme, and the path before all paths.
    fn server(&mut self, found: &Operation<'a>, given: Option<&str>) -> Option<(String, String)> {
        let lists = [&found.operation["servers"], &found.around["servers"], &self.root["servers"]];
        let listed = lists.into_iter().find_map(|list| list.as_array()?.first()?["url"].as_str());
        let Some(url) = given.or(listed) else {
            self.faults.push(format!("{}: the document names no server; say which with --server", found.id));
            return None;
        };
        let rest = url.strip_prefix("https://").filter(|rest| !rest.contains(['{', '?', '#', '@']));
        let Some(rest) = rest else {
            self.faults.push(format!(
                "{}: the server {url:?} is no plain https:// address; say which with --server",
                found.id
            ));
            return None;
        };
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        Some((format!("https://{host}"), prefix))
    }

    fn parameters(&mut self, found: &Operation<'a>) -> Vec<Value> {
        let mut all: Vec<&'a Value> = Vec::new();
        for list in [&found.around["parameters"], &found.operation["parameters"]] {
            for parameter in list.as_array().into_iter().flatten() {
                let Some(parameter) = self.resolved(&found.id, parameter) else { continue };
                // An operation's own stands for its path's.
                all.retain(|other| other["name"] != parameter["name"] || other["in"] != parameter["in"]);
                all.push(parameter);
            }
        }
        let mut out = Vec::new();
        for parameter in all {
            let name = parameter["name"].as_str().unwrap_or_default();
            let at = format!("{}: {name}", found.id);
            match self.parameter(&at, name, parameter) {
                Ok(parameter) => out.push(parameter),
                Err(why) if parameter["required"] == true => self.faults.push(format!("{at}: {why}")),
                Err(why) => self.notes.push(format!("{at} is left out: {why}")),
            }
        }
        out
    }

    fn parameter(&mut self, at: &str, name: &str, parameter: &'a Value) -> Result<Value, String> {
        let place = parameter["in"].as_str().unwrap_or_default();
        if !matches!(place, "path" | "query" | "header") {
            return Err(format!("it is in a {place}"));
        }
        if place == "header"
            && ["accept", "content-type", "authorization"].contains(&name.to_ascii_lowercase().as_str())
        {
            return Err("the header is not a model's to say".to_owned());
        }
        if !parameter["content"].is_null() {
            return Err("it is written as a document of its own".to_owned());
        }
        let mut out = self.schema(at, &parameter["schema"], 0)?;
        let explode = parameter["explode"] != false;
        match (out["type"].as_str(), place, parameter["style"].as_str()) {
            (Some("object"), _, _) => return Err("it is an object outside of a body".to_owned()),
            (Some("array"), "query", None | Some("form")) => {
                out["style"] = if explode { "repeat" } else { "comma" }.into()
            }
            (Some("array"), "header", None | Some("simple")) => out["style"] = "comma".into(),
            (Some("array"), _, style) => {
                return Err(format!("its list is written as {}", style.unwrap_or("one segment")));
            }
            (_, "query", None | Some("form")) | (_, "path" | "header", None | Some("simple")) => {}
            (_, _, style) => return Err(format!("it is written as {}", style.unwrap_or_default())),
        }
        if let Some(text) =
            parameter["description"].as_str().map(|text| paragraph(text, 1000)).filter(|text| !text.is_empty())
        {
            out["description"] = text.into();
        }
        out["name"] = name.into();
        out["in"] = place.into();
        // By then a hole of the path has to be filled.
        if parameter["required"] == true || place == "path" {
            out["required"] = true.into();
        }
        Ok(out)
    }

    /// The body's properties, each a parameter; how they are written, unless as JSON.
    fn body(&mut self, found: &Operation<'a>, params: &mut Vec<Value>) -> Option<&'static str> {
        let at = format!("{}: body", found.id);
        let body = Some(&found.operation["requestBody"]).filter(|body| !body.is_null())?;
        let body = self.resolved(&at, body)?;
        let content = &body["content"];
        let kinds: Vec<_> = content.as_object().into_iter().flat_map(|content| content.keys()).collect();
        let is_json = |kind: &str| kind == "application/json" || kind.starts_with("application/json;");
        let (schema, encoding) = match kinds.iter().find(|kind| is_json(kind)) {
            Some(kind) => (&content[kind.as_str()]["schema"], None),
            None if !content[FORM].is_null() => (&content[FORM]["schema"], Some("form")),
            None => {
                let kinds: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
                self.missing(body["required"] == true, &at, &format!("it is {}", kinds.join(" or ")));
                return None;
            }
        };
        match self.schema(&at, schema, 0) {
            Ok(schema) if schema["type"] == "object" && schema["properties"].is_array() => {
                for property in schema["properties"].as_array().into_iter().flatten() {
                    let mut property = property.clone();
                    property["in"] = "body".into();
                    if body["required"] != true {
                        property.as_object_mut().map(|property| property.remove("required"));
                    }
                    params.push(property);
                }
                if !matches!(found.method.as_str(), "POST" | "PUT" | "PATCH") {
                    params.retain(|param| param["in"] != "body");
                    self.missing(body["required"] == true, &at, &format!("a {} has no body here", found.method));
                    return None;
                }
                encoding
            }
            Ok(_) => {
                self.missing(body["required"] == true, &at, "it is no object with named properties");
                None
            }
            Err(why) => {
                self.missing(body["required"] == true, &at, &why);
                None
            }
        }
    }

    fn missing(&mut self, is_required: bool, at: &str, why: &str) {
        match is_required {
            true => self.faults.push(format!("{at}: {why}")),
            false => self.notes.push(format!("{at} is left out: {why}")),
        }
    }

    /// Models see one list of names: what services name alike, or in a way that models cannot say, gets another name there.
    fn distinct(&mut self, at: &str, params: &mut [Value]) {
        let mut taken: Vec<String> = Vec::new();
        for param in params {
            let wire = param["name"].as_str().unwrap_or_default().to_owned();
            let place = param["in"].as_str().unwrap_or_default().to_owned();
            let mut name = param_name(&wire);
            if taken.contains(&name) {
                name = param_name(&format!("{place}_{wire}"));
            }
            if name.is_empty() || taken.contains(&name) {
                self.faults.push(format!("{at}: there is no name for the parameter {wire:?}"));
                continue;
            }
            if name != wire {
                param["name"] = name.as_str().into();
                param["as"] = wire.into();
            }
            taken.push(name);
        }
    }
}

const METHODS: &[&str] = &["get", "post", "put", "patch", "delete"];
const FORM: &str = "application/x-www-form-urlencoded";
