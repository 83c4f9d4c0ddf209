//! Results and errors that are not what the protocol says, made what they must have meant: a strict client loses the whole
//! answer to one odd block, and some wait for ever for one that they could not read. What is right passes byte for byte.

mod block;
mod glance;

use serde_json::value::RawValue;

pub(crate) use self::block::text_block;
use self::{
    block::{contents, mended_block, object_or_none},
    glance::is_right,
};
use crate::{
    object::{Members, NotItems, is_object, items, quoted, string},
    upstream::Outcome,
};

/// The outcome of a request as every client can read it. `uri` is that of a resource which was asked for.
pub(crate) fn mended(method: &str, uri: Option<&str>, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Complete(result) => {
            let mended = mended_result(method, uri, &result);
            if mended.is_some() {
                tracing::debug!(method, "a result was mended");
            }
            Outcome::Complete(mended.unwrap_or(result))
        }
        Outcome::Error(error) => Outcome::Error(mended_error(&error).unwrap_or(error)),
        outcome => outcome,
    }
}

/// The result, if something is wrong with it.
pub(crate) fn mended_result(method: &str, uri: Option<&str>, result: &RawValue) -> Option<Box<RawValue>> {
    if is_right(method, result) {
        return None;
    }
    match method {
        "tools/call" => tool_result(result),
        "prompts/get" => prompt(result),
        "resources/read" => resource(uri, result),
        "completion/complete" => completion(result),
        _ => None,
    }
}

