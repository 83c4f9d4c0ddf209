use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method, Version, request};

use crate::allow::OVERRIDES;
use crate::grant::CREDENTIAL_HEADERS;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::name::{Authority, HostName, InvalidAuthority, InvalidHostName};
use crate::path::{is_sound, is_visible};
use crate::refusal::Refusal;
use crate::rule::Scheme;
use crate::websocket::{self, Handshake};

/// What is known of a request before it is read: who asks, and where the connection goes. Put into the extensions of each
/// request by the server that accepted the connection; [`EgressLayer`](crate::EgressLayer) refuses a request without it.
#[derive(Clone, Debug)]
pub struct Downstream {
    /// Who asks, known from the listener.
    pub identity: Identity,
    /// Where the connection goes: the original destination, `CONNECT` and TLS name, which agree.
    pub destination: Destination,
}

/// A place requests go to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Destination {
    /// In clear text or not.
    pub scheme: Scheme,
    /// The host.
    pub host: HostName,
    /// The port.
    pub port: u16,
}

impl Destination {
    /// `host`, or `host:port` where the port is not the scheme's own.
    pub(crate) fn authority(&self) -> String {
        let Self { scheme, host, port } = self;
        if Some(*port) == scheme.default_port() { host.to_string() } else { format!("{host}:{port}") }
    }
}

/// A request in canonical form: what we judge is what every other program will read. Only [`ValidRequest::check`] makes one.
#[derive(Debug)]
pub(crate) struct ValidRequest {
    pub(crate) downstream: Downstream,
    /// What the sandbox speaks; the upstream side prefers the same.
    pub(crate) version: Version,
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    /// Without `Host`, and without all that speaks of the connection or of framing.
    pub(crate) headers: HeaderMap,
    pub(crate) length: BodyLength,
    /// The request is for WebSocket; what says so is in the headers.
    pub(crate) websocket: Option<Handshake>,
}

/// How long the body of a request is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BodyLength {
    Known(u64),
    Chunked,
}

impl ValidRequest {
    /// Checks the form of a request and that it goes where its connection goes. Decides nothing else.
    ///
    /// `end` says whether the body is over already: HTTP/2 needs no length to tell.
    pub(crate) fn check(
        parts: request::Parts,
        end: BodyEnd,
        downstream: Downstream,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        let request::Parts { method, uri, version, headers, .. } = parts;
        check_method(&method)?;
        if uri.scheme().is_some() || uri.authority().is_some() {
            return Err(Refusal::TargetNotCanonical);
        }
        let target = uri.path_and_query().map(|target| target.as_str().to_owned()).unwrap_or_default();
        check_target(&target, limits.target_bytes)?;
        check_host(&headers, &downstream.destination)?;
        let length = check_framing(&headers, version, end)?;
        let websocket = Handshake::requested(&method, version, &headers)?;
        check_connection(&headers)?;
        check_expectation(&headers)?;
        check_spelling(&headers)?;
        check_content_type(&headers)?;
        let mut headers = end_to_end(headers.into_iter().collect());
        if let Some(handshake) = &websocket {
            websocket::forget_headers(&mut headers);
            headers.extend(handshake.headers());
        }
        Ok(Self { downstream, version, method, target, headers, length, websocket })
    }

    /// The target without its query.
    pub(crate) fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    /// Whether programs disagree that a body of this method exists. `DELETE` is not among them: public APIs rely on its body.
    pub(crate) fn has_odd_body(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS) && self.length != BodyLength::Known(0)
    }
}

/// What is known of a body before it is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BodyEnd {
    /// There is none, or none is left.
    Reached,
    /// Its frames tell when it comes.
    Open,
}

fn check_method(method: &Method) -> Result<(), Refusal> {
    let never = ["TRACE", "TRACK", "CONNECT", "PRI"].contains(&method.as_str());
    if never || !method.as_str().bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
        return Err(Refusal::MethodRefused);
    }
    Ok(())
}

/// A target is `/` and visible ASCII that no program drops or splits, with a sound path. Whether the path has a single reading
/// matters where rules look at paths, and is judged there.
fn check_target(target: &str, max_bytes: usize) -> Result<(), Refusal> {
    if target.len() > max_bytes {
        return Err(Refusal::TargetTooLong);
    }
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let valid = target.starts_with('/') && is_visible(target) && is_sound(path);
    if valid { Ok(()) } else { Err(Refusal::TargetNotCanonical) }
}

