//! `tools/list` and `tools/call`.

mod interactive;

use std::{sync::atomic::Ordering, thread, time::Duration};

use serde_json::{Value, json, value::RawValue};

use crate::{
    call::Call,
    catalogue::page,
    jobs, noise,
    outcome::{Outcome, Stop, text},
    server::Mode,
    subscriptions::Change,
    wire::on_one_line,
};

pub(crate) fn list(call: &Call) -> Outcome {
    let mut tools = call.server.catalogue.tools.clone();
    if call.server.extra_tool.load(Ordering::Relaxed) {
        tools.push(EXTRA.to_owned());
    }
    page("tools", &tools, call.params.get("cursor"))
}

pub(crate) fn call(call: Call) -> Outcome {
    let name = call.params["name"].as_str().ok_or_else(|| Stop::invalid("`name` is missing"))?.to_owned();
    if call.server.mode == Mode::Noisy {
        return noise::call(&call, &name);
    }
    if call.server.mode == Mode::Jobs && name != "tool_with_task" {
        return jobs::call(&call, &format!("{}{name}", call.server.prefix));
    }
    match interactive::find(&name) {
        Some(tool) => interactive::run(tool, &name, call),
        None => plain(&call, &name),
    }
}

/// The tools that ask nobody.
fn plain(call: &Call, name: &str) -> Outcome {
    match name {
        "simple_text" => Ok(text("This is a simple text response for testing.")),
        "image_content" => Ok(json!({ "content": [image()] }).to_string()),
        "audio_content" => {
            Ok(json!({ "content": [{ "type": "audio", "data": WAV, "mimeType": "audio/wav" }] }).to_string())
        }
        "embedded_resource" => Ok(json!({ "content": [embedded()] }).to_string()),
        "multiple_content_types" => Ok(multiple()),
        "error_handling" => Err(Stop::Tool("This tool intentionally returns an error for testing".to_owned())),
        "tool_with_logging" | "logging_tool" => Ok(logging(call)),
        "tool_with_progress" => Ok(progress(call)),
        "reconnection" => Ok(reconnection(call)),
        "header_parameter" => Ok(text(&format!("region {}", call.params["arguments"]["region"]))),
        "echo_arguments" => Ok(text(&written_arguments(call))),
        "odd_result" => Ok(on_one_line(include_str!("catalogue/odd_result.json"))),
        "trigger_tool_change" => Ok(trigger(call, Change::Tools)),
        "trigger_prompt_change" => Ok(trigger(call, Change::Prompts)),
        "trigger_resource_change" => Ok(trigger(call, Change::Resources)),
        "trigger_resource_update" => Ok(trigger(call, Change::Watched)),
        "extra" if call.server.extra_tool.load(Ordering::Relaxed) => Ok(text("extra")),
        _ => Err(Stop::invalid(&format!("unknown tool `{name}`"))),
    }
}

fn multiple() -> String {
    let resource = json!({ "type": "resource", "resource": {
        "uri": "test://mixed-content-resource",
        "mimeType": "application/json",
        "text": r#"{"test":"data","value":123}"#,
    } });
    let first = json!({ "type": "text", "text": "Multiple content types test:" });
    json!({ "content": [first, image(), resource] }).to_string()
}

fn logging(call: &Call) -> String {
    for (number, line) in
        ["Tool execution started", "Tool processing data", "Tool execution completed"].iter().enumerate()
    {
        if number > 0 {
            call.work();
        }
        call.log("info", line);
    }
    text("Tool with logging executed successfully")
}

/// Says something, so that there is a stream, and then takes longer than a stream is to stay open.
fn reconnection(call: &Call) -> String {
    call.log("info", "The answer comes later");
    thread::sleep(Duration::from_millis(1500));
    text("Whoever reads this came back for it.")
}

fn progress(call: &Call) -> String {
    for progress in [0, 50, 100] {
        if progress > 0 {
            call.work();
        }
        call.progress(progress);
    }
    text("Tool with progress executed successfully")
}

/// Changes something, and tells.
fn trigger(call: &Call, change: Change) -> String {
    let changed = match change {
        Change::Tools => Some(&call.server.extra_tool),
        Change::Prompts => Some(&call.server.extra_prompt),
        Change::Resources => Some(&call.server.extra_resource),
        Change::Watched => None,
    };
    if let Some(changed) = changed {
        changed.fetch_xor(true, Ordering::Relaxed);
    }
    call.server.tell(call.era, change);
    text("changed")
}

/// The arguments, byte for byte.
fn written_arguments(call: &Call) -> String {
    #[derive(serde::Deserialize)]
    struct Params<'a> {
        // A missing member and null are not the same.
        #[serde(borrow, default, deserialize_with = "present")]
        arguments: Option<&'a RawValue>,
    }
    fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
        <&RawValue as serde::Deserialize>::deserialize(deserializer).map(Some)
    }
    let written = call.written.as_deref().map_or("{}", RawValue::get);
    let arguments = serde_json::from_str::<Params<'_>>(written).ok().and_then(|params| params.arguments);
    arguments.map_or("absent".to_owned(), |arguments| arguments.get().to_owned())
}

pub(crate) fn image() -> Value {
    json!({ "type": "image", "data": PNG, "mimeType": "image/png" })
}

fn embedded() -> Value {
    json!({ "type": "resource", "resource": {
        "uri": "test://embedded-resource",
        "mimeType": "text/plain",
        "text": "This is an embedded resource content.",
    } })
}

/// What `trigger_tool_change` adds and removes.
const EXTRA: &str = r#"{"name":"extra","description":"Comes and goes","inputSchema":{"type":"object"}}"#;
/// One red pixel.
pub(crate) const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// One sample.
const WAV: &str = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=";
