//! One block of content.

use serde_json::value::RawValue;

use crate::{
    catalogue::mended_resource,
    object::{Members, is_object, quoted, string},
};

/// The block, if something is wrong with it. One that no client knows is shown to the model as it was written.
pub(super) fn mended_block(block: &RawValue) -> Option<String> {
    let Some(block) = object_or_none(block) else {
        return Some(string(block).map_or_else(|| text_block(block.get()), |text| text_block(&text)));
    };
    // Titles, annotations and the like are wrong in the same ways as a resource's.
    let Ok((general, odd)) = mended_resource(block) else { return Some(text_block(block.get())) };
    let Ok(members) = Members::of(&general) else { return Some(text_block(block.get())) };
    let text = |name: &str| members.value(name).is_some_and(|value| string(value).is_some());
    let mended = match members.string("type").as_deref() {
        Some("text") if text("text") => None,
        Some("text") => {
            let json = members.value("text").map_or("", RawValue::get);
            Some(members.set("text", &quoted(json)).get().to_owned())
        }
        Some("image" | "audio") if text("data") && text("mimeType") => None,
        Some("image" | "audio") if text("data") => {
            Some(members.set("mimeType", r#""application/octet-stream""#).get().to_owned())
        }
        Some("resource_link") if text("uri") => link(&members),
        Some("resource") => match members.value("resource").and_then(object_or_none) {
            Some(resource) => {
                let mended = contents("", resource);
                (mended != resource.get()).then(|| members.set("resource", &mended).get().to_owned())
            }
            None => Some(text_block(block.get())),
        },
        _ => Some(text_block(block.get())),
    };
    mended.or_else(|| odd.map(|_| general.get().to_owned()))
}

fn link(members: &Members<'_>) -> Option<String> {
    let named = members.value("name").is_some_and(|name| string(name).is_some());
    let sized = members.value("size").is_none_or(|size| size.get().parse::<u64>().is_ok());
    if named && sized {
        return None;
    }
    let uri = members.value("uri").expect("it has one").get();
    let mended = if named { members.set("uri", uri) } else { members.set("name", uri) };
    if sized {
        return Some(mended.get().to_owned());
    }
    Some(Members::grown(&mended).expect("it was read before").without("size").get().to_owned())
}

/// The contents of a resource; `uri` is its own, should they not say it.
pub(super) fn contents(uri: &str, given: &RawValue) -> String {
    let Some(members) = object_or_none(given).and_then(|given| Members::of(given).ok()) else {
        let text = string(given).map_or_else(|| given.get().to_owned(), Into::into);
        return format!(r#"{{"uri":{},"text":{}}}"#, quoted(uri), quoted(&text));
    };
    let text = |members: &Members<'_>, name: &str| members.value(name).map(|value| string(value).is_some());
    let mut mended = given.to_owned();
    let mut set =
        |name: &str, json: &str| mended = Members::grown(&mended).expect("it was read before").set(name, json);
    if text(&members, "uri") != Some(true) {
        set("uri", &quoted(uri));
    }
    match (text(&members, "text"), text(&members, "blob")) {
        (Some(true), _) | (None, Some(true)) => {}
        (Some(false), _) => set("text", &quoted(members.value("text").map_or("", RawValue::get))),
        (None, _) => set("text", r#""""#),
    }
    for (name, right) in [("mimeType", is_text as fn(&RawValue) -> bool), ("_meta", is_object)] {
        if members.value(name).is_some_and(|value| !right(value)) {
            mended = Members::grown(&mended).expect("it was read before").without(name);
        }
    }
    mended.get().to_owned()
}

fn is_text(value: &RawValue) -> bool {
    string(value).is_some()
}

pub(super) fn object_or_none(value: &RawValue) -> Option<&RawValue> {
    is_object(value).then_some(value)
}

pub(crate) fn text_block(text: &str) -> String {
    format!(r#"{{"type":"text","text":{}}}"#, quoted(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[test]
    fn an_odd_block_is_mended_or_shown_as_text_and_a_right_one_is_left_alone() {
        for (block, expected) in [
            (r#"{"type":"text","text":"a","x":1.0}"#, None),
            (r#"{"type":"resource_link","uri":"a:","name":"n","size":1}"#, None),
            (r#"{"type":"text","text":7}"#, Some(r#"{"type":"text","text":"7"}"#)),
            (
                r#"{"type":"image","data":"x"}"#,
                Some(r#"{"mimeType":"application/octet-stream","type":"image","data":"x"}"#),
            ),
            (
                r#"{"type":"resource_link","uri":"a:","size":-1,"x":1.0}"#,
                Some(r#"{"name":"a:","type":"resource_link","uri":"a:","x":1.0}"#),
            ),
            (
                r#"{"type":"resource_link","uri":"a:","name":"n","size":"big"}"#,
                Some(r#"{"type":"resource_link","uri":"a:","name":"n"}"#),
            ),
            (
                r#"{"type":"text","text":"a","annotations":{"audience":["robot","user"],"priority":1.0}}"#,
                Some(r#"{"type":"text","text":"a","annotations":{"audience":["user"],"priority":1.0}}"#),
            ),
            (
                r#"{"type":"resource_link","uri":"a:","name":"n","icons":[{"src":"i","sizes":"1x1"}]}"#,
                Some(r#"{"type":"resource_link","uri":"a:","name":"n","icons":[{"src":"i","sizes":["1x1"]}]}"#),
            ),
            (r#"{"type":"hologram","q":1.0}"#, Some(r#"{"type":"text","text":"{\"type\":\"hologram\",\"q\":1.0}"}"#)),
            (r#"{"type":"image"}"#, Some(r#"{"type":"text","text":"{\"type\":\"image\"}"}"#)),
            (r#"{"type":"a","type":"b"}"#, Some(r#"{"type":"text","text":"{\"type\":\"a\",\"type\":\"b\"}"}"#)),
            (r#"{"text":"a"}"#, Some(r#"{"type":"text","text":"{\"text\":\"a\"}"}"#)),
            (r#""plain""#, Some(r#"{"type":"text","text":"plain"}"#)),
            ("7", Some(r#"{"type":"text","text":"7"}"#)),
            (
                r#"{"type":"resource","resource":{"uri":"a:","mimeType":7}}"#,
                Some(r#"{"type":"resource","resource":{"text":"","uri":"a:"}}"#),
            ),
        ] {
            let raw = RawValue::from_string(block.to_owned()).unwrap();
            let mended = mended_block(&raw);
            if let Some(expected) = expected {
                let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
                assert_eq!(value(mended.as_deref().unwrap()), value(expected), "{block}");
                let again = RawValue::from_string(mended.unwrap()).unwrap();
                assert_eq!(mended_block(&again), None, "once is enough");
            } else {
                assert_eq!(mended, None, "{block}");
            }
        }
    }
}
