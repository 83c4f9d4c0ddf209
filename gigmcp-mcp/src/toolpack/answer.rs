//! What a body is, and which part of it is shown.

use bytes::Bytes;
use gigmcp_registry::ResponseSelection;
use http::{HeaderMap, header::CONTENT_TYPE};
use serde_json::{Map, Value};

use super::client::HttpAnswer;

/// The body of an answer, by what it says it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Payload {
    /// Nothing.
    Empty,
    /// JSON, whole.
    Json(Value),
    /// Text, perhaps only its beginning.
    Text(String),
    /// Neither.
    Binary {
        /// Its media type.
        media_type: String,
        /// All that was read of it.
        bytes: Bytes,
    },
    /// JSON that was cut and therefore cannot be read.
    CutJson,
}

impl Payload {
    pub(super) fn of(answer: &HttpAnswer) -> Self {
        let media_type = media_type(&answer.headers);
        let is_json = media_type.ends_with("/json") || media_type.ends_with("+json");
        if answer.body.is_empty() {
            return Self::Empty;
        }
        if is_json && answer.is_cut {
            return Self::CutJson;
        }
        if (is_json || media_type.is_empty())
            && let Ok(value) = serde_json::from_slice(&answer.body)
        {
            return Self::Json(value);
        }
        match text(&answer.body, &answer.headers, answer.is_cut) {
            Some(text) if is_json || is_text(&media_type) => Self::Text(text),
            _ => Self::Binary { media_type, bytes: answer.body.clone() },
        }
    }
}

/// The media type without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_text(media_type: &str) -> bool {
    const TEXTS: &[&str] = &[
        "",
        "application/xml",
        "application/javascript",
        "application/x-ndjson",
        "application/jsonl",
        "application/yaml",
        "application/x-yaml",
        "application/toml",
        "application/sql",
        "application/graphql",
        "application/x-www-form-urlencoded",
        "image/svg+xml",
    ];
    media_type.starts_with("text/") || media_type.ends_with("+xml") || TEXTS.contains(&media_type)
}

/// UTF-8, or what the answer says in one of the two encodings that are a byte a character; a cut may end inside a character.
fn text(body: &[u8], headers: &HeaderMap, is_cut: bool) -> Option<String> {
    let value =
        headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    if value.contains("charset=iso-8859-1") || value.contains("charset=latin1") {
        return Some(body.iter().map(|byte| char::from(*byte)).collect());
    }
    match std::str::from_utf8(body) {
        Ok(text) => Some(text.into()),
        Err(error) if is_cut && error.error_len().is_none() => {
            Some(String::from_utf8_lossy(&body[..error.valid_up_to()]).into_owned())
        }
        Err(_) => None,
    }
}

/// The part of a document that its toolspec selects; the whole document, and that it is, if there is no such part.
pub(super) fn selected(selection: Option<&ResponseSelection>, document: Value) -> (Value, Option<String>) {
    let pointer = selection.and_then(|selection| selection.select.as_ref()).map(ToString::to_string);
    match &pointer {
        None => (document, None),
        Some(pointer) => match document.pointer(pointer) {
            Some(part) => (part.clone(), None),
            None => (document, Some(format!("The answer has no {pointer}; it is shown whole."))),
        },
    }
}

/// The fields of a value, or of each of its items, that its toolspec shows.
pub(super) fn with_fields(selection: Option<&ResponseSelection>, value: Value) -> Value {
    let Some(fields) = selection.map(|selection| &selection.fields).filter(|fields| !fields.is_empty()) else {
        return value;
    };
    let chosen = |mut map: Map<String, Value>| -> Value {
        let shown = fields.iter().filter_map(|field| Some((field.clone(), map.remove(field)?)));
        Value::Object(shown.collect())
    };
    match value {
        Value::Object(map) => chosen(map),
        Value::Array(items) => {
            let item = |item| if let Value::Object(map) = item { chosen(map) } else { item };
            Value::Array(items.into_iter().map(item).collect())
        }
        scalar => scalar,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::*;

    fn payload(content_type: &str, body: &'static [u8], is_cut: bool) -> Payload {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        Payload::of(&HttpAnswer { status: StatusCode::OK, headers, body: Bytes::from_static(body), is_cut })
    }

    #[test]
    fn a_body_is_what_it_says_if_it_can_be() {
        let text = |text: &str| Payload::Text(text.into());
        let binary = |media_type: &str, bytes: &'static [u8]| Payload::Binary {
            media_type: media_type.into(),
            bytes: Bytes::from_static(bytes),
        };
        for (case, content_type, body, is_cut, expected) in [
            ("JSON", "application/json; charset=utf-8", &b"{\"a\":1}"[..], false, Payload::Json(json!({"a": 1}))),
            ("of a vendor", "application/vnd.github+json", b"[1]", false, Payload::Json(json!([1]))),
            ("unsaid JSON", "", b"[1]", false, Payload::Json(json!([1]))),
            ("JSON that is none", "application/json", b"<html>", false, text("<html>")),
            ("JSON, cut", "application/json", b"[1,", true, Payload::CutJson),
            ("text that looks like JSON", "text/plain", b"[1]", false, text("[1]")),
            ("XML", "application/atom+xml", b"<a/>", false, text("<a/>")),
            ("Latin 1", "text/html; charset=ISO-8859-1", b"f\xfcr", false, text("für")),
            ("cut in a character", "text/plain", b"f\xc3", true, text("f")),
            ("not the text it says", "text/plain", b"f\xff", false, binary("text/plain", b"f\xff")),
            ("a picture", "image/png", b"\x89PNG", false, binary("image/png", b"\x89PNG")),
            ("nothing", "application/json", b"", false, Payload::Empty),
        ] {
            assert_eq!(payload(content_type, body, is_cut), expected, "{case}");
        }
    }
}
