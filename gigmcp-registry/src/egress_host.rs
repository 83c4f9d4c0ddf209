//! The hosts a manifest asks to reach.

use std::fmt;
use std::str::FromStr;

use crate::name::is_label;

/// An entry of a manifest's egress list: a lower-case host name, or `*.` and a suffix of at least two labels.
///
/// Validated text, as the index carries it. What it *matches* is decided by the crate that enforces it: from the schema
/// that comes next, this type gives way to the enforcing crate's own pattern, so that the two cannot disagree.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EgressHost(Box<str>);

impl EgressHost {
    /// The entry as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EgressHost {
    type Err = InvalidEgressHost;

    fn from_str(text: &str) -> Result<Self, InvalidEgressHost> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let wide = name.len() < text.len();
        let labels = name.split('.').count();
        let valid = name.len() <= 253
            && name.split('.').all(|label| label.len() <= 63 && is_label(label))
            && !name.rsplit('.').next().is_some_and(is_number)
            && (labels >= 2 || !wide);
        valid.then(|| Self(text.into())).ok_or(InvalidEgressHost)
    }
}

impl fmt::Display for EgressHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not an egress entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an egress host is a lower-case name, or `*.` and at least two labels; no address, port or path")]
pub struct InvalidEgressHost;

/// What a resolver may read as part of an address: `127`, `0x7f`.
fn is_number(label: &str) -> bool {
    let digits = label.strip_prefix("0x");
    label.bytes().all(|byte| byte.is_ascii_digit())
        || digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_an_egress_list() {
        for (text, valid) in [
            ("api.example.com", true),
            ("*.example.com", true),
            ("localhost", true), // well-formed; the denylist's business
            ("xn--bcher-kva.example", true),
            ("4chan.org", true),
            ("API.example.com", false),
            ("*.com", false),
            ("*", false),
            ("**.example.com", false),
            ("*.*.example.com", false),
            ("a.*.example.com", false),
            ("example.com.", false),
            (".example.com", false),
            ("example..com", false),
            ("example.com:443", false),
            ("https://example.com", false),
            ("example.com/path", false),
            ("127.0.0.1", false),
            ("*.0.0.1", false),
            ("0x7f.1", false),
            ("2130706433", false),
            ("0x7f000001", false),
            ("[::1]", false),
            ("-a.example.com", false),
            ("a_b.example.com", false),
            ("bücher.example", false),
            ("example.com\n", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<EgressHost>().err(), (!valid).then_some(InvalidEgressHost), "{text:?}");
        }
        let label = "a".repeat(63);
        let longest = [label.as_str(); 4].join(".");
        assert!(longest[2..].parse::<EgressHost>().is_ok(), "253 bytes");
        assert_eq!(longest[1..].parse::<EgressHost>(), Err(InvalidEgressHost), "254 bytes");
        assert_eq!(format!("a{label}.test").parse::<EgressHost>(), Err(InvalidEgressHost), "64-byte label");
    }
}
