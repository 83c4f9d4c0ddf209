//! Toolpacks written in few lines.

use std::{collections::HashMap, sync::Arc};

use gigmcp_mcp::{
    Call, Outcome, Upstream,
    toolpack::{HttpClient, Sidecars, StartError, ToolpackLimits, ToolpackUpstream},
};
use gigmcp_registry::{Manifest, Toolspec};
use serde_json::{Value, json, value::RawValue};

use crate::origin::{Answer, Origin, Seen};

pub(crate) const HOST: &str = "api.acme-notes.example";

/// What a manifest and a toolspec differ in from test to test.
#[derive(Clone, Default)]
pub(crate) struct Pack {
    /// More lines of the manifest, such as `credentials` or `variables`.
    pub(crate) manifest: String,
    /// More lines of the toolspec, such as `constants`.
    pub(crate) toolspec: String,
    /// The lists of tools, as in a toolspec.
    pub(crate) tools: String,
    pub(crate) environment: HashMap<String, String>,
}

impl Pack {
    /// One tool `call`: its method, its path, and more lines of it.
    pub(crate) fn tool(method: &str, path: &str, more: &str) -> Self {
        let mut tools = format!("  - name: call\n    description: Calls\n    method: {method}\n    path: \"{path}\"\n");
        for line in more.lines().filter(|line| !line.trim().is_empty()) {
            tools.push_str(&format!("    {line}\n"));
        }
        Self { tools, ..Self::default() }
    }

    pub(crate) fn manifest(mut self, more: &str) -> Self {
        self.manifest.push_str(more);
        self
    }

    pub(crate) fn toolspec(mut self, more: &str) -> Self {
        self.toolspec.push_str(more);
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    pub(crate) fn manifest_text(&self) -> String {
        let names = self.tools.lines().filter_map(|line| line.strip_prefix("  - name: "));
        let tools: Vec<_> = names.map(|name| format!("{{name: {name}, default: true}}")).collect();
        let tier = if self.manifest.contains("tier:") { "" } else { "tier: sealed\n" };
        let egress = if self.manifest.contains("entitlements:") {
            String::new()
        } else {
            format!("entitlements: {{egress: [{HOST}]}}\n")
        };
        format!(
            "schemaVersion: 2\nname: acme-notes\nversion: 1.2.0\nsource: {{repo: github.com/example/acme, tag: v1.2.0}}\n\
             image:\n  ref: ghcr.io/example/acme\n  digest: sha256:{}\n  entrypoint: /app/server\n  builder: toolpack\n\
             {tier}{egress}tools: [{}]\n{}",
            "0".repeat(64),
            tools.join(", "),
            self.manifest
        )
    }

    pub(crate) fn toolspec_text(&self) -> String {
        let base =
            if self.toolspec.contains("baseUrl:") { String::new() } else { format!("baseUrl: https://{HOST}\n") };
        format!("schemaVersion: 2\nname: acme-notes\nversion: 1.2.0\n{base}{}tools:\n{}", self.toolspec, self.tools)
    }

    pub(crate) fn sidecars(&self) -> Result<Sidecars, StartError> {
        let (manifest, toolspec) = (self.manifest_text(), self.toolspec_text());
        let manifest = Manifest::from_yaml(manifest.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{manifest}"));
        let toolspec = Toolspec::from_yaml(toolspec.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{toolspec}"));
        Sidecars::new(manifest, toolspec)
    }

    pub(crate) fn start_with(&self, client: Arc<dyn HttpClient>) -> Result<ToolpackUpstream, StartError> {
        let toolpack = self.sidecars()?.bind(|name| self.environment.get(name).cloned())?;
        Ok(ToolpackUpstream::new(toolpack, client))
    }

    pub(crate) fn start(&self, origin: &Origin) -> ToolpackUpstream {
        self.start_with(Arc::new(origin.client())).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn start_limited(&self, origin: &Origin, limits: ToolpackLimits) -> ToolpackUpstream {
        let toolpack = self.sidecars().unwrap().bind(|name| self.environment.get(name).cloned()).unwrap();
        ToolpackUpstream::with_limits(toolpack, Arc::new(origin.client()), limits)
    }

    /// One call, answered with `{}`: the only request that it was.
    pub(crate) async fn request(&self, arguments: Value) -> Result<Seen, String> {
        let origin = Origin::start(&[HOST]).await;
        origin.will_answer([Answer::json(200, &json!({}))]);
        let result = call(&self.start(&origin), arguments).await;
        let mut seen = origin.seen();
        match (seen.pop(), result["isError"] == true) {
            (Some(request), false) if seen.is_empty() => Ok(request),
            (None, true) => Err(text(&result).to_owned()),
            (request, _) => panic!("{request:?} and {seen:?}: {result}"),
        }
    }
}

/// The result of the tool `call`.
pub(crate) async fn call(upstream: &ToolpackUpstream, arguments: Value) -> Value {
    call_raw(upstream, &json!({ "name": "call", "arguments": arguments }).to_string()).await
}

pub(crate) async fn call_raw(upstream: &ToolpackUpstream, params: &str) -> Value {
    let params = RawValue::from_string(params.to_owned()).unwrap();
    match upstream.call(Call::new("tools/call", Some(params))).await {
        Outcome::Complete(result) => serde_json::from_str(result.get()).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The first text of a result.
pub(crate) fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{result}"))
}

/// The first text of a result as JSON.
pub(crate) fn shown(result: &Value) -> Value {
    assert_eq!(result["isError"], Value::Null, "{result}");
    serde_json::from_str(text(result)).unwrap_or_else(|_| panic!("{result}"))
}
