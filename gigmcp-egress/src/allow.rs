use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method};

use crate::grant::Grant;
use crate::path::{canonical, is_uri};
use crate::refusal::Refusal;
use crate::request::{BodyLength, Destination, ValidRequest};
use crate::rule::{Allowance, Rule};

/// The rule that lets a request through.
#[derive(Debug)]
pub(crate) struct Allowed<'a> {
    pub(crate) rule: &'a Rule,
    /// The path of the request, if it has only one reading and can be judged.
    pub(crate) path: Option<&'a str>,
}

/// The rules that allow this destination, whatever they say of requests.
///
/// # Errors
/// The refusal tells which part no rule agrees with: the host, then scheme and port.
pub(crate) fn destination<'a>(grant: &'a Grant, destination: &'a Destination) -> Result<Vec<&'a Rule>, Refusal> {
    let mut rules = grant.rules_for(&destination.host).peekable();
    if rules.peek().is_none() {
        return Err(Refusal::HostDenied);
    }
    let reaches = |rule: &&Rule| rule.scheme == destination.scheme && rule.ports.contains(&destination.port);
    let rules: Vec<_> = rules.filter(reaches).collect();
    if rules.is_empty() { Err(Refusal::PortDenied) } else { Ok(rules) }
}

/// The first rule that agrees with all of a request but the rate.
///
/// # Errors
/// The refusal of the rule that agreed with most.
pub(crate) fn request<'a>(grant: &'a Grant, request: &'a ValidRequest) -> Result<Allowed<'a>, Refusal> {
    let rules = destination(grant, &request.downstream.destination)?;
    let host = &request.downstream.destination.host;
    let judged = rules.iter().any(|rule| rule.methods.is_some() || rule.paths.is_some())
        || grant.credentials().iter().any(|credential| credential.judges(host));
    if judged {
        refuse_overrides(request)?;
    }
    let mut nearest = (0, Refusal::MethodDenied);
    for rule in rules {
        match judge(rule, request) {
            Ok(()) => return Ok(Allowed { rule, path: path(request, rule) }),
            Err((agreed, refusal)) if agreed > nearest.0 => nearest = (agreed, refusal),
            Err(_) => {}
        }
    }
    Err(nearest.1)
}

/// Whether something that a rule let through may go on: some rule still agrees with where, how and to what path it went.
pub(crate) fn goes_on(grant: &Grant, destination: &Destination, method: &Method, path: &str) -> bool {
    self::destination(grant, destination).is_ok_and(|rules| {
        rules.iter().any(|rule| {
            rule.methods.as_ref().is_none_or(|methods| methods.contains(method))
                && rule.paths.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(path)))
        })
    })
}

/// The path of a request, if a rule can judge it.
pub(crate) fn path<'a>(request: &'a ValidRequest, rule: &Rule) -> Option<&'a str> {
    let path = request.path();
    let one_reading = rule.allows(Allowance::OpaquePath) || canonical(path, rule.spelling()).is_ok();
    one_reading.then_some(path)
}

/// Whether a rule agrees; if not, how much of it did, and why no more.
fn judge(rule: &Rule, request: &ValidRequest) -> Result<(), (usize, Refusal)> {
    if !rule.methods.as_ref().is_none_or(|methods| methods.contains(&request.method)) {
        return Err((0, Refusal::MethodDenied));
    }
    if let Some(patterns) = &rule.paths {
        let path = path(request, rule).ok_or((2, Refusal::TargetNotCanonical))?;
        if !patterns.iter().any(|pattern| pattern.matches(path)) {
            return Err((1, Refusal::PathDenied));
        }
    }
    let query = &request.target[request.path().len()..];
    if !is_uri(query) && !rule.allows(Allowance::RawQuery) {
        return Err((3, Refusal::TargetNotCanonical));
    }
    if request.path().starts_with("//") && !rule.allows(Allowance::OpaquePath) {
        // Python's http.server drops one slash, others take what follows for a host.
        return Err((3, Refusal::TargetNotCanonical));
    }
    if request.has_odd_body() && !rule.allows(Allowance::BodyOnGet) {
        return Err((3, Refusal::Framing));
    }
    if asks_dns(&request.headers) && !rule.allows(Allowance::DnsMessages) {
        return Err((3, Refusal::DnsMessage));
    }
    match (rule.max_body_bytes, request.length) {
        (Some(max), BodyLength::Known(length)) if length > max => Err((3, Refusal::BodyTooLarge)),
        _ => Ok(()),
    }
}

/// Headers by which some frameworks replace the method or the path that was judged.
fn refuse_overrides(request: &ValidRequest) -> Result<(), Refusal> {
    let overrides = OVERRIDES.iter().any(|name| request.headers.contains_key(*name));
    if overrides { Err(Refusal::Header) } else { Ok(()) }
}

/// A question of DNS over HTTPS (RFC 8484) asks a host for names that our DNS would have refused.
fn asks_dns(headers: &HeaderMap) -> bool {
    let names_it = |value: &http::HeaderValue| {
        let text = value.as_bytes().to_ascii_lowercase();
        let names = |kind: &[u8]| text.windows(kind.len()).any(|window| window == kind);
        names(b"application/dns-message") || names(b"application/dns-json")
    };
    headers.get_all(CONTENT_TYPE).iter().chain(headers.get_all(ACCEPT)).any(names_it)
}

