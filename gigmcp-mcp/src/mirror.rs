//! Arguments that a tool wants to see in headers too, for whoever routes without reading bodies.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, value::RawValue};

use crate::object::{Members, string};

/// One argument that is sent in a header too.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mirrored {
    /// Where it is in the arguments: names, from the outermost on.
    path: Vec<Box<str>>,
    /// The header's name after `Mcp-Param-`.
    header: Box<str>,
}

/// What a header says of an argument.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Said {
    /// The same as the body, or both nothing.
    Same,
    /// Something else.
    Other,
    /// Nothing, of an argument that is there.
    Missing,
}

impl Mirrored {
    /// Those that a tool's definition names. An annotation that is none counts as absent.
    pub(crate) fn of(definition: &RawValue) -> Vec<Self> {
        // Hardly any tool has one.
        if !definition.get().contains(ANNOTATION) {
            return Vec::new();
        }
        let schema = Members::of(definition).ok().and_then(|members| members.value("inputSchema"));
        let schema: Option<Value> = schema.and_then(|schema| serde_json::from_str(schema.get()).ok());
        let mut found = Vec::new();
        if let Some(schema) = schema {
            collect(&schema, &mut Vec::new(), &mut found);
        }
        found
    }

    /// The header's name.
    pub(crate) fn header(&self) -> String {
        format!("mcp-param-{}", self.header.to_ascii_lowercase())
    }

    /// Compares a header with the arguments.
    pub(crate) fn compare(&self, header: Option<&str>, arguments: Option<&RawValue>) -> Said {
        let body = arguments.and_then(|arguments| value_at(arguments, &self.path));
        match (header, body) {
            (None, None) => Said::Same,
            (None, Some(_)) => Said::Missing,
            (Some(header), Some(body)) if decoded(header).as_deref() == Some(&*body) => Said::Same,
            (Some(_), _) => Said::Other,
        }
    }
}

fn collect(schema: &Value, path: &mut Vec<Box<str>>, found: &mut Vec<Mirrored>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, property) in properties {
        if found.len() >= MAX_MIRRORED || path.len() >= MAX_DEPTH {
            return;
        }
        path.push(name.as_str().into());
        let header = property.get(ANNOTATION).and_then(Value::as_str);
        if let Some(header) = header.filter(|header| is_token(header)) {
            found.push(Mirrored { path: path.clone(), header: header.into() });
        }
        collect(property, path, found);
        path.pop();
    }
}

/// What a header can hold of the value at this place; null is nothing.
fn value_at(arguments: &RawValue, path: &[Box<str>]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let value = Members::of(arguments).ok()?.value(first)?;
    if !rest.is_empty() {
        return value_at(value, rest);
    }
    match value.get().as_bytes().first()? {
        b'"' => string(value).map(Into::into),
        b'{' | b'[' | b'n' => None,
        // Numbers and the two truths as they are written.
        _ => Some(value.get().to_owned()),
    }
}

/// A header's value; what no header can hold is written as `=?base64?…?=`.
pub(crate) fn decoded(value: &str) -> Option<String> {
    match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(encoded) => String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

/// A token of RFC 9110.
fn is_token(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= 64 && text.bytes().all(known)
}

const ANNOTATION: &str = "x-mcp-header";
const MAX_MIRRORED: usize = 32;
const MAX_DEPTH: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_header_says_what_the_argument_says() {
        let tool = raw(
            r#"{"inputSchema":{"properties":{"region":{"type":"string","x-mcp-header":"Region"},"at":{"properties":{"n":{"type":"integer","x-mcp-header":"N"}}},"odd":{"x-mcp-header":"a b"},"items":{"items":{"properties":{"x":{"x-mcp-header":"X"}}}}}}}"#,
        );
        let mirrored = Mirrored::of(&tool);
        let [region, n] = &mirrored[..] else { panic!("{mirrored:?}") };
        assert_eq!((&*n.header(), &*region.header()), ("mcp-param-n", "mcp-param-region"));
        for (mirrored, arguments, header, expected) in [
            (region, r#"{"region":"eu"}"#, Some("eu"), Said::Same),
            (region, r#"{"region":"eu"}"#, Some("=?base64?ZXU=?="), Said::Same),
            (region, r#"{"region":"e\u0075"}"#, Some("eu"), Said::Same),
            (region, r#"{"region":"eu"}"#, Some("=?base64?ZXU?="), Said::Other), // padding
            (region, r#"{"region":"eu"}"#, Some("=?base64?Z!U=?="), Said::Other),
            (region, r#"{"region":"=?base64?ZXU="}"#, Some("=?base64?ZXU="), Said::Same), // no end, so literal
            (region, r#"{"region":"eu"}"#, Some("us"), Said::Other),
            (region, r#"{"region":"eu"}"#, Some("EU"), Said::Other),
            (region, r#"{"region":"eu"}"#, None, Said::Missing),
            (region, r#"{"region":""}"#, Some(""), Said::Same),
            (region, r#"{"region":null}"#, None, Said::Same),
            (region, r#"{"region":null}"#, Some("null"), Said::Other),
            (region, "{}", Some("eu"), Said::Other),
            (region, "{}", None, Said::Same),
            (n, r#"{"at":{"n":7}}"#, Some("7"), Said::Same),
            (n, r#"{"at":{"n":7}}"#, Some("8"), Said::Other),
            (n, r#"{"at":{"n":true}}"#, Some("true"), Said::Same),
            (n, r#"{"at":7}"#, None, Said::Same),
        ] {
            assert_eq!(mirrored.compare(header, Some(&raw(arguments))), expected, "{arguments} {header:?}");
        }
        assert_eq!(region.compare(Some("eu"), None), Said::Other);
        assert_eq!(Mirrored::of(&raw(r#"{"inputSchema":{"properties":{"a":{}}}}"#)), []);
    }
}
