//! The stateless revision: 2026-07-28.

use serde_json::{Map, Value, json};

use super::{INSTRUCTIONS, LEGACY, MODERN, Mode, capabilities, common, server_info};
use crate::{
    call::{CLIENT_CAPABILITIES, Call, PROTOCOL_VERSION, SERVER_INFO},
    jobs::{self, TASKS},
    outcome::{Outcome, Stop},
    skills::{self, SKILLS},
};

/// Answers; nothing for a stream, which stays open.
pub(super) fn handle(method: &str, call: Call) -> Result<Option<String>, Stop> {
    let supported = supported(call.server.mode);
    if method == "initialize" {
        let asked = call.params["protocolVersion"].as_str().unwrap_or_default();
        return Err(Stop::unsupported(asked, &[MODERN]));
    }
    check_meta(&call.params["_meta"], &supported)?;
    let cacheable = CACHEABLE.contains(&method);
    let result = match method {
        "server/discover" => discover(&call, &supported)?,
        "subscriptions/listen" => {
            let server = &call.server;
            server.subscriptions.listen(&server.output, &call.id, call.params.get("notifications"))?;
            return Ok(None);
        }
        "tasks/get" | "tasks/update" | "tasks/cancel" => jobs::handle(method, &call)?,
        _ => common(method, call)?,
    };
    Ok(Some(stamped(&result, cacheable)))
}

fn check_meta(meta: &Value, supported: &[&str]) -> Result<(), Stop> {
    let version = meta[PROTOCOL_VERSION].as_str();
    let version = version.ok_or_else(|| Stop::invalid(&format!("`_meta` has no `{PROTOCOL_VERSION}`")))?;
    if version != MODERN {
        return Err(Stop::unsupported(version, supported));
    }
    if !meta[CLIENT_CAPABILITIES].is_object() {
        return Err(Stop::invalid(&format!("`_meta` has no `{CLIENT_CAPABILITIES}`")));
    }
    Ok(())
}

fn discover(call: &Call, supported: &[&str]) -> Outcome {
    let mut capabilities = capabilities();
    capabilities["extensions"] = json!({ TASKS: {} });
    if call.server.has_skills {
        capabilities["extensions"][SKILLS] = skills::settings();
    }
    let result = json!({
        "supportedVersions": supported,
        "capabilities": capabilities,
        "instructions": INSTRUCTIONS,
    });
    Ok(result.to_string())
}

/// Adds what every result of this revision has, in front of what the handler wrote.
fn stamped(result: &str, cacheable: bool) -> String {
    let cache = if cacheable { r#""ttlMs":60000,"cacheScope":"public","# } else { "" };
    let written: Map<String, Value> = serde_json::from_str(result).unwrap_or_default();
    let meta = match written.contains_key("_meta") {
        true => String::new(),
        false => format!(r#""_meta":{},"#, json!({ SERVER_INFO: server_info() })),
    };
    let stamped = format!(r#"{{"resultType":"complete",{cache}{meta}"#);
    match &result[1..] {
        "}" => format!("{}}}", stamped.trim_end_matches(',')),
        rest => stamped + rest,
    }
}

fn supported(mode: Mode) -> Vec<&'static str> {
    let legacy = if mode == Mode::Dual { &LEGACY[..] } else { &[] };
    [&[MODERN], legacy].concat()
}

const CACHEABLE: [&str; 9] = [
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "skills/list",
    "skills/get",
    "resources/directory/read",
];
