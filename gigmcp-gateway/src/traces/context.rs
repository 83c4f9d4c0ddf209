//! The trace context of a client (W3C Trace Context): beside the call, or in the head of its request.

use http::HeaderMap;
use opentelemetry::{
    propagation::{Extractor, TextMapPropagator},
    trace::{SpanContext, TraceContextExt},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// What a request's head says; nothing if that is malformed, or said twice.
pub(super) fn of_headers(headers: &HeaderMap) -> Option<SpanContext> {
    let single = |name: &str| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())?.to_str().ok()
    };
    of_meta(single(TRACEPARENT))
}

/// What `_meta` says.
pub(super) fn of_meta(traceparent: Option<&str>) -> Option<SpanContext> {
    let said = Said(traceparent.filter(|text| text.len() <= MAX_PARENT && has_shape(text))?);
    let context = TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &said);
    let found = context.span().span_context().clone();
    found.is_valid().then_some(found)
}

/// Two, 32, 16 and two hexadecimal digits; a later version may say more after another dash (section 3.2.2). The library reads fewer
/// digits too.
fn has_shape(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let mut parts = text.split('-');
    let mut is_next = |length| parts.next().is_some_and(|part| part.len() == length && part.bytes().all(digit));
    let is_whole = text.len() == 55 || !text.starts_with("00");
    is_whole && [2, 32, 16, 2].into_iter().all(&mut is_next)
}

/// Not `tracestate`: that is the client's own text, which its server gets, and a collector does not.
struct Said<'a>(&'a str);

impl Extractor for Said<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

const TRACEPARENT: &str = "traceparent";
/// 55 in version 0; later ones may say more.
const MAX_PARENT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn only_a_well_formed_context_is_one() {
        for (case, text, expected) in [
            ("twin", format!("00-{TRACE}-b7ad6b7169203331-01"), true),
            ("not sampled", format!("00-{TRACE}-b7ad6b7169203331-00"), true),
            ("a later version", format!("01-{TRACE}-b7ad6b7169203331-01-more"), true),
            ("the version that is none", format!("ff-{TRACE}-b7ad6b7169203331-01"), false),
            ("more in version 0", format!("00-{TRACE}-b7ad6b7169203331-01-more"), false),
            ("a dash more", format!("00-{TRACE}-b7ad6b7169203331-01-"), false),
            ("no trace", format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), false),
            ("no parent", format!("00-{TRACE}-{}-01", "0".repeat(16)), false),
            ("capitals", format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()), false),
            ("short", format!("00-{}-b7ad6b7169203331-01", &TRACE[1..]), false),
            ("empty", String::new(), false),
            ("endless", "0".repeat(10_000), false),
        ] {
            assert_eq!(of_meta(Some(&text)).is_some(), expected, "{case}");
        }
        let good = format!("00-{TRACE}-b7ad6b7169203331-01");
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, good.parse().expect("a value"));
        assert!(of_headers(&headers).is_some(), "twin");
        headers.append(TRACEPARENT, good.parse().expect("a value"));
        assert!(of_headers(&headers).is_none(), "said twice");
    }
}
