//! Values that we cannot hold and other readers may: whoever writes one is judged by what comes nearest, and not let through.

use serde_json::Value;

use crate::hygiene::{Escaped, Units, string_end};

/// The value with the largest number there is in place of any that is larger, and with marks in place of halves of characters.
pub(super) fn nearest(json: &str) -> Option<Value> {
    let bytes = json.as_bytes();
    let (mut near, mut at) = (String::with_capacity(json.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let end = match byte {
            b'"' => {
                let end = string_end(bytes, at + 1)?;
                near.push('"');
                text(&json[at + 1..end], &mut near);
                near.push('"');
                end + 1
            }
            b'-' | b'0'..=b'9' => {
                let within = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                let end = at + bytes[at..].iter().take_while(|byte| within(byte)).count();
                near.push_str(number(&json[at..end]));
                end
            }
            _ => {
                near.push(char::from(*byte));
                at + 1
            }
        };
        at = end;
    }
    serde_json::from_str(&near).ok()
}

fn text(inner: &str, near: &mut String) {
    let units = Escaped(inner);
    let mut at = 0;
    while let Some(unit) = units.at(at) {
        match unit.code {
            0xD800..=0xDFFF => near.push_str(Escaped::UNREADABLE),
            _ => near.push_str(&inner[at..unit.end]),
        }
        at = unit.end;
    }
}

fn number(text: &str) -> &str {
    match text.parse::<f64>() {
        Ok(number) if number == f64::INFINITY => "1.7976931348623157e308",
        Ok(number) if number == f64::NEG_INFINITY => "-1.7976931348623157e308",
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_held_is_replaced_and_nothing_else() {
        for (json, expected) in [
            (
                r#"{"a":1e400,"b":[-1E+999, 1.50],"c":"1e400"}"#,
                Some(r#"{"a":1.7976931348623157e308,"b":[-1.7976931348623157e308,1.5],"c":"1e400"}"#),
            ),
            (
                r#"{"a":"x\ud800y","b\udfff":"\ud83d\ude00\"\\"}"#,
                Some(r#"{"a":"x\ufffdy","b\ufffd":"\ud83d\ude00\"\\"}"#),
            ),
            (r#""\ud800\ud83d\ude00""#, Some(r#""\ufffd\ud83d\ude00""#)),
            ("[true,null]", Some("[true,null]")), // the twin
        ] {
            let expected = expected.and_then(|json| serde_json::from_str::<Value>(json).ok());
            assert_eq!(nearest(json), expected, "{json}");
        }
        assert_eq!(nearest(&format!("{}{}", "[".repeat(500), "]".repeat(500))), None);
    }
}
