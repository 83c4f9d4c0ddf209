//! Which request an answer belongs to of which only the two ends are known.

use serde::{
    Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{cell::Cell, fmt};

use crate::message::RequestId;

/// What a line is of which only the two ends are known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answers {
    /// An answer to this request.
    Call(u64),
    /// It may be an answer to any.
    Unknown,
    /// It is a request or a notification of the server.
    Nothing,
}

/// What the first and the last bytes of a line tell.
///
/// Servers write the id first or last. If the line is one JSON object, what is found is a member of
/// that object and not of one inside; if it is not, the server harms its own requests only.
pub(super) fn answered(head: &[u8], tail: &[u8]) -> Answers {
    let leading = Cell::new(Answers::Unknown);
    // It always fails in the end, for the text was cut off; what was read until then counts.
    let _ = serde_json::Deserializer::from_slice(head).deserialize_map(Leading { head, found: &leading });
    match leading.get() {
        Answers::Unknown => id_at_end(tail).map_or(Answers::Unknown, Answers::Call),
        found => found,
    }
}

struct Leading<'a> {
    head: &'a [u8],
    found: &'a Cell<Answers>,
}

impl<'de> Visitor<'de> for Leading<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match &*key {
                "id" => {
                    let value: &'de RawValue = map.next_value()?;
                    // A number at the very end may be the beginning of a longer one.
                    let whole = value.get().as_bytes().as_ptr_range().end < self.head.as_ptr_range().end;
                    let id = RequestId::from_raw(value).filter(|_| whole).and_then(|id| id.as_u64());
                    self.found.set(id.map_or(Answers::Unknown, Answers::Call));
                }
                // No answer has these. Their ids are the server's own.
                "method" | "params" => {
                    self.found.set(Answers::Nothing);
                    break;
                }
                "result" | "error" => break,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
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
            ("first", r#"{"jsonrpc":"2.0","id":7,"result":{"text":"xx"#, "xx\"}}", Answers::Call(7)),
            ("last", r#"{"result":{"text":"xx"#, r#"xx"},"jsonrpc":"2.0","id":7}"#, Answers::Call(7)),
            ("last, spaced", r#"{"result":{"text":"xx"#, "xx\"} , \"id\" : 7 } ", Answers::Call(7)),
            ("inside the result", r#"{"result":{"id":7,"text":"xx"#, r#"xx","id":8}}"#, Answers::Unknown),
            ("inside a string at the end", r#"{"result":{"text":"xx"#, r#"xx,\"id\":7}"#, Answers::Unknown),
            ("a text as id", r#"{"id":"7","result":{"text":"xx"#, "xx\"}}", Answers::Unknown),
            ("no object", "xxxxxxxx", "xxxxxxxx", Answers::Unknown),
            ("nothing", "", "", Answers::Unknown),
            ("cut off within the number", r#"{"jsonrpc":"2.0","id":7"#, "xx", Answers::Unknown),
            ("a request", r#"{"jsonrpc":"2.0","id":7,"method":"x","params":{"text":"xx"#, "xx\"}}", Answers::Nothing),
            ("its id last", r#"{"method":"x","params":{"text":"xx"#, r#"xx"},"id":7}"#, Answers::Nothing),
            ("its method last", r#"{"params":{"text":"xx"#, r#"xx"},"method":"x","id":7}"#, Answers::Nothing),
        ] {
            assert_eq!(answered(head.as_bytes(), tail.as_bytes()), expected, "{case}");
        }
    }
}
