//! Paths: a template whose holes are filled, and which still has the same segments then.

use serde_json::Value;

use super::{one_text, percent_encoded};
use crate::toolpack::arguments::ArgumentProblem;

/// A value as what fills a hole of a path.
///
/// # Errors
/// [`ArgumentProblem::PathSegment`] for what could change where the path leads: nothing, control characters, and `.` or `..`
/// between slashes of either kind, also for a server that decodes once or twice more than it should.
pub(in crate::toolpack) fn hole(value: &Value) -> Result<String, ArgumentProblem> {
    let text = one_text(value)?;
    let once = decoded(&text);
    let twice = decoded(&once);
    if text.is_empty() || [&text, &once, &twice].into_iter().any(|text| wanders(text)) {
        return Err(ArgumentProblem::PathSegment);
    }
    Ok(percent_encoded(&text))
}

fn wanders(text: &str) -> bool {
    text.chars().any(char::is_control) || text.split(['/', '\\']).any(|piece| matches!(piece, "." | ".."))
}

/// The text with `%XX` read once, as far as it can be.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| after.get(..2)).flatten();
        let escaped = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.filter(|digits| !digits.starts_with('+')).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Which segments a path has, so that a filled one can be compared with its template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::toolpack) struct Segments(Vec<bool>);

impl Segments {
    /// Those of a path in which every hole is filled with something harmless.
    pub(in crate::toolpack) fn of(path: &str) -> Self {
        Self(path.split('/').map(str::is_empty).collect())
    }

    /// Whether a path has the same ones, and none that leads elsewhere. Looks at what is sent, not at how it came about: a fault in
    /// how values are written must not move a request.
    pub(in crate::toolpack) fn agree_with(&self, path: &str) -> bool {
        *self == Self::of(path) && !path.split('/').any(|segment| matches!(segment, "." | ".."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_segment_or_refused() {
        for (case, text, expected) in [
            ("plain", "octocat", Some("octocat")),
            ("a slash", "a/b", Some("a%2Fb")),
            ("a query", "x?admin=1", Some("x%3Fadmin%3D1")),
            ("a fragment", "x#y", Some("x%23y")),
            ("a percent sign", "100%", Some("100%25")),
            ("escaped already", "a%2Fb", Some("a%252Fb")),
            ("parameters", "a;b=c", Some("a%3Bb%3Dc")),
            ("an address", "https://example.org/", Some("https%3A%2F%2Fexample.org%2F")),
            ("letters of others", "ü", Some("%C3%BC")),
            ("dots in a name", "a..b", Some("a..b")),
            ("three dots", "...", Some("...")),
            ("a hidden file", ".env", Some(".env")),
            ("nothing", "", None),
            ("here", ".", None),
            ("up", "..", None),
            ("up and on", "../admin", None),
            ("up in the middle", "a/../b", None),
            ("up by a backslash", "a\\..\\b", None),
            ("up, escaped", "%2e%2e", None),
            ("up, escaped in part", ".%2E/x", None),
            ("up, slash escaped", "a%2f..%2fb", None),
            ("up, escaped twice", "%252e%252e%252fadmin", None),
            ("a line", "a\r\nb", None),
            ("an end of text", "a\0b", None),
            ("an escaped end of text", "a%00b", None),
        ] {
            assert_eq!(hole(&text.into()).ok().as_deref(), expected, "{case}: {text:?}");
        }
        assert_eq!(hole(&serde_json::json!(7)).as_deref(), Ok("7"));
        assert_eq!(hole(&serde_json::json!(["a", "b"])).as_deref(), Ok("a%2Cb"));
        assert_eq!(hole(&serde_json::json!(["a,b"])), Err(ArgumentProblem::CommaInItem));
    }

    #[test]
    fn a_filled_path_has_the_segments_of_its_template() {
        let segments = Segments::of("/v1/x/xx.json/");
        assert!(segments.agree_with("/v1/a%2Fb/c.json/"));
        for path in ["/v1/a/b/c.json/", "/v1/a/c.json", "/v1//c.json/", "/v1/../c.json/", "/v1/a/./"] {
            assert!(!segments.agree_with(path), "{path}");
        }
    }
}
