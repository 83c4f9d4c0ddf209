//! How values are written into a request. Each place has a type of its own, and only these make text of values: what they make
//! cannot end the place it is put in.

mod fields;
mod header;
mod json;
mod multipart;
mod path;

pub(super) use fields::Fields;
pub(super) use header::header_value;
pub(super) use json::JsonBody;
pub(super) use multipart::Multipart;
pub(super) use path::{Segments, hole};

use gigmcp_registry::ArrayStyle;
use serde_json::Value;

use super::arguments::ArgumentProblem;

/// A value as text, where there is no JSON: strings as they are, all else as JSON has it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A list in one text, with commas.
fn joined(values: &[Value]) -> Result<String, ArgumentProblem> {
    let items: Vec<_> = values.iter().map(text).collect();
    if items.iter().any(|item| item.contains(',')) {
        return Err(ArgumentProblem::CommaInItem);
    }
    Ok(items.join(","))
}

/// A value in one text: a list has commas, an object is JSON.
fn one_text(value: &Value) -> Result<String, ArgumentProblem> {
    match value {
        Value::Array(values) => joined(values),
        other => Ok(text(other)),
    }
}

/// Everything but unreserved characters (RFC 3986, section 2.3) as `%XX`, which every reader of paths, queries and forms takes
/// for the same text.
pub(super) fn percent(text: &str, into: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push('%');
            into.push(char::from(DIGITS[usize::from(byte >> 4)]));
            into.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

pub(super) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    percent(text, &mut encoded);
    encoded
}

/// What a list is if its toolspec says nothing.
const DEFAULT_STYLE: ArrayStyle = ArrayStyle::Repeat;
