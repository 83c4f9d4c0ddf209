//! A tool of a toolspec, with all of its request that no model decides.

use std::{collections::HashSet, sync::Arc};

use gigmcp_registry::{Binding, Encoding, Inject, Param, ParamPlace, Template, ToolRequest, Toolspec, Values};
use serde_json::{Value, json};

use super::{
    credential::Held,
    encode::{JsonBody, Segments, header_value, hole},
    start::StartError,
};

/// The tools of a server with everything filled in but the arguments of a call. [`Sidecars::bind`](super::Sidecars::bind) makes one.
#[derive(Clone, Debug)]
pub struct Toolpack {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) title: Option<String>,
    pub(super) call_seconds: Option<u64>,
    pub(super) tools: Vec<ToolPlan>,
}

/// One tool.
#[derive(Clone, Debug)]
pub(super) struct ToolPlan {
    pub(super) tool: ToolRequest,
    pub(super) host: String,
    pub(super) segments: Segments,
    /// In the order of the toolspec, those of the tool last. Without the other part of `Basic`.
    pub(super) constants: Vec<Fixed>,
    pub(super) uses: Vec<Use>,
    /// All credentials of the server, which no answer may show.
    pub(super) held: Arc<[Arc<Held>]>,
    /// What stands beside the credential in `Basic`; empty if nothing is said.
    pub(super) basic_other: String,
}

/// A constant whose variables are filled in.
#[derive(Clone, Debug)]
pub(super) struct Fixed {
    pub(super) name: String,
    pub(super) place: ParamPlace,
    pub(super) value: Value,
}

/// A credential that requests of a tool may carry.
#[derive(Clone, Debug)]
pub(super) struct Use {
    pub(super) held: Arc<Held>,
    /// Those whose host and method are the tool's; all requests if empty.
    bindings: Vec<Binding>,
}

impl Use {
    /// Whether a request to this path carries it.
    pub(super) fn is_for(&self, path: &str) -> bool {
        let any = |binding: &Binding| binding.paths.is_empty() || binding.paths.iter().any(|paths| paths.matches(path));
        self.bindings.is_empty() || self.bindings.iter().any(any)
    }
}

impl ToolPlan {
    pub(super) fn new(
        spec: &Toolspec,
        tool: &ToolRequest,
        values: &Values,
        held: &Arc<[Arc<Held>]>,
    ) -> Result<Self, StartError> {
        let host = host(spec, tool, values)?;
        let uses: Vec<_> = held.iter().filter_map(|held| used(held, &host, tool, values)).collect();
        let mut constants = constants(spec, tool, values);
        let is_basic = uses.iter().any(|used| matches!(used.held.place, Inject::Basic(_)));
        let is_other = |fixed: &Fixed| {
            is_basic && fixed.place == ParamPlace::Header && fixed.name.eq_ignore_ascii_case("authorization")
        };
        let other = constants.iter().position(is_other).map(|at| constants.remove(at));
        let basic_other = match other {
            Some(Fixed { value: Value::String(text), .. }) => text,
            Some(Fixed { value, .. }) => value.to_string(),
            None => String::new(),
        };
        let filled = tool.path.fill(|_| Some("x")).unwrap_or_default();
        let segments = Segments::of(&filled);
        let plan = Self { tool: tool.clone(), host, segments, constants, uses, held: held.clone(), basic_other };
        plan.check_constants()?;
        plan.check_places()?;
        Ok(plan)
    }

    /// The tool as `tools/list` shows it.
    pub(super) fn definition(&self) -> Value {
        let method = self.tool.method.as_str();
        let mut annotations = json!({ "readOnlyHint": method == "GET", "openWorldHint": true });
        // What a POST does nobody knows; said nothing, clients take it for destructive.
        if matches!(method, "DELETE" | "PUT" | "PATCH") {
            annotations["destructiveHint"] = true.into();
            annotations["idempotentHint"] = (method != "PATCH").into();
        }
        json!({
            "name": self.tool.name.as_str(),
            "description": self.tool.description,
            "inputSchema": self.tool.input_schema(),
            "annotations": annotations,
        })
    }

    /// Whether its requests have a body.
    pub(super) fn has_body(&self) -> bool {
        matches!(self.tool.method.as_str(), "POST" | "PUT" | "PATCH")
    }

    fn check_constants(&self) -> Result<(), StartError> {
        for Fixed { name, place, value } in &self.constants {
            let fits = match place {
                ParamPlace::Path => hole(value).is_ok(),
                ParamPlace::Header => header_value(value).is_ok(),
                _ => true,
            };
            if !fits {
                let (tool, name) = (self.tool.name.to_string(), name.clone());
                return Err(StartError::Constant { tool, place: words(*place), name });
            }
        }
        Ok(())
    }

