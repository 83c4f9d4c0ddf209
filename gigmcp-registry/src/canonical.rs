//! The one spelling of a document that is signed or hashed.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

/// Compact JSON, fields in the order of the format, escaped as Go's `encoding/json` does: the hashes of manifests were
/// first defined by a program in Go.
pub(crate) fn json<T: Serialize>(document: &T) -> String {
    let mut bytes = Vec::with_capacity(1024);
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, GoEscapes);
    document.serialize(&mut serializer).expect("text, numbers, lists and maps with text as keys always have JSON");
    String::from_utf8(bytes).expect("JSON made of text is text")
}

/// Escapes `<`, `>`, `&`, U+2028 and U+2029 too, for those who put JSON into HTML or JavaScript.
struct GoEscapes;

impl Formatter for GoEscapes {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        let escaped = |char| matches!(char, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
        while let Some((at, char)) = rest.char_indices().find(|(_, char)| escaped(*char)) {
            CompactFormatter.write_string_fragment(writer, &rest[..at])?;
            write!(writer, "\\u{:04x}", u32::from(char))?;
            rest = &rest[at + char.len_utf8()..];
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_go() {
        for (text, expected) in [
            ("plain", r#""plain""#),
            ("<a href=\"x\">&amp;</a>", r#""\u003ca href=\"x\"\u003e\u0026amp;\u003c/a\u003e""#),
            ("\u{2028}\u{2029}é\n\u{1}", "\"\\u2028\\u2029é\\n\\u0001\""),
            ("", r#""""#),
        ] {
            assert_eq!(json(&text), expected);
        }
    }
}
