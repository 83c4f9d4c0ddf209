//! Under which names the gateway is reached, and from whose pages.

use std::{fmt, net::Ipv6Addr, str::FromStr};

/// A host name or address as clients say it, without a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct AllowedHost(Box<str>);

/// The origin of a page, as browsers send it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct AllowedOrigin(Box<str>);

/// Why a text is no host that can be allowed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum InvalidHost {
    #[error("a host has no scheme; write `{0}`")]
    Scheme(String),
    #[error("a host is allowed on all ports; write `{0}`")]
    Port(String),
    #[error("there is no wildcard; name each host, as gig.example.com")]
    Wildcard,
    #[error("write a host name or an address, as gig.example.com, 192.0.2.1 or [2001:db8::1]")]
    NoHost,
}

/// Why a text is no origin that can be allowed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum InvalidOrigin {
    #[error("an origin has no path; write `{0}`")]
    Path(String),
    #[error("browsers leave out the port that goes without saying; write `{0}`")]
    DefaultPort(String),
    #[error("there is no wildcard; name each origin, as https://app.example.com")]
    Wildcard,
    #[error("`null` is the origin of any page that hides its own, and cannot be allowed")]
    Null,
    #[error("write an origin as https://app.example.com or https://app.example.com:8443")]
    NoOrigin,
}

impl FromStr for AllowedHost {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let text = text.trim().to_ascii_lowercase();
        if text.contains('*') {
            return Err(InvalidHost::Wildcard);
        }
        if let Some((_, rest)) = text.split_once("://") {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let host = authority.parse::<http::uri::Authority>().map(|authority| authority.host().to_owned());
            return Err(host.map_or(InvalidHost::NoHost, InvalidHost::Scheme));
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Ok(Self(format!("[{text}]").into()));
        }
        if is_host(&text) {
            return Ok(Self(text.into()));
        }
        match text.rsplit_once(':') {
            Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok() => Err(InvalidHost::Port(host.into())),
            _ => Err(InvalidHost::NoHost),
        }
    }
}

impl FromStr for AllowedOrigin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let text = text.trim().to_ascii_lowercase();
        if text.contains('*') {
            return Err(InvalidOrigin::Wildcard);
        }
        if text == "null" {
            return Err(InvalidOrigin::Null);
        }
        let (scheme, rest) = text.split_once("://").ok_or(InvalidOrigin::NoOrigin)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, port) = split_port(&rest[..end]).ok_or(InvalidOrigin::NoOrigin)?;
        if !is_scheme(scheme) || !is_host(host) {
            return Err(InvalidOrigin::NoOrigin);
        }
        if end < rest.len() {
            return Err(InvalidOrigin::Path(format!("{scheme}://{}", &rest[..end])));
        }
        if matches!((scheme, port), ("https", Some(443)) | ("http", Some(80))) {
            return Err(InvalidOrigin::DefaultPort(format!("{scheme}://{host}")));
        }
        Ok(Self(text.into()))
    }
}

/// The host, and the port if there is one.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !port.contains(']') => Some((host, Some(port.parse().ok()?))),
        _ => Some((authority, None)),
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.len() <= 253 && text.split('.').all(label)
}

macro_rules! text {
    ($($name:ident)*) => {$(
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    )*};
}

text!(AllowedHost AllowedOrigin);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_and_nothing_else() {
        let no = |text: &str| InvalidHost::Scheme(text.to_owned());
        for (text, expected) in [
            ("gig.example.com", Ok("gig.example.com")),
            ("Gig.Example.com", Ok("gig.example.com")),
            ("gigmcp", Ok("gigmcp")),
            ("192.0.2.1", Ok("192.0.2.1")),
            ("[2001:db8::1]", Ok("[2001:db8::1]")),
            ("2001:db8::1", Ok("[2001:db8::1]")),
            ("https://gig.example.com", Err(no("gig.example.com"))),
            ("https://gig.example.com:8443/mcp", Err(no("gig.example.com"))),
            ("gig.example.com:8443", Err(InvalidHost::Port("gig.example.com".to_owned()))),
            ("[2001:db8::1]:8443", Err(InvalidHost::Port("[2001:db8::1]".to_owned()))),
            ("*", Err(InvalidHost::Wildcard)),
            ("*.example.com", Err(InvalidHost::Wildcard)),
            ("gig.example.com/mcp", Err(InvalidHost::NoHost)),
            ("gig..example.com", Err(InvalidHost::NoHost)),
            ("a b", Err(InvalidHost::NoHost)),
            ("", Err(InvalidHost::NoHost)),
        ] {
            let read = text.parse::<AllowedHost>();
            assert_eq!(read.as_ref().map(AsRef::as_ref).map_err(Clone::clone), expected, "{text}");
        }
    }

    #[test]
    fn an_origin_is_what_browsers_send() {
        for (text, expected) in [
            ("https://app.example.com", Ok("https://app.example.com")),
            ("HTTPS://App.example.com", Ok("https://app.example.com")),
            ("https://app.example.com:8443", Ok("https://app.example.com:8443")),
            ("http://intranet", Ok("http://intranet")),
            ("http://[2001:db8::1]:8080", Ok("http://[2001:db8::1]:8080")),
            ("chrome-extension://abcdefghij", Ok("chrome-extension://abcdefghij")),
            ("https://app.example.com/", Err(InvalidOrigin::Path("https://app.example.com".to_owned()))),
            ("https://app.example.com/page", Err(InvalidOrigin::Path("https://app.example.com".to_owned()))),
            ("https://app.example.com?x", Err(InvalidOrigin::Path("https://app.example.com".to_owned()))),
            ("https://app.example.com:443", Err(InvalidOrigin::DefaultPort("https://app.example.com".to_owned()))),
            ("http://app.example.com:80", Err(InvalidOrigin::DefaultPort("http://app.example.com".to_owned()))),
            ("*", Err(InvalidOrigin::Wildcard)),
            ("https://*.example.com", Err(InvalidOrigin::Wildcard)),
            ("null", Err(InvalidOrigin::Null)),
            ("app.example.com", Err(InvalidOrigin::NoOrigin)),
            ("https://user@app.example.com", Err(InvalidOrigin::NoOrigin)),
            ("https://app.example.com:", Err(InvalidOrigin::NoOrigin)),
            ("https://", Err(InvalidOrigin::NoOrigin)),
            ("", Err(InvalidOrigin::NoOrigin)),
        ] {
            let read = text.parse::<AllowedOrigin>();
            assert_eq!(read.as_ref().map(AsRef::as_ref).map_err(Clone::clone), expected, "{text}");
        }
    }
}
