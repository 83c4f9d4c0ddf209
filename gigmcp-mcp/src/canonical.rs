//! One text for each JSON value, however it was written.

#[cfg(any(fuzzing, test))]
pub(crate) mod laws;

use std::{borrow::Cow, cmp::Ordering, ops::Range};

use serde_json::value::RawValue;

use crate::object::quoted;

/// The value without white space, its members sorted and its strings escaped as little as possible, as RFC 8785 has it. Numbers
/// stay as written, because two of them that are equal to one reader are not to another; and so do members that are named
/// twice, all of them in their order. What lies deeper than 128 levels stays as written.
///
/// The text reads as the same value, so two different values never have the same text.
pub(crate) fn canonical(raw: &RawValue) -> Box<str> {
    let mut reader = Reader { text: raw.get(), at: 0, out: String::with_capacity(raw.get().len()) };
    reader.value(0);
    reader.out.into()
}

/// Reads a text that is known to be JSON, once and from left to right.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    out: String,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) {
        match self.next() {
            Some(b'{') if depth < MAX_DEPTH => self.object(depth),
            Some(b'[') if depth < MAX_DEPTH => self.array(depth),
            Some(b'{' | b'[') => {
                let nested = self.nested();
                self.out.push_str(nested);
            }
            Some(b'"') => {
                let (_, written) = self.string();
                self.out.push_str(&written);
            }
            _ => {
                let scalar = self.until(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r'));
                self.out.push_str(scalar);
            }
        }
    }

    fn array(&mut self, depth: usize) {
        self.at += 1;
        self.out.push('[');
        while let Some(byte) = self.next() {
            match byte {
                b']' => break,
                b',' => {
                    self.at += 1;
                    self.out.push(',');
                }
                _ => self.value(depth + 1),
            }
        }
        self.at += 1;
        self.out.push(']');
    }

    fn object(&mut self, depth: usize) {
        self.at += 1;
        self.out.push('{');
        let begin = self.out.len();
        let mut members: Vec<(Cow<'a, str>, Range<usize>)> = Vec::new();
        while let Some(byte) = self.next() {
            match byte {
                b'}' => break,
                b'"' => {
                    let start = self.out.len();
                    let (name, written) = self.string();
                    self.out.push_str(&written);
                    self.next();
                    self.at += 1; // the colon
                    self.out.push(':');
                    self.value(depth + 1);
                    members.push((name, start..self.out.len()));
                }
                _ => {
                    self.at += 1;
                    self.out.push(',');
                }
            }
        }
        self.at += 1;
        if !members.is_sorted_by(|(one, _), (two, _)| by_units(one, two).is_le()) {
            members.sort_by(|(one, _), (two, _)| by_units(one, two));
            let written = self.out.split_off(begin);
            for (index, (_, Range { start, end })) in members.into_iter().enumerate() {
                if index > 0 {
                    self.out.push(',');
                }
                self.out.push_str(&written[start - begin..end - begin]);
            }
        }
        self.out.push('}');
    }

    /// The text of a string, and how it is written. One with half a character stays as it is.
    fn string(&mut self) -> (Cow<'a, str>, Cow<'a, str>) {
        let start = self.at;
        self.skip_string();
        let raw = &self.text[start..self.at];
        match serde_json::from_str::<String>(raw) {
            Ok(text) => {
                let written = quoted(&text);
                (text.into(), written.into())
            }
            Err(_) => (raw.into(), raw.into()),
        }
    }

    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.byte() {
            match byte {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
    }

    /// An object or an array, as written.
    fn nested(&mut self) -> &'a str {
        let (start, mut open) = (self.at, 0_usize);
        while let Some(byte) = self.byte() {
            match byte {
                b'"' => {
                    self.skip_string();
                    continue;
                }
                b'{' | b'[' => open += 1,
                b'}' | b']' => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                break;
            }
        }
        &self.text[start..self.at]
    }

    fn until(&mut self, ends: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        while self.byte().is_some_and(|byte| !ends(byte)) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    /// The byte after any white space.
    fn next(&mut self) -> Option<u8> {
        self.until(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self.byte()
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

/// By code units of UTF-16, as RFC 8785 sorts.
fn by_units(one: &str, two: &str) -> Ordering {
    one.encode_utf16().cmp(two.encode_utf16())
}

const MAX_DEPTH: usize = 128;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn of(text: &str) -> String {
        canonical(&RawValue::from_string(text.to_owned()).unwrap()).into()
    }

    #[test]
    fn spelling_makes_no_difference_and_all_else_does() {
        let one = of(r#"{"b":[1.0,{"z":null,"a":"\u0041\/"}],"a":{}}"#);
        assert_eq!(one, r#"{"a":{},"b":[1.0,{"a":"A/","z":null}]}"#);
        assert_eq!(
            of(" { \"a\" : { } ,\n\"b\":[ 1.0 , {\"a\":\"A/\",\"z\":null} ] } "),
            one,
            "twin: spelled otherwise"
        );
        for (case, other) in [
            ("a number written otherwise", r#"{"a":{},"b":[1,{"a":"A/","z":null}]}"#),
            ("another order of a list", r#"{"a":{},"b":[{"a":"A/","z":null},1.0]}"#),
            ("one letter", r#"{"a":{},"b":[1.0,{"a":"A","z":null}]}"#),
            ("a member more", r#"{"a":{},"b":[1.0,{"a":"A/","y":1,"z":null}]}"#),
            ("a member twice", r#"{"a":{},"a":{},"b":[1.0,{"a":"A/","z":null}]}"#),
        ] {
            assert_ne!(of(other), one, "{case}");
        }
    }

    #[test]
    fn what_readers_differ_about_stays_as_written() {
        for (case, text, expected) in [
            ("members named twice keep their order", r#"{"b":1,"a":2,"a":1}"#, r#"{"a":2,"a":1,"b":1}"#),
            ("also spelled with an escape", r#"{"\u0061":2,"a":1}"#, r#"{"a":2,"a":1}"#),
            ("numbers", "[1e400, -0, 10000000000000000000001, 1.10]", "[1e400,-0,10000000000000000000001,1.10]"),
            ("half a character", r#"{"b":"\ud800","a":1}"#, r#"{"a":1,"b":"\ud800"}"#),
            ("controls", "\"\\u0001\\u001B\\t\\u007f\"", "\"\\u0001\\u001b\\t\u{7f}\""),
            ("order of UTF-16", r#"{"\ufb33":1,"\ud83d\ude00":2}"#, "{\"\u{1f600}\":2,\"\u{fb33}\":1}"),
            ("nothing in them", " [ { } , [ ] , \"\" ] ", r#"[{},[],""]"#),
        ] {
            assert_eq!(of(text), expected, "{case}");
        }
    }

    #[test]
    fn what_lies_too_deep_stays_as_written_and_nothing_overflows() {
        let deep = |levels: usize, inner: &str| "[".repeat(levels) + inner + &"]".repeat(levels);
        assert_eq!(of(&deep(127, r#"{"b":1, "a":2}"#)), deep(127, r#"{"a":2,"b":1}"#), "twin");
        let kept = deep(128, r#"{"b":"]}\"", "a":2}"#);
        assert_eq!(of(&kept), kept);
        assert_eq!(of(&deep(100_000, "1")), deep(100_000, "1"));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::hash_map(".{0,3}", inner, 0..5)
                    .prop_map(|members| Value::from(members.into_iter().collect::<serde_json::Map<_, _>>())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_reads_as_the_same_value_and_is_its_own_text(value in json()) {
            let (compact, pretty) = (of(&value.to_string()), of(&serde_json::to_string_pretty(&value).unwrap()));
            prop_assert_eq!(&compact, &pretty);
            prop_assert_eq!(&serde_json::from_str::<Value>(&compact).unwrap(), &value);
            prop_assert_eq!(&of(&compact), &compact);
        }
    }
}
