//! Toolspecs that are allowed and unwise.

use serde_json::Value;

use super::keys::{Suspicion, suspicion};
use super::manifest::hidden;
use super::{Denylist, Findings, hosts};
use crate::diagnostic::{Rule, Severity};
use crate::egress_host::EgressHost;
use crate::manifest::{Manifest, Tier};
use crate::toolspec::{BaseUrl, ParamPlace, Schema, SchemaKind, ToolRequest, Toolspec};

pub(super) fn check(found: &mut Findings<'_>, spec: &Toolspec, manifest: Option<&Manifest>, denylist: &Denylist) {
    let credential = manifest.is_none_or(|manifest| !manifest.credentials.is_empty());
    base_url(found, "baseUrl", &spec.base_url, credential, denylist);
    for (index, tool) in spec.tools.iter().enumerate() {
        let field = format!("tools[{index}]");
        if let Some(url) = &tool.base_url {
            base_url(found, &format!("{field}.baseUrl"), url, credential, denylist);
        }
        hidden(found, &format!("{field}.description"), &tool.description);
        params(found, &field, tool, spec.schema_version);
        if tool.pagination.is_some() && tool.method.as_str() != "GET" {
            let message =
                format!("each further page is this {} once more, with whatever it does", tool.method.as_str());
            let help = "read with GET, or leave `pagination` out and let the model say which page";
            found.add(Rule::PaginatedWrite, &format!("{field}.pagination"), message, help);
        }
    }
    if let Some(manifest) = manifest {
        unused_hosts(found, spec, manifest);
        if manifest.tier == Tier::Entrusted && !spec.auths.is_empty() {
            let field = if spec.schema_version == 1 { "auth" } else { "auths" };
            let message = "the server holds a real credential, which goes to a place that the proxy can put it in";
            let help = "make the manifest `tier: sealed` and write this place in its `inject`";
            found.add(Rule::NeedlesslyEntrusted, field, message, help);
        }
    }
}

/// Of hosts with variables, the manifest's findings are enough.
fn base_url(found: &mut Findings<'_>, field: &str, url: &BaseUrl, credential: bool, denylist: &Denylist) {
    if let Ok(host) = EgressHost::with_variables(&url.host().to_string(), &[]) {
        hosts::check(found, field, &host, credential, denylist);
    }
}

fn params(found: &mut Findings<'_>, field: &str, tool: &ToolRequest, schema_version: u64) {
    for (index, param) in tool.params.iter().enumerate() {
        let field = format!("{field}.params[{index}]");
        let name = format!("{field}.name");
        key(found, &name, &param.name);
        hidden(found, &name, &param.name);
        if let Some(wire_name) = param.wire_name.as_deref().filter(|_| suspicion(&param.name).is_none()) {
            key(found, &format!("{field}.as"), wire_name);
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if schema_version == 1 && !(param.name.len() <= 64 && param.name.bytes().all(plain)) {
            let message = format!("models cannot say the name {:?}", param.name);
            found.add(
                Rule::ParamNameForModels,
                &name,
                message,
                "give it a plain name, and this one in `as` (schemaVersion: 2)",
            );
        }
        if param.place == ParamPlace::Body
            && matches!(&param.schema.kind, SchemaKind::Object(properties) if properties.is_empty())
        {
            let message = "a model has to guess what is in this object";
            found.add(Rule::ShapelessObject, &name, message, "list its `properties` (schemaVersion: 2)");
        }
        nested(found, &field, &param.schema);
    }
}

fn nested(found: &mut Findings<'_>, field: &str, schema: &Schema) {
    hidden(found, &format!("{field}.description"), schema.description.as_deref().unwrap_or_default());
    for (index, choice) in schema.choices.iter().enumerate() {
        hidden_value(found, &format!("{field}.enum[{index}]"), choice);
    }
    schema.default.iter().for_each(|default| hidden_value(found, &format!("{field}.default"), default));
    match &schema.kind {
        SchemaKind::Object(properties) => {
            for (index, property) in properties.iter().enumerate() {
                let field = format!("{field}.properties[{index}]");
                key(found, &format!("{field}.name"), &property.name);
                hidden(found, &format!("{field}.name"), &property.name);
                nested(found, &field, &property.schema);
            }
        }
        SchemaKind::Array { items: Some(items), .. } => nested(found, &format!("{field}.items"), items),
        _ => {}
    }
}

/// All text of a value, which models are shown as it is.
fn hidden_value(found: &mut Findings<'_>, field: &str, value: &Value) {
    match value {
        Value::String(text) => hidden(found, field, text),
        Value::Array(items) => items.iter().for_each(|item| hidden_value(found, field, item)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            hidden(found, field, name);
            hidden_value(found, field, value);
        }),
        _ => {}
    }
}

fn key(found: &mut Findings<'_>, field: &str, name: &str) {
    let severity = match suspicion(name) {
        Some(Suspicion::Key) => Severity::Error,
        Some(Suspicion::Perhaps) => Severity::Warning,
        None => return,
    };
    let message = format!("`{name}` is a key that a model would have to say");
    let help = "declare a credential in the manifest; the proxy puts it where it belongs";
    found.add_as(Rule::KeyAsParameter, severity, field, message, help);
}

/// Least privilege: what no tool asks for is not allowed. Told at the toolspec, because the manifest alone does not show it.
fn unused_hosts(found: &mut Findings<'_>, spec: &Toolspec, manifest: &Manifest) {
    let urls = std::iter::once(&spec.base_url).chain(spec.tools.iter().filter_map(|tool| tool.base_url.as_ref()));
    let used: Vec<_> =
        urls.filter_map(|url| EgressHost::with_variables(&url.host().to_string(), &manifest.variables).ok()).collect();
    let allowed = manifest.egress.iter().chain(manifest.rules.iter().flat_map(|rule| &rule.hosts));
    for host in allowed.filter(|allowed| !used.iter().any(|used| allowed.covers(used))) {
        let message = format!("the manifest allows {host}, where no tool sends anything");
        found.add(Rule::UnusedEgress, "baseUrl", message, "remove it from the manifest's entitlements");
    }
}
