//! The addresses that are asked.

use http::Uri;

use super::RedirectFault;
use crate::oci::Registry;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// A scheme, a host with a port, and a path with a query.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Url {
    pub(super) scheme: Scheme,
    pub(super) host: Registry,
    pub(super) path: String,
}

impl Url {
    /// What a registry named: a whole address, or a path on the host that names it.
    pub(super) fn named_by(&self, text: &str) -> Result<Self, RedirectFault> {
        if text.starts_with('/') && !text.starts_with("//") {
            let path: Uri = text.parse().map_err(|_| RedirectFault::Address)?;
            return Ok(Self { path: path.to_string(), ..self.clone() });
        }
        Self::whole(text)
    }

    pub(super) fn whole(text: &str) -> Result<Self, RedirectFault> {
        let uri: Uri = text.parse().map_err(|_| RedirectFault::Address)?;
        let (scheme, usual) = match uri.scheme_str() {
            Some("https") => (Scheme::Https, 443),
            Some("http") => (Scheme::Http, 80),
            _ => return Err(RedirectFault::Address),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or(RedirectFault::Address)?;
        let is_plain = authority.port_u16().is_some() || authority.as_str().ends_with(authority.host());
        if !is_plain {
            return Err(RedirectFault::Address); // a port that is none, for which the usual one would be taken
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let host = Registry::new(host, authority.port_u16().unwrap_or(usual)).map_err(|_| RedirectFault::Address)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self { scheme, host, path: path.to_owned() })
    }

    /// Whether a credential for the one may be sent to the other.
    pub(super) fn is_same_origin(&self, other: &Self) -> bool {
        self.scheme == other.scheme && self.host == other.host
    }

    /// As the header `Host` has it.
    pub(super) fn authority(&self) -> String {
        match (self.scheme, self.host.port()) {
            (Scheme::Http, 443) => format!("{}:443", self.host),
            (Scheme::Http, 80) => self.host.to_string().trim_end_matches(":80").to_owned(),
            _ => self.host.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_hosts() {
        let from = Url::whole("https://ghcr.io/v2/").expect("a URL");
        for (case, text, expected) in [
            ("another host", "https://blobs.example/a?b=c", Ok(("blobs.example", "/a?b=c"))),
            ("a port", "https://blobs.example:8443/a", Ok(("blobs.example:8443", "/a"))),
            ("a path", "/a?b=c", Ok(("ghcr.io", "/a?b=c"))),
            ("no path", "https://blobs.example", Ok(("blobs.example", "/"))),
            ("an address", "https://[::1]:8443/a", Ok(("[::1]:8443", "/a"))),
            ("no scheme", "//blobs.example/a", Err(RedirectFault::Address)),
            ("another scheme", "file:///etc/passwd", Err(RedirectFault::Address)),
            ("a user", "https://ghcr.io@blobs.example/a", Err(RedirectFault::Address)),
            ("a relative path", "a/b", Err(RedirectFault::Address)),
            ("a large port", "https://blobs.example:65537/a", Err(RedirectFault::Address)),
            ("an empty port", "https://blobs.example:/a", Err(RedirectFault::Address)),
            ("a large port of an address", "https://[::1]:65979/a", Err(RedirectFault::Address)),
            ("an address without a port", "https://[::1]/a", Ok(("[::1]", "/a"))),
            ("a line break", "/a\r\nHost: x", Err(RedirectFault::Address)),
            ("nothing", "", Err(RedirectFault::Address)),
        ] {
            let named = from.named_by(text).map(|url| (url.host.to_string(), url.path));
            assert_eq!(named, expected.map(|(host, path)| (host.to_owned(), path.to_owned())), "{case}");
        }
    }
}
