//! The revisions with a session: until 2025-11-25.

use serde_json::json;

use super::{INSTRUCTIONS, LEGACY, Mode, capabilities, common, server_info};
use crate::{
    call::{Call, LEVELS},
    outcome::{INVALID_REQUEST, Outcome, Stop},
    skills::{self, SKILLS},
    wire::locked,
};

pub(super) fn handle(method: &str, call: Call) -> Outcome {
    match method {
        "initialize" => return initialize(&call),
        "ping" => return Ok("{}".to_owned()),
        // A server that knows both was bound by the first message.
        "server/discover" if call.server.mode == Mode::Dual => {
            return Err(Stop::error(INVALID_REQUEST, "the session was opened by `initialize`"));
        }
        "server/discover" => return Err(Stop::no_method()),
        _ => {}
    }
    if locked(&call.server.client).is_none() {
        return Err(Stop::error(INVALID_REQUEST, "`initialize` comes first"));
    }
    match method {
        "logging/setLevel" => set_level(&call),
        "resources/subscribe" => {
            call.server.subscriptions.subscribe(uri(&call)?);
            Ok("{}".to_owned())
        }
        "resources/unsubscribe" => {
            call.server.subscriptions.unsubscribe(uri(&call)?);
            Ok("{}".to_owned())
        }
        _ => common(method, call),
    }
}

fn initialize(call: &Call) -> Outcome {
    let asked = call.params["protocolVersion"].as_str().unwrap_or_default();
    let version = LEGACY.into_iter().find(|version| *version == asked).unwrap_or(LEGACY[0]);
    let Some(client) = call.params.get("capabilities").filter(|client| client.is_object()) else {
        return Err(Stop::invalid("`capabilities` is missing or no object"));
    };
    *locked(&call.server.client) = Some(client.clone());
    let mut capabilities = capabilities();
    if call.server.has_skills {
        capabilities["extensions"] = json!({ SKILLS: skills::settings() });
    }
    let result = json!({
        "protocolVersion": version,
        "capabilities": capabilities,
        "serverInfo": server_info(),
        "instructions": INSTRUCTIONS,
    });
    Ok(result.to_string())
}

fn set_level(call: &Call) -> Outcome {
    let level = call.params["level"].as_str().filter(|level| LEVELS.contains(level));
    let level = level.ok_or_else(|| Stop::invalid("`level` is none of the eight"))?;
    level.clone_into(&mut locked(&call.server.log_level));
    Ok("{}".to_owned())
}

fn uri(call: &Call) -> Result<&str, Stop> {
    call.params["uri"].as_str().ok_or_else(|| Stop::invalid("`uri` is missing"))
}