/// What replaces, for some frameworks, the method or path of a request.
pub(crate) const OVERRIDES: &[&str] = &[
    "x-forwarded-uri",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-override-url",
    "x-rewrite-url",
];

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use crate::credential::CredentialRule;
    use crate::identity::{CredentialId, Identity};
    use crate::placeholder::{Placeholder, Shape};
    use crate::request::Downstream;
    use crate::rule::Scheme;
    use crate::sink::Sink;

    fn valid(method: &str, target: &str, headers: &[(&'static str, &str)], length: BodyLength) -> ValidRequest {
        let destination = Destination { scheme: Scheme::Https, host: "api.example.com".parse().unwrap(), port: 443 };
        ValidRequest {
            version: http::Version::HTTP_11,
            downstream: Downstream { identity: Identity::new("one"), destination },
            method: method.parse().unwrap(),
            target: target.into(),
            headers: headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect(),
            length,
            websocket: None,
        }
    }

    fn decided(rules: &[Rule], request: &ValidRequest) -> Option<Refusal> {
        super::request(&Grant::new(1, rules.to_vec(), Vec::new()).unwrap(), request).err()
    }

    fn https() -> Rule {
        Rule::https("api.example.com".parse().unwrap())
    }

    const NONE: BodyLength = BodyLength::Known(0);

    #[test]
    fn a_path_must_be_one_of_the_rules() {
        let read = https().methods([Method::GET]).paths(["/v1/read/**".parse().unwrap()]);
        for (case, method, target, expected) in [
            ("inside", "GET", "/v1/read/x?y=1", None),
            ("itself", "GET", "/v1/read", None),
            ("outside", "GET", "/v1/write", Some(Refusal::PathDenied)),
            ("EGR-172 two slashes", "GET", "//v1/read/x", Some(Refusal::TargetNotCanonical)),
            ("EGR-172 two slashes inside", "GET", "/v1/read//x", Some(Refusal::TargetNotCanonical)),
            ("EGR-173 parameter", "GET", "/v1/read;a=b/x", Some(Refusal::TargetNotCanonical)),
            ("EGR-176 needless escape", "GET", "/v1/%72ead/x", Some(Refusal::TargetNotCanonical)),
            ("G1 encoded slash", "GET", "/v1/read/a%2Fb", Some(Refusal::TargetNotCanonical)),
            ("EGR-178 other method", "POST", "/v1/read/x", Some(Refusal::MethodDenied)),
            ("EGR-178 longer method", "GETS", "/v1/read/x", Some(Refusal::MethodDenied)),
            ("EGR-178 HEAD is not GET", "HEAD", "/v1/read/x", Some(Refusal::MethodDenied)),
        ] {
            let request = valid(method, target, &[], NONE);
            assert_eq!(decided(std::slice::from_ref(&read), &request), expected, "{case}: {method} {target}");
        }
        let slashes = read.clone().allow(Allowance::EncodedSlash);
        assert_eq!(decided(&[slashes], &valid("GET", "/v1/read/a%2Fb", &[], NONE)), None, "G1");
        let opaque = read.clone().allow(Allowance::OpaquePath);
        assert_eq!(decided(&[opaque], &valid("GET", "/v1/read//x%7E;y", &[], NONE)), None, "G2");
        let both = [read, https().methods([Method::POST])];
        assert_eq!(decided(&both, &valid("POST", "/any//x", &[], NONE)), None, "no rule looks at this path");
    }

    #[test]
    fn exceptions_are_made_by_name() {
        let odd = |rule: Rule, request: &ValidRequest| decided(&[rule], request);
        let fat = valid("GET", "/", &[], BodyLength::Known(5));
        assert_eq!(odd(https(), &fat), Some(Refusal::Framing), "EGR-129");
        assert_eq!(odd(https().allow(Allowance::BodyOnGet), &fat), None, "G4");
        for (name, value) in [("content-type", "application/dns-message"), ("accept", "*/*, application/DNS-json")] {
            let dns = valid("POST", "/dns-query", &[(name, value)], NONE);
            assert_eq!(odd(https(), &dns), Some(Refusal::DnsMessage), "EGR-050");
            assert_eq!(odd(https().allow(Allowance::DnsMessages), &dns), None);
        }
        let raw = valid("GET", "/w/api.php?titles=A|B&x={}", &[], NONE);
        assert_eq!(odd(https(), &raw), Some(Refusal::TargetNotCanonical), "EGR-138");
        assert_eq!(odd(https().allow(Allowance::RawQuery), &raw), None, "as Node's fetch writes it");
        let slashes = valid("GET", "//evil.test/x", &[], NONE);
        assert_eq!(odd(https(), &slashes), Some(Refusal::TargetNotCanonical), "EGR-126");
        assert_eq!(odd(https().allow(Allowance::OpaquePath), &slashes), None, "G2");
        let overriding = valid("GET", "/", &[("x-http-method-override", "DELETE")], NONE);
        assert_eq!(odd(https().methods([Method::GET]), &overriding), Some(Refusal::Header), "EGR-137");
        assert_eq!(odd(https(), &overriding), None, "every method is allowed anyway");
        for (case, bound, expected) in
            [("EGR-137 a key of one method", true, Some(Refusal::Header)), ("twin: of all", false, None)]
        {
            let placeholder = Placeholder::mint(&Shape::opaque());
            let hosts = ["api.example.com".parse().unwrap()];
            let mut key = CredentialRule::new(CredentialId::new("key"), placeholder, hosts, Sink::Bearer);
            key.methods = bound.then(|| vec![Method::GET]);
            let grant = Grant::new(1, vec![https()], vec![key]).unwrap();
            assert_eq!(request(&grant, &overriding).err(), expected, "{case}");
        }
        let mut small = https();
        small.max_body_bytes = Some(4);
        assert_eq!(odd(small.clone(), &valid("POST", "/", &[], BodyLength::Known(5))), Some(Refusal::BodyTooLarge));
        assert_eq!(odd(small, &valid("POST", "/", &[], BodyLength::Known(4))), None);
    }
}
