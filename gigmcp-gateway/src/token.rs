//! Tokens of profiles: minted here, kept by clients, stored as hashes.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A new token: `gig_` and 32 random bytes in base64url.
pub(crate) struct Token(Zeroizing<String>);

impl Token {
    /// A token nobody has seen.
    pub(crate) fn mint() -> Self {
        let mut random = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *random).expect("the kernel gives random bytes");
        Self(Zeroizing::new(format!("gig_{}", URL_SAFE_NO_PAD.encode(*random))))
    }

    /// The text, for the one time it is shown.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored.
    pub(crate) fn hash(&self) -> String {
        hash(&self.0)
    }
}

/// SHA-256 in hexadecimal. The input has 256 random bits, so a slow hash would add nothing.
pub(crate) fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// Compares two hashes without telling by time where they differ.
pub(crate) fn same(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}
