//! URIs that point from one thing of a server to another: they are the server's own, and clients may know what they point to
//! under another one, because two servers have the same.

use std::cell::Cell;

use serde_json::value::RawValue;

use super::hub::Hub;
use crate::object::{Members, is_object};

/// A tool's definition with the page that a client shows beside its results (MCP Apps) under the URI that clients know.
pub(super) fn page_of_tool(hub: &Hub, server: usize, definition: &RawValue) -> Option<Box<RawValue>> {
    // Hardly any tool has one.
    if !definition.get().contains("esourceUri") {
        return None;
    }
    let members = Members::of(definition).ok()?;
    let meta = members.value("_meta").filter(|meta| is_object(meta))?;
    let mut pointing = meta.to_owned();
    if let Some(ui) = Members::of(meta).ok()?.value("ui").filter(|ui| is_object(ui))
        && let Some(changed) = exposed(hub, server, ui, "resourceUri")
    {
        pointing = Members::of(&pointing).ok()?.set("ui", changed.get());
    }
    // As it was written at first.
    if let Some(changed) = exposed(hub, server, &pointing, "ui/resourceUri") {
        pointing = changed;
    }
    (pointing.get() != meta.get()).then(|| members.set("_meta", pointing.get()))
}

/// A result whose links lead to what clients know.
pub(super) fn links_of_result(hub: &Hub, server: usize, result: &RawValue) -> Option<Box<RawValue>> {
    // Most results name nothing.
    if !result.get().contains(r#""resource"#) {
        return None;
    }
    let looked_at = &Cell::new(0);
    let known = |uri: &str| hub.linked_uri(server, uri, looked_at);
    let members = Members::of(result).ok()?;
    if let Some(content) = members.value("content") {
        let changed = blocks(content, known)?;
        return Some(members.set("content", &changed));
    }
    let messages: Vec<&RawValue> = serde_json::from_str(members.value("messages")?.get()).ok()?;
    let mut any = false;
    let mut all = Vec::new();
    for message in messages {
        let changed = Members::of(message).ok().and_then(|read| {
            let changed = block(read.value("content")?, known)?;
            Some(read.set("content", changed.get()))
        });
        any |= changed.is_some();
        all.push(changed.as_deref().unwrap_or(message).get().to_owned());
    }
    any.then(|| members.set("messages", &format!("[{}]", all.join(","))))
}

fn blocks(content: &RawValue, known: impl Fn(&str) -> Option<String> + Copy) -> Option<String> {
    let content: Vec<&RawValue> = serde_json::from_str(content.get()).ok()?;
    let mut any = false;
    let mut all = Vec::new();
    for one in content {
        let changed = block(one, known);
        any |= changed.is_some();
        all.push(changed.as_deref().unwrap_or(one).get().to_owned());
    }
    any.then(|| format!("[{}]", all.join(",")))
}

fn block(block: &RawValue, known: impl Fn(&str) -> Option<String>) -> Option<Box<RawValue>> {
    let members = Members::of(block).ok()?;
    match &*members.string("type")? {
        "resource_link" => renamed(block, "uri", known),
        "resource" => {
            let changed = renamed(members.value("resource")?, "uri", known)?;
            Some(members.set("resource", changed.get()))
        }
        _ => None,
    }
}

/// The object with the URI in this member as clients know it; nothing if that is the same.
fn exposed(hub: &Hub, server: usize, object: &RawValue, name: &str) -> Option<Box<RawValue>> {
    renamed(object, name, |uri| hub.exposed_uri(server, uri))
}

fn renamed(object: &RawValue, name: &str, known: impl Fn(&str) -> Option<String>) -> Option<Box<RawValue>> {
    let members = Members::of(object).ok()?;
    let own = members.string(name)?;
    let known = known(&own)?;
    (*known != *own).then(|| members.with(name, &known)).flatten()
}
