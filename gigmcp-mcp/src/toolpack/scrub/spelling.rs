//! The ways in which addresses, JSON, scripts and HTML write one and the same text, also mixed and in each other.

/// How long the spelling of `wanted`, which is ASCII, is that `text` begins with.
pub(super) fn spelled_at(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let any_case = wanted.len() >= MIN_ANY_CASE;
    let (first, rest) = wanted.split_first()?;
    let mut ends = next(text, *first, any_case);
    for byte in rest {
        if ends.is_empty() {
            return None;
        }
        // `%25` may be a percent sign, or a percent sign and two digits: both are followed.
        let mut further: Vec<usize> = ends
            .iter()
            .flat_map(|end| next(&text[*end..], *byte, any_case).into_iter().map(move |more| end + more))
            .collect();
        further.sort_unstable();
        further.dedup();
        ends = further;
    }
    ends.into_iter().max()
}

/// The lengths of all spellings of one character that a text begins with.
fn next(text: &[u8], byte: u8, any_case: bool) -> Vec<usize> {
    let is_it = |found: u8| found == byte || any_case && found.eq_ignore_ascii_case(&byte);
    let Some(&found) = text.first() else { return Vec::new() };
    let mut lengths = Vec::new();
    if is_it(found) {
        lengths.push(1);
    }
    let escaped = match found {
        b'%' => percent(text),
        b'\\' => backslash(text),
        b'&' => entity(text).into_iter().collect(),
        _ => Vec::new(),
    };
    lengths.extend(escaped.into_iter().filter(|(found, _)| is_it(*found)).map(|(_, length)| length));
    lengths
}

/// `%2F`, and `%252F` for whoever escapes twice.
fn percent(text: &[u8]) -> Vec<(u8, usize)> {
    let (mut found, mut at) = (Vec::new(), 1);
    while let Some(byte) = text.get(at..at + 2).and_then(hex) {
        found.push((byte, at + 2));
        if byte != b'%' || at > MAX_ESCAPES {
            break;
        }
        at += 2;
    }
    found
}

/// `\/`, `\u002f` and `\x2f`, with more backslashes where a text is inside of another one.
fn backslash(text: &[u8]) -> Vec<(u8, usize)> {
    let at = text.iter().take(MAX_ESCAPES).take_while(|byte| **byte == b'\\').count();
    let mut found: Vec<_> = (2..=at).map(|length| (b'\\', length)).collect();
    let digits = |from: usize| text.get(from..from + 2).and_then(hex).map(|byte| (byte, from + 2));
    match text.get(at) {
        Some(b'u') if text.get(at + 1..at + 3) == Some(b"00") => found.extend(digits(at + 3)),
        Some(b'x') => found.extend(digits(at + 1)),
        _ => {}
    }
    found.extend(text.get(at).map(|byte| (*byte, at + 1)));
    found
}

/// `&#47;`, `&#x2f;`, `&amp;`.
fn entity(text: &[u8]) -> Option<(u8, usize)> {
    let end = text.iter().take(MAX_ESCAPES).position(|byte| *byte == b';')?;
    let name = str::from_utf8(&text[1..end]).ok()?;
    let byte = match name.strip_prefix('#') {
        Some(number) => match number.strip_prefix(['x', 'X']) {
            Some(digits) => u8::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        },
        None => match name {
            "amp" => b'&',
            "lt" => b'<',
            "gt" => b'>',
            "quot" => b'"',
            "apos" => b'\'',
            "sol" => b'/',
            "plus" => b'+',
            "equals" => b'=',
            _ => return None,
        },
    };
    Some((byte, end + 1))
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digits = str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

/// In bytes, of one character.
pub(super) const LONGEST_ESCAPE: usize = 12;
const MAX_ESCAPES: usize = LONGEST_ESCAPE - 5;
/// Anything shorter is, in some case, in many texts.
const MIN_ANY_CASE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_in_every_spelling() {
        let wanted = r#"Ab/+"\&%25=z"#;
        for (case, text) in [
            ("as it is", r#"Ab/+"\&%25=z"#),
            ("another case", r#"aB/+"\&%25=Z"#),
            ("percent", "Ab%2F%2B%22%5C%26%2525%3Dz"),
            ("percent, lower case", "Ab%2f%2b%22%5c%26%2525%3dz"),
            ("all of it", "%41%62%2F%2B%22%5C%26%25%32%35%3D%7A"),
            ("percent, twice", "Ab%252F%252B%2522%255C%2526%252525%253Dz"),
            ("JSON", r#"Ab\/+\"\\&%25=z"#),
            ("JSON of careful writers", r"\u0041b\u002F\u002b\u0022\u005c\u0026\u002525\u003dz"),
            ("JSON in JSON", r#"Ab/+\\\"\\\\&%25=z"#),
            ("a script", r"\x41b\x2f\x2b\x22\x5c\x26\x2525\x3dz"),
            ("HTML", "Ab&#47;&#x2B;&quot;\\&amp;%25=z"),
            ("mixed", r#"A%62\/&#43;\"\\&amp;%25%3dz"#),
        ] {
            assert_eq!(
                spelled_at(format!("{text}!").as_bytes(), wanted.as_bytes()),
                Some(text.len()),
                "{case}: {text}"
            );
            let other = text.replacen('z', "y", 1).replacen('Z', "y", 1).replacen("%7A", "y", 1);
            assert_eq!(spelled_at(other.as_bytes(), wanted.as_bytes()), None, "{case}: {other}");
        }
        for text in ["", "A", "%", "%4", "\\", "\\u00", "\\x4", "&", "&#", "&#65", "Ab%2", "Ab\\", "%25", "Aü"] {
            assert_eq!(spelled_at(text.as_bytes(), wanted.as_bytes()), None, "{text}");
        }
        assert_eq!(spelled_at(b"TEST", b"test"), None, "short ones are found as they are");
        assert_eq!(spelled_at(b"test", b"test"), Some(4));
    }
}
