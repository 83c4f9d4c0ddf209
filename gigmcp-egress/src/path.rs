use std::fmt;
use std::str::FromStr;

use crate::encoding::percent_decoded;

/// Which paths a rule speaks of, written as they stand in a request: `/v1/models`, `/v1/*/items` (`*` is part of one segment,
/// or all of it), `/v1/read/**` (everything below, and `/v1/read` itself).
///
/// A path that is judged by patterns must be spelled canonically, see [`Allowance`](crate::Allowance): what is judged is what
/// is sent, byte for byte.
///
/// ```
/// use gigmcp_egress::PathPattern;
///
/// let pattern: PathPattern = "/v1/read/**".parse()?;
/// assert!(pattern.matches("/v1/read/a/b"));
/// assert!(!pattern.matches("/v1/reader"));
/// # Ok::<(), gigmcp_egress::InvalidPathPattern>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PathPattern {
    segments: Vec<Box<str>>,
    depth: Depth,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Depth {
    Exact,
    AndBelow,
}

impl PathPattern {
    /// Whether a path, without its query, is one of those meant. The path must be canonical.
    pub fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else { return false };
        let mut given = path.split('/');
        let fits = self.segments.iter().all(|glob| given.next().is_some_and(|segment| glob_matches(glob, segment)));
        fits && (self.depth == Depth::AndBelow || given.next().is_none())
    }
}

/// Whether `segment` is `glob` with every `*` replaced by something; a glob that is only `*` wants at least one byte.
fn glob_matches(glob: &str, segment: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = segment.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    if segment.is_empty() {
        return false;
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

impl FromStr for PathPattern {
    type Err = InvalidPathPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason| InvalidPathPattern { pattern: text.into(), reason };
        let inner = text.strip_prefix('/').ok_or(invalid("does not begin with `/`"))?;
        let (inner, depth) = match inner.strip_suffix("**") {
            Some("") => return Ok(Self { segments: Vec::new(), depth: Depth::AndBelow }),
            Some(before) => (before.strip_suffix('/').ok_or(invalid("has `**` inside a segment"))?, Depth::AndBelow),
            None => (inner, Depth::Exact),
        };
        if inner.contains("**") {
            return Err(invalid("has `**` elsewhere than at the end"));
        }
        let plain = format!("/{}", inner.replace('*', "x"));
        if !is_visible(&plain) || plain.contains('?') || !is_sound(&plain) {
            return Err(invalid("is not a path without query in visible ASCII"));
        }
        canonical(&plain, Spelling::STRICTEST).map_err(|reason| invalid(reason.as_str()))?;
        Ok(Self { segments: inner.split('/').map(Into::into).collect(), depth })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            write!(f, "/{segment}")?;
        }
        f.write_str(if self.depth == Depth::AndBelow { "/**" } else { "" })
    }
}

/// The text is not a [`PathPattern`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{pattern:?} {reason}; write a path such as /v1/models, /v1/*/items or /v1/**")]
pub struct InvalidPathPattern {
    pattern: String,
    reason: &'static str,
}

/// What a target consists of: visible ASCII without what programs quote, split or drop (a fragment). In its query, what the URL
/// standard of browsers leaves as it is may be there as well; whether it may is up to the rule.
pub(crate) fn is_visible(target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let visible = |byte: u8| byte.is_ascii_graphic() && !br#""\<>"#.contains(&byte) && byte != b'#';
    is_uri(path) && query.bytes().all(visible)
}

/// What RFC 3986 lets stand in a path and a query.
pub(crate) fn is_uri(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !br##""#<>\^`{|}"##.contains(&byte))
}

/// What every path has to keep to, whatever the rules: whole escapes of no control characters that are valid UTF-8, and no
/// dot segments in any spelling.
pub(crate) fn is_sound(path: &str) -> bool {
    let once = percent_decoded(path.as_bytes());
    let twice = percent_decoded(&once);
    let whole = |after: &str| after.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    path.split('%').skip(1).all(whole)
        && !once.iter().chain(&twice).any(u8::is_ascii_control)
        && std::str::from_utf8(&once).is_ok()
        && !has_dot_segment(&once)
        && !has_dot_segment(&twice)
}

/// `.` and `..` between any two things that some program takes for a separator, with or without parameters (`..;x`).
fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        matches!(name, b"." | b"..")
    })
}

/// What a rule lets pass although programs read it in two ways.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Spelling {
    /// `%2F` inside a segment.
    pub(crate) encoded_slash: bool,
    /// `;` and what follows it in a segment.
    pub(crate) parameters: bool,
}

impl Spelling {
    pub(crate) const STRICTEST: Self = Self { encoded_slash: false, parameters: false };
}

/// Why a path is not canonical.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotCanonical {
    EmptySegment,
    Parameters,
    EncodedSlash,
    NeedlessEscape,
    EscapedEscape,
}

