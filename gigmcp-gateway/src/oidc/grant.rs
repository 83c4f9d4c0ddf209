//! What the provider gave with a session, sealed so that it opens only with what the browser holds.
//!
//! Of the browser's token only a hash is kept, so whoever has the database, and even the master key, has no refresh token.

use aws_lc_rs::hmac;
use gigmcp_vault::{Context, KeyId, KeyRing, PolicyHash, Reason, Sealed, SecretBytes, Vault};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::people::{SessionToken, UserId};

/// The ID token, which tells the provider which session to end, and the refresh token, if there is one.
pub(crate) struct Grant {
    pub(crate) id_token: Zeroizing<String>,
    pub(crate) refresh_token: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Grant(..)")
    }
}

#[derive(Serialize)]
struct Written<'a> {
    id_token: &'a str,
    refresh_token: Option<&'a str>,
}

#[derive(Deserialize)]
struct Read {
    id_token: String,
    refresh_token: Option<String>,
}

impl Grant {
    /// For the session of that token.
    pub(crate) fn seal(&self, token: &SessionToken, user: &UserId) -> Option<Vec<u8>> {
        let written = Written {
            id_token: &self.id_token,
            refresh_token: self.refresh_token.as_ref().map(|token| token.as_str()),
        };
        let text = serde_json::to_vec(&written).ok()?;
        let sealed = vault(token)?.seal(&context(user), SecretBytes::new(text)).ok()?;
        Some(sealed.as_bytes().to_vec())
    }

    /// None if it was not sealed for this session and account.
    pub(crate) fn open(sealed: &[u8], token: &SessionToken, user: &UserId) -> Option<Self> {
        let opened = vault(token)?.open(&context(user), &Sealed::from_bytes(sealed).ok()?).ok()?;
        let Read { id_token, refresh_token } = opened.expose(SIGN_IN, |text| serde_json::from_slice(text)).ok()?;
        Some(Self { id_token: Zeroizing::new(id_token), refresh_token: refresh_token.map(Zeroizing::new) })
    }
}

fn vault(token: &SessionToken) -> Option<Vault> {
    let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, token.expose().as_bytes()), b"gigmcp oidc grant v1");
    let key = SecretBytes::new(key.as_ref().to_vec());
    Some(Vault::new(KeyRing::from_key(KeyId::from_bytes([0; 16]), 1, &key).ok()?))
}

/// One key seals for one session, so its age says nothing.
fn context(user: &UserId) -> Context {
    Context {
        tenant: user.as_str().parse().expect("an account has 1 to 64 bytes"),
        vault: "gigmcp".parse().expect("a short name"),
        secret: "oidc-grant".parse().expect("a short name"),
        version: 1,
        purpose: "sign-in".parse().expect("a short name"),
        created_at: 0,
        policy: PolicyHash::of(&[]),
    }
}

const SIGN_IN: Reason = Reason::new("ask the identity provider about a session");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Kind, Token};

    #[test]
    fn a_grant_opens_only_for_its_session_and_account() {
        let token = || SessionToken::parse(Token::mint_for(Kind::Session).expose()).expect("a token");
        let (mine, other) = (token(), token());
        let (ann, bob) = ("u-ann".parse().expect("an id"), "u-bob".parse().expect("an id"));
        let text = |text: &str| Zeroizing::new(text.to_owned());
        let grant = Grant { id_token: text("a.b.c"), refresh_token: Some(text("the-refresh-token")) };
        let sealed = grant.seal(&mine, &ann).expect("it can be sealed");
        let opened = Grant::open(&sealed, &mine, &ann).expect("twin");
        assert_eq!(
            (&**opened.id_token, opened.refresh_token.as_deref().map(String::as_str)),
            ("a.b.c", Some("the-refresh-token"))
        );
        assert!(Grant::open(&sealed, &other, &ann).is_none() && Grant::open(&sealed, &mine, &bob).is_none());
        assert!(!sealed.windows(7).any(|part| part == b"refresh"));
    }
}
