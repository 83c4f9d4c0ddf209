//! `Idempotency-Key`: what is asked twice is done once (draft-ietf-httpapi-idempotency-key-header-07).

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    Body,
    error::{ApiError, Code},
    reply::whole,
};
use crate::{
    people::{Actor, Via},
    store::{Begun, Kept, OnceKey},
};

/// What becomes of an answer that is asked for again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Replay {
    /// It is told again.
    Answer,
    /// Something in it is shown once and kept nowhere; it is told that it was done.
    Done,
}

/// The key that a request comes with, if it is of a method that is not repeatable by itself.
pub(super) fn key(
    headers: &HeaderMap,
    method: &Method,
    path: &str,
    actor: Option<&Actor>,
    body: &[u8],
) -> Result<Option<OnceKey>, ApiError> {
    let mut values = headers.get_all(&HEADER).iter();
    let (Some(value), true) = (values.next(), *method == Method::POST) else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::invalid("the header idempotency-key is there twice"));
    }
    // Whoever is nobody yet could see what another asked.
    let actor = actor.ok_or_else(|| ApiError::invalid("without signing in, there is no idempotency-key"))?;
    let key = read(value).ok_or_else(|| {
        ApiError::invalid("an idempotency-key has 16 to 255 characters of ASCII, best a random UUID, perhaps in quotes")
    })?;
    let via = match &actor.via {
        Via::ApiKey { name, .. } => name.clone(),
        Via::Session | Via::Local => String::new(),
    };
    Ok(Some(OnceKey {
        user: actor.user.clone(),
        via,
        hash: hex::encode(Sha256::digest(key)),
        fingerprint: fingerprint(key, method, path, body),
    }))
}

/// As a structured field, which is in quotes, or as most send it.
fn read(value: &HeaderValue) -> Option<&[u8]> {
    let bytes = value.as_bytes();
    let (key, quoted) = match bytes {
        [b'"', key @ .., b'"'] => (key, true),
        key => (key, false),
    };
    let good = |byte: &u8| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~') || quoted && *byte == b' ';
    (LENGTHS.contains(&key.len()) && key.iter().all(good)).then_some(key)
}

/// The key that was sent is a secret of the client, and is not kept: who has the database cannot try passwords against this.
fn fingerprint(key: &[u8], method: &Method, path: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    for part in [method.as_str().as_bytes(), path.as_bytes(), body] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    hex::encode(context.sign().as_ref())
}

/// What is answered to a request that is not the first, or nothing if it is.
pub(super) fn answer(begun: Begun, request_id: &str) -> Result<Option<Response<Body>>, ApiError> {
    let refused = match begun {
        Begun::First => return Ok(None),
        Begun::Again(Kept { status, answer: Some(answer) }) => return Ok(Some(replayed(status, &answer, request_id))),
        Begun::Again(Kept { answer: None, .. }) => ApiError::new(
            Code::IdempotencyReplayed,
            "this was done with this key before, and what it answered is shown once; look at what is there, by the name that was sent",
        ),
        Begun::InFlight => {
            ApiError::new(Code::IdempotencyInFlight, "this is being done with this key; ask again later")
                .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
        }
        Begun::Unknown => ApiError::new(
            Code::IdempotencyUnknown,
            "this was begun with this key, and what came of it is not known; look at what is there, and take another key",
        ),
        Begun::Another => {
            ApiError::new(Code::IdempotencyMismatch, "this key was sent with another request; take another")
        }
        Begun::Full(seconds) => ApiError::new(Code::RateLimited, "too many keys were sent in this way")
            .with_header(header::RETRY_AFTER, HeaderValue::from(seconds)),
    };
    Err(refused)
}

fn replayed(status: u16, answer: &str, request_id: &str) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut response = match status.is_success() {
        true => whole(status, answer.to_owned()),
        // The id is that of this request, as everywhere.
        false => {
            let mut document: Value = serde_json::from_str(answer).unwrap_or_default();
            if let Some(error) = document.get_mut("error") {
                error["request_id"] = request_id.into();
            }
            whole(status, document.to_string())
        }
    };
    if !answer.is_empty() {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// What is to be kept of an answer. Of what was refused, nothing: it can be mended and sent again.
pub(super) async fn kept(
    answered: Result<Response<Body>, ApiError>,
    replay: Replay,
    request_id: &str,
) -> (Result<Response<Body>, ApiError>, Option<Kept>) {
    let response = match answered {
        Ok(response) => response,
        Err(error) if error.code.may_have_been_done() => error.into_response(request_id),
        Err(error) => return (Err(error), None),
    };
    let (parts, body) = response.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        let failed = ApiError::new(Code::Internal, "the gateway failed; its log says why");
        return (Err(failed), Some(Kept { status: parts.status.as_u16(), answer: None }));
    };
    let text =
        std::str::from_utf8(&body).ok().filter(|text| replay == Replay::Answer && text.len() <= MAX_ANSWER_BYTES);
    let kept = Kept { status: parts.status.as_u16(), answer: text.map(ToOwned::to_owned) };
    (Ok(Response::from_parts(parts, again(body))), Some(kept))
}

fn again(bytes: Bytes) -> Body {
    whole(StatusCode::OK, bytes).into_body()
}

pub(super) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// For the document: what [`read`] takes.
pub(super) const PATTERN: &str = r#"^("[ !#-\[\]-~]{16,255}"|[!#-\[\]-~]{16,255})$"#;
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=255;
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const MAX_ANSWER_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_with_quotes_and_without() {
        let long = "a".repeat(256);
        for (case, text, expected) in [
            ("twin: quoted", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", Some("8e03978e-40d5-43dd-bc93-6894a57f9324")),
            ("twin: bare", "8e03978e-40d5-43dd-bc93-6894a57f9324", Some("8e03978e-40d5-43dd-bc93-6894a57f9324")),
            ("what can be guessed", "1", None),
            ("too long", long.as_str(), None),
            ("half a quote", "\"8e03978e-40d5-43dd", None),
            ("an escape", r#""8e03978e-40d5\"43dd""#, None),
            ("a space", "8e03978e 40d5 43dd bc93", None),
            ("twin: a space in quotes", "\"8e03978e 40d5 43dd bc93\"", Some("8e03978e 40d5 43dd bc93")),
            ("nothing", "", None),
        ] {
            let value = HeaderValue::from_str(text).expect("a header");
            assert_eq!(read(&value), expected.map(str::as_bytes), "{case}");
        }
    }

    #[test]
    fn another_request_has_another_fingerprint_and_another_key_another_for_the_same() {
        let of = |key: &str, path: &str, body: &str| fingerprint(key.as_bytes(), &Method::POST, path, body.as_bytes());
        assert_eq!(of("k", "/a", "b"), of("k", "/a", "b"));
        for other in [of("k", "/ab", ""), of("k", "/a", "c"), of("l", "/a", "b")] {
            assert_ne!(of("k", "/a", "b"), other);
        }
    }
}
