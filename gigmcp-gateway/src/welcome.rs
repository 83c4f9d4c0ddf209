//! Where the link leads that the first administrator, or whoever is invited, is given: a page that uses the code up.
//!
//! The code stands behind `#`, so no server, proxy or log sees it on the way here, and no other site is told of it.

use std::sync::LazyLock;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderName, HeaderValue, Response, header};
use sha2::{Digest, Sha256};

/// The path of the page.
pub(crate) const PATH: &str = "/welcome";

/// The link that a code is used up by, at a gateway that browsers reach there.
pub(crate) fn link(origin: &str, code: &str) -> String {
    format!("{origin}{PATH}#{code}")
}

/// The page, and what browsers are told of it: its own script runs and nothing else, and it talks to this gateway only.
pub(crate) fn page<B>(body: impl FnOnce(&'static str) -> B) -> Response<B> {
    let mut response = Response::new(body(PAGE));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What stands between the tags, which is what browsers hash.
fn script() -> &'static str {
    let (_, rest) = PAGE.split_once("<script>").expect("it has one");
    rest.split_once("</script>").expect("it ends").0
}

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = BASE64_STANDARD.encode(Sha256::digest(script()));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{hash}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("it is ASCII")
});

const PAGE: &str = include_str!("welcome/page.html");
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_script_of_the_page_runs_in_it() {
        let page = page(|text| text);
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().expect("ASCII");
        let hash = BASE64_STANDARD.encode(Sha256::digest(script()));
        assert!(policy.contains(&format!("script-src 'sha256-{hash}';")) && policy.starts_with("default-src 'none'"));
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(PAGE.matches("<script").count(), 1, "twin: one that it does not name would not run");
        // What the policy refuses, and what would make a page of what somebody says.
        for found in ["style", "src=", "href=", "innerHTML", "onclick", "http:", "https:"] {
            assert!(!PAGE.contains(found), "{found}");
        }
        assert_eq!(link("https://gig.example", "gigi_x"), "https://gig.example/welcome#gigi_x");
    }

    #[test]
    fn the_page_asks_routes_that_there_are() {
        let routes = crate::api::routes();
        for path in ["look", "accept"] {
            assert!(PAGE.contains(&format!("ask(\"{path}\"")), "{path}");
            assert!(routes.iter().any(|route| route.path == format!("/invitations/{path}")), "{path}");
        }
    }
}