/// Exactly one `Host`, and it is where the connection goes.
fn check_host(headers: &HeaderMap, destination: &Destination) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(Refusal::HostNotCanonical);
    };
    let authority: Authority =
        host.to_str().map_err(|_| Refusal::HostNotCanonical)?.parse().map_err(refused_authority)?;
    let agrees = authority.host == destination.host
        && authority.port.or(destination.scheme.default_port()) == Some(destination.port);
    if agrees { Ok(()) } else { Err(Refusal::HostMismatch) }
}

/// The refusal for a text that should have been `host:port`.
pub(crate) fn refused_authority(invalid: InvalidAuthority) -> Refusal {
    match invalid {
        InvalidAuthority::Host(InvalidHostName::Address) => Refusal::IpLiteral,
        InvalidAuthority::Host(_) | InvalidAuthority::Port => Refusal::HostNotCanonical,
    }
}

/// One statement about the length, in its plainest form.
pub(crate) fn check_framing(headers: &HeaderMap, version: Version, end: BodyEnd) -> Result<BodyLength, Refusal> {
    let one = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Refusal::Framing),
        }
    };
    match (one(CONTENT_LENGTH)?, one(TRANSFER_ENCODING)?) {
        (None, None) if version == Version::HTTP_2 && end == BodyEnd::Open => Ok(BodyLength::Chunked),
        (None, None) => Ok(BodyLength::Known(0)),
        (Some(length), None) => {
            let text = length.to_str().map_err(|_| Refusal::Framing)?;
            let plain = text == "0" || !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = if plain { text.parse().ok() } else { None };
            number.map(BodyLength::Known).ok_or(Refusal::Framing)
        }
        (None, Some(coding)) if version == Version::HTTP_11 && coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(BodyLength::Chunked)
        }
        (_, Some(_)) => Err(Refusal::Framing),
    }
}

/// `Connection` may speak of itself only: a name of another header in it would have that header removed on the way.
fn check_connection(headers: &HeaderMap) -> Result<(), Refusal> {
    for value in headers.get_all(CONNECTION) {
        let text = value.to_str().map_err(|_| Refusal::Header)?.to_ascii_lowercase();
        for token in text.split(',').map(str::trim) {
            match token {
                "" | "close" | "keep-alive" | "te" | "upgrade" => {}
                _ => return Err(Refusal::Header),
            }
        }
    }
    Ok(())
}

fn check_expectation(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut values = headers.get_all(EXPECT).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(()),
        (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(()),
        (Some(_), _) => Err(Refusal::Expectation),
    }
}

/// What a body is decides where in it a credential may stand, so it is said once and in ASCII.
fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(()),
        (Some(value), None) if value.to_str().is_ok() => Ok(()),
        (Some(_), _) => Err(Refusal::Header),
    }
}

/// A mark in a name must not spell a header that means something to a proxy or stands in the request already.
fn check_spelling(headers: &HeaderMap) -> Result<(), Refusal> {
    let confusing = headers.keys().filter_map(read_otherwise).any(|read| {
        headers.contains_key(&read)
            || is_hop_by_hop(&read)
            || is_forwarding(&read)
            || ["host", "content-length", "content-type", "cookie", "expect"].contains(&&*read)
            || CREDENTIAL_HEADERS.contains(&&*read)
            || OVERRIDES.contains(&&*read)
    });
    if confusing { Err(Refusal::Header) } else { Ok(()) }
}

/// The name as CGI and its successors read it, if that is another: `a_b`, and with some every `a.b`, is `a-b` to them.
pub(crate) fn read_otherwise(name: &HeaderName) -> Option<String> {
    let is_mark = |byte: char| !byte.is_ascii_alphanumeric() && byte != '-';
    name.as_str().contains(is_mark).then(|| name.as_str().replace(is_mark, "-"))
}

