//! A sign-in that is under way: what the browser keeps of it, from which all else follows.
//!
//! The browser's cookie holds 256 random bits. What is sent to the provider (`state`, `nonce`, the code's challenge) is made of them
//! and of what the sign-in is for, so nothing has to be kept here until the browser is back, and an answer fits no other browser.

use std::str::FromStr;

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::{store::now_seconds, token};

/// One sign-in, link, proof or sign-out.
pub(crate) struct Flow {
    secret: Zeroizing<String>,
    began_at: i64,
    purpose: Purpose,
    return_to: LocalPath,
}

/// What the browser was sent to the provider for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    SignIn,
    /// To add how somebody who is signed in signs in.
    Link,
    /// To prove once more that it is they who are signed in: the provider asks again, whatever it knows.
    Confirm,
    SignOut,
}

impl Purpose {
    const ALL: [Self; 4] = [Self::SignIn, Self::Link, Self::Confirm, Self::SignOut];

    fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "in",
            Self::Link => "link",
            Self::Confirm => "confirm",
            Self::SignOut => "out",
        }
    }
}

impl Flow {
    pub(crate) fn begin(purpose: Purpose, return_to: LocalPath) -> Result<Self, getrandom::Error> {
        let mut random = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *random)?;
        let secret = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(*random));
        Ok(Self { secret, began_at: now_seconds(), purpose, return_to })
    }

    /// What a browser keeps.
    pub(crate) fn cookie(&self) -> Zeroizing<String> {
        let return_to = BASE64_URL_SAFE_NO_PAD.encode(self.return_to.as_str());
        let Self { secret, began_at, purpose, .. } = self;
        Zeroizing::new(format!("{}.{began_at}.{}.{return_to}", **secret, purpose.as_str()))
    }

    /// What a browser comes back with, if it can be that and is not too old.
    pub(crate) fn parse(cookie: &str) -> Option<Self> {
        let [secret, began_at, purpose, return_to] = cookie.split('.').collect::<Vec<_>>().try_into().ok()?;
        let flow = Self {
            secret: Zeroizing::new(secret.to_owned()),
            began_at: began_at.parse().ok()?,
            purpose: Purpose::ALL.into_iter().find(|one| one.as_str() == purpose)?,
            return_to: String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(return_to).ok()?).ok()?.parse().ok()?,
        };
        let age = now_seconds().checked_sub(flow.began_at)?;
        (secret.len() == SECRET_LENGTH && (0..FLOW_SECONDS).contains(&age)).then_some(flow)
    }

    pub(crate) fn purpose(&self) -> Purpose {
        self.purpose
    }

    pub(crate) fn return_to(&self) -> &LocalPath {
        &self.return_to
    }

    /// When the browser was sent there.
    pub(super) fn began_at(&self) -> i64 {
        self.began_at
    }

    /// Until when it can be ended.
    pub(crate) fn ends_at(&self) -> i64 {
        self.began_at + FLOW_SECONDS
    }

    /// What the provider sends back unread.
    pub(crate) fn state(&self) -> String {
        self.derived("state")
    }

    /// Whether this came back.
    pub(crate) fn is_state(&self, given: &str) -> bool {
        token::same(&self.state(), given)
    }

    pub(super) fn nonce(&self) -> String {
        self.derived("nonce")
    }

    /// RFC 7636: 43 characters.
    pub(super) fn verifier(&self) -> String {
        self.derived("verifier")
    }

    fn derived(&self, what: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let Self { began_at, purpose, return_to, .. } = self;
        let text = format!("gigmcp oidc v1\n{what}\n{began_at}\n{}\n{}", purpose.as_str(), return_to.as_str());
        BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, text.as_bytes()).as_ref())
    }
}

/// A path of ours that a browser is sent to: never another host, never the API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LocalPath(Box<str>);

/// A text that is no such path.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("return_to is a path of the gateway's pages, such as /servers")]
pub(crate) struct InvalidLocalPath;

