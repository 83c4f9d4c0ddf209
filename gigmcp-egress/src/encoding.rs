use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The spellings in which `text` may turn up in a message, always in the same order, the plain one first.
///
/// The same position of two texts is the same encoding, so a spelling of a secret can be replaced by that spelling of its
/// placeholder. Base64 depends on where in its input the text begins, so each of the three alignments has a spelling:
/// the characters that no neighbouring byte can change.
pub(crate) fn spellings(text: &str) -> Vec<Vec<u8>> {
    let bytes = text.as_bytes();
    let per_byte =
        |write: &dyn Fn(u8) -> String| bytes.iter().map(|byte| write(*byte)).collect::<String>().into_bytes();
    let mut spellings = vec![bytes.to_vec(), bytes.to_ascii_lowercase(), bytes.to_ascii_uppercase()];
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        spellings.extend((0..3).map(|alignment| {
            let mut input = vec![0; alignment];
            input.extend_from_slice(bytes);
            let encoded = engine.encode(&input).into_bytes();
            // A character holds 6 bits; those that hold a bit of a neighbour are left out at both ends.
            let (first, last) = ((alignment * 8).div_ceil(6), input.len() * 8 / 6);
            encoded[first..last].to_vec()
        }));
    }
    spellings.push(per_byte(&|byte| format!("{byte:02x}")));
    spellings.push(per_byte(&|byte| format!("{byte:02X}")));
    spellings.push(per_byte(&|byte| format!("%{byte:02x}")));
    spellings.push(per_byte(&|byte| format!("%{byte:02X}")));
    spellings
        .push(per_byte(&|byte| if is_unreserved(byte) { char::from(byte).into() } else { format!("%{byte:02x}") }));
    spellings
        .push(per_byte(&|byte| if is_unreserved(byte) { char::from(byte).into() } else { format!("%{byte:02X}") }));
    spellings.push(per_byte(&|byte| format!("\\u{byte:04x}")));
    spellings.push(per_byte(&|byte| format!("\\u{byte:04X}")));
    spellings.push(per_byte(&|byte| json_escape(byte, &['"', '\\'])));
    spellings.push(per_byte(&|byte| json_escape(byte, &['"', '\\', '/'])));
    spellings
        .push(per_byte(&|byte| if is_html(byte) { format!("\\u{byte:04x}") } else { json_escape(byte, &['"', '\\']) }));
    spellings
}

/// Decodes `%XX` once; what is not an escape stays as it is.
pub(crate) fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        match (byte, tail) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hexadecimal digit");
                decoded.push((digit(*high) * 16 + digit(*low)) as u8);
                rest = after;
            }
            _ => {
                decoded.push(byte);
                rest = tail;
            }
        }
    }
    decoded
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What JSON writers escape so that their output can stand in a web page.
fn is_html(byte: u8) -> bool {
    matches!(byte, b'<' | b'>' | b'&' | b'\'')
}

fn json_escape(byte: u8, escaped: &[char]) -> String {
    let character = char::from(byte);
    if escaped.contains(&character) { format!("\\{character}") } else { character.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_found_at_every_alignment_and_between_any_neighbours() {
        let secret = "sk-live/0123+456789~?";
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            for before in 0..7 {
                for after in 0..7 {
                    let input =
                        [&b"abcdefg"[..before], secret.as_bytes(), &b"\xff\xff\xff\xff\xff\xff\xff"[..after]].concat();
                    let encoded = engine.encode(input).into_bytes();
                    let found = spellings(secret)
                        .iter()
                        .any(|spelling| encoded.windows(spelling.len()).any(|window| window == spelling));
                    assert!(found, "{before} before, {after} after");
                }
            }
        }
    }

    #[test]
    fn other_spellings_are_the_expected_ones() {
        let spellings: Vec<_> =
            spellings("aB/\"").into_iter().map(|bytes| String::from_utf8(bytes).expect("ASCII")).collect();
        for (case, expected) in [
            ("plain", "aB/\""),
            ("lower", "ab/\""),
            ("hex", "61422f22"),
            ("percent", "aB%2F%22"),
            ("percent everywhere", "%61%42%2f%22"),
            ("JSON", "aB/\\\""),
            ("JSON with slash", "aB\\/\\\""),
            ("JSON by code", "\\u0061\\u0042\\u002f\\u0022"),
        ] {
            assert!(spellings.iter().any(|spelling| spelling == expected), "{case}: {expected} in {spellings:?}");
        }
    }

    #[test]
    fn percent_decoding_leaves_what_is_not_an_escape() {
        for (text, expected) in [("a%41b", "aAb"), ("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("%2541", "%41")] {
            assert_eq!(percent_decoded(text.as_bytes()), expected.as_bytes(), "{text}");
        }
    }
}
