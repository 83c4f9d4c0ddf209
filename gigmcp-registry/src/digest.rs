//! Content digests as OCI writes them.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, written `sha256:` and 64 lower-case hex digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `content`.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    #[cfg(feature = "oci")]
    pub(crate) fn from_sha256(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    #[cfg(feature = "oci")]
    pub(crate) fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let digits = text.strip_prefix("sha256:").ok_or(InvalidDigest)?;
        lower_hex(digits).map(Self).ok_or(InvalidDigest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The text is not `sha256:` and 64 lower-case hex digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a digest is `sha256:` and 64 lower-case hex digits")]
pub struct InvalidDigest;

/// `N` bytes from exactly `2 * N` lower-case digits: one spelling each, so that changing any character changes the value.
pub(crate) fn lower_hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let lower = !digits.bytes().any(|byte| byte.is_ascii_uppercase());
    (lower && hex::decode_to_slice(digits, &mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_is_a_digest() {
        let digits = "0123456789abcdef".repeat(4);
        for (case, text, valid) in [
            ("as it should be", format!("sha256:{digits}"), true),
            ("no algorithm", digits.clone(), false),
            ("another algorithm", format!("sha512:{digits}"), false),
            ("upper-case algorithm", format!("SHA256:{digits}"), false),
            ("upper-case digits", format!("sha256:{}", digits.to_uppercase()), false),
            ("a digit less", format!("sha256:{}", &digits[1..]), false),
            ("a digit more", format!("sha256:{digits}0"), false),
            ("not hex", format!("sha256:g{}", &digits[1..]), false),
            ("empty", String::new(), false),
        ] {
            let parsed = text.parse::<Digest>();
            assert_eq!(parsed.map(|digest| digest.to_string()), valid.then_some(text).ok_or(InvalidDigest), "{case}");
        }
    }

    #[test]
    fn digest_of_nothing() {
        let known = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), known);
    }
}
