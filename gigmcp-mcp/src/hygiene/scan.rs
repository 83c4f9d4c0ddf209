//! Whether a JSON text holds anything that matters, at the speed of memory.

use memchr::{memchr2, memchr2_iter, memchr3_iter};

use super::{character::matters, units::escaped};

/// Whether anything in these strings has to be looked at. It says so at times where nothing is to be removed, and never the
/// other way round.
pub(super) fn may_matter(json: &str) -> bool {
    let bytes = json.as_bytes();
    has_escape(bytes) || !bytes.is_ascii() && (has_wide(bytes) || has_narrow(bytes))
}

/// Escapes that are more than a way to write a line end, a tab, a quote, or a character that does not matter; and the one
/// control character that JSON does not make one write as an escape.
fn has_escape(bytes: &[u8]) -> bool {
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'\\', DELETE, rest)) {
        let here = at + found;
        let line_end = bytes.get(here..here + 4) == Some(br"\r\n");
        at = match escaped(bytes, here) {
            _ if line_end => here + 4,
            Some(unit) if bytes[here] != DELETE && !matters(unit.code) => unit.end,
            _ => return true,
        };
    }
    false
}

/// Characters of three and four bytes.
fn has_wide(bytes: &[u8]) -> bool {
    memchr3_iter(0xE2, 0xEF, 0xF3, bytes).any(|at| {
        let next = |by: usize| bytes.get(at + by).copied().unwrap_or_default();
        matches!(
            (bytes[at], next(1), next(2)),
            (0xE2, 0x80, 0x8B..=0x8F | 0xAA..=0xAE)
                | (0xE2, 0x81, 0xA0..=0xAF)
                | (0xEF, 0xB8, 0x80..=0x8F)
                | (0xEF, 0xBB, 0xBF)
                | (0xEF, 0xBF, 0xB9..=0xBB)
                | (0xF3, 0xA0, _)
        )
    })
}

/// Characters of two bytes.
fn has_narrow(bytes: &[u8]) -> bool {
    memchr2_iter(0xC2, 0xD8, bytes).any(|at| {
        let next = bytes.get(at + 1).copied().unwrap_or_default();
        matches!((bytes[at], next), (0xC2, 0x80..=0x9F) | (0xD8, 0x9C))
    })
}

const DELETE: u8 = 0x7F;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_that_matters_is_seen_however_it_is_written() {
        for code in (0..=0x10FFFF).filter(|code| !matches!(code, 0x20..=0x5C)) {
            let spelled = match code {
                0x10000.. => {
                    let rest = code - 0x10000;
                    format!(r"\u{:04x}\u{:04X}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF))
                }
                _ => format!(r"\u{code:04x}"),
            };
            assert_eq!(may_matter(&format!(r#""a{spelled}b""#)), matters(code), "{spelled}");
            // Below a blank, JSON has to be written with escapes.
            let Some(character) = char::from_u32(code).filter(|character| *character >= ' ') else { continue };
            assert_eq!(may_matter(&format!(r#""a{character}b""#)), matters(code), "{code:x}");
        }
    }

    #[test]
    fn what_is_common_is_not_looked_at() {
        for (text, expected) in [
            (r#"{"a":"line\nline\r\nline\t\"quoted\" C:\\u200b\\x","n":[1e400,-0.0]}"#, false),
            (r#""“typographic” … – ünïcödé 漢字 ﬁ 👍""#, false),
            (r#""\u00e9\u4e2d\ud83d\udc4d""#, false),
            (r#""\r""#, true),
            (r#""\b""#, true),
            (r#""\f""#, true),
            (r#""\\\u200b""#, true),
            (r#""\ud83d alone""#, true),
            ("\"a\u{7f}\"", true),
        ] {
            assert_eq!(may_matter(text), expected, "{text}");
        }
    }
}
