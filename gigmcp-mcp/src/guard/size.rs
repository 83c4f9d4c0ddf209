//! Results that are too large: text is cut where one can see it, and what is binary is taken out.

use memchr::memchr2_iter;
use serde_json::value::RawValue;

use super::{Finding, Tally};
use crate::{
    aggregator::ServerLimits,
    hygiene::{Escaped, Units, string_end},
    object::{Members, quoted},
};

/// Whether no value is nested deeper than this. It does not recurse, so it may see anything.
pub(crate) fn is_shallow(json: &str, limit: usize) -> bool {
    let openings = memchr2_iter(b'{', b'[', json.as_bytes());
    // So few, in strings or not, cannot be too deep.
    openings.take(limit + 1).count() <= limit || depth(json) <= limit
}

/// How deep the deepest value is nested: 1 for an object of numbers.
pub(crate) fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for bracket in brackets(json) {
        match bracket {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            _ => depth = depth.saturating_sub(1),
        }
    }
    deepest
}

/// The brackets that are not part of a string. What is in strings is passed over whole.
fn brackets(json: &str) -> impl Iterator<Item = u8> {
    let (bytes, mut at) = (json.as_bytes(), 0);
    std::iter::from_fn(move || {
        while let Some(byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'"' => at = string_end(bytes, at)? + 1,
                b'{' | b'[' | b'}' | b']' => return Some(*byte),
                _ => {}
            }
        }
        None
    })
}

/// The result within these limits; `None` if it is already.
///
/// # Errors
/// The limit, if what is too large cannot be cut.
pub(super) fn fitted(
    method: &str,
    result: &RawValue,
    limits: &ServerLimits,
    tally: &Tally,
) -> Result<Option<Box<RawValue>>, usize> {
    let list = match method {
        "tools/call" | "tasks/result" => Some("content"),
        "resources/read" => Some("contents"),
        "prompts/get" => Some("messages"),
        // Nothing of it can be cut, and the limit of the whole holds.
        _ => None,
    };
    let list = list.filter(|_| may_be_large(result.get(), limits));
    let fitted = list.and_then(|list| cut(list, result, limits, tally));
    let size = fitted.as_deref().unwrap_or(result).get().len();
    if size > limits.result_bytes { Err(limits.result_bytes) } else { Ok(fitted) }
}

fn may_be_large(result: &str, limits: &ServerLimits) -> bool {
    // Texts of JSON are full of brackets that are none.
    let many = |openings: &mut dyn Iterator<Item = u8>| openings.nth(limits.items).is_some();
    result.len() > limits.text_bytes.min(limits.base64_bytes)
        || many(&mut memchr2_iter(b'{', b'[', result.as_bytes()).map(|_| b'['))
            && many(&mut brackets(result).filter(|bracket| matches!(bracket, b'{' | b'[')))
}

fn cut(list: &str, result: &RawValue, limits: &ServerLimits, tally: &Tally) -> Option<Box<RawValue>> {
    let members = Members::of(result).ok()?;
    let items: Vec<&RawValue> = serde_json::from_str(members.value(list)?.get()).ok()?;
    let mut room = Room { text: limits.text_bytes, limits, tally, changed: false };
    let mut kept: Vec<String> = Vec::with_capacity(items.len().min(limits.items));
    for item in items.iter().take(limits.items) {
        kept.push(room.item(list, item));
    }
    if items.len() > limits.items {
        tally.add(Finding::ItemsCut, 1);
        let note =
            note(&format!("{} more items were left out; {} are allowed", items.len() - limits.items, limits.items));
        kept.extend(room.note_of(list, &note, items.last()?));
        room.changed = true;
    }
    let changed = room.changed.then(|| members.with_raw(list, &format!("[{}]", kept.join(","))));
    changed.flatten()
}

/// What is left of what a result may hold.
struct Room<'a> {
    text: usize,
    limits: &'a ServerLimits,
    tally: &'a Tally,
    changed: bool,
}

