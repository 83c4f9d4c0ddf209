use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// The spellings in which `text` may turn up in a message, always in the same order, the plain one first. Each of them may
/// be [escaped](crate::escape) as well, in whole or in part.
///
/// The same position of two texts is the same encoding, so a spelling of a secret can be replaced by that spelling of its
/// placeholder. Base64 depends on where in its input the text begins, so each of the three alignments has a spelling:
/// the characters that no neighbouring byte can change.
pub(crate) fn spellings(text: &str) -> Vec<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut spellings = vec![bytes.to_vec(), bytes.to_ascii_lowercase(), bytes.to_ascii_uppercase()];
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        spellings.extend((0..3).map(|alignment| {
            let mut input = Zeroizing::new(vec![0; alignment]);
            input.extend_from_slice(bytes);
            let encoded = Zeroizing::new(engine.encode(&*input).into_bytes());
            // A character holds 6 bits; those that hold a bit of a neighbour are left out at both ends.
            let (first, last) = ((alignment * 8).div_ceil(6), input.len() * 8 / 6);
            encoded[first..last].to_vec()
        }));
    }
    for digits in [b"0123456789abcdef", b"0123456789ABCDEF"] {
        let hex = |byte: &u8| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]];
        spellings.push(bytes.iter().flat_map(hex).collect());
    }
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
            ("upper", "AB/\""),
            ("hex in upper case", "61422F22"),
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
