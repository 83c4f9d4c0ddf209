//! The strings of a JSON text, without parsing and writing it anew: numbers, order, blanks and escapes stay as they are.

use memchr::memchr2;
use serde_json::value::RawValue;

use super::{Removal, scan::may_matter, text::cleaned, units::Escaped};

/// Which values are left alone: how deep the object is that holds it, from 1, and the member's name as written.
pub(crate) type Leave<'a> = &'a dyn Fn(usize, &str) -> bool;

/// What became of a text.
pub(crate) struct Rewritten {
    pub(crate) json: Box<RawValue>,
    /// A key is not what it was.
    pub(crate) keys: bool,
}

/// The text with every string as it may be shown; `None` if there is nothing to change. It does not recurse.
pub(super) fn rewritten(text: &str, leave: Leave<'_>, removal: &mut Removal) -> Option<Rewritten> {
    let mut output = String::new();
    let (mut from, mut keys) = (0, false);
    for Place { begin, end, depth, role } in Strings::of(text) {
        let inner = &text[begin..end];
        if !may_matter(inner) || matches!(role, Role::Member(name) if leave(depth, name)) {
            continue;
        }
        let Some(clean) = cleaned(&Escaped(inner), removal) else { continue };
        keys |= role == Role::Key;
        output.push_str(&text[from..begin]);
        output.push_str(&clean);
        from = end;
    }
    if from == 0 {
        return None;
    }
    output.push_str(&text[from..]);
    let json = RawValue::from_string(output).expect("whole characters were cut out of strings");
    Some(Rewritten { json, keys })
}

/// Every string of a well-formed JSON text, between its quotes.
struct Strings<'a> {
    text: &'a str,
    at: usize,
    /// Whether each container around is an object.
    within: Vec<bool>,
    key_next: bool,
    key: &'a str,
}

struct Place<'a> {
    begin: usize,
    end: usize,
    depth: usize,
    role: Role<'a>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role<'a> {
    Key,
    /// The value of the member of this name.
    Member(&'a str),
    Item,
}

impl<'a> Strings<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, at: 0, within: Vec::new(), key_next: false, key: "" }
    }

    fn string(&mut self) -> Option<Place<'a>> {
        let begin = self.at + 1;
        let end = string_end(self.text.as_bytes(), begin)?;
        self.at = end + 1;
        let role = match self.within.last() {
            Some(true) if self.key_next => Role::Key,
            Some(true) => Role::Member(self.key),
            Some(false) | None => Role::Item,
        };
        if role == Role::Key {
            self.key = &self.text[begin..end];
        }
        Some(Place { begin, end, depth: self.within.len(), role })
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = Place<'a>;

    fn next(&mut self) -> Option<Place<'a>> {
        while let Some(byte) = self.text.as_bytes().get(self.at) {
            match byte {
                b'"' => return self.string(),
                b'{' | b'[' => {
                    self.within.push(*byte == b'{');
                    self.key_next = *byte == b'{';
                }
                b'}' | b']' => drop(self.within.pop()),
                b',' => self.key_next = self.within.last() == Some(&true),
                b':' => self.key_next = false,
                _ => {}
            }
            self.at += 1;
        }
        None
    }
}

/// Where the quote stands that ends a string whose text begins here.
pub(crate) fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[test]
    fn only_what_has_to_go_goes() {
        let nothing: Leave<'_> = &|_, _| false;
        for (text, expected, keys) in [
            (
                r#"{ "a" : 1e400 ,"b":[-0.0,"x\u001b[31my\u00e9\u200b"] , "c":"\u00e9" }"#,
                Some(r#"{ "a" : 1e400 ,"b":[-0.0,"xy\u00e9"] , "c":"\u00e9" }"#),
                false,
            ),
            (r#"{"k\u200b":"v"}"#, Some(r#"{"k":"v"}"#), true),
            (r#""\ud800""#, Some(r#""\ufffd""#), false),
            (r#""a\rb\r\nc\f""#, Some(r#""a\nb\r\nc\n""#), false),
            (r#""\\u001b[31m \\\\""#, None, false),
            (r#"["\u001b\u005b31mred"]"#, Some(r#"["red"]"#), false),
        ] {
            let found = rewritten(text, nothing, &mut Removal::default());
            assert_eq!(
                found.as_ref().map(|found| (found.json.get(), found.keys)),
                expected.map(|text| (text, keys)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_to_be_left_is_found_by_its_place() {
        let text = "{\"name\":\"a\u{200b}\",\"x\":{\"name\":\"b\u{200b}\"},\"y\":[\"name\",\"c\u{200b}\"]}";
        let found = rewritten(text, &|depth, name| (depth, name) == (1, "name"), &mut Removal::default()).unwrap();
        assert_eq!(found.json.get(), "{\"name\":\"a\u{200b}\",\"x\":{\"name\":\"b\"},\"y\":[\"name\",\"c\"]}");
    }
}
