//! Which request an answer belongs to of which only the two ends are known.

use serde::{
    Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{cell::Cell, fmt};

use crate::message::RequestId;

/// The id of a response from the first and the last bytes of its line.
///
/// Servers write the id first or last. If the line is one JSON object, what is found is a member of
/// that object and not of one inside; if it is not, the server harms its own requests only.
pub(super) fn answered_id(head: &[u8], tail: &[u8]) -> Option<u64> {
    id_at_start(head).or_else(|| id_at_end(tail))
}

fn id_at_start(head: &[u8]) -> Option<u64> {
    let found = Cell::new(None);
    // It always fails in the end, for the text was cut off; what was read until then counts.
    let _ = serde_json::Deserializer::from_slice(head).deserialize_map(Leading { found: &found });
    found.get()
}

struct Leading<'a> {
    found: &'a Cell<Option<u64>>,
}

impl<'de> Visitor<'de> for Leading<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "id" {
                let value: Box<RawValue> = map.next_value()?;
                self.found.set(RequestId::from_raw(&value).and_then(|id| id.as_u64()));
                break;
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

fn id_at_end(tail: &[u8]) -> Option<u64> {
    // The last `}` closes the object itself, and a number directly before it is its member.
    let body = tail.trim_ascii_end().strip_suffix(b"}")?.trim_ascii_end();
    let start = body.iter().rposition(|byte| !byte.is_ascii_digit())? + 1;
    let id = std::str::from_utf8(&body[start..]).ok()?.parse().ok()?;
    let key = body[..start].trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
    let before = key.strip_suffix(br#""id""#)?.trim_ascii_end();
    before.ends_with(b",").then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_found_at_either_end_and_not_inside() {
        for (case, head, tail, expected) in [
            ("first", r#"{"jsonrpc":"2.0","id":7,"result":{"text":"xx"#, "xx\"}}", Some(7)),
            ("last", r#"{"result":{"text":"xx"#, r#"xx"},"jsonrpc":"2.0","id":7}"#, Some(7)),
            ("last, spaced", r#"{"result":{"text":"xx"#, "xx\"} , \"id\" : 7 } ", Some(7)),
            ("inside the result", r#"{"result":{"id":7,"text":"xx"#, r#"xx","id":8}}"#, None),
            ("inside a string at the end", r#"{"result":{"text":"xx"#, r#"xx,\"id\":7}"#, None),
            ("a text as id", r#"{"id":"7","result":{"text":"xx"#, "xx\"}}", None),
            ("no object", "xxxxxxxx", "xxxxxxxx", None),
            ("nothing", "", "", None),
        ] {
            assert_eq!(answered_id(head.as_bytes(), tail.as_bytes()), expected, "{case}");
        }
    }
}
