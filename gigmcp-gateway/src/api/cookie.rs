//! The cookie of a session.

use http::{HeaderMap, HeaderValue, header};

use super::error::ApiError;
use crate::{
    oidc::{FLOW_SECONDS, Flow},
    people::{DeviceToken, SessionToken},
    store::DEVICE_SECONDS,
};

/// How browsers are told to keep it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cookie {
    /// `__Host-`: only from this host, over TLS, and for every path.
    Tls,
    /// Without TLS, which is for this machine only: browsers take no `__Host-` cookie there.
    Loopback,
}

impl Cookie {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tls => super::SESSION_COOKIE,
            Self::Loopback => LOOPBACK_COOKIE,
        }
    }

    /// The session that a request comes with. Two are none: a page of another origin of this host may have put one of them there.
    pub(crate) fn find(self, headers: &HeaderMap) -> Result<Option<SessionToken>, ApiError> {
        let Some(value) = single(headers, self.name())? else { return Ok(None) };
        SessionToken::parse(value).map(Some).ok_or_else(ApiError::unauthenticated)
    }

    /// What the browser is known by. Two are none: it only makes somebody wait.
    pub(crate) fn find_device(self, headers: &HeaderMap) -> Option<DeviceToken> {
        DeviceToken::parse(single(headers, self.device_name()).ok()??)
    }

    /// Tells the browser to keep what it is known by. It stays when somebody signs out: it is for when they sign in again.
    pub(crate) fn set_device(self, device: &DeviceToken) -> HeaderValue {
        self.strict(self.device_name(), device.expose(), DEVICE_SECONDS)
    }

    fn device_name(self) -> &'static str {
        match self {
            Self::Tls => "__Host-gig_device",
            Self::Loopback => "gig_device",
        }
    }

    /// What a browser keeps while it is at an identity provider.
    pub(crate) fn find_flow(self, headers: &HeaderMap) -> Result<Option<Flow>, ApiError> {
        Ok(single(headers, self.flow_name())?.and_then(Flow::parse))
    }

    /// Tells the browser to keep it. The provider's page leads back here, so it is sent along with that: not `Strict`.
    pub(crate) fn set_flow(self, flow: &Flow) -> HeaderValue {
        self.flow_value(&flow.cookie(), FLOW_SECONDS)
    }

    /// Tells the browser to forget it.
    pub(crate) fn clear_flow(self) -> HeaderValue {
        self.flow_value("", 0)
    }

    fn flow_name(self) -> &'static str {
        match self {
            Self::Tls => "__Host-gig_oidc",
            Self::Loopback => "gig_oidc",
        }
    }

    fn flow_value(self, value: &str, seconds: i64) -> HeaderValue {
        let secure = if self == Self::Tls { "; Secure" } else { "" };
        let name = self.flow_name();
        let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        let mut value = HeaderValue::from_str(&text).expect("it is ASCII");
        value.set_sensitive(true);
        value
    }

    /// Tells the browser to keep it. No script can read it, and no page of another site sends it.
    pub(crate) fn set(self, token: &SessionToken, seconds: i64) -> HeaderValue {
        self.value(token.expose(), seconds.max(0))
    }

    /// Tells the browser to forget it.
    pub(crate) fn clear(self) -> HeaderValue {
        self.value("", 0)
    }

    fn value(self, value: &str, seconds: i64) -> HeaderValue {
        self.strict(self.name(), value, seconds)
    }

    fn strict(self, name: &str, value: &str, seconds: i64) -> HeaderValue {
        let secure = if self == Self::Tls { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        let mut value = HeaderValue::from_str(&text).expect("tokens are ASCII");
        value.set_sensitive(true);
        value
    }
}

/// The cookie of that name, if it is there once.
fn single<'a>(headers: &'a HeaderMap, wanted: &str) -> Result<Option<&'a str>, ApiError> {
    let mut found = None;
    for value in headers.get_all(header::COOKIE) {
        for pair in value.as_bytes().split(|byte| *byte == b';') {
            // Whatever other programs of this host keep in the browser is none of ours.
            let Ok(pair) = std::str::from_utf8(pair) else { continue };
            let Some((name, value)) = pair.trim().split_once('=') else { continue };
            if name == wanted && found.replace(value).is_some() {
                return Err(ApiError::invalid("there are two cookies of a session; delete one of them"));
            }
        }
    }
    Ok(found)
}

const LOOPBACK_COOKIE: &str = "gig_session";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Kind, Token};

    fn found(cookie: Cookie, cookies: &[&str]) -> Result<bool, ApiError> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::COOKIE, HeaderValue::from_str(cookie).expect("a header"));
        }
        Ok(cookie.find(&headers)?.is_some())
    }

    #[test]
    fn exactly_one_cookie_of_the_right_name_counts() {
        let token = Token::mint_for(Kind::Session);
        let (token, other) = (token.expose(), Token::mint_for(Kind::Session));
        let (tls, plain) = (format!("__Host-gig_session={token}"), format!("gig_session={token}"));
        let two = format!("{tls}; __Host-gig_session={}", other.expose());
        let key = format!("__Host-gig_session={}", Token::mint_for(Kind::ApiKey).expose());
        let foreign = format!("caf\u{e9}=1; {tls}");
        let with_others = format!("theme=dark;{tls} ; x=y=z; flag");
        for (case, cookies, expected) in [
            ("twin", &[tls.as_str()][..], Some(true)),
            ("twin: among others", &[with_others.as_str()], Some(true)),
            ("twin: beside what is not ASCII", &[foreign.as_str()], Some(true)),
            ("none", &[], Some(false)),
            ("of plain http", &[plain.as_str()], Some(false)),
            ("two in one header", &[two.as_str()], None),
            ("two headers", &[tls.as_str(), tls.as_str()], None),
            ("another kind of token", &[key.as_str()], None),
            ("no token", &["__Host-gig_session="], None),
        ] {
            assert_eq!(found(Cookie::Tls, cookies).ok(), expected, "{case}");
        }
        assert_eq!(found(Cookie::Loopback, &[&plain]).ok(), Some(true), "twin");
        assert_eq!(found(Cookie::Loopback, &[&tls]).ok(), Some(false));
    }

    #[test]
    fn browsers_are_told_to_keep_it_to_themselves() {
        let minted = Token::mint_for(Kind::Session);
        let token = SessionToken::parse(minted.expose()).expect("a token");
        let expected = |name: &str, value: &str, age: u32| {
            format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict")
        };
        assert_eq!(Cookie::Loopback.set(&token, 60), expected("gig_session", token.expose(), 60));
        let secure = format!("{}; Secure", expected("__Host-gig_session", token.expose(), 60));
        assert_eq!(Cookie::Tls.set(&token, 60), secure);
        assert_eq!(Cookie::Loopback.clear(), expected("gig_session", "", 0));
    }
}
