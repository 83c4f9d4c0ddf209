//! What a model is told of an answer that is no success.

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use serde_json::Value;

use super::{answer::Payload, client::HttpAnswer, plan::ToolPlan, scrub::Scrubber};

/// The status, the service's own words, and what can be done.
pub(super) fn explain(answer: &HttpAnswer, plan: &ToolPlan) -> String {
    let status = answer.status;
    let reason = status.canonical_reason().map(|reason| format!(" ({reason})")).unwrap_or_default();
    if let Some(code) = answer.headers.get(PROXY_REFUSAL).and_then(|value| value.to_str().ok()) {
        let said = message(&Payload::of(answer), plan).unwrap_or_default();
        return format!(
            "The gateway refused the request ({}) and nothing reached {}: {said}\nThis is a rule of whoever runs the gateway; \
             trying again will not help.",
            bounded(code, 64),
            plan.host
        );
    }
    let mut text = format!("{} answered HTTP {}{reason}.", plan.host, status.as_u16());
    if let Some(message) = message(&Payload::of(answer), plan) {
        text.push_str(&format!("\nIt says: {message}"));
    }
    if let Some(advice) = advice(status, &answer.headers, plan) {
        text.push('\n');
        text.push_str(&advice);
    }
    text
}

/// Where a redirect leads, which is not followed.
pub(super) fn redirected(answer: &HttpAnswer, plan: &ToolPlan, location: &str) -> String {
    let status = answer.status.as_u16();
    let location = bounded(&Scrubber::of(plan).clean(location.into()), 200);
    format!(
        "{} answered HTTP {status} and redirects to {location}, which was not followed: only the same host is, and only for \
         reading.",
        plan.host
    )
}

fn advice(status: StatusCode, headers: &HeaderMap, plan: &ToolPlan) -> Option<String> {
    let names = || {
        let names: Vec<_> = plan.tool.params.iter().map(|param| format!("`{}`", param.name)).collect();
        if names.is_empty() { "the request".into() } else { names.join(", ") }
    };
    Some(match status.as_u16() {
        401 if plan.uses.is_empty() => "This tool sends no credential, and the service wants one.".into(),
        401 => "The credential is missing, wrong or expired. Other arguments will not help; the user has to set it anew.".into(),
        403 => "The credential does not allow this, or the thing may not be accessed. The user has to give the credential the right.".into(),
        404 => format!("There is no such thing, or the credential may not see it. Check {}.", names()),
        400 | 422 => format!("The service does not take these arguments. Check {}.", names()),
        409 => "Something else changed it meanwhile, or it exists already. Read it again first.".into(),
        413 => "What was sent is too large. Send less.".into(),
        429 => match retry_after(headers) {
            Some(after) => format!("Too many requests. Try again {after}."),
            None => "Too many requests. Try again in a minute, and less often.".into(),
        },
        503 => match retry_after(headers) {
            Some(after) => format!("The service is busy. Try again {after}."),
            None => "The service is busy. Try again later.".into(),
        },
        500.. => "The service failed. The same request may work later; whether this one had an effect is unknown.".into(),
        _ => return None,
    })
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds or a date. What is neither, or so far away that nobody waits for it, is not said.
fn retry_after(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    match value.parse::<u64>() {
        Ok(seconds) => (seconds <= LONGEST_WAIT_SECONDS).then(|| format!("in {seconds} s")),
        Err(_) => is_date(value).then(|| format!("after {value}")),
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that is sent: a text of its own has no room in it.
fn is_date(text: &str) -> bool {
    const FORM: &[u8] = b"Aaa, 00 Aaa 0000 00:00:00 GMT";
    let fits = |(form, found): (&u8, u8)| match form {
        b'A' => found.is_ascii_uppercase(),
        b'a' => found.is_ascii_lowercase(),
        b'0' => found.is_ascii_digit(),
        other => found == *other,
    };
    text.len() == FORM.len() && FORM.iter().zip(text.bytes()).all(fits)
}

/// The service's words, where APIs put them, or the whole body if it is short text.
fn message(payload: &Payload, plan: &ToolPlan) -> Option<String> {
    let text = match payload {
        Payload::Json(value) => spoken(value).unwrap_or_else(|| value.to_string()),
        Payload::Text(text) if text.trim_start().starts_with('<') => return None,
        Payload::Text(text) => text.clone(),
        _ => return None,
    };
    // Before it is cut: half of a credential would not be recognised.
    let text = bounded(Scrubber::of(plan).clean(text).trim(), MAX_MESSAGE_CHARS);
    (!text.is_empty()).then_some(text)
}

/// A message alone if it is all there is to say; details are said with it, as they name the argument that is wrong.
fn spoken(value: &Value) -> Option<String> {
    let has_details = ["errors", "details", "fields", "error_details"].iter().any(|name| value.get(name).is_some());
    if has_details {
        return None;
    }
    let error = value.get("error").filter(|error| error.is_object()).unwrap_or(value);
    let texts = ["message", "error_description", "error", "detail", "title"];
    texts.iter().find_map(|name| error.get(name)?.as_str()).map(str::to_owned)
}

/// So many characters, in which nothing can move a cursor.
fn bounded(text: &str, max_chars: usize) -> String {
    let clean = |char: char| if char.is_control() && char != '\n' { ' ' } else { char };
    let shown: String = text.chars().take(max_chars).map(clean).collect();
    if text.chars().nth(max_chars).is_some() { shown + " [...]" } else { shown }
}

/// Only our proxy sends it: it removes the header from answers of others.
const PROXY_REFUSAL: &str = "x-gigmcp-refusal";
const MAX_MESSAGE_CHARS: usize = 2000;
const LONGEST_WAIT_SECONDS: u64 = 7 * 24 * 3600;
