//! The exchanges of one server.

use std::{collections::BTreeSet, sync::Arc};

use gigmcp_egress::{Placeholder, Shape};
use gigmcp_mcp::{
    Call, Outcome, Upstream,
    toolpack::{Sidecars, ToolpackUpstream},
};
use gigmcp_registry::{Credential, Inject, Values};
use serde_json::{Value, json, value::RawValue};

use crate::{
    compare,
    origin::{Answer, Origin},
    proxy::Proxied,
    recorded::{Answered, Body, Exchange, Expected, Recorded},
};

/// A server and what is recorded of it.
pub(crate) struct Server {
    pub(crate) told: String,
    pub(crate) sidecars: Sidecars,
    pub(crate) recorded: Recorded,
}

impl Server {
    /// Everything in which it differs from its record.
    pub(crate) async fn faults(&self) -> Vec<String> {
        let mut faults = self.gaps();
        let exchanges = &self.recorded.exchanges;
        let hosts: BTreeSet<_> = exchanges
            .iter()
            .flat_map(|exchange| exchange.steps().unwrap_or_default())
            .map(|(request, _)| request.host.as_str())
            .chain(["unused.example"])
            .collect();
        let origin = Origin::start(&hosts.into_iter().collect::<Vec<_>>()).await;
        for (index, exchange) in exchanges.iter().enumerate() {
            if self.has_tool(&exchange.tool) {
                let told = format!("exchange {} ({})", index + 1, exchange.tool);
                faults
                    .extend(self.exchange(&origin, exchange).await.into_iter().map(|fault| format!("{told}: {fault}")));
            }
        }
        faults.into_iter().map(|fault| format!("{}: {fault}", self.told)).collect()
    }

    fn has_tool(&self, name: &str) -> bool {
        self.sidecars.toolspec().tools.iter().any(|tool| tool.name.as_str() == name)
    }

    /// Tools without exchanges, exchanges without tools, and no error at all.
    fn gaps(&self) -> Vec<String> {
        let exchanges = &self.recorded.exchanges;
        let tools = self.sidecars.toolspec().tools.iter().map(|tool| tool.name.as_str());
        let bare = tools.filter(|tool| !exchanges.iter().any(|exchange| exchange.tool == *tool));
        let mut gaps: Vec<_> = bare.map(|tool| format!("the tool `{tool}` has no exchange")).collect();
        let stray = exchanges.iter().filter(|exchange| !self.has_tool(&exchange.tool));
        gaps.extend(stray.map(|exchange| format!("there is no tool `{}`", exchange.tool)));
        let is_error = |exchange: &Exchange| {
            exchange.steps().is_ok_and(|steps| steps.iter().any(|(_, response)| response.status >= 400))
        };
        if !exchanges.iter().any(is_error) {
            gaps.push("there is no exchange with an error of the service".into());
        }
        gaps
    }

    async fn exchange(&self, origin: &Origin, exchange: &Exchange) -> Vec<String> {
        let steps = match exchange.steps() {
            Ok(steps) => steps,
            Err(fault) => return vec![fault.into()],
        };
        origin.seen();
        origin.will_answer(steps.iter().map(|(_, response)| answer(response)));
        let held = self.held();
        let environment = |name: &str| {
            let variable = name.strip_prefix("GIG_VAR_").map(str::to_ascii_lowercase);
            let held = held.iter().find(|(variable, _)| variable == name).map(|(_, held)| held.to_string());
            variable.and_then(|variable| exchange.variables.get(&variable).cloned()).or(held)
        };
        let toolpack = match self.sidecars.bind(environment) {
            Ok(toolpack) => toolpack,
            Err(error) => return vec![error.to_string()],
        };
        let placeholders: Vec<_> = held.iter().map(|(_, placeholder)| placeholder.clone()).collect();
        let said = exchange.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let manifest = self.sidecars.manifest();
        let values = Values::new(&manifest.variables, said).expect("the engine took them");
        let proxied = match Proxied::new(origin.client(), manifest, &values, &placeholders) {
            Ok(proxied) => Arc::new(proxied),
            Err(fault) => return vec![fault],
        };
        let upstream = ToolpackUpstream::new(toolpack, proxied.clone());
        let params = json!({ "name": exchange.tool, "arguments": exchange.arguments }).to_string();
        let params = RawValue::from_string(params).unwrap();
        let result: Value = match upstream.call(Call::new("tools/call", Some(params))).await {
            Outcome::Complete(result) => serde_json::from_str(result.get()).unwrap(),
            other => return vec![format!("the call failed: {other:?}")],
        };
        let seen = origin.seen();
        let mut faults = proxied.refused();
        if seen.len() != steps.len() {
            let text = &result["content"][0]["text"];
            faults.push(format!(
                "{} requests arrived, and {} are recorded; the tool says: {text}",
                seen.len(),
                steps.len()
            ));
        }
        let placeholders: Vec<_> = placeholders.iter().map(ToString::to_string).collect();
        for (seen, (asked, _)) in seen.iter().zip(&steps) {
            faults.extend(compare::request(seen, asked, &placeholders));
        }
        faults.extend(differences(&result, &exchange.result));
        faults
    }

    /// What stands for each credential, and the variable it is in.
    fn held(&self) -> Vec<(String, Placeholder)> {
        let variable = |credential: &Credential| {
            let named = credential.placeholder.as_ref().and_then(|shape| shape.env.clone());
            match &credential.inject {
                Inject::Env { name } => name.clone(),
                _ => named.unwrap_or_else(|| "GIG_PLACEHOLDER".into()),
            }
        };
        let credentials = self.sidecars.manifest().credentials.iter();
        credentials.map(|credential| (variable(credential), Placeholder::mint(&Shape::opaque()))).collect()
    }
}

fn answer(response: &Answered) -> Answer {
    let (body, media_type) = match &response.body {
        None => (String::new(), None),
        Some(Body::Json(value)) => (value.to_string(), Some("application/json")),
        Some(Body::Text(text)) => (text.clone(), Some("text/plain")),
        Some(other) => panic!("a service does not answer with {other:?}"),
    };
    let mut headers: Vec<_> = response.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let has_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if let Some(media_type) = media_type.filter(|_| !has_type) {
        headers.push(("content-type".into(), media_type.into()));
    }
    Answer { status: response.status, headers, body: body.into() }
}

fn differences(result: &Value, expected: &Expected) -> Vec<String> {
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    let is_error = result["isError"] == true;
    let mut faults = Vec::new();
    if is_error != expected.is_error {
        faults.push(format!("isError is {is_error}, and should be {}; the tool says: {text}", expected.is_error));
    }
    if let Some(json) = &expected.json
        && serde_json::from_str::<Value>(text).ok().as_ref() != Some(json)
    {
        faults.push(format!("the result is {text}, and should be {json}"));
    }
    if let Some(part) =
        expected.contains.as_ref().filter(|part| !result["content"].to_string().contains(&escaped(part)))
    {
        faults.push(format!("the result does not contain `{part}`: {text}"));
    }
    faults
}

/// The text as it stands inside a JSON string.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