/// Leaves what is meant for the other end: without `Host`, framing, hop-by-hop and forwarding headers, which we write or drop.
fn end_to_end(headers: Vec<(Option<HeaderName>, http::HeaderValue)>) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(headers.len());
    let mut name = None;
    for (next, value) in headers {
        // `HeaderMap` names only the first of several values.
        name = next.or(name);
        let Some(name) = &name else { continue };
        let ours = [HOST, CONTENT_LENGTH, EXPECT].contains(name);
        // gRPC servers want to be told that trailers are understood; they are passed on.
        let trailers = *name == TE && value == "trailers";
        if trailers || !ours && !is_hop_by_hop(name.as_str()) && !is_forwarding(name.as_str()) {
            kept.append(name.clone(), value);
        }
    }
    kept
}

/// The trailers of a request that may travel on: nothing that speaks of the connection or of a proxy, and no credential.
pub(crate) fn end_to_end_trailers(trailers: HeaderMap) -> HeaderMap {
    let mut kept = end_to_end(trailers.into_iter().collect());
    let is_ours = |name: &str| {
        let mut ours = CREDENTIAL_HEADERS.iter().chain(OVERRIDES).chain(&["cookie", "host", "content-type"]);
        ours.any(|ours| *ours == name)
    };
    let meant = |name: &HeaderName| read_otherwise(name).unwrap_or_else(|| name.as_str().to_owned());
    let dropped = |name: &&HeaderName| {
        let meant = meant(name);
        is_ours(&meant) || is_hop_by_hop(&meant) || is_forwarding(&meant)
    };
    let names: Vec<_> = kept.keys().filter(dropped).cloned().collect();
    for name in names {
        kept.remove(name);
    }
    kept
}

/// Headers about one connection (RFC 9110, section 7.6.1, and what older programs add).
pub(crate) fn is_hop_by_hop(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    NAMES.contains(&name)
}

