use std::fmt;
use std::str::FromStr;

use crate::name::{HostName, InvalidHostName};

/// Which hosts a rule speaks of: one name, `*.name` (exactly one label more) or `**.name` (one label or more).
///
/// Names in other scripts are accepted here, where a person writes them, and kept as A-labels; on the wire only A-labels match.
/// A wildcard never covers a public suffix (`*.com`, `*.github.io`): anyone could register a host under it.
///
/// ```
/// use gigmcp_egress::{HostName, HostPattern};
///
/// let pattern: HostPattern = "*.cdn.example.com".parse()?;
/// assert!(pattern.matches(&"img.cdn.example.com".parse()?));
/// assert!(!pattern.matches(&"cdn.example.com".parse()?));
/// assert!(!pattern.matches(&"a.b.cdn.example.com".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HostPattern {
    depth: Depth,
    base: HostName,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Depth {
    Exact,
    OneLabel,
    AnyLabels,
}

impl HostPattern {
    /// Whether `host` is one of the hosts meant.
    pub fn matches(&self, host: &HostName) -> bool {
        match self.depth {
            Depth::Exact => *host == self.base,
            Depth::OneLabel => self.prefix(host).is_some_and(|prefix| !prefix.contains('.')),
            Depth::AnyLabels => self.prefix(host).is_some(),
        }
    }

    /// Whether some host matches both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        // A host of the narrower base, as deep as its pattern lets it be, stands for all.
        let reaches = |pattern: &Self, other: &Self| match other.depth {
            Depth::Exact => pattern.matches(&other.base),
            Depth::OneLabel | Depth::AnyLabels => {
                pattern.base == other.base && pattern.depth != Depth::Exact
                    || pattern.depth == Depth::AnyLabels && pattern.prefix(&other.base).is_some()
            }
        };
        reaches(self, other) || reaches(other, self)
    }

    /// Whether exactly one host matches.
    pub fn is_exact(&self) -> bool {
        self.depth == Depth::Exact
    }

    /// The name without the wildcard, which every host meant is or ends with.
    pub(crate) fn base(&self) -> &HostName {
        &self.base
    }

    /// What stands before `.base`; never empty, because a host name has no empty label.
    fn prefix<'a>(&self, host: &'a HostName) -> Option<&'a str> {
        host.as_str().strip_suffix(self.base.as_str())?.strip_suffix('.')
    }
}

impl FromStr for HostPattern {
    type Err = InvalidHostPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (depth, base) = match text {
            "" => return Err(InvalidHostPattern::Empty),
            "*" | "**" => return Err(InvalidHostPattern::BareWildcard),
            _ => match (text.strip_prefix("**."), text.strip_prefix("*.")) {
                (Some(base), _) => (Depth::AnyLabels, base),
                (None, Some(base)) => (Depth::OneLabel, base),
                (None, None) => (Depth::Exact, text),
            },
        };
        if base.contains('*') {
            return Err(InvalidHostPattern::WildcardPlace { pattern: text.into() });
        }
        let base = canonical(base).map_err(|source| InvalidHostPattern::Host { pattern: text.into(), source })?;
        if is_too_wide(depth, &base) {
            return Err(InvalidHostPattern::PublicSuffix { pattern: text.into(), suffix: base.to_string() });
        }
        Ok(Self { depth, base })
    }
}

impl From<HostName> for HostPattern {
    /// The pattern that only `base` matches.
    fn from(base: HostName) -> Self {
        Self { depth: Depth::Exact, base }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.depth {
            Depth::Exact => "",
            Depth::OneLabel => "*.",
            Depth::AnyLabels => "**.",
        };
        write!(f, "{prefix}{}", self.base)
    }
}

/// Why a text is not a [`HostPattern`]. The text of each says what to write instead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHostPattern {
    /// Nothing was written.
    #[error("the host pattern is empty; write a host such as api.example.com or *.example.com")]
    Empty,
    /// `*` and `**` would allow every host.
    #[error("a bare wildcard would allow every host; write the hosts, such as api.example.com or *.example.com")]
    BareWildcard,
    /// A `*` in the middle or inside a label.
    #[error(
        "{pattern:?} has a wildcard that is not a leading `*.` or `**.`; write *.example.com for one label, **.example.com for any depth"
    )]
    WildcardPlace {
        /// What was written.
        pattern: String,
    },
    /// The rest of the pattern is not a host name.
    #[error(
        "{pattern:?} does not name a host; write a plain host name without scheme, port or path, such as api.example.com"
    )]
    Host {
        /// What was written.
        pattern: String,
        /// What is wrong with the name.
        source: InvalidHostName,
    },
    /// Everyone can register a name under this suffix.
    #[error(
        "{pattern:?} covers the public suffix {suffix}, under which anyone can register a host; add the name that belongs to the service"
    )]
    PublicSuffix {
        /// What was written.
        pattern: String,
        /// The suffix.
        suffix: String,
    },
}

