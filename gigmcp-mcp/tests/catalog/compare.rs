//! A request that arrived, and the one that is recorded.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use crate::{
    origin::Seen,
    recorded::{Asked, Body, CredentialPlace, PartText},
};

type Fields = BTreeMap<String, Vec<String>>;

/// Everything in which they differ. A credential may be any of those that the server has.
pub(crate) fn request(seen: &Seen, asked: &Asked, placeholders: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut differ = |what: &str, is: &str, should: &str| {
        if is != should {
            faults.push(format!("the {what} is {is}, and should be {should}"));
        }
    };
    let neutral =
        |text: &str| placeholders.iter().fold(text.to_owned(), |text, held| text.replace(held, "{placeholder}"));
    differ("method", &seen.method, &asked.method);
    differ("host", seen.header("host"), &asked.host);
    let mut path = asked.path.clone();
    let mut query = fields(&neutral(seen.query()));
    for place in &asked.credential {
        match place {
            CredentialPlace::Path { path: prefix } if !path.contains("{placeholder}") => {
                path = format!("/{prefix}{{placeholder}}{path}");
            }
            CredentialPlace::Query { query: name } => {
                let value = query.remove(name).unwrap_or_default().join("&");
                differ(&format!("credential {name} in the query"), &value, "{placeholder}");
            }
            _ => {}
        }
    }
    differ("path", &neutral(seen.path()), &path);
    differ("query", &format!("{query:?}"), &format!("{:?}", expected(&asked.query)));
    for (name, value) in &asked.headers {
        differ(&format!("header {name}"), &neutral(seen.header(name)), value);
    }
    for name in asked.absent_headers.iter().filter(|name| seen.headers.contains_key(name.as_str())) {
        faults.push(format!("the header {name} is there"));
    }
    faults.extend(asked.credential.iter().filter_map(|place| credential(seen, place, placeholders)));
    let present = placeholders.iter().filter(|held| is_present(seen, held)).count();
    if present > asked.credential.len() {
        faults.push(format!("{present} credentials are in the request, and {} are recorded", asked.credential.len()));
    }
    faults.extend(body(seen, asked, &neutral));
    faults
}

/// Whether a credential is anywhere in the request.
fn is_present(seen: &Seen, held: &str) -> bool {
    let in_header = |value: &http::HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let basic = text.strip_prefix("Basic ").and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        text.contains(held) || String::from_utf8_lossy(&basic).contains(held)
    };
    seen.target.contains(held)
        || String::from_utf8_lossy(&seen.body).contains(held)
        || seen.headers.values().any(in_header)
}

fn credential(seen: &Seen, place: &CredentialPlace, placeholders: &[String]) -> Option<String> {
    let has = |check: &dyn Fn(&str) -> bool| placeholders.iter().any(|held| check(held));
    match place {
        CredentialPlace::Header { header, value } => {
            let is = |held: &str| seen.header(header) == value.replace("{placeholder}", held);
            (!has(&is))
                .then(|| format!("the credential is not in the header {header} as `{value}`: {}", seen.header(header)))
        }
        CredentialPlace::Basic { basic } => {
            let text = seen.header("authorization").strip_prefix("Basic ").unwrap_or_default();
            let text = String::from_utf8(STANDARD.decode(text).unwrap_or_default()).unwrap_or_default();
            let (user, password) = text.split_once(':').unwrap_or_default();
            let part = if basic == "username" || basic == "user" { user } else { password };
            (!has(&|held| part == held)).then(|| format!("the credential is not the {basic} of Basic: {text}"))
        }
        CredentialPlace::Form { form } => {
            let fields = fields(&String::from_utf8_lossy(&seen.body));
            let is = |held: &str| fields.get(form).is_some_and(|values| values[..] == [held]);
            (!has(&is)).then(|| format!("the credential is not in the field {form}"))
        }
        CredentialPlace::Json { json } => {
            let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
            let is = |held: &str| body.pointer(json).and_then(Value::as_str) == Some(held);
            (!has(&is)).then(|| format!("the credential is not at {json}"))
        }
        // Compared with path and query.
        CredentialPlace::Path { .. } | CredentialPlace::Query { .. } => None,
    }
}

