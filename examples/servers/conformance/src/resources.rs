//! `resources/list`, `resources/templates/list` and `resources/read`.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::{
    call::Call,
    catalogue::page,
    outcome::{INVALID_PARAMS, Outcome, RESOURCE_NOT_FOUND, Stop},
    server::Era,
    skills,
    subscriptions::WATCHED,
    tools::PNG,
};

pub(crate) fn list(call: &Call) -> Outcome {
    let mut resources = call.server.catalogue.resources.clone();
    if call.server.extra_resource.load(Ordering::Relaxed) {
        resources.push(EXTRA.to_owned());
    }
    page("resources", &resources, call.params.get("cursor"))
}

pub(crate) fn templates(call: &Call) -> Outcome {
    page("resourceTemplates", &call.server.catalogue.templates, call.params.get("cursor"))
}

pub(crate) fn read(call: &Call) -> Outcome {
    let uri = call.params["uri"].as_str().ok_or_else(|| Stop::invalid("`uri` is missing"))?;
    let of_a_skill = || skills::content(uri).filter(|_| call.server.has_skills);
    let content = content(uri).or_else(of_a_skill).ok_or_else(|| not_found(call.era, uri))?;
    Ok(json!({ "contents": [content] }).to_string())
}

fn content(uri: &str) -> Option<Value> {
    let text = |mime: &str, text: &str| json!({ "uri": uri, "mimeType": mime, "text": text });
    Some(match uri {
        "test://static-text" => text("text/plain", "This is the content of the static text resource."),
        "test://static-binary" => json!({ "uri": uri, "mimeType": "image/png", "blob": PNG }),
        WATCHED => text("text/plain", "Watched resource content"),
        "noisy://text" => text("text/plain", "The noisy server has a resource too."),
        "ui://noisy/page" => text("text/html;profile=mcp-app", "<!doctype html><title>noisy</title>"),
        _ => {
            let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
            let data = json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
            text("application/json", &data.to_string())
        }
    })
}

/// The code of 2026-07-28, or the one before it.
fn not_found(era: Era, uri: &str) -> Stop {
    let code = if era == Era::Modern { INVALID_PARAMS } else { RESOURCE_NOT_FOUND };
    Stop::Error(json!({ "code": code, "message": "Resource not found", "data": { "uri": uri } }))
}

/// What `trigger_resource_change` adds and removes.
const EXTRA: &str = r#"{"uri":"test://extra","name":"extra","description":"Comes and goes","mimeType":"text/plain"}"#;