impl Room<'_> {
    /// One item of the list, as it fits. What cannot be read is left as it is: the limit of the whole holds for it.
    fn item(&mut self, list: &str, item: &RawValue) -> String {
        let fitted = Members::of(item).ok().and_then(|members| match list {
            "messages" => {
                let content = members.value("content")?;
                members.with_raw("content", self.block(content)?.get())
            }
            "contents" => self.contents(&members),
            _ => self.block(item),
        });
        self.changed |= fitted.is_some();
        fitted.map_or_else(|| item.get().to_owned(), |fitted| fitted.get().to_owned())
    }

    /// A block of content.
    fn block(&mut self, block: &RawValue) -> Option<Box<RawValue>> {
        let members = Members::of(block).ok()?;
        match &*members.string("type")? {
            "text" => self.text(&members),
            kind @ ("image" | "audio") => {
                let bytes = self.too_large(members.value("data")?)?;
                let text = note(&format!(
                    "this {kind} of {bytes} bytes was left out; {} are allowed",
                    self.limits.base64_bytes
                ));
                Some(text_block(&text))
            }
            "resource" => {
                let resource = members.value("resource")?;
                members.with_raw("resource", self.contents(&Members::of(resource).ok()?)?.get())
            }
            _ => None,
        }
    }

    /// The contents of a resource: text, or what is binary.
    fn contents(&mut self, members: &Members<'_>) -> Option<Box<RawValue>> {
        let Some(blob) = members.value("blob") else { return self.text(members) };
        let bytes = self.too_large(blob)?;
        let text = note(&format!("{bytes} bytes were left out; {} are allowed", self.limits.base64_bytes));
        let without = members.without("blob");
        Some(Members::of(&without).ok()?.set("text", &quoted(&text)))
    }

    /// The size of binary content that does not fit.
    fn too_large(&self, base64: &RawValue) -> Option<usize> {
        let bytes = base64.get().len() / 4 * 3;
        (bytes > self.limits.base64_bytes).then(|| {
            self.tally.add(Finding::BinaryRefused, 1);
            bytes
        })
    }

    fn text(&mut self, members: &Members<'_>) -> Option<Box<RawValue>> {
        let text = members.value("text")?.get();
        let inner = text.strip_prefix('"')?.strip_suffix('"')?;
        if inner.len() <= self.text {
            self.text -= inner.len();
            return None;
        }
        let end = whole_characters(inner, self.text);
        let note =
            note(&format!("{} bytes of text were left out; {} are allowed", inner.len() - end, self.limits.text_bytes));
        self.text = 0;
        self.tally.add(Finding::TextCut, 1);
        members.with_raw("text", &format!("\"{}\\n{}\"", &inner[..end], &quoted(&note)[1..].trim_end_matches('"')))
    }

    fn note_of(&self, list: &str, note: &str, last: &RawValue) -> Option<String> {
        match list {
            "content" => Some(text_block(note).get().to_owned()),
            "messages" => Some(format!(r#"{{"role":"user","content":{}}}"#, text_block(note).get())),
            _ => {
                let uri = Members::of(last).ok()?.string("uri")?;
                Some(format!(r#"{{"uri":{},"text":{}}}"#, quoted(&uri), quoted(note)))
            }
        }
    }
}

/// Where a text within quotes can be cut so that no more than these bytes are left, and no character is cut in two.
fn whole_characters(inner: &str, most: usize) -> usize {
    let units = Escaped(inner);
    let mut end = 0;
    while let Some(unit) = units.at(end).filter(|unit| unit.end <= most) {
        end = unit.end;
    }
    end
}

fn text_block(text: &str) -> Box<RawValue> {
    RawValue::from_string(format!(r#"{{"type":"text","text":{}}}"#, quoted(text))).expect("strings are JSON")
}

/// What the reader is told, so that nobody takes it for what the server said.
fn note(text: &str) -> String {
    format!("[gigmcp: {text}]")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    fn limits() -> ServerLimits {
        ServerLimits { text_bytes: 10, base64_bytes: 6, items: 3, result_bytes: 400, ..ServerLimits::default() }
    }

    fn fit(method: &str, result: &str) -> Result<Option<String>, usize> {
        let raw = RawValue::from_string(result.to_owned()).unwrap();
        let tally = Tally::new("s".parse().unwrap());
        fitted(method, &raw, &limits(), &tally).map(|fitted| fitted.map(|raw| raw.get().to_owned()))
    }

    #[test]
    fn what_is_too_large_is_cut_where_one_can_see_it() {
        for (case, method, result, expected) in [
            (
                "text",
                "tools/call",
                r#"{"content":[{"type":"text","text":"0123456789abc","x":1.0}],"y":1e400}"#,
                r#"{"content":[{"type":"text","text":"0123456789\n[gigmcp: 3 bytes of text were left out; 10 are allowed]","x":1.0}],"y":1e400}"#,
            ),
            (
                "no character is cut in two",
                "tools/call",
                r#"{"content":[{"type":"text","text":"012345\u00e9abcdef"}]}"#,
                r#"{"content":[{"type":"text","text":"012345\n[gigmcp: 12 bytes of text were left out; 10 are allowed]"}]}"#,
            ),
            (
                "an image",
                "tools/call",
                r#"{"content":[{"type":"image","data":"AAAAAAAAAAAA","mimeType":"image/png"}]}"#,
                r#"{"content":[{"type":"text","text":"[gigmcp: this image of 9 bytes was left out; 6 are allowed]"}]}"#,
            ),
            (
                "a resource",
                "resources/read",
                r#"{"contents":[{"uri":"a:b","blob":"AAAAAAAAAAAA"}]}"#,
                r#"{"contents":[{"text":"[gigmcp: 9 bytes were left out; 6 are allowed]","uri":"a:b"}]}"#,
            ),
            (
                "an embedded one",
                "tools/call",
                r#"{"content":[{"type":"resource","resource":{"uri":"a:b","blob":"AAAAAAAAAAAA"}}]}"#,
                r#"{"content":[{"type":"resource","resource":{"text":"[gigmcp: 9 bytes were left out; 6 are allowed]","uri":"a:b"}}]}"#,
            ),
            (
                "items",
                "tools/call",
                r#"{"content":[{"type":"x"},{"type":"x"},{"type":"x"},{"type":"x"},{"type":"x"}]}"#,
                r#"{"content":[{"type":"x"},{"type":"x"},{"type":"x"},{"type":"text","text":"[gigmcp: 2 more items were left out; 3 are allowed]"}]}"#,
            ),
            (
                "the result of a task",
                "tasks/result",
                r#"{"content":[{"type":"text","text":"0123456789abc"}]}"#,
                r#"{"content":[{"type":"text","text":"0123456789\n[gigmcp: 3 bytes of text were left out; 10 are allowed]"}]}"#,
            ),
            (
                "a prompt",
                "prompts/get",
                r#"{"messages":[{"role":"user","content":{"type":"text","text":"0123456789abc"}}]}"#,
                r#"{"messages":[{"role":"user","content":{"type":"text","text":"0123456789\n[gigmcp: 3 bytes of text were left out; 10 are allowed]"}}]}"#,
            ),
        ] {
            assert_eq!(fit(method, result), Ok(Some(expected.to_owned())), "{case}");
        }
        for (case, method, result) in [
            ("text that fits", "tools/call", r#"{"content":[{"type":"text","text":"0123456789"}]}"#),
            ("an image that fits", "tools/call", r#"{"content":[{"type":"image","data":"AAAAAAAA"}]}"#),
            ("as many as there may be", "tools/call", r#"{"content":[{"type":"x"},{"type":"x"},{"type":"x"}]}"#),
            ("another method", "completion/complete", r#"{"completion":{"values":["0123456789abcdefghij"]}}"#),
        ] {
            assert_eq!(fit(method, result), Ok(None), "{case}");
        }
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let structured = format!(r#"{{"content":[],"structuredContent":"{}"}}"#, "x".repeat(500));
        assert_eq!(fit("tools/call", &structured), Err(400));
        assert_eq!(fit("tools/call", &structured.replace(&"x".repeat(200), "")), Ok(None));
        for method in ["tasks/result", "completion/complete", "com.example/x/do", "skills/list"] {
            let answer = format!(r#"{{"x":"{}"}}"#, "x".repeat(400));
            assert_eq!(fit(method, &answer), Err(400), "{method}");
            assert_eq!(fit(method, &answer.replace(&"x".repeat(100), "")), Ok(None), "twin: {method}");
        }
    }

    #[test]
    fn depth_is_told_without_recursion() {
        for (json, expected) in [("1", 0), ("{}", 1), (r#"{"a":[{"b":"[[[[\"{{"}]}"#, 3), (r#"["\\",[]]"#, 2)] {
            assert_eq!(depth(json), expected, "{json}");
            assert!(is_shallow(json, expected) && (expected == 0 || !is_shallow(json, expected - 1)), "{json}");
        }
        let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        assert!(!is_shallow(&deep, 100));
    }
}