fn tool_result(result: &RawValue) -> Option<Box<RawValue>> {
    let members = Members::of(result).ok()?;
    // What is absent stays absent.
    let mended = members.value("content").map(|content| {
        let blocks = match content.get() {
            "null" => Vec::new(),
            _ => blocks(content, MAX_BLOCKS),
        };
        members.set("content", &format!("[{}]", blocks.join(",")))
    });
    let mended = without_odd(mended.as_deref().unwrap_or(result), "_meta", is_object);
    let members = Members::of(&mended).ok()?;
    Some(match members.value("isError").map(RawValue::get) {
        None | Some("true" | "false") => mended,
        Some("1" | r#""true""#) => members.set("isError", "true"),
        Some(_) => members.without("isError"),
    })
}

/// The blocks, if there are no more than so many; else all of it as the text of one.
fn blocks(content: &RawValue, most: usize) -> Vec<String> {
    let mended = |block: &RawValue| mended_block(block).unwrap_or_else(|| block.get().to_owned());
    match items(content, most) {
        Ok(blocks) => blocks.into_iter().map(mended).collect(),
        Err(NotItems::NoList) => vec![mended(content)],
        Err(NotItems::TooMany) => vec![text_block(content.get())],
    }
}

fn prompt(result: &RawValue) -> Option<Box<RawValue>> {
    let members = Members::of(result).ok()?;
    let mended = members.value("messages").map(|list| {
        let listed = items(list, MAX_BLOCKS).unwrap_or_else(|_| vec![list]);
        let mut room = MAX_BLOCKS;
        let messages: Vec<String> = listed.into_iter().flat_map(|message| messages(message, &mut room)).collect();
        members.set("messages", &format!("[{}]", messages.join(",")))
    });
    let mended = without_odd(mended.as_deref().unwrap_or(result), "description", |value| string(value).is_some());
    Some(without_odd(&mended, "_meta", is_object))
}

/// A message of a prompt that says this.
pub(crate) fn text_message(text: &str) -> String {
    format!(r#"{{"role":"user","content":{}}}"#, text_block(text))
}

/// One message, or one for each block, if there are several in one and there is room for so many.
fn messages(message: &RawValue, room: &mut usize) -> Vec<String> {
    let Ok(members) = Members::of(message) else {
        return vec![text_message(message.get())];
    };
    // Instructions of a system are for the model as much as those of a user, and there is no other role for them.
    let role = if members.string("role").as_deref() == Some("assistant") { r#""assistant""# } else { r#""user""# };
    let blocks = members.value("content").map_or_else(|| vec![text_block("")], |content| blocks(content, *room));
    *room = room.saturating_sub(blocks.len());
    let with_role = members.set("role", role);
    let members = Members::grown(&with_role).expect("it was read before");
    let mut blocks = blocks.iter();
    let first = blocks.next().map(|block| members.set("content", block).get().to_owned());
    // What else there is of the message is told once: repeated with each block, a short text could become one that fills the memory.
    let others = blocks.map(|block| format!(r#"{{"role":{role},"content":{block}}}"#));
    first.into_iter().chain(others).collect()
}

fn resource(uri: Option<&str>, result: &RawValue) -> Option<Box<RawValue>> {
    let members = Members::of(result).ok()?;
    let mended = members.value("contents").map(|list| {
        let listed = items(list, MAX_BLOCKS).unwrap_or_else(|_| vec![list]);
        let uri = uri.filter(|uri| uri.len() * listed.len() <= MAX_REPEATED).unwrap_or_default();
        let listed: Vec<String> = listed.into_iter().map(|one| contents(uri, one)).collect();
        members.set("contents", &format!("[{}]", listed.join(",")))
    });
    Some(without_odd(mended.as_deref().unwrap_or(result), "_meta", is_object))
}

fn completion(result: &RawValue) -> Option<Box<RawValue>> {
    let members = Members::of(result).ok()?;
    let none = RawValue::from_string("{}".to_owned()).expect("it is JSON");
    let given = object_or_none(members.value("completion")?).unwrap_or(&none);
    let completion = Members::of(given).ok()?;
    let values: Vec<&RawValue> =
        completion.value("values").and_then(|values| serde_json::from_str(values.get()).ok()).unwrap_or_default();
    let known = values.into_iter().filter(|value| string(value).is_some()).take(MAX_VALUES);
    let known: Vec<&str> = known.map(RawValue::get).collect();
    let mended = completion.set("values", &format!("[{}]", known.join(",")));
    let mended = without_odd(&mended, "total", |total| total.get().parse::<u32>().is_ok());
    let mended = without_odd(&mended, "hasMore", |more| matches!(more.get(), "true" | "false"));
    Some(members.set("completion", mended.get()))
}

/// The error object, if a strict client could not read it.
pub(crate) fn mended_error(error: &RawValue) -> Option<Box<RawValue>> {
    let members = Members::of(error).ok()?;
    let (code, message) = (members.value("code"), members.value("message"));
    let known = code.is_some_and(|code| code.get().parse::<i32>().is_ok());
    if known && message.is_some_and(|message| string(message).is_some()) {
        return None;
    }
    let text = code.map(|code| string(code).map_or_else(|| code.get().to_owned(), Into::into)).unwrap_or_default();
    let number = text.trim().parse::<f64>().ok().filter(|number| number.abs() < 2.0e9);
    let code = number.map_or_else(|| "-32603".to_owned(), |number| format!("{number:.0}"));
    let message = match message {
        Some(message) => string(message).map_or_else(|| message.get().to_owned(), Into::into),
        None => "the server gave no reason".to_owned(),
    };
    let mended = members.set("code", &code);
    Some(Members::of(&mended).ok()?.set("message", &quoted(&message)))
}

fn without_odd(object: &RawValue, name: &str, right: fn(&RawValue) -> bool) -> Box<RawValue> {
    let members = Members::grown(object).expect("it was read before");
    match members.value(name) {
        Some(value) if !right(value) => members.without(name),
        _ => object.to_owned(),
    }
}

/// Items of one result that are made others: some are two bytes long, and become far more.
const MAX_BLOCKS: usize = 10_000;
/// Bytes of a URI that is written into everything which has none.
const MAX_REPEATED: usize = 1 << 20;
/// The protocol's own bound.
const MAX_VALUES: usize = 100;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn what_is_right_is_left_alone() {
        for (method, result) in [
            (
                "tools/call",
                r#"{ "content":[{"type":"text","text":"a\nb","x":1e400},{"type":"image","data":"","mimeType":"a/b"},{"type":"resource","resource":{"uri":"a:","text":""}},{"type":"resource_link","uri":"a:","name":"n","size":7,"annotations":{"audience":["user"],"priority":0.50}}],"isError":false,"structuredContent":[1.0],"_meta":{}}"#,
            ),
            ("tools/call", r#"{"content" : [ ] }"#),
            ("prompts/get", r#"{"messages":[{"role":"user","content":{"type":"text","text":""},"x":1.0}]}"#),
            ("resources/read", r#"{"contents":[{"uri":"a:","blob":"","mimeType":"a/b","_meta":{}}]}"#),
            ("completion/complete", r#"{"completion":{"values":["a"],"total":1,"hasMore":false}}"#),
            ("tools/call", r#"{"isError":true}"#), // what is absent stays absent
            ("prompts/get", "{}"),
            ("resources/read", r#"{"x":1}"#),
            ("completion/complete", "{}"),
            ("tools/list", r#"{"tools":"odd"}"#),             // mended elsewhere
            ("tools/call", r#"{"content":[],"content":[]}"#), // nothing that could be mended
        ] {
            assert!(mended_result(method, None, &raw(result)).is_none(), "{result}");
        }
        assert!(mended_error(&raw(r#"{"code":-32000,"message":"m","x":1.0}"#)).is_none());
    }

    #[test]
    fn an_odd_result_is_made_what_it_must_have_meant() {
        for (method, result, expected) in [
            ("tools/call", r#"{"isError":1}"#, r#"{"isError":true}"#),
            ("tools/call", r#"{"content":null}"#, r#"{"content":[]}"#),
            ("tools/call", r#"{"x":1.0,"content":"hi"}"#, r#"{"x":1.0,"content":[{"type":"text","text":"hi"}]}"#),
            ("tools/call", r#"{"content":[],"isError":"true","_meta":7}"#, r#"{"content":[],"isError":true}"#),
            (
                "prompts/get",
                r#"{"messages":[{"role":"system","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}"#,
                r#"{"messages":[{"role":"user","content":{"type":"text","text":"a"}},{"role":"user","content":{"type":"text","text":"b"}}]}"#,
            ),
            (
                "prompts/get",
                r#"{"messages":[{"role":"assistant","content":"a"}]}"#,
                r#"{"messages":[{"role":"assistant","content":{"type":"text","text":"a"}}]}"#,
            ),
            ("resources/read", r#"{"contents":{"text":"a"}}"#, r#"{"contents":[{"uri":"asked:1","text":"a"}]}"#),
            (
                "completion/complete",
                r#"{"completion":{"values":["a",7],"total":1.5,"hasMore":"no"}}"#,
                r#"{"completion":{"values":["a"]}}"#,
            ),
            ("completion/complete", r#"{"completion":7}"#, r#"{"completion":{"values":[]}}"#),
        ] {
            let mended = mended_result(method, Some("asked:1"), &raw(result)).unwrap();
            assert_eq!(mended.get(), expected, "{result}");
            assert!(mended_result(method, None, &mended).is_none(), "once is enough: {mended}");
        }
    }

    #[test]
    fn an_error_has_a_number_and_a_text() {
        for (error, expected) in [
            (r#"{"code":"-32001","message":"m"}"#, r#"{"code":-32001,"message":"m"}"#),
            (r#"{"code":"E_FAIL","message":"m","data":1.0}"#, r#"{"code":-32603,"message":"m","data":1.0}"#),
            (r#"{"code":1.0,"message":"m"}"#, r#"{"code":1,"message":"m"}"#),
            (r#"{"code":1e300,"message":["m"]}"#, r#"{"code":-32603,"message":"[\"m\"]"}"#),
            ("{}", r#"{"message":"the server gave no reason","code":-32603}"#),
        ] {
            let mended = mended_error(&raw(error)).unwrap();
            assert_eq!(mended.get(), expected);
            assert!(mended_error(&mended).is_none());
        }
    }
}
