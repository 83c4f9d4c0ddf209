//! Addresses: https and nothing else.

use std::fmt;

use hyper::Uri;
use hyper::http::uri::PathAndQuery;

/// `https://HOST[:PORT]/PATH[?QUERY]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Url(Uri);

impl Url {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?.as_str();
        let plain = uri.scheme_str() == Some("https") && !authority.contains('@') && !text.contains('#');
        // For a port that is none, the usual one would be taken.
        let has_no_port = authority.ends_with(uri.host()?);
        let port = uri.port_u16().is_some_and(|port| port != 0) || has_no_port;
        (plain && port && !uri.host()?.is_empty()).then_some(Self(uri))
    }

    /// The address below which files lie: without query, its path ended by a slash.
    pub(super) fn as_directory(&self) -> Self {
        let path = format!("{}/", self.0.path().trim_end_matches('/'));
        self.with_path(&path).expect("a path and a slash are a path")
    }

    /// What a file's path or a `Location` header means here. Relative paths go up no directories.
    pub(super) fn join(&self, reference: &str) -> Option<Self> {
        if reference.contains("://") {
            return Self::parse(reference);
        }
        if reference.starts_with("//") || reference.split(['/', '?']).any(|segment| segment == "..") {
            return None;
        }
        let directory = self.0.path().rsplit_once('/')?.0;
        let path = if reference.starts_with('/') { reference.into() } else { format!("{directory}/{reference}") };
        self.with_path(&path)
    }

    pub(super) fn host(&self) -> &str {
        self.0.host().expect("checked").trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(443)
    }

    pub(super) fn authority(&self) -> &str {
        self.0.authority().expect("checked").as_str()
    }

    pub(super) fn path(&self) -> &str {
        self.0.path_and_query().map_or("/", PathAndQuery::as_str)
    }

    fn with_path(&self, path: &str) -> Option<Self> {
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = Some(path.parse().ok()?);
        Uri::from_parts(parts).ok().map(Self)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority(), self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_https() {
        for (text, expected) in [
            ("https://registry.test", Some(("registry.test", 443, "https://registry.test/"))),
            ("https://registry.test:8443/a", Some(("registry.test", 8443, "https://registry.test:8443/a/"))),
            ("https://registry.test/a/b//?c", Some(("registry.test", 443, "https://registry.test/a/b/"))),
            ("https://[2001:db8::1]:8443/", Some(("2001:db8::1", 8443, "https://[2001:db8::1]:8443/"))),
            ("HTTPS://registry.test", Some(("registry.test", 443, "https://registry.test/"))),
            ("https://registry.test:65979", None),
            ("https://registry.test:", None),
            ("https://registry.test:0", None),
            ("https://[2001:db8::1]:65979/", None),
            ("http://registry.test", None),
            ("http://127.0.0.1", None),
            ("file:///etc/passwd", None),
            ("registry.test", None),
            ("/index.jsonl", None),
            ("https://user@registry.test", None),
            ("https://registry.test/#a", None),
            ("https:///a", None),
            ("", None),
        ] {
            let url = Url::parse(text);
            let parts = url.as_ref().map(|url| (url.host(), url.port(), url.as_directory().to_string()));
            assert_eq!(parts, expected.map(|(host, port, base)| (host, port, base.to_string())), "{text:?}");
        }
    }

    #[test]
    fn redirects_lead_to_https_only() {
        let base = Url::parse("https://registry.test/a/index.jsonl?x").expect("valid");
        for (location, expected) in [
            ("b.jsonl", Some("https://registry.test/a/b.jsonl")),
            ("/b.jsonl?y=1", Some("https://registry.test/b.jsonl?y=1")),
            ("https://cdn.test:444/c", Some("https://cdn.test:444/c")),
            ("http://cdn.test/c", None),
            ("//cdn.test/c", None),
            ("../b", None),
            ("/a/../b", None),
            ("ftp://cdn.test", None),
            ("https://user@cdn.test/c", None),
            ("/a b", None),
        ] {
            assert_eq!(base.join(location).map(|url| url.to_string()).as_deref(), expected, "{location:?}");
        }
    }
}
