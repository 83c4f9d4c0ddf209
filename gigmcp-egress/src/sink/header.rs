use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::authorize::is_credential_header;
use crate::placeholder::Placeholder;
use crate::refusal::Refusal;
use crate::request::ValidRequest;
use crate::secret::{SecretString, UnusableSecret};
use crate::sink::Place;

/// Which part of `user:password` is the credential. The sandbox writes the other one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum BasicPart {
    /// The user; a colon in the secret is refused.
    User,
    /// The password.
    Password,
}

/// The form of a header value: text with one `{}` where the credential stands, such as `Token token="{}"`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HeaderFormat {
    before: Box<str>,
    after: Box<str>,
}

impl FromStr for HeaderFormat {
    type Err = InvalidHeaderFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        match text.split_once("{}") {
            Some((before, after)) if text.bytes().all(visible) && text.trim() == text && !after.contains("{}") => {
                Ok(Self { before: before.into(), after: after.into() })
            }
            _ => Err(InvalidHeaderFormat { format: text.into() }),
        }
    }
}

impl fmt::Display for HeaderFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{{}}{}", self.before, self.after)
    }
}

/// The text is not a [`HeaderFormat`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{format:?} is not the form of a header value: visible ASCII with exactly one {{}} for the credential")]
pub struct InvalidHeaderFormat {
    format: String,
}

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
    /// Between two texts that the rule gives.
    Between(HeaderFormat),
}

impl Slot {
    /// What the sandbox wrote beside the placeholder.
    pub(crate) fn rest(&self) -> &str {
        match self {
            Self::Whole | Self::Between(_) => "",
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
            Self::Between(HeaderFormat { before, after }) => format!("{before}{secret}{after}"),
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

impl HeaderFormat {
    pub(crate) fn parse(&self, value: &HeaderValue, placeholder: &Placeholder) -> Option<Slot> {
        let inner = value.to_str().ok()?.strip_prefix(&*self.before)?.strip_suffix(&*self.after)?;
        (inner == placeholder.as_str()).then(|| Slot::Between(self.clone()))
    }
}

impl BasicPart {
    pub(crate) fn parse(self, value: &HeaderValue, placeholder: &Placeholder) -> Option<Slot> {
        let slot = parse(&AUTHORIZATION, value, placeholder)?;
        match (self, &slot) {
            (Self::User, Slot::BasicUser { .. }) | (Self::Password, Slot::BasicPassword { .. }) => Some(slot),
            (Self::User | Self::Password, _) => None,
        }
    }
}

/// The occurrences of a placeholder in one header, or in all that carry credentials.
///
/// # Errors
/// If the header stands there more than once, or the placeholder in it, but not as it has to.
pub(crate) fn find(
    request: &ValidRequest,
    wanted: Option<&HeaderName>,
    placeholder: &Placeholder,
    parse: impl Fn(&HeaderName, &HeaderValue, &Placeholder) -> Option<Slot>,
) -> Result<Vec<Place>, Refusal> {
    let mut places = Vec::new();
    for (name, value) in &request.headers {
        if !wanted.map_or_else(|| is_credential_header(name), |wanted| wanted == name) {
            continue;
        }
        let text = value.to_str().unwrap_or_default();
        match parse(name, value, placeholder) {
            Some(slot) if request.headers.get_all(name).iter().count() == 1 => {
                places.push(Place::Header { name: name.clone(), slot });
            }
            Some(_) => return Err(Refusal::PlaceholderAmbiguous),
            None if text.contains(placeholder.as_str()) => return Err(Refusal::PlaceholderAmbiguous),
            None => {}
        }
    }
    Ok(places)
}

/// `Bearer P`, the scheme in any case.
pub(crate) fn parse_bearer(name: &HeaderName, value: &HeaderValue, placeholder: &Placeholder) -> Option<Slot> {
    let slot = parse(name, value, placeholder)?;
    matches!(&slot, Slot::Scheme(scheme) if scheme.eq_ignore_ascii_case("bearer")).then_some(slot)
}

const MAX_SCHEME_BYTES: usize = 32;
/// Of the other part of `Basic`, and the colon.
const MAX_OTHER_BYTES: usize = 256;

/// Reads a header value; `None` if the placeholder does not stand in it as a credential does.
pub(crate) fn parse(name: &HeaderName, value: &HeaderValue, placeholder: &Placeholder) -> Option<Slot> {
    let (text, placeholder) = (value.to_str().ok()?, placeholder.as_str());
    if text == placeholder {
        return Some(Slot::Whole);
    }
    let (scheme, rest) = text.split_once(' ')?;
    let is_token =
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    // A long beginning would have a host that repeats only so much of a header repeat the secret byte by byte.
    if is_token && scheme.len() <= MAX_SCHEME_BYTES && rest == placeholder {
        return Some(Slot::Scheme(scheme.to_owned()));
    }
    if *name != AUTHORIZATION || !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    match decoded.split_once(':').filter(|_| decoded.len() <= placeholder.len() + MAX_OTHER_BYTES)? {
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
            ("a long scheme", "authorization", format!("{} {p}", "x".repeat(33)), None),
            ("a long user", "authorization", basic(format!("{}:{p}", "x".repeat(257))), None),
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

    #[test]
    fn stricter_places_take_less() {
        let placeholder = Placeholder::mint(&Shape::opaque());
        let format: HeaderFormat = "Token token=\"{}\"".parse().unwrap();
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text.replace('P', placeholder.as_str())));
        let value = |text: &str| text.replace('P', placeholder.as_str()).parse::<HeaderValue>().unwrap();
        assert!(format.parse(&value("Token token=\"P\""), &placeholder).is_some());
        assert!(format.parse(&value("Token token=P"), &placeholder).is_none());
        assert!(format.parse(&value("Token token=\"P\" "), &placeholder).is_none());
        let filled = Slot::Between(format).render(&SecretString::new("sk-0123456789")).unwrap();
        assert_eq!(filled, "Token token=\"sk-0123456789\"");
        assert!(parse_bearer(&AUTHORIZATION, &value("bearer P"), &placeholder).is_some());
        assert!(parse_bearer(&AUTHORIZATION, &value("Token P"), &placeholder).is_none());
        for (part, text, expected) in [
            (BasicPart::User, "P:x", true),
            (BasicPart::Password, "P:x", false),
            (BasicPart::Password, "x:P", true),
            (BasicPart::User, "x:P", false),
        ] {
            assert_eq!(part.parse(&basic(text).parse().unwrap(), &placeholder).is_some(), expected, "{part:?} {text}");
        }
    }

    #[test]
    fn a_format_has_one_place() {
        for (text, valid) in [
            ("{}", true),
            ("Token {}", true),
            ("", false),
            ("Token", false),
            ("{} {}", false),
            (" {}", false),
            ("a\n{}", false),
        ] {
            assert_eq!(text.parse::<HeaderFormat>().is_ok(), valid, "{text:?}");
        }
    }
}
