//! For whom a request is: one host, and a path.

use http::{HeaderMap, HeaderValue, Request, Uri, header, uri::PathAndQuery};

use super::refused::Refused;

/// Puts the host where all look for it: into `Host`, in HTTP/2 too, whose target then is a path as in HTTP/1.
pub(super) fn settle<B>(request: &mut Request<B>) -> Result<(), Refused> {
    let host = match (request.uri().authority(), single(request.headers())?) {
        (None, None) => return Err(Refused::Host("the host is missing\n")),
        (None, Some(host)) => host.to_owned(),
        (Some(authority), None) => authority.as_str().to_owned(),
        (Some(authority), Some(host)) if authority.as_str().eq_ignore_ascii_case(host) => host.to_owned(),
        (Some(_), Some(_)) => return Err(Refused::Host(":authority and Host differ\n")),
    };
    set_host(request.headers_mut(), &host)?;
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    if !path.as_str().starts_with('/') {
        return Err(Refused::Head("the target is not a path\n"));
    }
    *request.uri_mut() = Uri::from(path);
    Ok(())
}

/// Makes this the host of the request.
pub(super) fn set_host(headers: &mut HeaderMap, host: &str) -> Result<(), Refused> {
    // No user name, no list, and nothing that some would cut off.
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]%~".contains(&byte);
    if host.is_empty() || host.len() > MAX_HOST || !host.bytes().all(fits) {
        return Err(Refused::Host("the host is none\n"));
    }
    headers.insert(header::HOST, HeaderValue::from_str(host).expect("it is ASCII"));
    Ok(())
}

/// One header of what HTTP/2 may send as many (RFC 9113, section 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1 {
        let joined = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])).expect("each was a value");
        headers.insert(header::COOKIE, joined);
    }
}

fn single(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let mut values = headers.get_all(header::HOST).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Refused::Host("the host is none\n")),
        (Some(_), Some(_)) => Err(Refused::Host("Host is there twice\n")),
    }
}

/// A name of 253 characters, and a port.
const MAX_HOST: usize = 260;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_for_one_host() {
        for (case, uri, hosts, expected) in [
            ("HTTP/1", "/a?b", &["gig.test"][..], Some(("gig.test", "/a?b"))),
            ("HTTP/2", "https://gig.test/a", &[], Some(("gig.test", "/a"))),
            ("both", "https://gig.test/a", &["Gig.test"], Some(("Gig.test", "/a"))),
            ("a port", "/", &["[::1]:8080"], Some(("[::1]:8080", "/"))),
            ("none", "/", &[], None),
            ("two", "/", &["gig.test", "gig.test"], None),
            ("they differ", "https://gig.test/a", &["evil.test"], None),
            ("their ports differ", "https://gig.test/a", &["gig.test:443"], None),
            ("a user", "/", &["gig.test@evil.test"], None),
            ("a list", "/", &["gig.test, evil.test"], None),
            ("a path", "/", &["gig.test/x"], None),
            ("empty", "/", &[""], None),
            ("not a path", "*", &["gig.test"], None),
        ] {
            let mut request = Request::builder().uri(uri);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            let mut request = request.body(()).expect("a request");
            let settled = settle(&mut request);
            let found = settled.is_ok().then(|| {
                (request.headers()[header::HOST].to_str().expect("ASCII").to_owned(), request.uri().to_string())
            });
            assert_eq!(found, expected.map(|(host, path)| (host.to_owned(), path.to_owned())), "{case}: {settled:?}");
        }
    }

    #[test]
    fn crumbs_of_cookies_are_one_header() {
        let mut headers = HeaderMap::new();
        for crumb in ["a=1", "b=2; c=3"] {
            headers.append(header::COOKIE, HeaderValue::from_static(crumb));
        }
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(header::COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
    }
}