impl LocalPath {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LocalPath {
    fn default() -> Self {
        Self("/".into())
    }
}

impl FromStr for LocalPath {
    type Err = InvalidLocalPath;

    fn from_str(text: &str) -> Result<Self, InvalidLocalPath> {
        // Browsers read `\` as `/` and `%2e` as `.`, and leave out tabs and line ends; what could end an attribute of HTML is not
        // needed.
        let harmless = |byte: u8| byte.is_ascii_graphic() && !b"\\\"'<>`".contains(&byte);
        let path = text.split(['?', '#']).next().unwrap_or_default();
        let leads_on = path.split('/').any(|part| matches!(part, "." | ".."));
        let valid = text.starts_with('/')
            && !text.starts_with("//")
            && text.len() <= 512
            && text.bytes().all(harmless)
            && !leads_on
            && !path.contains('%')
            && path != "/api"
            && !path.starts_with("/api/");
        valid.then(|| Self(text.into())).ok_or(InvalidLocalPath)
    }
}

impl std::fmt::Display for LocalPath {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// How long somebody may take at the provider.
pub(crate) const FLOW_SECONDS: i64 = 600;
/// 32 bytes in base64url.
const SECRET_LENGTH: usize = 43;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_sent_to_a_page_of_ours_only() {
        for path in ["/", "/servers", "/servers?tab=1#x", "/a//b", "/apis", "/servers?of=%2e%2e#%2e", "/a:b@c"] {
            assert_eq!(path.parse::<LocalPath>().as_ref().map(LocalPath::as_str), Ok(path)); // twin
        }
        let long = format!("/{}", "x".repeat(512));
        for path in [
            "",
            "servers",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "javascript:x",
            "/\t/evil.example",
            "/\n",
            "/x\r\nset-cookie: a",
            "/ x",
            "/\"><script>",
            "/'",
            "/api/v1/oidc/login",
            "/api",
            "/./api/v1",
            "/x/../api/v1",
            "/x/%2e%2e/api/v1",
            "/%2E/api/v1",
            "/%61pi/v1",
            "/\u{e9}",
            &long,
        ] {
            assert_eq!(path.parse::<LocalPath>(), Err(InvalidLocalPath), "{path:?}");
        }
    }

    #[test]
    fn an_answer_fits_only_the_flow_it_is_of() {
        let flow = Flow::begin(Purpose::SignIn, "/servers".parse().expect("a path")).expect("random bytes");
        let cookie = flow.cookie();
        let back = Flow::parse(&cookie).expect("its own");
        assert!(back.is_state(&flow.state()) && back.nonce() == flow.nonce() && back.verifier() == flow.verifier());
        assert_eq!((back.purpose(), back.return_to().as_str()), (Purpose::SignIn, "/servers"));
        assert!(flow.verifier().len() == 43 && flow.nonce() != flow.state() && flow.verifier() != flow.nonce());
        let other = Flow::begin(Purpose::SignIn, "/servers".parse().expect("a path")).expect("random bytes");
        assert!(!other.is_state(&flow.state()), "of another browser");
        // A cookie that was changed fits nothing that was sent.
        let parts: Vec<&str> = cookie.split('.').collect();
        let changed = [
            format!("{}.{}.link.{}", parts[0], parts[1], parts[3]),
            format!("{}.{}.in.{}", parts[0], flow.began_at - 1, parts[3]),
            format!("{}.{}.in.{}", parts[0], parts[1], BASE64_URL_SAFE_NO_PAD.encode("/other")),
        ];
        for changed in changed {
            assert!(!Flow::parse(&changed).expect("its form is right").is_state(&flow.state()), "{changed}");
        }
        let aged = |by: i64| format!("{}.{}.in.{}", parts[0], flow.began_at - by, parts[3]);
        assert!(Flow::parse(&aged(FLOW_SECONDS - 5)).is_some(), "twin");
        for cookie in [aged(FLOW_SECONDS + 1), aged(-60), String::new(), "....".to_owned(), format!("{}.x", *cookie)] {
            assert!(Flow::parse(&cookie).is_none(), "{cookie}");
        }
    }
}
