use http::header::{
    ALT_SVC, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::body::{Body, full};
use crate::refusal::Refusal;
use crate::request::is_hop_by_hop;
use crate::scrub::Scrubber;

/// The header that tells our refusals from answers of an upstream; never passed on from one.
pub(crate) const REFUSAL_HEADER: HeaderName = HeaderName::from_static("x-gigmcp-refusal");

/// The answer to a refused request: a stable code and a fixed text, nothing of the request or of an upstream.
pub(crate) fn refusal(refusal: Refusal) -> Response<Body> {
    let (code, message) = (refusal.code(), refusal.message());
    // Codes and messages are constants without a character that JSON escapes.
    let mut response = Response::new(full(format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#)));
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFUSAL_HEADER, HeaderValue::from_static(code));
    if !refusal.keeps_connection() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The headers of an answer as they may reach the sandbox.
pub(crate) fn for_sandbox(headers: HeaderMap, cookies: bool, scrubber: Option<&Scrubber>) -> HeaderMap {
    let mut headers = end_to_end(headers);
    if !cookies {
        headers.remove(SET_COOKIE);
    }
    match scrubber {
        Some(scrubber) => scrub_headers(headers, scrubber),
        None => headers,
    }
}

/// The headers of an answer as they may reach the sandbox when nothing secret went out.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<_> = headers.keys().filter(|name| is_hop_by_hop(name.as_str())).cloned().collect();
    for name in named {
        headers.remove(name);
    }
    // Another way to the same host, which would not lead through us.
    headers.remove(ALT_SVC);
    for name in ABOUT_BROWSERS {
        headers.remove(*name);
    }
    headers.remove(REFUSAL_HEADER);
    headers
}

/// Has a browser report to others, or forget things; no business of a sandbox's.
const ABOUT_BROWSERS: &[&str] = &["clear-site-data", "nel", "report-to", "reporting-endpoints"];

/// Removes the coding of a body that is passed on decoded.
pub(crate) fn forget_coding(headers: &mut HeaderMap) {
    headers.remove(CONTENT_ENCODING);
}

/// Whether the body is what the upstream meant: chunks are read, but any other transfer coding would be passed on as content.
pub(crate) fn is_plainly_framed(headers: &HeaderMap) -> bool {
    headers.get_all(TRANSFER_ENCODING).iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

/// Puts placeholders back into values; drops a header whose very name spells a secret.
pub(crate) fn scrub_headers(headers: HeaderMap, scrubber: &Scrubber) -> HeaderMap {
    let mut clean = HeaderMap::with_capacity(headers.len());
    let mut name = None;
    for (next, value) in headers {
        name = next.or(name);
        let Some(name) = name.as_ref().filter(|name| !scrubber.finds(name.as_str().as_bytes())) else { continue };
        let value = match scrubber.scrub(value.as_bytes()) {
            Some(scrubbed) => HeaderValue::from_bytes(&scrubbed).expect("a placeholder is visible ASCII"),
            None => value,
        };
        clean.append(name.clone(), value);
    }
    clean
}

/// Removes the length of a body that will be scrubbed: it may change.
pub(crate) fn forget_length(headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use crate::placeholder::{Placeholder, Shape};
    use crate::secret::SecretString;

    #[test]
    fn headers_reach_the_sandbox_clean() {
        let secret = SecretString::new("sk-live-S3NT1N3L-0123456789");
        let placeholder = Placeholder::mint(&Shape::of(&secret));
        let scrubber = Scrubber::new([(&secret, &placeholder)]);
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("set-cookie", "a=1"),
            ("set-cookie", "k=sk-live-S3NT1N3L-0123456789"),
            ("location", "/?k=sk-live-S3NT1N3L-0123456789&x=1"),
            ("x-sk-live-s3nt1n3l-0123456789", "1"),
            ("alt-svc", "h3=\":443\""),
            ("x-gigmcp-refusal", "host-denied"),
            ("connection", "keep-alive"),
        ] {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let clean = scrub_headers(end_to_end(headers), &scrubber);
        let values: Vec<_> = clean.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        let expected = [
            "set-cookie: a=1".to_owned(),
            format!("set-cookie: k={placeholder}"),
            format!("location: /?k={placeholder}&x=1"),
        ];
        assert_eq!(values, expected, "EGR-200, EGR-205");
    }
}