    /// No two values may have the same place, whatever is said.
    fn check_places(&self) -> Result<(), StartError> {
        let refuse = |place: &'static str, name: &str| {
            Err(StartError::Place { tool: self.tool.name.to_string(), place, name: name.into() })
        };
        let mut seen = HashSet::new();
        let mut json = JsonBody::default();
        for (place, name) in self.places() {
            let is_free = match place {
                "the body" if self.tool.encoding == Encoding::Json => json.add(&name, Value::Null).is_ok(),
                "the path" => seen.insert((place, name.clone())),
                _ => seen.insert((place, name.to_ascii_lowercase())),
            };
            if !is_free {
                return refuse(place, &name);
            }
        }
        Ok(())
    }

    fn places(&self) -> Vec<(&'static str, String)> {
        let mut places: Vec<_> = self.constants.iter().map(|fixed| (words(fixed.place), fixed.name.clone())).collect();
        places.extend(self.tool.params.iter().map(|param| (words(param.place), wire_name(param).to_owned())));
        let page = self.tool.pagination.as_ref().and_then(|pagination| pagination.param.clone());
        places.extend(page.map(|name| (words(ParamPlace::Query), name)));
        let mut basic = false;
        for used in &self.uses {
            match &used.held.place {
                Inject::Header { name, .. } => places.push((words(ParamPlace::Header), name.clone())),
                Inject::Query(name) => places.push((words(ParamPlace::Query), name.to_string())),
                Inject::Form(name) if self.tool.encoding != Encoding::Json => {
                    places.push((words(ParamPlace::Body), name.to_string()));
                }
                Inject::Json(pointer) if self.tool.encoding == Encoding::Json && self.has_body() => {
                    places.push((words(ParamPlace::Body), pointer.to_string()));
                }
                // User and password may be two credentials in one header.
                Inject::Basic(_) if !basic => {
                    basic = true;
                    places.push((words(ParamPlace::Header), "authorization".into()));
                }
                _ => {}
            }
        }
        places
    }
}

/// The name that a parameter has in the request.
pub(super) fn wire_name(param: &Param) -> &str {
    param.wire_name.as_deref().unwrap_or(&param.name)
}

fn host(spec: &Toolspec, tool: &ToolRequest, values: &Values) -> Result<String, StartError> {
    let template = tool.base_url.as_ref().unwrap_or(&spec.base_url).host();
    let refused = |host: String| StartError::Host { tool: tool.name.to_string(), host };
    let host = values.fill(template).map_err(|_| refused(template.to_string()))?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let valid = host.len() <= 253 && host.bytes().all(plain) && !host.split('.').any(str::is_empty);
    if valid { Ok(host) } else { Err(refused(host)) }
}

/// Those of all tools and those of this one, which come instead of one of the same name.
fn constants(spec: &Toolspec, tool: &ToolRequest, values: &Values) -> Vec<Fixed> {
    let mut constants: Vec<Fixed> = Vec::new();
    for constant in spec.constants.iter().chain(&tool.constants) {
        let value = match &constant.value {
            Value::String(text) => filled(text, values).into(),
            other => other.clone(),
        };
        let fixed = Fixed { name: constant.name.clone(), place: constant.place, value };
        let is_same = |other: &Fixed| {
            let same = if fixed.place == ParamPlace::Header { str::eq_ignore_ascii_case } else { str::eq };
            other.place == fixed.place && same(&other.name, &fixed.name)
        };
        match constants.iter().position(is_same) {
            Some(at) => constants[at] = fixed,
            None => constants.push(fixed),
        }
    }
    // A constant of all tools is in the path of those that have a hole for it, and in the body of those that have one.
    let is_meant = |fixed: &Fixed| match fixed.place {
        ParamPlace::Path => tool.path.holes().any(|hole| hole == fixed.name),
        _ => true,
    };
    constants.retain(is_meant);
    constants
}

/// The pairing with the manifest has shown that every hole is a variable of it, and each has a value.
fn filled(text: &str, values: &Values) -> String {
    let template = Template::parse(text).ok();
    template.and_then(|template| values.fill(&template).ok()).unwrap_or_else(|| text.into())
}

/// The credential, if some request of the tool may carry it.
fn used(held: &Arc<Held>, host: &str, tool: &ToolRequest, values: &Values) -> Option<Use> {
    let fits = |binding: &&Binding| {
        let host = host.parse().ok();
        let matches = |pattern: &gigmcp_registry::EgressHost| {
            host.as_ref().is_some_and(|host| pattern.pattern(values).is_ok_and(|pattern| pattern.matches(host)))
        };
        binding.hosts.iter().any(matches) && (binding.methods.is_empty() || binding.methods.contains(&tool.method))
    };
    let bindings: Vec<_> = held.bindings.iter().filter(fits).cloned().collect();
    if bindings.is_empty() && !held.bindings.is_empty() {
        return None;
    }
    Some(Use { held: held.clone(), bindings })
}

fn words(place: ParamPlace) -> &'static str {
    match place {
        ParamPlace::Path => "the path",
        ParamPlace::Query => "the query",
        ParamPlace::Header => "the header",
        _ => "the body",
    }
}
