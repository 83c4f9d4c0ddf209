/// How the escape at the beginning of a text reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Escape {
    /// A byte of ASCII, written in this many bytes.
    Of(u8, usize),
    /// None: the first byte stands for itself.
    No,
    /// The text ends before that can be told.
    Cut,
}

/// Reads one escape as URLs (`%2F`), JSON and programming languages (`\/`, `\u002f`, `\x2f`) and HTML (`&#47;`, `&#x2f;`,
/// `&sol;`) write them. Only what stands for a visible character of ASCII counts: a secret consists of nothing else.
pub(crate) fn escape(text: &[u8]) -> Escape {
    match text {
        [b'%', rest @ ..] => coded(rest, 2, 1),
        [b'\\', b'u', rest @ ..] => coded(rest, 4, 2),
        [b'\\', b'x', rest @ ..] => coded(rest, 2, 2),
        [b'\\', byte, ..] if byte.is_ascii_punctuation() => Escape::Of(*byte, 2),
        [b'\\'] => Escape::Cut,
        [b'&', rest @ ..] => entity(rest),
        _ => Escape::No,
    }
}

/// Whether an escape may begin with this byte.
#[inline]
pub(crate) fn begins_escape(byte: u8) -> bool {
    matches!(byte, b'%' | b'\\' | b'&')
}

/// Replaces every escape in a text, once; `Err` gives the last bytes, if more must come to tell what they are.
pub(crate) fn unescape<'a>(mut text: &'a [u8], into: &mut Vec<u8>) -> Result<(), &'a [u8]> {
    while let Some((first, rest)) = text.split_first() {
        (text, _) = match escape(text) {
            Escape::Of(byte, length) => (&text[length..], into.push(byte)),
            Escape::No => (rest, into.push(*first)),
            Escape::Cut => return Err(text),
        };
    }
    Ok(())
}

/// Exactly so many hexadecimal digits, after a beginning of `before` bytes.
fn coded(rest: &[u8], digits: usize, before: usize) -> Escape {
    let code = &rest[..digits.min(rest.len())];
    if !code.iter().all(u8::is_ascii_hexdigit) {
        return Escape::No;
    }
    if code.len() < digits { Escape::Cut } else { visible(number(code, 16), before + digits) }
}

/// What stands between `&` and `;`.
fn entity(rest: &[u8]) -> Escape {
    let window = &rest[..rest.len().min(MAX_ESCAPE_BYTES - 1)];
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'#';
    let Some(end) = window.iter().position(|byte| !inside(byte)) else {
        return if window.len() < MAX_ESCAPE_BYTES - 1 { Escape::Cut } else { Escape::No };
    };
    let length = end + 2;
    match &window[..=end] {
        [b'#', b'x' | b'X', code @ .., b';'] => visible(number(code, 16), length),
        [b'#', code @ .., b';'] => visible(number(code, 10), length),
        name => {
            NAMED.iter().find(|(known, _)| *known == name).map_or(Escape::No, |(_, byte)| Escape::Of(*byte, length))
        }
    }
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    digits.iter().try_fold(0, |number: u32, digit| Some(number * radix + char::from(*digit).to_digit(radix)?))
}

fn visible(code: Option<u32>, length: usize) -> Escape {
    let byte = code.and_then(|code| u8::try_from(code).ok()).filter(u8::is_ascii_graphic);
    byte.map_or(Escape::No, |byte| Escape::Of(byte, length))
}

/// No escape that is read is longer.
pub(crate) const MAX_ESCAPE_BYTES: usize = 8;

const NAMED: &[(&[u8], u8)] = &[
    (b"amp;", b'&'),
    (b"apos;", b'\''),
    (b"equals;", b'='),
    (b"gt;", b'>'),
    (b"lt;", b'<'),
    (b"plus;", b'+'),
    (b"quot;", b'"'),
    (b"sol;", b'/'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_as_their_readers_do() {
        for (text, expected) in [
            ("%2Fx", Escape::Of(b'/', 3)),
            ("%2fx", Escape::Of(b'/', 3)),
            ("\\/", Escape::Of(b'/', 2)),
            ("\\\\", Escape::Of(b'\\', 2)),
            ("\\u002B", Escape::Of(b'+', 6)),
            ("\\u002b", Escape::Of(b'+', 6)),
            ("\\x2b", Escape::Of(b'+', 4)),
            ("&#43;", Escape::Of(b'+', 5)),
            ("&#x2F;", Escape::Of(b'/', 6)),
            ("&#x002F;", Escape::Of(b'/', 8)),
            ("&equals;", Escape::Of(b'=', 8)),
            ("&amp;", Escape::Of(b'&', 5)),
            ("a", Escape::No),
            ("%zz", Escape::No),
            ("%0a", Escape::No),
            ("%ff", Escape::No),
            ("\\n", Escape::No),
            ("\\u0100", Escape::No),
            ("&x y", Escape::No),
            ("&#x00002F;", Escape::No),
            ("&;", Escape::No),
            ("", Escape::No),
            ("%2", Escape::Cut),
            ("\\", Escape::Cut),
            ("\\u00", Escape::Cut),
            ("&", Escape::Cut),
            ("&#x2", Escape::Cut),
        ] {
            assert_eq!(escape(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_cut_escape_is_no_longer_cut_when_a_break_follows() {
        for text in ["%2", "\\", "\\u00", "\\x", "&", "&#x2", "&equals", "&#x002f"] {
            assert_eq!(escape(text.as_bytes()), Escape::Cut, "{text}");
            assert_eq!(escape(format!("{text}\n").as_bytes()), Escape::No, "{text}");
        }
    }
}
