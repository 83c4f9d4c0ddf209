//! URIs that point from one thing of a server to another: they are the server's own, and clients may know what they point to
//! under another one, because two servers have the same.

use std::cell::Cell;

use serde_json::value::RawValue;

use super::{hub::Hub, offer::Offer};
use crate::{
    mend::{text_block, text_message},
    object::{Members, is_object},
};

/// A tool's definition with the page that a client shows beside its results (MCP Apps) under the URI that clients know.
pub(super) fn page_of_tool(hub: &Hub, server: usize, definition: &RawValue) -> Option<Box<RawValue>> {
    // Hardly any tool has one.
    if !may_name(definition, "esourceUri") {
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

/// A result whose links lead to what clients know. They are noted, if clients may read any resource of that server.
pub(super) fn links_of_result(hub: &Hub, (server, offer): (usize, &Offer), result: &RawValue) -> Option<Box<RawValue>> {
    if !offer.description.capabilities.resources {
        return None;
    }
    let work = &Cell::new(MAX_WORK);
    let known = |uri: &str| {
        hub.links.learn(server, uri);
        hub.linked_uri(server, uri, work)
    };
    let members = Members::of(result).ok()?;
    if let Some(content) = members.value("content") {
        let changed = blocks(content, known)?;
        return Some(members.set("content", &changed));
    }
    let messages: Vec<&RawValue> = serde_json::from_str(members.value("messages")?.get()).ok()?;
    let mut any = false;
    let mut all = Vec::new();
    for message in messages {
        let changed = match Members::of(message) {
            Ok(read) => {
                let changed = read.value("content").and_then(|content| block(content, known));
                changed.map(|changed| read.set("content", changed.get()))
            }
            Err(_) if is_object(message) => RawValue::from_string(text_message(message.get())).ok(),
            Err(_) => None,
        };
        any |= changed.is_some();
        all.push(changed.as_deref().unwrap_or(message).get().to_owned());
    }
    any.then(|| members.set("messages", &format!("[{}]", all.join(","))))
}

/// Whether a result could hold links; most name nothing.
pub(super) fn may_link(result: &RawValue) -> bool {
    may_name(result, r#""resource"#)
}

/// Whether this stands in JSON, or could: a letter may be spelled with an escape.
fn may_name(json: &RawValue, text: &str) -> bool {
    json.get().contains(text) || json.get().contains(r"\u")
}

/// How much of all links of one result is compared with templates, in bytes of URI times bytes of template. What is left then
/// counts as another server's.
pub(super) const MAX_WORK: usize = 128 << 20;
/// The same of the page of one tool, of which there may be thousands.
const WORK_OF_PAGE: usize = 64 << 10;

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

/// What names a member twice may be a link to some reader, and is told as text.
fn block(block: &RawValue, known: impl Fn(&str) -> Option<String>) -> Option<Box<RawValue>> {
    let text = || RawValue::from_string(text_block(block.get())).ok();
    if !is_object(block) {
        return None;
    }
    let Ok(members) = Members::of(block) else { return text() };
    match &*members.string("type")? {
        "resource_link" => renamed(block, "uri", known),
        "resource" => {
            let resource = members.value("resource")?;
            if is_object(resource) && Members::of(resource).is_err() {
                return text();
            }
            let changed = renamed(resource, "uri", known)?;
            Some(members.set("resource", changed.get()))
        }
        _ => None,
    }
}

/// The object with the URI in this member as clients know it; nothing if that is the same.
fn exposed(hub: &Hub, server: usize, object: &RawValue, name: &str) -> Option<Box<RawValue>> {
    renamed(object, name, |uri| {
        // It need not be listed: then this names it.
        if hub.entries().any(|entry| entry.index == server && entry.has_resources()) {
            hub.links.learn(server, uri);
        }
        hub.linked_uri(server, uri, &Cell::new(WORK_OF_PAGE))
    })
}

fn renamed(object: &RawValue, name: &str, known: impl Fn(&str) -> Option<String>) -> Option<Box<RawValue>> {
    let members = Members::of(object).ok()?;
    let own = members.string(name)?;
    let known = known(&own)?;
    (*known != *own).then(|| members.with(name, &known)).flatten()
}
