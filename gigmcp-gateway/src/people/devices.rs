//! Known browsers: what is kept in one after somebody has signed in there with a password, so that whoever guesses passwords of
//! theirs elsewhere does not make them wait there.
//!
//! Device cookies, as the OWASP community describes them: nobody comes in by one, and tries with one are counted apart from all
//! others, for as many browsers as somebody has signed in with.

use std::fmt;

use zeroize::Zeroizing;

use crate::token::{self, Token};

/// What a browser holds: `gigd_` and 256 random bits.
pub(crate) struct DeviceToken(Zeroizing<String>);

impl DeviceToken {
    pub(super) fn mint() -> Self {
        Self(Zeroizing::new(Token::mint_for(token::Kind::Device).expose().to_owned()))
    }

    /// The text of a cookie, if it can be one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        token::Kind::Device.fits(text).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn hash(&self) -> String {
        token::hash(&self.0)
    }
}

impl fmt::Debug for DeviceToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DeviceToken(..)")
    }
}
