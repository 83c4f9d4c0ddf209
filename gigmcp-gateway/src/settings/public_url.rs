//! Where browsers reach the gateway.

use std::{fmt, str::FromStr};

/// `https://HOST[:PORT]`, or `http://` for this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PublicUrl(Box<str>);

/// A text that is no such address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "write the address as https://HOST or https://HOST:PORT, without a path; http:// is for localhost, 127.0.0.1 and [::1] only"
)]
pub(crate) struct InvalidPublicUrl;

impl PublicUrl {
    pub(crate) fn is_tls(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// As browsers write it.
    pub(crate) fn origin(&self) -> &str {
        &self.0
    }

    /// Without the port.
    pub(crate) fn host(&self) -> &str {
        let authority = self.0.split_once("://").map_or("", |(_, authority)| authority);
        match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        }
    }
}

impl PublicUrl {
    /// The one it names, or the one that goes without saying.
    pub(crate) fn port(&self) -> u16 {
        let authority = self.0.split_once("://").map_or("", |(_, authority)| authority);
        let named = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        named.unwrap_or(if self.is_tls() { 443 } else { 80 })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for PublicUrl {
    type Err = InvalidPublicUrl;

    fn from_str(text: &str) -> Result<Self, InvalidPublicUrl> {
        let text = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
        let uri: http::Uri = text.parse().map_err(|_| InvalidPublicUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(InvalidPublicUrl) };
        let port = authority.as_str().strip_prefix(authority.host()).ok_or(InvalidPublicUrl)?;
        let valid = match scheme {
            "https" => true,
            "http" => LOOPBACK.contains(&authority.host()),
            _ => false,
        };
        let whole = text == format!("{scheme}://{authority}") && (port.is_empty() || authority.port_u16().is_some());
        if !valid || !whole || authority.host().is_empty() {
            return Err(InvalidPublicUrl);
        }
        // Browsers leave out the port that goes without saying.
        let origin = match (scheme, authority.port_u16()) {
            ("https", Some(443)) | ("http", Some(80)) => format!("{scheme}://{}", authority.host()),
            _ => text,
        };
        Ok(Self(origin.into()))
    }
}

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_origin() {
        for (text, expected) in [
            ("https://gig.example.com", Some("https://gig.example.com")),
            ("https://Gig.example.com/", Some("https://gig.example.com")),
            ("https://gig.example.com:443", Some("https://gig.example.com")),
            ("https://gig.example.com:8443", Some("https://gig.example.com:8443")),
            ("http://localhost:8080", Some("http://localhost:8080")),
            ("http://[::1]:8080", Some("http://[::1]:8080")),
            ("http://gig.example.com", None),
            ("http://localhost.example.com", None),
            ("https://gig.example.com/path", None),
            ("https://gig.example.com?query", None),
            ("https://user@gig.example.com", None),
            ("https://gig.example.com:", None),
            ("gig.example.com", None),
            ("ftp://gig.example.com", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<PublicUrl>().ok().as_ref().map(PublicUrl::origin), expected, "{text}");
        }
        for (text, host, port) in [
            ("https://a.example:8443", "a.example", 8443),
            ("https://a.example", "a.example", 443),
            ("http://[::1]", "[::1]", 80),
            ("http://[::1]:80", "[::1]", 80),
            ("http://[::1]:8080", "[::1]", 8080),
        ] {
            let url = text.parse::<PublicUrl>().expect("an address");
            assert_eq!((url.host(), url.port()), (host, port), "{text}");
        }
    }
}