impl NotCanonical {
    fn as_str(self) -> &'static str {
        match self {
            Self::EmptySegment => "has an empty segment",
            Self::Parameters => "has a `;`",
            Self::EncodedSlash => "has an encoded slash",
            Self::NeedlessEscape => "escapes a character that needs no escape",
            Self::EscapedEscape => "has an escape inside an escape",
        }
    }
}

/// Checks that a sound path has only one reading, so that patterns can be held against its bytes.
pub(crate) fn canonical(path: &str, spelling: Spelling) -> Result<(), NotCanonical> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let segments = inner.strip_suffix('/').unwrap_or(inner);
    if inner.starts_with('/') || (!inner.is_empty() && segments.split('/').any(str::is_empty)) {
        return Err(NotCanonical::EmptySegment);
    }
    if path.contains(';') && !spelling.parameters {
        return Err(NotCanonical::Parameters);
    }
    for escape in path.split('%').skip(1) {
        let byte = escape.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or_default();
        match byte {
            b'/' | b'\\' if !spelling.encoded_slash => return Err(NotCanonical::EncodedSlash),
            b'%' => return Err(NotCanonical::EscapedEscape),
            b';' if !spelling.parameters => return Err(NotCanonical::Parameters),
            b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                return Err(NotCanonical::NeedlessEscape);
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_segments() {
        for (pattern, path, expected) in [
            ("/v1/models", "/v1/models", true),
            ("/v1/models", "/v1/models/", false),
            ("/v1/models", "/v1/modelsx", false),
            ("/v1/models", "/v1", false),
            ("/v1/*/items", "/v1/a/items", true),
            ("/v1/*/items", "/v1//items", false),
            ("/v1/*/items", "/v1/a/b/items", false),
            ("/v1/read/**", "/v1/read/a/b", true),
            ("/v1/read/**", "/v1/read", true),
            ("/v1/read/**", "/v1/read/", true),
            ("/v1/read/**", "/v1/reader", false),
            ("/v1/read/**", "/v1/READ/x", false),
            ("/**", "/", true),
            ("/**", "/x", true),
            ("/", "/", true),
            ("/", "/x", false),
            ("/bot*/send*", "/bot12:x/sendMessage", true),
            ("/bot*/send*", "/bo/sendMessage", false),
            ("/a*b*c", "/axxbyyc", true),
            ("/a*b*c", "/axxc", false),
            ("/a*a", "/a", false),
            ("/files/%20x", "/files/%20x", true),
        ] {
            assert_eq!(pattern.parse::<PathPattern>().unwrap().matches(path), expected, "{pattern} and {path}");
        }
    }

    #[test]
    fn patterns_are_canonical_themselves() {
        for (text, valid) in [
            ("/v1/x", true),
            ("/v1/x/", true),
            ("/**", true),
            ("", false),
            ("v1", false),
            ("/v1/**/x", false),
            ("/v1**", false),
            ("/v1//x", false),
            ("/v1/../x", false),
            ("/v1/%72ead", false),
            ("/v1/x?y", false),
            ("/v1/ x", false),
            ("/v1/\u{e9}", false),
        ] {
            assert_eq!(text.parse::<PathPattern>().is_ok(), valid, "{text:?}");
        }
        assert_eq!("/a/*/b/**".parse::<PathPattern>().unwrap().to_string(), "/a/*/b/**");
        let error = "v1".parse::<PathPattern>().unwrap_err().to_string();
        assert!(error.contains("does not begin with `/`"), "{error}");
    }

    #[test]
    fn a_judged_path_has_one_reading() {
        let lenient = Spelling { encoded_slash: true, parameters: true };
        for (case, path, strict, opted) in [
            ("plain", "/v1/read/x", true, true),
            ("root", "/", true, true),
            ("slash at the end", "/v1/", true, true),
            ("escapes that are needed", "/a%20b/%E2%82%AC", true, true),
            ("EGR-172 two slashes", "//v1/read/x", false, false),
            ("EGR-172 inside", "/v1//read/x", false, false),
            ("two at the end", "/v1//", false, false),
            ("EGR-173 parameter", "/v1/read;a=b/x", false, true),
            ("encoded parameter", "/v1/read%3Ba", false, true),
            ("G1 encoded slash", "/projects/group%2Fproject", false, true),
            ("EGR-174 escape of an escape", "/v1/%252e", false, false),
            ("EGR-176 unreserved", "/v1/%72ead/x", false, false),
        ] {
            assert_eq!(canonical(path, Spelling::STRICTEST).is_ok(), strict, "{case}: {path}");
            assert_eq!(canonical(path, lenient).is_ok(), opted, "{case}, allowed by the rule: {path}");
        }
    }
}
