use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::placeholder::Placeholder;
use crate::secret::{SecretString, UnusableSecret};

/// How a credential stands in a header value. It is written anew from these parts; the bytes of the sandbox are not edited.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Slot {
    /// The whole value.
    Whole,
    /// After an authentication scheme and one blank.
    Scheme(String),
    /// The user of `Basic`, with this password.
    BasicUser { password: String },
    /// The password of `Basic`, with this user.
    BasicPassword { user: String },
}

impl Slot {
    /// What the sandbox wrote beside the placeholder.
    pub(crate) fn rest(&self) -> &str {
        match self {
            Self::Whole => "",
            Self::Scheme(rest) | Self::BasicUser { password: rest } | Self::BasicPassword { user: rest } => rest,
        }
    }

    /// Writes the header value with the secret in its place.
    ///
    /// # Errors
    /// If the secret holds anything that cannot stand there; in `Basic` a user cannot hold a colon.
    pub(crate) fn render(&self, secret: &SecretString) -> Result<HeaderValue, UnusableSecret> {
        secret.check()?;
        let secret = secret.expose();
        let text = Zeroizing::new(match self {
            Self::Whole => secret.to_owned(),
            Self::Scheme(scheme) => format!("{scheme} {secret}"),
            Self::BasicUser { .. } if secret.contains(':') => return Err(UnusableSecret::NotVisibleAscii),
            Self::BasicUser { password } => {
                format!("Basic {}", STANDARD.encode(Zeroizing::new(format!("{secret}:{password}")).as_bytes()))
            }
            Self::BasicPassword { user } => {
                format!("Basic {}", STANDARD.encode(Zeroizing::new(format!("{user}:{secret}")).as_bytes()))
            }
        });
        let mut value = HeaderValue::from_str(&text).map_err(|_| UnusableSecret::NotVisibleAscii)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Reads a header value; `None` if the placeholder does not stand in it as a credential does.
pub(crate) fn parse(name: &HeaderName, value: &HeaderValue, placeholder: &Placeholder) -> Option<Slot> {
    let (text, placeholder) = (value.to_str().ok()?, placeholder.as_str());
    if text == placeholder {
        return Some(Slot::Whole);
    }
    let (scheme, rest) = text.split_once(' ')?;
    let is_token =
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if is_token && rest == placeholder {
        return Some(Slot::Scheme(scheme.to_owned()));
    }
    if *name != AUTHORIZATION || !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    match decoded.split_once(':')? {
        (user, password) if user == placeholder && password != placeholder => {
            Some(Slot::BasicUser { password: password.to_owned() })
        }
        (user, password) if password == placeholder && user != placeholder => {
            Some(Slot::BasicPassword { user: user.to_owned() })
        }
        (_, _) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use crate::placeholder::Shape;

    #[test]
    fn a_placeholder_counts_only_in_its_place() {
        let placeholder = Placeholder::mint(&Shape::opaque());
        let p = placeholder.as_str();
        let basic = |text: String| format!("Basic {}", STANDARD.encode(text));
        for (case, name, value, expected) in [
            ("alone", "x-api-key", p.to_owned(), Some(Slot::Whole)),
            ("EGR-180 bearer", "authorization", format!("Bearer {p}"), Some(Slot::Scheme("Bearer".into()))),
            ("EGR-185 lower case", "authorization", format!("bearer {p}"), Some(Slot::Scheme("bearer".into()))),
            ("token", "authorization", format!("token {p}"), Some(Slot::Scheme("token".into()))),
            ("password", "authorization", basic(format!("me:{p}")), Some(Slot::BasicPassword { user: "me".into() })),
            ("user", "authorization", basic(format!("{p}:")), Some(Slot::BasicUser { password: "".into() })),
            ("both", "authorization", basic(format!("{p}:{p}")), None),
            ("part of a password", "authorization", basic(format!("me:x{p}")), None),
            ("basic in another header", "x-auth", basic(format!("me:{p}")), None),
            ("EGR-185 inside", "authorization", format!("xx{p}yy"), None),
            ("EGR-185 two blanks", "authorization", format!("Bearer  {p}"), None),
            ("EGR-185 list", "authorization", format!("Bearer {p}, x"), None),
            ("parameter", "authorization", format!("Digest username={p}"), None),
            ("another", "authorization", "Bearer sk-other".to_owned(), None),
        ] {
            let parsed = parse(&name.parse().unwrap(), &value.parse().unwrap(), &placeholder);
            assert_eq!(parsed, expected, "{case}: {value}");
        }
    }

    #[test]
    fn the_secret_is_written_literally_and_marked() {
        let secret = SecretString::new("sk-$1-{{x}}-secret");
        for (slot, expected) in [
            (Slot::Whole, "sk-$1-{{x}}-secret".to_owned()),
            (Slot::Scheme("Bearer".into()), "Bearer sk-$1-{{x}}-secret".to_owned()),
            (Slot::BasicUser { password: "".into() }, format!("Basic {}", STANDARD.encode("sk-$1-{{x}}-secret:"))),
            (Slot::BasicPassword { user: "me".into() }, format!("Basic {}", STANDARD.encode("me:sk-$1-{{x}}-secret"))),
        ] {
            let value = slot.render(&secret).unwrap();
            assert_eq!(value.to_str().unwrap(), expected);
            assert!(value.is_sensitive());
        }
        assert_eq!(
            Slot::Whole.render(&SecretString::new("sk-live\r\nX-Evil: 1")),
            Err(UnusableSecret::NotVisibleAscii),
            "EGR-190"
        );
        assert!(Slot::BasicUser { password: "".into() }.render(&SecretString::new("user:name:x")).is_err());
    }
}