/// Headers in which proxies tell where a request came from; a sandbox has no say in that.
fn is_forwarding(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "cf-connecting-ip",
        "fastly-client-ip",
        "forwarded",
        "max-forwards",
        "true-client-ip",
        "via",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-forwarded",
        "x-original-forwarded-for",
        "x-real-ip",
    ];
    NAMES.contains(&name) || name.starts_with("x-forwarded-")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    fn check(edit: impl FnOnce(&mut request::Parts)) -> Result<ValidRequest, Refusal> {
        let (mut parts, ()) =
            http::Request::get("/v1/x?y=1").header("host", "api.example.com").body(()).unwrap().into_parts();
        edit(&mut parts);
        let destination = Destination { scheme: Scheme::Https, host: "api.example.com".parse().unwrap(), port: 443 };
        let downstream = Downstream { identity: Identity::new("one"), destination };
        ValidRequest::check(parts, BodyEnd::Open, downstream, &Limits::default())
    }

    #[test]
    fn a_target_must_be_canonical() {
        for (case, target, expected) in [
            ("plain", "/v1/read/x", Ok(())),
            ("G1 encoded slash", "/api/v4/projects/group%2Fproject", Ok(())),
            ("G2 blank and tilde", "/a%20b/~c+d", Ok(())),
            ("dots that are no segments", "/a..b/.c/d./...", Ok(())),
            ("a percent sign in the query", "/a?q=100%", Ok(())),
            ("EGR-169 dot dot", "/v1/read/../admin", Err(Refusal::TargetNotCanonical)),
            ("EGR-169 dot", "/v1/read/./x", Err(Refusal::TargetNotCanonical)),
            ("EGR-169 at the end", "/v1/read/..", Err(Refusal::TargetNotCanonical)),
            ("EGR-170 encoded", "/v1/read/%2e%2e/admin", Err(Refusal::TargetNotCanonical)),
            ("EGR-170 half encoded", "/v1/read/.%2E/admin", Err(Refusal::TargetNotCanonical)),
            ("EGR-170 with encoded slashes", "/v1/read/a%2f..%2fb", Err(Refusal::TargetNotCanonical)),
            ("EGR-173 parameter", "/v1/read/..;/admin", Err(Refusal::TargetNotCanonical)),
            ("EGR-174 twice encoded", "/v1/%252e%252e/x", Err(Refusal::TargetNotCanonical)),
            ("EGR-174 overlong UTF-8", "/v1/%c0%ae/x", Err(Refusal::TargetNotCanonical)),
            ("EGR-174 %u", "/v1/%u002e/x", Err(Refusal::TargetNotCanonical)),
            ("EGR-174 cut", "/v1/%2", Err(Refusal::TargetNotCanonical)),
            ("EGR-174 not hex", "/v1/%zz", Err(Refusal::TargetNotCanonical)),
            ("EGR-174 NUL", "/v1/%00", Err(Refusal::TargetNotCanonical)),
            ("line break", "/v1/%0d%0aX:1", Err(Refusal::TargetNotCanonical)),
            ("backslash", "/v1/..%5cadmin", Err(Refusal::TargetNotCanonical)),
            ("EGR-138 fragment", "/v1#frag", Err(Refusal::TargetNotCanonical)),
            ("EGR-138 quote", "/v1\"x", Err(Refusal::TargetNotCanonical)),
            ("EGR-138 pipe", "/v1|x", Err(Refusal::TargetNotCanonical)),
            ("EGR-138 UTF-8", "/v1/é", Err(Refusal::TargetNotCanonical)),
            ("EGR-126 star", "*", Err(Refusal::TargetNotCanonical)),
            ("empty", "", Err(Refusal::TargetNotCanonical)),
        ] {
            assert_eq!(check_target(target, 1 << 14), expected, "{case}: {target}");
        }
        let long = format!("/{}", "a".repeat(1 << 14));
        assert_eq!(check_target(&long, 1 << 14), Err(Refusal::TargetTooLong), "EGR-140");
    }

    #[test]
    fn host_must_be_the_destination() {
        for (case, hosts, expected) in [
            ("the same", &["api.example.com"][..], None),
            ("EGR-001 other case", &["API.example.COM"], None),
            ("G17 with its port", &["api.example.com:443"], None),
            ("EGR-124 none", &[], Some(Refusal::HostNotCanonical)),
            ("EGR-124 two", &["api.example.com", "api.example.com"], Some(Refusal::HostNotCanonical)),
            ("EGR-124 empty", &[""], Some(Refusal::HostNotCanonical)),
            ("EGR-124 list", &["api.example.com, b"], Some(Refusal::HostNotCanonical)),
            ("EGR-002 trailing dot", &["api.example.com."], Some(Refusal::HostNotCanonical)),
            ("EGR-012 userinfo", &["api.example.com@evil.test"], Some(Refusal::HostNotCanonical)),
            ("EGR-024 other port", &["api.example.com:8443"], Some(Refusal::HostMismatch)),
            ("other host", &["evil.test"], Some(Refusal::HostMismatch)),
            ("EGR-026 address", &["1.2.3.4"], Some(Refusal::IpLiteral)),
        ] {
            let checked = check(|parts| {
                parts.headers.remove("host");
                for host in hosts {
                    parts.headers.append("host", host.parse().unwrap());
                }
            });
            assert_eq!(checked.err(), expected, "{case}: {hosts:?}");
        }
    }

    #[test]
    fn headers_must_not_be_read_in_two_ways() {
        for (case, headers, expected) in [
            ("ordinary", &[("accept", "*/*"), ("connection", "keep-alive")][..], None),
            ("length", &[("content-length", "5")], None),
            ("chunked", &[("transfer-encoding", "Chunked")], None),
            ("EGR-112 two lengths", &[("content-length", "5"), ("content-length", "5")], Some(Refusal::Framing)),
            ("EGR-112 list", &[("content-length", "5, 5")], Some(Refusal::Framing)),
            ("EGR-113 plus", &[("content-length", "+5")], Some(Refusal::Framing)),
            ("EGR-113 zero", &[("content-length", "05")], Some(Refusal::Framing)),
            ("EGR-113 too large", &[("content-length", "18446744073709551616")], Some(Refusal::Framing)),
            ("EGR-113 empty", &[("content-length", "")], Some(Refusal::Framing)),
            (
                "length and chunked",
                &[("content-length", "5"), ("transfer-encoding", "chunked")],
                Some(Refusal::Framing),
            ),
            ("EGR-114 twice", &[("transfer-encoding", "chunked, chunked")], Some(Refusal::Framing)),
            ("EGR-114 other coding", &[("transfer-encoding", "gzip, chunked")], Some(Refusal::Framing)),
            ("EGR-114 identity", &[("transfer-encoding", "identity")], Some(Refusal::Framing)),
            ("removes a header", &[("connection", "authorization")], Some(Refusal::Header)),
            ("EGR-132 h2c", &[("connection", "upgrade"), ("upgrade", "h2c")], Some(Refusal::Upgrade)),
            ("upgrade without connection", &[("upgrade", "websocket")], Some(Refusal::Upgrade)),
            ("EGR-130 expectation", &[("expect", "foo")], Some(Refusal::Expectation)),
            ("G3 continue", &[("expect", "100-continue")], None),
            ("EGR-136 underscore", &[("content_length", "5")], Some(Refusal::Header)),
            ("EGR-136 twin", &[("x-auth", "a"), ("x_auth", "b")], Some(Refusal::Header)),
            ("EGR-186 underscore for a credential", &[("x_api_key", "sk-attacker")], Some(Refusal::Header)),
            ("EGR-137 underscore for an override", &[("x_http_method_override", "DELETE")], Some(Refusal::Header)),
            (
                "two content types",
                &[("content-type", "text/plain"), ("content-type", "application/json")],
                Some(Refusal::Header),
            ),
            ("one content type", &[("content-type", "application/json; charset=utf-8")], None),
            ("harmless underscore", &[("x_request_id", "b")], None),
        ] {
            let checked = check(|parts| {
                parts.method = Method::POST;
                for (name, value) in headers {
                    parts.headers.append(*name, value.parse().unwrap());
                }
            });
            assert_eq!(checked.err(), expected, "{case}: {headers:?}");
        }
    }

    #[test]
    fn what_belongs_to_the_connection_is_left_behind() {
        let valid = check(|parts| {
            for (name, value) in [
                ("te", "gzip"),
                ("via", "1.1 x"),
                ("x-forwarded-for", "1"),
                ("forwarded", "for=1"),
                ("proxy-authorization", "x"),
                ("accept", "a"),
                ("accept", "b"),
            ] {
                parts.headers.append(name, value.parse().unwrap());
            }
        });
        let headers = valid.unwrap().headers;
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
        assert_eq!(headers.get_all("accept").iter().count(), 2, "G10");
    }

    #[test]
    fn a_trailer_is_no_way_to_bring_a_credential() {
        let left = |name: &str| {
            let trailers = HeaderMap::from_iter([(name.parse().unwrap(), http::HeaderValue::from_static("x"))]);
            !end_to_end_trailers(trailers).is_empty()
        };
        for name in ["authorization", "x_api_key", "x.api.key", "x-http-method-override", "x_forwarded_for"] {
            assert!(!left(name), "EGR-186: {name}");
        }
        assert!(left("x-amz-checksum-crc32") && left("x_amz_checksum"), "G6");
    }

    #[test]
    fn methods_that_echo_or_tunnel_are_refused() {
        for (method, expected) in [
            ("GET", None),
            ("PATCH", None),
            ("PROPFIND", None),
            ("TRACE", Some(Refusal::MethodRefused)),
            ("TRACK", Some(Refusal::MethodRefused)),
            ("CONNECT", Some(Refusal::MethodRefused)),
            ("get", Some(Refusal::MethodRefused)),
        ] {
            let checked = check(|parts| parts.method = method.parse().unwrap());
            assert_eq!(checked.err(), expected, "EGR-196, EGR-178: {method}");
        }
        let with_length = |length: &'static str| {
            check(|parts| {
                parts.headers.insert("content-length", length.parse().unwrap());
            })
        };
        assert!(with_length("5").unwrap().has_odd_body(), "EGR-129");
        assert!(!with_length("0").unwrap().has_odd_body(), "G5");
    }

    #[test]
    fn the_length_of_http_2_is_in_its_frames() {
        let length = |end, length: Option<&str>| {
            let mut headers = HeaderMap::new();
            length.map(|length| headers.insert("content-length", length.parse().unwrap()));
            check_framing(&headers, Version::HTTP_2, end)
        };
        assert_eq!(length(BodyEnd::Open, None), Ok(BodyLength::Chunked));
        assert_eq!(length(BodyEnd::Open, Some("5")), Ok(BodyLength::Known(5)));
        assert_eq!(length(BodyEnd::Reached, None), Ok(BodyLength::Known(0)));
        assert_eq!(check_framing(&HeaderMap::new(), Version::HTTP_11, BodyEnd::Open), Ok(BodyLength::Known(0)));
    }
}
