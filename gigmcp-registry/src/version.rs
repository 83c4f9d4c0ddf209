//! Versions of servers.

use std::fmt;
use std::str::FromStr;

/// `MAJOR.MINOR.PATCH`: three decimal numbers without leading zeros, ordered by number. No pre-releases.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Version {
    /// Raised for incompatible changes.
    pub major: u64,
    /// Raised for additions.
    pub minor: u64,
    /// Raised for corrections.
    pub patch: u64,
}

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let mut parts = text.split('.');
        let mut next = || parts.next().and_then(|part| part.parse().ok()).ok_or(InvalidVersion);
        let version = Self { major: next()?, minor: next()?, patch: next()? };
        // Writing it again catches what `parse` lets through: leading zeros, a plus sign, a fourth part.
        (version.to_string() == text).then_some(version).ok_or(InvalidVersion)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The text is not `MAJOR.MINOR.PATCH`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a version is MAJOR.MINOR.PATCH, numbers without leading zeros and nothing after them")]
pub struct InvalidVersion;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_plain_numbers_are_a_version() {
        for (text, valid) in [
            ("0.1.0", true),
            ("10.20.30", true),
            ("18446744073709551615.0.0", true),
            ("18446744073709551616.0.0", false),
            ("1.0", false),
            ("1.0.0.0", false),
            ("01.0.0", false),
            ("+1.0.0", false),
            ("-1.0.0", false),
            ("1.0.0-rc1", false),
            ("v1.0.0", false),
            (" 1.0.0", false),
            ("1..0", false),
            ("", false),
        ] {
            let parsed = text.parse::<Version>().map(|version| version.to_string());
            assert_eq!(parsed, valid.then(|| text.into()).ok_or(InvalidVersion), "{text:?}");
        }
    }

    #[test]
    fn order_is_numeric() {
        let [nine, ten] = ["0.9.0", "0.10.0"].map(|text| text.parse::<Version>().expect("valid"));
        assert!(nine < ten);
    }
}
