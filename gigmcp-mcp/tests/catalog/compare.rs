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
    let path = match &asked.credential {
        Some(CredentialPlace::Path { path }) if !asked.path.contains("{placeholder}") => {
            format!("/{path}{{placeholder}}{}", asked.path)
        }
        _ => asked.path.clone(),
    };
    differ("path", &neutral(seen.path()), &path);
    let mut query = fields(&neutral(seen.query()));
    if let Some(CredentialPlace::Query { query: name }) = &asked.credential {
        let value = query.remove(name);
        differ("credential in the query", &format!("{value:?}"), &format!("{:?}", Some(vec!["{placeholder}"])));
    }
    differ("query", &format!("{query:?}"), &format!("{:?}", expected(&asked.query)));
    for (name, value) in &asked.headers {
        differ(&format!("header {name}"), &neutral(seen.header(name)), value);
    }
    for name in asked.absent_headers.iter().filter(|name| seen.headers.contains_key(name.as_str())) {
        faults.push(format!("the header {name} is there"));
    }
    faults.extend(credential(seen, asked.credential.as_ref(), placeholders));
    faults.extend(body(seen, asked, &neutral));
    faults
}

fn credential(seen: &Seen, place: Option<&CredentialPlace>, placeholders: &[String]) -> Option<String> {
    let has = |check: &dyn Fn(&str) -> bool| placeholders.iter().any(|held| check(held));
    match place {
        None => {
            let whole = format!("{} {}", seen.target, String::from_utf8_lossy(&seen.body));
            let in_headers = seen.headers.values().any(|value| {
                let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
                let basic = text.strip_prefix("Basic ").and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
                has(&|held| text.contains(held) || String::from_utf8_lossy(&basic).contains(held))
            });
            let anywhere = in_headers || has(&|held| whole.contains(held));
            anywhere.then(|| "a credential is in the request, and none is recorded".into())
        }
        Some(CredentialPlace::Header { header, value }) => {
            let is = |held: &str| seen.header(header) == value.replace("{placeholder}", held);
            (!has(&is))
                .then(|| format!("the credential is not in the header {header} as `{value}`: {}", seen.header(header)))
        }
        Some(CredentialPlace::Basic { basic }) => {
            let text = seen.header("authorization").strip_prefix("Basic ").unwrap_or_default();
            let text = String::from_utf8(STANDARD.decode(text).unwrap_or_default()).unwrap_or_default();
            let (user, password) = text.split_once(':').unwrap_or_default();
            let part = if basic == "username" || basic == "user" { user } else { password };
            (!has(&|held| part == held)).then(|| format!("the credential is not the {basic} of Basic: {text}"))
        }
        Some(CredentialPlace::Form { form }) => {
            let fields = fields(&String::from_utf8_lossy(&seen.body));
            let is = |held: &str| fields.get(form).is_some_and(|values| values[..] == [held]);
            (!has(&is)).then(|| format!("the credential is not in the field {form}"))
        }
        Some(CredentialPlace::Json { json }) => {
            let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
            let is = |held: &str| body.pointer(json).and_then(Value::as_str) == Some(held);
            (!has(&is)).then(|| format!("the credential is not at {json}"))
        }
        // Compared with path and query.
        Some(CredentialPlace::Path { .. } | CredentialPlace::Query { .. }) => None,
    }
}

fn body(seen: &Seen, asked: &Asked, neutral: &dyn Fn(&str) -> String) -> Option<String> {
    let text = neutral(&String::from_utf8_lossy(&seen.body));
    let media_type = seen.header("content-type");
    let is_right = match &asked.body {
        None => text.is_empty(),
        Some(Body::Text(expected)) => text == *expected,
        Some(Body::Json(expected)) => {
            let mut body: Value = serde_json::from_str(&text).unwrap_or_default();
            if let Some(CredentialPlace::Json { json }) = &asked.credential {
                if expected.pointer(json).is_none() {
                    forget(&mut body, json);
                }
            }
            media_type == "application/json" && body == *expected
        }
        Some(Body::Form(form)) => {
            let mut body = fields(&text);
            if let Some(CredentialPlace::Form { form: name }) = &asked.credential {
                if !form.contains_key(name) {
                    body.remove(name);
                }
            }
            media_type == "application/x-www-form-urlencoded" && body == expected(form)
        }
        Some(Body::Multipart(parts)) => {
            let boundary = media_type.strip_prefix("multipart/form-data; boundary=").unwrap_or("none");
            let expected: BTreeMap<_, _> = parts.iter().map(|(name, part)| (name.clone(), part_text(part))).collect();
            multipart(&text, boundary) == expected
        }
    };
    (!is_right).then(|| format!("the body is {text} of the type {media_type:?}, and should be {:?}", asked.body))
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
