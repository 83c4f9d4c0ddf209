use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::SecretString;

/// What a sandbox holds instead of a credential: unguessable, and of the shape a client library expects.
///
/// It is worth nothing outside its place, so it may be printed and logged. Mint one per instance and credential: a
/// placeholder that turns up anywhere else than in its place is an alarm.
///
/// ```
/// use gigmcp_egress::{Placeholder, SecretString, Shape};
///
/// let secret = SecretString::new("ghp_0123456789abcdefghijABCDEFGHIJ012345");
/// let placeholder = Placeholder::mint(&Shape::of(&secret));
/// assert!(placeholder.as_str().starts_with("ghp_"));
/// assert_eq!(placeholder.as_str().len(), secret.expose().len());
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Placeholder(Arc<str>);

impl Placeholder {
    /// Makes a fresh placeholder out of at least 128 random bits.
    ///
    /// # Panics
    /// If the kernel's random source does not answer; Linux guarantees it after boot.
    pub fn mint(shape: &Shape) -> Self {
        let text = match shape.form {
            Form::Plain => format!("{}{}", shape.prefix, random_text(shape.random_chars(), shape.alphabet)),
            Form::Jwt => mint_jwt(shape.length),
        };
        Self(text.into())
    }

    /// The text to put into the sandbox.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The public part of a credential: what a client library checks before it sends one. Holds no byte of the secret but a
/// prefix that its issuer publishes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shape {
    prefix: Cow<'static, str>,
    length: usize,
    alphabet: &'static str,
    form: Form,
}

/// The characters of a credential behind its prefix.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Alphabet {
    /// Letters and digits.
    Alphanumeric,
    /// Lower-case letters and digits.
    Lower,
    /// Upper-case letters and digits.
    Upper,
    /// Lower-case hexadecimal digits.
    Hex,
    /// Decimal digits.
    Digits,
}

impl Alphabet {
    const fn characters(self) -> &'static str {
        match self {
            Self::Alphanumeric => ALPHANUMERIC,
            Self::Lower => LOWER,
            Self::Upper => UPPER,
            Self::Hex => HEX_LOWER,
            Self::Digits => DIGITS,
        }
    }
}

/// What a placeholder cannot begin with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a placeholder begins with at most 64 visible ASCII characters")]
pub struct InvalidPrefix;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Plain,
    /// Three parts, of which libraries decode the first two.
    Jwt,
}

impl Shape {
    /// Reads the shape off a secret.
    pub fn of(secret: &SecretString) -> Self {
        let text = secret.expose();
        if text.starts_with("eyJ") && text.split('.').count() == 3 {
            return Self::jwt(text.len());
        }
        let prefix =
            PREFIXES.iter().copied().filter(|prefix| text.starts_with(prefix)).max_by_key(|prefix| prefix.len());
        let prefix = prefix.unwrap_or_default();
        let rest = &text[prefix.len()..];
        let only = |alphabet: &str| rest.bytes().all(|byte| alphabet.as_bytes().contains(&byte));
        let alphabet = [DIGITS, HEX_LOWER, HEX_UPPER, LOWER, UPPER].into_iter().find(|alphabet| only(alphabet));
        let prefix = Cow::Borrowed(prefix);
        Self { prefix, length: text.len(), alphabet: alphabet.unwrap_or(ALPHANUMERIC), form: Form::Plain }
    }

    /// A shape for a credential nobody has seen: 40 letters and digits.
    pub fn opaque() -> Self {
        Self { prefix: "".into(), length: 40, alphabet: ALPHANUMERIC, form: Form::Plain }
    }

    /// A shape that is known by what its issuer says, with a length in characters that includes the prefix.
    ///
    /// # Errors
    /// [`InvalidPrefix`] if no credential in a request begins with it.
    pub fn new(prefix: &str, length: usize, alphabet: Alphabet) -> Result<Self, InvalidPrefix> {
        if prefix.len() > 64 || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidPrefix);
        }
        let prefix = prefix.to_owned().into();
        Ok(Self { prefix, length, alphabet: alphabet.characters(), form: Form::Plain })
    }

    /// Three parts of so many characters in all, of which the first two decode.
    pub fn jwt(length: usize) -> Self {
        Self { prefix: "".into(), length, alphabet: BASE64URL, form: Form::Jwt }
    }

    /// The secret's own length, unless that is too short to be unguessable.
    fn random_chars(&self) -> usize {
        let bits_per_char = self.alphabet.len().ilog2() as usize;
        self.length.saturating_sub(self.prefix.len()).clamp(MIN_RANDOM_BITS.div_ceil(bits_per_char), MAX_RANDOM_CHARS)
    }
}

/// A token that decodes, never expires for the library's local check, and is signed by nobody. As long as the real one, if
/// that leaves enough for a signature: messages that state their length (gRPC) keep it when one is put in place of the other.
fn mint_jwt(length: usize) -> String {
    let id = random_text(32, ALPHANUMERIC);
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"jti":"{id}","iat":1700000000,"exp":4102444800}}"#));
    let signature = length.saturating_sub(header.len() + claims.len() + 2).clamp(43, MAX_RANDOM_CHARS);
    format!("{header}.{claims}.{}", random_text(signature, ALPHANUMERIC))
}

