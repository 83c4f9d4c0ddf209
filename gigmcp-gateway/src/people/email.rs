//! Addresses of e-mail, by which people sign in.

use std::{fmt, str::FromStr};

/// An address in the one spelling in which it is compared and kept: lower-case ASCII, 3 to 254 bytes, no quotes, no comments.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Email(Box<str>);

impl Email {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the `@`.
    pub(crate) fn local_part(&self) -> &str {
        self.0.split('@').next().unwrap_or_default()
    }
}

impl fmt::Display for Email {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A text that is no address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this is not an e-mail address; write it as name@example.com, in ASCII and at most 254 characters")]
pub(crate) struct InvalidEmail;

impl FromStr for Email {
    type Err = InvalidEmail;

    fn from_str(text: &str) -> Result<Self, InvalidEmail> {
        let (local, domain) = text.split_once('@').ok_or(InvalidEmail)?;
        let atom =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || ATOM.contains(&b));
        let label = |label: &str| {
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let valid =
            text.len() <= 254 && local.len() <= 64 && local.split('.').all(atom) && domain.split('.').all(label);
        valid.then(|| Self(text.to_ascii_lowercase().into())).ok_or(InvalidEmail)
    }
}

/// RFC 5322, 3.2.3, besides letters and digits.
const ATOM: &[u8] = b"!#$%&'*+-/=?^_`{|}~";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling_and_holds_nothing_else() {
        for (case, text, expected) in [
            ("plain", "ann@example.com", Some("ann@example.com")), // twin of the refusals
            ("case", "Ann.Lee+x@Example.COM", Some("ann.lee+x@example.com")),
            ("no domain", "ann@", None),
            ("no name", "@example.com", None),
            ("no at", "ann", None),
            ("two", "ann@b@example.com", None),
            ("a line", "ann@example.com\nBcc: x@y", None),
            ("blank", " ann@example.com", None),
            ("quoted", "\"ann\"@example.com", None),
            ("two dots", "a..b@example.com", None),
            ("letters that look alike", "\u{430}nn@example.com", None),
            ("label", "ann@-example.com", None),
        ] {
            assert_eq!(text.parse::<Email>().ok().as_ref().map(Email::as_str), expected, "{case}");
        }
        let long = format!("{}@example.com", "a".repeat(64));
        assert!(long.parse::<Email>().is_ok());
        assert!(format!("a{long}").parse::<Email>().is_err());
    }
}
