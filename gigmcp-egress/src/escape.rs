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

/// What the beginning of a text may stand for when it is read [`DEPTH`] times, as a URL within a URL or JSON within JSON will be:
/// `%252B` is `%2B`, which is `+`. In the order of the readings, each with its length; those that find no escape have none.
///
/// # Errors
/// If the text ends before that can be told.
pub(crate) fn escapes(text: &[u8]) -> Result<[Option<(u8, usize)>; DEPTH], Cut> {
    let mut found = [None; DEPTH];
    let again = match escape(text) {
        Escape::Of(byte, length) => {
            found[0] = Some((byte, length));
            begins_escape(byte) && goes_on(byte, &text[length..])
        }
        Escape::No => is_escaped_within(text),
        Escape::Cut => return Err(Cut),
    };
    if again {
        read_again(text, &mut found)?;
    }
    Ok(found)
}

/// The text ends too early.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Cut;

/// Whether what begins an escape may be one with this behind it. Spares most texts the work of reading them again.
fn goes_on(first: u8, rest: &[u8]) -> bool {
    rest.first().is_none_or(|next| {
        begins_escape(*next)
            || match first {
                b'%' => next.is_ascii_hexdigit(),
                b'&' => next.is_ascii_alphanumeric() || *next == b'#',
                _ => matches!(next, b'u' | b'x') || next.is_ascii_punctuation(),
            }
    })
}

/// Whether what is no escape may be one when the bytes behind the first are read themselves: `%%32%42`.
fn is_escaped_within(text: &[u8]) -> bool {
    let (reach, is_inside): (_, fn(&u8) -> bool) = match text[0] {
        b'%' => (2, u8::is_ascii_hexdigit),
        b'&' => (MAX_SIMPLE_BYTES, |byte| byte.is_ascii_alphanumeric() || *byte == b'#'),
        _ => (5, |byte| byte.is_ascii_hexdigit() || matches!(byte, b'u' | b'x')),
    };
    text[1..].iter().take(reach).find(|byte| !is_inside(byte)).copied().is_some_and(begins_escape)
}

#[cold]
fn read_again(text: &[u8], found: &mut [Option<(u8, usize)>; DEPTH]) -> Result<(), Cut> {
    let window = &text[..text.len().min(MAX_ESCAPE_BYTES)];
    for (depth, found) in (1..).zip(found).skip(1) {
        match character(window, depth) {
            Ok((byte, length)) => {
                *found = (length > 1).then_some((byte, length));
                if !begins_escape(byte) {
                    break;
                }
            }
            Err(Cut) if window.len() < MAX_ESCAPE_BYTES => return Err(Cut),
            // Longer than any that is read, and so will be the next.
            Err(Cut) => break,
        }
    }
    Ok(())
}

/// The first character of a text whose escapes were replaced so many times, and how much of the text it is.
fn character(text: &[u8], depth: usize) -> Result<(u8, usize), Cut> {
    let first = *text.first().ok_or(Cut)?;
    if depth == 0 || !begins_escape(first) {
        return Ok((first, 1));
    }
    if depth == 1 {
        return match escape(text) {
            Escape::Of(byte, length) => Ok((byte, length)),
            Escape::No => Ok((first, 1)),
            Escape::Cut => Err(Cut),
        };
    }
    let (mut bytes, mut ends, mut end) = ([0; MAX_SIMPLE_BYTES], [0; MAX_SIMPLE_BYTES], 0);
    for index in 0..MAX_SIMPLE_BYTES {
        let (byte, length) = character(&text[end..], depth - 1)?;
        end += length;
        (bytes[index], ends[index]) = (byte, end);
        match escape(&bytes[..=index]) {
            Escape::Of(byte, length) => return Ok((byte, ends[length - 1])),
            Escape::No => break,
            Escape::Cut => {}
        }
    }
    Ok((bytes[0], ends[0]))
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
    let window = &rest[..rest.len().min(MAX_SIMPLE_BYTES - 1)];
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'#';
    let Some(end) = window.iter().position(|byte| !inside(byte)) else {
        return if window.len() < MAX_SIMPLE_BYTES - 1 { Escape::Cut } else { Escape::No };
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

/// How often escapes are read. Nobody was seen to escape more often.
pub(crate) const DEPTH: usize = 3;
/// No escape that is read once is longer.
const MAX_SIMPLE_BYTES: usize = 8;
/// No escape that is read again is longer. What programs write fits: `&amp;amp;#x002F;` has 16, and a `+` of HTML in two URLs,
/// `%2526%252343%253B`, 17.
pub(crate) const MAX_ESCAPE_BYTES: usize = 24;

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
    fn escapes_of_escapes_are_read_as_their_readers_do_one_after_the_other() {
        for (text, expected) in [
            ("%2Bx", [Some((b'+', 3)), None, None]),
            ("%252Bx", [Some((b'%', 3)), Some((b'+', 5)), None]),
            ("%25252Bx", [Some((b'%', 3)), Some((b'%', 5)), Some((b'+', 7))]),
            ("%25%32%42", [Some((b'%', 3)), Some((b'+', 9)), None]),
            ("%%32%42", [None, Some((b'+', 7)), None]),
            (r"\\/", [Some((b'\\', 2)), Some((b'/', 3)), None]),
            (r"\\\/", [Some((b'\\', 2)), Some((b'/', 4)), None]),
            (r"\\u002b", [Some((b'\\', 2)), Some((b'+', 7)), None]),
            (r"\u0026#43;", [Some((b'&', 6)), Some((b'+', 10)), None]),
            ("&amp;amp;#x002F;", [Some((b'&', 5)), Some((b'&', 9)), Some((b'/', 16))]),
            ("%2526%252343%253B", [Some((b'%', 3)), Some((b'&', 5)), Some((b'+', 17))]),
            (r"\\n", [Some((b'\\', 2)), None, None]),
            (r"\n", [None; 3]),
            ("%20", [None; 3]),
            ("x", [None; 3]),
            ("&lt;", [Some((b'<', 4)), None, None]),
            ("&#x0025;&#x0032;&#x0042;", [Some((b'%', 8)), Some((b'+', 24)), None]),
            ("&#x005C;&#x0078;&#x0032;&#x0062;", [Some((b'\\', 8)), None, None]), // 32 bytes
        ] {
            assert_eq!(escapes(format!("{text} ").as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_cut_escape_is_no_longer_cut_when_a_break_follows() {
        for text in ["%2", "\\", "\\u00", "\\x", "&", "&#x2", "&equals", "&#x002f"] {
            assert_eq!(escape(text.as_bytes()), Escape::Cut, "{text}");
            assert_eq!(escape(format!("{text}\n").as_bytes()), Escape::No, "{text}");
        }
        for text in ["%25", "%252", r"\\", r"\\u002", "&amp;", "&amp;#4", "%25%32", "%%3", "&#x0025;&#x0032;&#x004"] {
            assert_eq!(escapes(text.as_bytes()), Err(Cut), "{text}");
            assert!(escapes(format!("{text}\n").as_bytes()).is_ok(), "{text}");
        }
    }
}