/// Draws characters without bias: bytes beyond the largest multiple of the alphabet's size are drawn again.
fn random_text(chars: usize, alphabet: &str) -> String {
    let alphabet = alphabet.as_bytes();
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(chars);
    let mut pool = [0; 64];
    while text.len() < chars {
        getrandom::fill(&mut pool).expect("the kernel's random source answers after boot");
        let drawn = pool.iter().map(|byte| usize::from(*byte)).filter(|number| *number < fair);
        text.extend(drawn.map(|number| char::from(alphabet[number % alphabet.len()])).take(chars - text.len()));
    }
    text
}

const MIN_RANDOM_BITS: usize = 128;
/// Longer secrets (certificates, serialised keys) get a shorter placeholder; no library checks that length.
const MAX_RANDOM_CHARS: usize = 512;

const DIGITS: &str = "0123456789";
const HEX_LOWER: &str = "0123456789abcdef";
const HEX_UPPER: &str = "0123456789ABCDEF";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const ALPHANUMERIC: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const BASE64URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Prefixes that issuers publish and client libraries check.
const PREFIXES: &[&str] = &[
    "AIza",
    "AKIA",
    "ASIA",
    "BSA",
    "EAA",
    "SG.",
    "dop_v1_",
    "fc-",
    "figd_",
    "ghp_",
    "gho_",
    "ghr_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "gsk_",
    "hf_",
    "key-",
    "lin_api_",
    "npm_",
    "ntn_",
    "pat-",
    "pk_live_",
    "pk_test_",
    "pypi-",
    "r8_",
    "rk_live_",
    "rk_test_",
    "secret_",
    "shpat_",
    "sk-",
    "sk-ant-",
    "sk-ant-api03-",
    "sk-ant-oat01-",
    "sk-or-v1-",
    "sk-proj-",
    "sk-svcacct-",
    "sk_live_",
    "sk_test_",
    "tvly-",
    "xai-",
    "xapp-",
    "xoxa-",
    "xoxb-",
    "xoxp-",
    "ya29.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_keeps_the_shape_of_the_secret() {
        for (case, secret, prefix, length, alphabet) in [
            ("OpenAI", "sk-0123456789abcdefghijABCDEFGHIJ0123456789abcdefgh", "sk-", 51, ALPHANUMERIC),
            ("Anthropic", "sk-ant-api03-0123456789_abcdefghij-ABCDEFGHIJ", "sk-ant-api03-", 45, ALPHANUMERIC),
            ("GitHub", "ghp_0123456789abcdefghijABCDEFGHIJ012345", "ghp_", 40, ALPHANUMERIC),
            ("GitHub fine-grained", "github_pat_11ABCDEFG0123456789abcdef_0123456789", "github_pat_", 47, ALPHANUMERIC),
            ("Slack", "xoxb-1234567890-abcdefghijABCDEFGHIJ", "xoxb-", 36, ALPHANUMERIC),
            ("hexadecimal", "0123456789abcdef0123456789abcdef", "", 32, HEX_LOWER),
            ("AWS, too short to be unguessable", "AKIAIOSFODNN7EXAMPLE", "AKIA", 30, UPPER),
            ("a short password", "hunter22", "", 26, LOWER),
        ] {
            let minted = Placeholder::mint(&Shape::of(&SecretString::new(secret)));
            let rest = minted.as_str().strip_prefix(prefix).expect(case);
            assert_eq!(minted.as_str().len(), length, "{case}: {minted}");
            assert!(rest.bytes().all(|byte| alphabet.as_bytes().contains(&byte)), "{case}: {minted}");
        }
    }

    #[test]
    fn a_placeholder_can_have_a_shape_that_was_said() {
        for (case, prefix, length, alphabet, expected) in [
            ("as said", "key-", 44, Alphabet::Hex, Ok(44)),
            ("too short to be unguessable", "xoxb-", 16, Alphabet::Digits, Ok(5 + 43)),
            ("nothing before it", "", 40, Alphabet::Upper, Ok(40)),
            ("a line break", "key\r\n", 40, Alphabet::Hex, Err(InvalidPrefix)),
            ("a blank", "Bearer ", 40, Alphabet::Hex, Err(InvalidPrefix)),
        ] {
            let minted = Shape::new(prefix, length, alphabet).map(|shape| Placeholder::mint(&shape));
            assert_eq!(minted.as_ref().map(|minted| minted.as_str().len()).map_err(|error| *error), expected, "{case}");
            if let Ok(minted) = minted {
                let rest = minted.as_str().strip_prefix(prefix).expect(case);
                assert!(rest.bytes().all(|byte| alphabet.characters().as_bytes().contains(&byte)), "{case}: {minted}");
            }
        }
    }

    #[test]
    fn a_jwt_placeholder_decodes_and_is_signed_by_nobody() {
        let minted =
            Placeholder::mint(&Shape::of(&SecretString::new("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl")));
        let parts: Vec<_> = minted.as_str().split('.').collect();
        let decode = |part: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("UTF-8");
        assert_eq!(parts.len(), 3);
        assert_eq!(decode(parts[0]), r#"{"alg":"none","typ":"JWT"}"#);
        assert!(decode(parts[1]).contains(r#""exp":4102444800"#));
        let long = format!("eyJhbGciOiJIUzI1NiJ9.{}.c2ln", "x".repeat(300));
        assert_eq!(Placeholder::mint(&Shape::of(&SecretString::new(&*long))).as_str().len(), long.len());
    }

    #[test]
    fn two_placeholders_are_never_the_same() {
        assert_ne!(Placeholder::mint(&Shape::opaque()), Placeholder::mint(&Shape::opaque()));
    }
}
