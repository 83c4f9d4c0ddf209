//! A document as YAML that reads back as the same document, and that a person can read.

use serde::Serialize;
use serde_json::Value;

use super::scalar::is_plain_text;

/// Block style, two spaces a level; text in quotes unless it means itself without.
pub(crate) fn print(document: &impl Serialize) -> String {
    let value = serde_json::to_value(document).expect("text, numbers and lists always have JSON");
    let mut out = String::new();
    block(&value, 0, &mut out);
    out.push('\n');
    out.trim_start().into()
}

/// What stands behind `key:` or `-`, beginning with what separates it.
fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                out.push('\n');
                out.push_str(&" ".repeat(indent));
                out.push_str(&text(key));
                out.push(':');
                block(value, indent + 2, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                out.push('\n');
                out.push_str(&" ".repeat(indent));
                out.push('-');
                let mut inner = String::new();
                block(item, indent + 2, &mut inner);
                // A mapping's first line stands behind the hyphen.
                let first_line = format!("\n{}", " ".repeat(indent + 2));
                match inner.strip_prefix(&first_line) {
                    Some(inner) => out.push_str(&format!(" {inner}")),
                    None => out.push_str(&inner),
                }
            }
        }
        _ => {
            out.push(' ');
            out.push_str(&inline(value));
        }
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(value) => text(value),
        Value::Number(number) => with_long_exponent(number.to_string()),
        _ => value.to_string(),
    }
}

/// `1e300` as `1.0e+300`, which is a number for YAML 1.1 too.
fn with_long_exponent(number: String) -> String {
    let Some((mantissa, exponent)) = number.split_once('e') else { return number };
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['+', '-']) { "" } else { "+" };
    format!("{mantissa}{point}e{sign}{exponent}")
}

fn text(text: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b" _-./@+".contains(&byte);
    let edges = text.starts_with(|char: char| char.is_ascii_alphanumeric() || matches!(char, '/' | '_' | '.'))
        && !text.ends_with(' ');
    if edges && text.bytes().all(safe) && !text.starts_with("...") && text.len() < 120 && is_plain_text(text) {
        return text.into();
    }
    quoted(text)
}

/// As JSON writes it, with an escape for everything that is not seen or breaks a line.
fn quoted(text: &str) -> String {
    let json = Value::from(text).to_string();
    let mut out = String::with_capacity(json.len());
    for char in json.chars() {
        let visible = !char.is_control() && (char.is_alphanumeric() || char.is_ascii() || char == '\u{fffd}');
        match u32::from(char) {
            _ if visible => out.push(char),
            code @ 0..=0xffff => out.push_str(&format!("\\u{code:04x}")),
            code => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out
}
