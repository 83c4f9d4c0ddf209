//! Header values.

use http::HeaderValue;
use serde_json::Value;

use super::one_text;
use crate::toolpack::arguments::ArgumentProblem;

/// A value as that of a header.
///
/// # Errors
/// [`ArgumentProblem::HeaderValue`] for whatever some reader could take for the end of it: only visible ASCII passes, with blanks
/// inside.
pub(in crate::toolpack) fn header_value(value: &Value) -> Result<HeaderValue, ArgumentProblem> {
    let text = one_text(value)?;
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if text.is_empty() || !visible || text.trim() != text {
        return Err(ArgumentProblem::HeaderValue);
    }
    if text.len() > MAX_BYTES {
        return Err(ArgumentProblem::TooLong { limit_bytes: MAX_BYTES });
    }
    HeaderValue::from_str(&text).map_err(|_| ArgumentProblem::HeaderValue)
}

const MAX_BYTES: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_stays_in_its_header() {
        for (case, value, expected) in [
            ("plain", json!("2022-06-28"), Some("2022-06-28")),
            ("blanks inside", json!("a b"), Some("a b")),
            ("a number", json!(7), Some("7")),
            ("a list", json!(["a", "b"]), Some("a,b")),
            ("a colon", json!("x: y"), Some("x: y")),
            ("another header", json!("a\r\nx-admin: 1"), None),
            ("a line feed alone", json!("a\nb"), None),
            ("a carriage return alone", json!("a\rb"), None),
            ("an end of text", json!("a\0"), None),
            ("a tab", json!("a\tb"), None),
            ("a line separator", json!("a\u{2028}b"), None),
            ("letters of others", json!("ü"), None),
            ("a blank in front", json!(" a"), None),
            ("a blank behind", json!("a "), None),
            ("nothing", json!(""), None),
        ] {
            let written = header_value(&value).ok();
            assert_eq!(written.as_ref().and_then(|value| value.to_str().ok()), expected, "{case}");
        }
        assert!(header_value(&"x".repeat(MAX_BYTES).into()).is_ok());
        assert!(header_value(&"x".repeat(MAX_BYTES + 1).into()).is_err());
    }
}
