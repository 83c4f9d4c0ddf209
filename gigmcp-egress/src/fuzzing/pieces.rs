use crate::encoding::spellings;

/// What a fuzzer's bytes say: a text and where to cut it.
///
/// The first byte tells how many of the next are lengths of pieces, used in turns. The rest is the text, in which a byte
/// beyond ASCII stands for a word or a part of it, in one of its spellings, so that words turn up however they are made.
pub(crate) struct Pieces<'a> {
    lengths: &'a [u8],
    template: &'a [u8],
}

/// A text made of a template and words.
pub(crate) struct Text {
    pub(crate) bytes: Vec<u8>,
    /// Where words stand whole.
    pub(crate) whole: Vec<Word>,
}

/// How a word may be escaped.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Escapes {
    Simple,
    OfEscapes,
}

/// A word that stands whole in a text.
#[derive(Clone, Copy)]
pub(crate) struct Word {
    pub(crate) at: usize,
    pub(crate) escaped: bool,
}

impl<'a> Pieces<'a> {
    pub(crate) fn of(input: &'a [u8]) -> Option<Self> {
        let (count, rest) = input.split_first()?;
        let (lengths, template) = rest.split_at_checked(usize::from(count % 8))?;
        Some(Self { lengths, template })
    }

    /// The text as it is, without words.
    pub(crate) fn template(&self) -> &'a [u8] {
        self.template
    }

    /// The text with these words in it, escaped so.
    pub(crate) fn text(&self, words: &[&str], escapes: Escapes) -> Text {
        let (mut bytes, mut whole) = (Vec::new(), Vec::new());
        let spelled: Vec<_> = words.iter().flat_map(|word| spellings(word)).collect();
        let mut template = self.template.iter().copied();
        while let Some(byte) = template.next() {
            if byte.is_ascii() {
                bytes.push(byte);
                continue;
            }
            let word = &spelled[usize::from(byte & 0x3f) % spelled.len()];
            let how = template.next().unwrap_or_default();
            // Mostly the whole word; else all but its end.
            let end = if how < 0xc0 { word.len() } else { usize::from(how & 0x3f) % word.len() };
            let escaped = byte & 0x40 != 0;
            if end == word.len() {
                whole.push(Word { at: bytes.len(), escaped });
            }
            for (index, byte) in word[..end].iter().enumerate() {
                let again = escaped && escapes == Escapes::OfEscapes;
                match how.wrapping_add((index as u8).wrapping_mul(7)) % 16 {
                    0 if escaped => bytes.extend(format!("%{byte:02X}").bytes()),
                    1 if escaped => bytes.extend(format!("\\u{byte:04x}").bytes()),
                    2 if escaped => bytes.extend(format!("&#{byte};").bytes()),
                    3 if escaped && byte.is_ascii_punctuation() => bytes.extend([b'\\', *byte]),
                    4 if again => bytes.extend(format!("%25{byte:02X}").bytes()),
                    5 if again => bytes.extend(format!("\\\\u{byte:04x}").bytes()),
                    6 if again => bytes.extend(format!("\\u0026amp;#{byte};").bytes()),
                    7 if again => bytes.extend(format!("%25%3{}{:x}", byte >> 4, byte & 15).bytes()),
                    8 if again => bytes.extend(format!("%5cx{byte:02x}").bytes()),
                    _ => bytes.push(*byte),
                }
            }
        }
        Text { bytes, whole }
    }

    /// The text cut into its pieces.
    pub(crate) fn cut<'t>(&self, text: &'t [u8]) -> Vec<&'t [u8]> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        for length in self.lengths.iter().cycle().map(|length| usize::from(*length)) {
            if rest.is_empty() || pieces.len() == MAX_PIECES {
                break;
            }
            let (piece, after) = rest.split_at(length.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        pieces
    }
}

/// Lengths of zero would never end.
const MAX_PIECES: usize = 4096;