fn body(seen: &Seen, asked: &Asked, neutral: &dyn Fn(&str) -> String) -> Option<String> {
    let text = neutral(&String::from_utf8_lossy(&seen.body));
    let media_type = seen.header("content-type");
    let is_json = media_type == "application/json";
    let is_form = media_type == "application/x-www-form-urlencoded";
    let is_right = match &asked.body {
        None if is_json && in_body(asked) => without_json(&text, asked, &Value::Null) == Value::Object(Map::new()),
        None if is_form && in_body(asked) => without_form(&text, asked, &Map::new()).is_empty(),
        None => text.is_empty(),
        Some(Body::Text(expected)) => text == *expected,
        Some(Body::Json(expected)) => is_json && without_json(&text, asked, expected) == *expected,
        Some(Body::Form(form)) => is_form && without_form(&text, asked, form) == expected(form),
        Some(Body::Multipart(parts)) => {
            let boundary = media_type.strip_prefix("multipart/form-data; boundary=").unwrap_or("none");
            let expected: BTreeMap<_, _> = parts.iter().map(|(name, part)| (name.clone(), part_text(part))).collect();
            multipart(&text, boundary) == expected
        }
    };
    (!is_right).then(|| format!("the body is {text} of the type {media_type:?}, and should be {:?}", asked.body))
}

fn in_body(asked: &Asked) -> bool {
    let is_in_body =
        |place: &CredentialPlace| matches!(place, CredentialPlace::Json { .. } | CredentialPlace::Form { .. });
    asked.credential.iter().any(is_in_body)
}

/// The body without credentials that are recorded by their place and not in the body.
fn without_json(text: &str, asked: &Asked, expected: &Value) -> Value {
    let mut body: Value = serde_json::from_str(text).unwrap_or_default();
    for place in &asked.credential {
        if let CredentialPlace::Json { json } = place
            && expected.pointer(json).is_none()
        {
            forget(&mut body, json);
        }
    }
    body
}

fn without_form(text: &str, asked: &Asked, expected: &Map<String, Value>) -> Fields {
    let mut body = fields(text);
    for place in &asked.credential {
        if let CredentialPlace::Form { form } = place
            && !expected.contains_key(form)
        {
            body.remove(form);
        }
    }
    body
}

/// Removes a value that a pointer leads to, and the objects that only led there.
fn forget(body: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    let Some(map) = body.pointer_mut(parent).and_then(Value::as_object_mut) else { return };
    map.remove(name);
    if map.is_empty() && !parent.is_empty() {
        forget(body, parent);
    }
}

/// The parts by name: text, name of the file, media type.
type Parts = BTreeMap<String, (String, Option<String>, Option<String>)>;

fn multipart(body: &str, boundary: &str) -> Parts {
    let mut parts = Parts::new();
    let Some(body) = body.strip_suffix(&format!("--{boundary}--\r\n")) else { return parts };
    for part in body.split(&format!("--{boundary}\r\n")).filter(|part| !part.is_empty()) {
        let (head, text) = part.split_once("\r\n\r\n").unwrap_or((part, ""));
        let quoted = |name: &str| {
            let (_, after) = head.split_once(&format!("{name}=\""))?;
            after.split_once('"').map(|(value, _)| value.to_owned())
        };
        let media_type = head.split_once("Content-Type: ").map(|(_, media_type)| media_type.to_owned());
        let text = text.strip_suffix("\r\n").unwrap_or(text).to_owned();
        parts.insert(quoted(" name").unwrap_or_default(), (text, quoted("filename"), media_type));
    }
    parts
}

fn part_text(part: &PartText) -> (String, Option<String>, Option<String>) {
    match part {
        PartText::File { text, file_name, content_type } => {
            (text.clone(), Some(file_name.clone()), content_type.clone())
        }
        PartText::Plain(value @ (Value::Object(_) | Value::Array(_))) => {
            (value.to_string(), None, Some("application/json".into()))
        }
        PartText::Plain(value) => (plain(value), None, None),
    }
}

/// The pairs of a query or form, decoded.
fn fields(text: &str) -> Fields {
    let mut fields = Fields::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        fields.entry(decoded(name)).or_default().push(decoded(value));
    }
    fields
}

fn expected(map: &Map<String, Value>) -> Fields {
    let values = |value: &Value| match value {
        Value::Array(values) => values.iter().map(plain).collect(),
        other => vec![plain(other)],
    };
    map.iter().map(|(name, value)| (name.clone(), values(value))).collect()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap()
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).unwrap()
}
