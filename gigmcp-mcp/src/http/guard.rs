//! What is checked before a body is read.

use std::collections::HashSet;

use http::{HeaderMap, Uri, header};

/// The names of this machine itself. A page that rebinds its own name to 127.0.0.1 still sends its
/// own name as `Host`.
pub(super) const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The header occurs more than once, or is not text.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Ambiguous;

pub(super) fn single_header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Ambiguous> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(|text| Some(text.trim())).map_err(|_| Ambiguous),
        (Some(_), Some(_)) => Err(Ambiguous),
    }
}

pub(super) fn host_is_allowed(allowed: &HashSet<Box<str>>, uri: &Uri, headers: &HeaderMap) -> bool {
    let Ok(host) = single_header(headers, header::HOST.as_str()) else {
        return false;
    };
    // HTTP/2 has the authority in the target. If both are there, both must do.
    let target = uri.authority().map(http::uri::Authority::as_str);
    let mut names = [host, target].into_iter().flatten().peekable();
    names.peek().is_some()
        && names.all(|name| without_port(name).is_some_and(|name| allowed.contains(&*name.to_ascii_lowercase())))
}

pub(super) fn origin_is_allowed(allowed: &HashSet<Box<str>>, headers: &HeaderMap) -> bool {
    let origin = match single_header(headers, header::ORIGIN.as_str()) {
        Ok(None) => return true, // not a browser
        Ok(Some(origin)) => origin.to_ascii_lowercase(),
        Err(Ambiguous) => return false,
    };
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let local = rest.and_then(without_port).is_some_and(|name| LOOPBACK.contains(&name));
    local || allowed.contains(&*origin)
}

/// The host of `host` or `host:port`; nothing if the text is anything else.
fn without_port(authority: &str) -> Option<&str> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let digits = port
        .strip_prefix(':')
        .map_or(port.is_empty(), |port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    (digits && !host.is_empty()).then_some(host)
}

pub(super) fn accepts_json(headers: &HeaderMap) -> bool {
    accepts(headers, "application/json")
}

/// Whether a media type, written in lower case, may be sent.
pub(super) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let of_its_kind = format!("{}/*", wanted.split('/').next().unwrap_or_default());
    let mut ranges = headers
        .get_all(header::ACCEPT)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .peekable();
    // No header at all accepts everything (RFC 9110, section 12.5.1).
    ranges.peek().is_none() && !headers.contains_key(header::ACCEPT)
        || ranges.any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let refused = parts.any(|parameter| {
                let quality = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
                quality.is_some_and(|quality| quality.parse() == Ok(0.0))
            });
            !refused && [wanted, &of_its_kind, "*/*"].iter().any(|known| media.eq_ignore_ascii_case(known))
        })
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    single_header(headers, header::CONTENT_TYPE.as_str()).is_ok_and(|value| {
        let media = value.unwrap_or_default().split(';').next().unwrap_or_default();
        media.trim().eq_ignore_ascii_case("application/json")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(name: &str, values: &[&str]) -> HeaderMap {
        let name: HeaderName = name.parse().unwrap();
        let values = values.iter().map(|value| HeaderValue::from_bytes(value.as_bytes()).unwrap());
        values.map(|value| (name.clone(), value)).collect()
    }

    fn names(names: &[&str]) -> HashSet<Box<str>> {
        names.iter().map(|&name| name.into()).collect()
    }

    #[test]
    fn only_known_hosts_are_served() {
        let allowed = names(&["localhost", "127.0.0.1", "[::1]", "gig.example.com"]);
        for (target, hosts, expected) in [
            ("/", &["localhost:8080"][..], true),
            ("/", &["LOCALHOST"], true),
            ("/", &["127.0.0.1:1"], true),
            ("/", &["[::1]:8080"], true),
            ("/", &["gig.example.com"], true),
            ("http://localhost:8080/", &[], true),
            ("/", &[], false),
            ("/", &["localhost", "localhost"], false),
            ("/", &["evil.test"], false),
            ("/", &["localhost.evil.test"], false),
            ("/", &["localhost:80@evil.test"], false),
            ("/", &["localhost:"], false),
            ("/", &["[::1]evil.test"], false),
            ("/", &["[::1"], false),
            ("/", &[""], false),
            ("http://evil.test/", &["localhost"], false),
        ] {
            let uri = target.parse().unwrap();
            let found = host_is_allowed(&allowed, &uri, &headers("host", hosts));
            assert_eq!(found, expected, "{target} {hosts:?}");
        }
    }

    #[test]
    fn only_known_origins_are_served() {
        let allowed = names(&["https://app.example.com"]);
        for (origins, expected) in [
            (&[][..], true),
            (&["http://localhost:3000"], true),
            (&["https://127.0.0.1"], true),
            (&["http://[::1]:1"], true),
            (&["https://app.example.com"], true),
            (&["https://APP.example.com"], true),
            (&["http://app.example.com"], false),
            (&["https://app.example.com:8443"], false),
            (&["null"], false),
            (&["http://evil.test"], false),
            (&["http://localhost.evil.test"], false),
            (&["http://localhost:80.evil.test"], false),
            (&["file://localhost"], false),
            (&["http://localhost", "http://localhost"], false),
        ] {
            let found = origin_is_allowed(&allowed, &headers("origin", origins));
            assert_eq!(found, expected, "{origins:?}");
        }
    }

    #[test]
    fn json_must_be_sent_and_accepted() {
        for (values, expected) in [
            (&["application/json, text/event-stream"][..], true),
            (&["text/event-stream", "application/json"], true),
            (&["*/*"], true),
            (&["Application/*;q=0.1"], true),
            (&[], true),
            (&["text/event-stream"], false),
            (&["application/json;q=0"], false),
            (&["application/jsonx"], false),
            (&[""], false),
        ] {
            assert_eq!(accepts_json(&headers("accept", values)), expected, "{values:?}");
        }
        for (values, expected) in [
            (&["application/json"][..], true),
            (&["Application/JSON; charset=utf-8"], true),
            (&["text/plain"], false),
            (&["application/json-patch+json"], false),
            (&["application/json", "application/json"], false),
            (&[], false),
        ] {
            assert_eq!(is_json(&headers("content-type", values)), expected, "{values:?}");
        }
    }
}