/// Converts a name as a person writes it (UTS 46, non-transitional) to the form on the wire.
fn canonical(text: &str) -> Result<HostName, InvalidHostName> {
    if text.is_ascii() {
        return text.parse();
    }
    idna::domain_to_ascii_strict(text).map_err(|_| InvalidHostName::NotAscii)?.parse()
}

/// A wildcard is too wide over any public suffix; a single host only if it is a registry's own (`co.uk`), because services
/// do live at private ones (`s3.amazonaws.com`).
fn is_too_wide(depth: Depth, base: &HostName) -> bool {
    let unicode = idna::domain_to_unicode(base.as_str()).0;
    [base.as_str(), unicode.as_str()].into_iter().any(|name| {
        psl::suffix(name.as_bytes()).is_some_and(|suffix| {
            let whole = suffix.as_bytes() == name.as_bytes();
            whole && (depth != Depth::Exact || suffix.typ() != Some(psl::Type::Private))
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_labels_only() {
        for (case, pattern, host, expected) in [
            ("exact", "api.example.com", "api.example.com", true),
            ("exact, spelled differently", "API.example.com", "api.EXAMPLE.com", true),
            ("EGR-005 longer label", "api.example.com", "evilapi.example.com", false),
            ("one label", "*.cdn.example.com", "a.cdn.example.com", true),
            ("EGR-006 no dot between", "*.cdn.example.com", "evilcdn.example.com", false),
            ("EGR-008 two labels", "*.cdn.example.com", "a.b.cdn.example.com", false),
            ("EGR-008 two labels at any depth", "**.cdn.example.com", "a.b.cdn.example.com", true),
            ("the wildcard's own name", "*.cdn.example.com", "cdn.example.com", false),
            ("the deep wildcard's own name", "**.cdn.example.com", "cdn.example.com", false),
            ("EGR-009 longer suffix", "api.example.com", "api.example.com.evil.test", false),
            ("EGR-017 other script", "bücher.example", "xn--bcher-kva.example", true),
            ("EGR-018 homograph", "api.example.com", "xn--pi-7kc.example.com", false),
            ("one host at a private suffix", "s3.amazonaws.com", "s3.amazonaws.com", true),
        ] {
            let pattern: HostPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(&host.parse().unwrap()), expected, "{case}: {pattern} {host}");
        }
    }

    #[test]
    fn a_pattern_that_covers_strangers_is_refused() {
        let kind = |error: InvalidHostPattern| match error {
            InvalidHostPattern::Empty => "empty",
            InvalidHostPattern::BareWildcard => "bare",
            InvalidHostPattern::WildcardPlace { .. } => "place",
            InvalidHostPattern::Host { .. } => "host",
            InvalidHostPattern::PublicSuffix { .. } => "suffix",
        };
        for (case, text, expected) in [
            ("EGR-038 empty", "", Err("empty")),
            ("EGR-038 star", "*", Err("bare")),
            ("EGR-038 two stars", "**", Err("bare")),
            ("EGR-038 top-level domain", "*.com", Err("suffix")),
            ("EGR-038 registry suffix", "*.co.uk", Err("suffix")),
            ("EGR-038 deep", "**.co.uk", Err("suffix")),
            ("private suffix", "*.github.io", Err("suffix")),
            ("suffix in another script", "*.公司.cn", Err("suffix")),
            ("bare registry suffix", "co.uk", Err("suffix")),
            ("single label", "localhost", Err("suffix")),
            ("EGR-038 no dot", "*example.com", Err("place")),
            ("EGR-038 inside a label", "a*.example.com", Err("place")),
            ("three stars", "***.example.com", Err("place")),
            ("address", "127.0.0.1", Err("host")),
            ("IPv6 address", "::1", Err("host")),
            ("URL", "https://api.example.com", Err("host")),
            ("port", "api.example.com:443", Err("host")),
            ("trailing dot", "api.example.com.", Err("host")),
            ("one below a suffix", "*.example.co.uk", Ok("*.example.co.uk")),
            ("EGR-017 shown as A-label", "*.bücher.example", Ok("*.xn--bcher-kva.example")),
            ("host below a private suffix", "me.github.io", Ok("me.github.io")),
        ] {
            let parsed = text.parse::<HostPattern>().map(|pattern| pattern.to_string()).map_err(kind);
            assert_eq!(parsed, expected.map(str::to_owned), "{case}: {text:?}");
        }
    }
}
