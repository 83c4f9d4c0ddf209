//! What an unquoted word means. Where YAML 1.1, YAML 1.2 and JSON disagree, nothing.

use super::fault::YamlProblem;
use super::node::NodeValue;

/// The value of a plain scalar: `true`, `false`, a number as JSON writes it, or text that no version of YAML takes for anything
/// else.
pub(super) fn plain(text: &str) -> Result<NodeValue, YamlProblem> {
    match text {
        "" | "~" | "null" => return Err(YamlProblem::NoValue),
        "true" => return Ok(NodeValue::Bool(true)),
        "false" => return Ok(NodeValue::Bool(false)),
        _ => {}
    }
    if is_json_number(text) {
        return if is_short_exponent(text) { Err(short_exponent(text)) } else { number(text) };
    }
    match surprise(text) {
        Some(meaning) => Err(YamlProblem::Ambiguous { text: text.into(), meaning, instead: instead(text) }),
        None => Ok(NodeValue::Text(text.into())),
    }
}

/// Whether this text means itself when it is written without quotes.
pub(super) fn is_plain_text(text: &str) -> bool {
    matches!(plain(text), Ok(NodeValue::Text(_)))
}

fn number(text: &str) -> Result<NodeValue, YamlProblem> {
    if let Ok(integer) = text.parse() {
        return Ok(NodeValue::Integer(integer));
    }
    let is_integer = !text.contains(['.', 'e', 'E']);
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && !is_integer => Ok(NodeValue::Float(number)),
        _ => Err(YamlProblem::Ambiguous {
            text: text.into(),
            meaning: "is a number that not every program can hold",
            instead: format!("write it in quotes if it is text: \"{text}\""),
        }),
    }
}

/// `1e3` and `1.5e3`: in YAML 1.1, a number with an exponent has a point and a sign.
fn is_short_exponent(text: &str) -> bool {
    let parts = text.split_once(['e', 'E']);
    parts.is_some_and(|(mantissa, exponent)| !mantissa.contains('.') || !exponent.starts_with(['+', '-']))
}

fn short_exponent(text: &str) -> YamlProblem {
    YamlProblem::Ambiguous {
        text: text.into(),
        meaning: "is a number for YAML 1.2 and text for YAML 1.1",
        instead: format!("write it like 1.0e+3, or in quotes if it is text: \"{text}\""),
    }
}

/// `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`
fn is_json_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits)
}

/// What some version of YAML takes the text for, if that is not text.
fn surprise(text: &str) -> Option<&'static str> {
    let lower = text.to_ascii_lowercase();
    match &*lower {
        "y" | "yes" | "on" | "true" => return Some("is true for YAML 1.1"),
        "n" | "no" | "off" | "false" => return Some("is false for YAML 1.1"),
        "null" => return Some("is no value for YAML 1.1"),
        "=" => return Some("is a default key for YAML 1.1"),
        "<<" => return Some("merges mappings for YAML 1.1"),
        _ if lower.starts_with('?') => return Some("begins a key for some programs"),
        _ => {}
    }
    let unsigned = lower.strip_prefix(['+', '-']).unwrap_or(&lower);
    if matches!(unsigned, ".inf" | ".nan") {
        return Some("is a number without a value in JSON");
    }
    let first = unsigned.trim_start_matches(['.', '_']).bytes().next()?;
    if !first.is_ascii_digit() || unsigned.starts_with('_') {
        return None;
    }
    numeric_surprise(unsigned)
}

