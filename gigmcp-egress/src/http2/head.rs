use http::header::{COOKIE, HOST};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Uri, request};

use crate::limits::Limits;
use crate::name::Authority;
use crate::refusal::Refusal;
use crate::request::{Destination, refused_authority};

/// Why the head of a stream goes no further, and how its client learns of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unfit {
    /// Malformed by RFC 9113, section 8.3.1: the stream is reset.
    Malformed(Refusal),
    /// Well-formed, and answered.
    Refused(Refusal),
}

/// Checks what only HTTP/2 has, and writes the rest as every request enters the policy: the target in origin form, the
/// authority as `Host`.
pub(crate) fn check(parts: &mut request::Parts, destination: &Destination, limits: &Limits) -> Result<(), Unfit> {
    if parts.headers.len() > limits.header_fields {
        return Err(Unfit::Refused(Refusal::HeadTooLarge));
    }
    if parts.method == Method::CONNECT {
        return Err(Unfit::Refused(Refusal::ConnectInStream));
    }
    if parts.headers.values().any(is_padded) {
        return Err(Unfit::Malformed(Refusal::Header));
    }
    if parts.uri.scheme() != Some(&Scheme::HTTPS) {
        return Err(Unfit::Malformed(Refusal::Malformed));
    }
    let text = parts.uri.authority().ok_or(Unfit::Malformed(Refusal::HostNotCanonical))?.as_str();
    let authority: Authority = parse(text)?;
    let mut hosts = parts.headers.get_all(HOST).iter();
    let agrees = match (hosts.next(), hosts.next()) {
        (None, _) => true,
        (Some(host), None) => host.to_str().is_ok_and(|host| host.parse() == Ok(authority.clone())),
        (Some(_), Some(_)) => false,
    };
    if !agrees {
        return Err(Unfit::Malformed(Refusal::HostNotCanonical));
    }
    let port = authority.port.or(destination.scheme.default_port());
    if authority.host != destination.host || port != Some(destination.port) {
        return Err(Unfit::Refused(Refusal::HostMismatch));
    }
    let host = HeaderValue::from_str(text).map_err(|_| Unfit::Malformed(Refusal::HostNotCanonical))?;
    parts.headers.insert(HOST, host);
    join_crumbs(&mut parts.headers);
    parts.uri = Uri::from(parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
    Ok(())
}

/// Blanks around a value are not part of it in HTTP/1.1, and malformed here (RFC 9113, section 8.2.1).
fn is_padded(value: &HeaderValue) -> bool {
    matches!(value.as_bytes(), [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

/// Cookies may come in crumbs, which are one header everywhere else (RFC 9113, section 8.2.3).
fn join_crumbs(headers: &mut HeaderMap) {
    let crumbs: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, cookie);
    }
}

fn parse(authority: &str) -> Result<Authority, Unfit> {
    authority.parse().map_err(|invalid| match refused_authority(invalid) {
        Refusal::IpLiteral => Unfit::Refused(Refusal::IpLiteral),
        refusal => Unfit::Malformed(refusal),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use crate::rule;

    #[test]
    fn cookies_are_one_header_and_values_are_not_padded() {
        let destination =
            Destination { scheme: rule::Scheme::Https, host: "api.example.com".parse().unwrap(), port: 443 };
        for (case, name, value, expected) in [
            ("a crumb", "cookie", "c=d", Ok("a=b; c=d")),
            ("another header", "x-a", "b", Ok("a=b")),
            ("a blank before", "x-a", " b", Err(Unfit::Malformed(Refusal::Header))),
            ("a tab behind", "x-a", "b\t", Err(Unfit::Malformed(Refusal::Header))),
        ] {
            let request = http::Request::get("https://api.example.com/").header("cookie", "a=b");
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            parts.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            let checked = check(&mut parts, &destination, &Limits::default());
            let cookies: Vec<_> = parts.headers.get_all(COOKIE).iter().map(|cookie| cookie.to_str().unwrap()).collect();
            assert_eq!(checked.map(|()| cookies), expected.map(|cookie| vec![cookie]), "{case}");
        }
    }

    #[test]
    fn authority_host_and_destination_must_agree() {
        let malformed = |refusal| Err(Unfit::Malformed(refusal));
        let refused = |refusal| Err(Unfit::Refused(refusal));
        for (case, uri, hosts, expected) in [
            ("plain", "https://api.example.com/x", &[][..], Ok(())),
            ("host says the same", "https://api.example.com/x", &["API.example.com"], Ok(())),
            ("EGR-001 other case", "https://API.Example.com/x", &[], Ok(())),
            ("G17 with its port", "https://api.example.com:443/x", &["api.example.com:443"], Ok(())),
            ("EGR-141 other authority", "https://b.example.com/x", &[], refused(Refusal::HostMismatch)),
            ("EGR-144 other port", "https://api.example.com:8443/x", &[], refused(Refusal::HostMismatch)),
            (
                "EGR-142 other host",
                "https://api.example.com/x",
                &["b.example.com"],
                malformed(Refusal::HostNotCanonical),
            ),
            (
                "EGR-142 same host twice",
                "https://api.example.com/x",
                &["api.example.com", "api.example.com"],
                malformed(Refusal::HostNotCanonical),
            ),
            ("EGR-142 host that is none", "https://api.example.com/x", &[""], malformed(Refusal::HostNotCanonical)),
            (
                "EGR-142 host with other port",
                "https://api.example.com/x",
                &["api.example.com:8443"],
                malformed(Refusal::HostNotCanonical),
            ),
            ("EGR-142 neither", "/x", &[], malformed(Refusal::Malformed)),
            ("EGR-144 userinfo", "https://u@api.example.com/x", &[], malformed(Refusal::HostNotCanonical)),
            ("EGR-002 trailing dot", "https://api.example.com./x", &[], malformed(Refusal::HostNotCanonical)),
            ("EGR-026 address", "https://1.2.3.4/x", &[], refused(Refusal::IpLiteral)),
            ("EGR-145 scheme", "http://api.example.com/x", &[], malformed(Refusal::Malformed)),
        ] {
            let (mut parts, ()) = http::Request::get(uri).body(()).unwrap().into_parts();
            for host in hosts {
                parts.headers.append(HOST, host.parse().unwrap());
            }
            let host = "api.example.com".parse().unwrap();
            let destination = Destination { scheme: rule::Scheme::Https, host, port: 443 };
            let checked = check(&mut parts, &destination, &Limits::default());
            assert_eq!(checked, expected, "{case}");
            if checked.is_ok() {
                assert_eq!(parts.uri, "/x", "{case}");
                assert_eq!(parts.headers.get_all(HOST).iter().count(), 1, "{case}");
            }
        }
    }
}
