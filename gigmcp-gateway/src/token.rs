//! Tokens: minted here, kept by clients, stored as hashes.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What a token is for, told by its beginning, so that whoever finds one knows what was lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A client of a profile.
    Profile,
    /// Somebody who has signed in.
    Session,
    /// A program that uses the control plane.
    ApiKey,
    /// A code that works once.
    Invitation,
    /// A browser in which somebody has signed in before. Nobody comes in with it.
    Device,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Profile => "gig_",
            Self::Session => "gigs_",
            Self::ApiKey => "gigk_",
            Self::Invitation => "gigi_",
            Self::Device => "gigd_",
        }
    }

    /// Whether a text can be such a token at all.
    pub(crate) fn fits(self, text: &str) -> bool {
        let random = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        text.strip_prefix(self.prefix()).is_some_and(|rest| rest.len() == RANDOM_LENGTH && rest.bytes().all(random))
    }
}

/// A new token: what it is for, and 32 random bytes in base64url.
pub(crate) struct Token(Zeroizing<String>);

impl Token {
    /// A token of a profile nobody has seen.
    pub(crate) fn mint() -> Self {
        Self::mint_for(Kind::Profile)
    }

    /// A token nobody has seen.
    pub(crate) fn mint_for(kind: Kind) -> Self {
        let mut random = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *random).expect("the kernel gives random bytes");
        let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(*random));
        Self(Zeroizing::new(format!("{}{}", kind.prefix(), *encoded)))
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

/// 32 bytes in base64url.
const RANDOM_LENGTH: usize = 43;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_it_is_for() {
        let kinds = [Kind::Profile, Kind::Session, Kind::ApiKey, Kind::Invitation, Kind::Device];
        for minted in kinds {
            let token = Token::mint_for(minted);
            for asked in kinds {
                assert_eq!(asked.fits(token.expose()), asked == minted, "{minted:?} as {asked:?}");
            }
            assert!(!minted.fits(&token.expose()[..46]) && !minted.fits(&format!("{}\n", token.expose())));
        }
    }
}