/// For text that begins as a number does.
fn numeric_surprise(text: &str) -> Option<&'static str> {
    let all = |text: &str, allowed: &dyn Fn(u8) -> bool| !text.is_empty() && text.bytes().all(allowed);
    let prefixed = |prefix: &str, allowed: &dyn Fn(u8) -> bool| {
        text.strip_prefix(prefix).is_some_and(|rest| all(rest, &|byte| allowed(byte) || byte == b'_'))
    };
    if prefixed("0x", &|byte| byte.is_ascii_hexdigit()) {
        return Some("is a hexadecimal number");
    }
    if prefixed("0o", &|byte| byte.is_ascii_digit()) {
        return Some("is an octal number for YAML 1.2");
    }
    if prefixed("0b", &|byte| matches!(byte, b'0' | b'1')) {
        return Some("is a binary number for YAML 1.1");
    }
    if prefixed("0", &|byte| byte.is_ascii_digit()) {
        return Some("is an octal number for YAML 1.1 and a decimal one for YAML 1.2");
    }
    if text.contains(':') && all(text, &|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'_' | b'.')) {
        return Some("is a number to the base of 60 for YAML 1.1");
    }
    if is_date(text) {
        return Some("is a date for YAML 1.1");
    }
    // Exactly what could still be one number: `1_000`, for Ruby `1,000`, `+1`, `1.`, `.5`, `1e`, `1.e+5`.
    let mantissa_end = text.find('e').unwrap_or(text.len());
    let (mantissa, exponent) = text.split_at(mantissa_end);
    let exponent = exponent.strip_prefix('e').unwrap_or(exponent);
    let numeric = all(mantissa, &|byte| byte.is_ascii_digit() || matches!(byte, b'_' | b'.' | b','))
        && mantissa.matches('.').count() <= 1
        && exponent.strip_prefix(['+', '-']).unwrap_or(exponent).bytes().all(|byte| byte.is_ascii_digit());
    numeric.then_some("is a number for some programs and text for others")
}

/// `2001-01-01`, also with a time behind it.
fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let mut digits = |lengths: std::ops::RangeInclusive<usize>| {
        parts.next().is_some_and(|part| {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let rest = &part[digits..];
            lengths.contains(&digits) && (rest.is_empty() || rest.starts_with(['t', ' ', '\t']))
        })
    };
    digits(4..=4) && digits(1..=2) && digits(1..=2)
}

fn instead(text: &str) -> String {
    match &*text.to_ascii_lowercase() {
        "y" | "yes" | "on" | "true" => format!("write true, or \"{text}\" if it is text"),
        "n" | "no" | "off" | "false" => format!("write false, or \"{text}\" if it is text"),
        _ => format!("write it in quotes if it is text: \"{text}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_word_means_one_thing_or_is_refused() {
        let kind = |text: &str| match plain(text) {
            Ok(NodeValue::Bool(_)) => "boolean",
            Ok(NodeValue::Integer(_)) => "integer",
            Ok(NodeValue::Float(_)) => "float",
            Ok(NodeValue::Text(_)) => "text",
            Ok(_) => "other",
            Err(YamlProblem::NoValue) => "none",
            Err(_) => "refused",
        };
        for (expected, texts) in [
            ("boolean", &["true", "false"][..]),
            ("integer", &["0", "7", "-7", "120", "9223372036854775807"]),
            ("float", &["0.5", "-0.5", "1.0e+3", "1.25E-3"]),
            ("none", &["", "~", "null"]),
            ("refused", &["on", "On", "OFF", "yes", "No", "y", "N", "True", "FALSE", "Null", "NULL", "=", "<<"]),
            ("refused", &["012", "0o14", "0x1F", "0b101", "1_000", "+1", "-012", "00", "08", "1e999"]),
            (
                "refused",
                &["12:30", "12:30:45", "190:20:30.15", "2001-01-01", "2001-1-1 10:00:00", "2001-01-01T10:00:00Z"],
            ),
            ("refused", &["?", "?a", "?a b"]),
            ("refused", &["1e3", "-1E3", "12e-3", "1.5e3", "1,000", "1,000.5", "._1"]),
            ("refused", &[".5", "1.", "1.e+3", ".inf", "-.INF", ".NaN", "9223372036854775808", "1e"]),
            ("text", &["1.2.3", "v1.2", "10.0.0.0/8", "4chan.org", "0x7g", "1-2", "sha256:00", "once", "none", "only"]),
            (
                "text",
                &[
                    "api.example.com",
                    "*.example.com",
                    "2001-01-01.txt",
                    "12 monkeys",
                    "1e3x",
                    "a,b",
                    "_1",
                    "..1.2.3",
                    "-",
                    "nullable",
                    "5m",
                    "one: two",
                ],
            ),
        ] {
            for text in texts {
                assert_eq!(kind(text), expected, "{text:?}");
            }
        }
    }
}
