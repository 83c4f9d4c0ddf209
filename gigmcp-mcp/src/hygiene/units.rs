//! Characters of a text, however they are written.

/// A text, character by character.
pub(crate) trait Units {
    /// How a line end is written in it.
    const LINE_END: &'static str;
    /// How the character is written that stands for what cannot be read.
    const UNREADABLE: &'static str;

    /// The text as written.
    fn text(&self) -> &str;

    /// The character that begins at this byte.
    fn at(&self, at: usize) -> Option<Unit>;

    fn code(&self, at: usize) -> Option<u32> {
        self.at(at).map(|unit| unit.code)
    }
}

/// One character: a code point, or half a pair of UTF-16, which JSON can spell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    pub(crate) code: u32,
    /// Where the next one begins.
    pub(crate) end: usize,
}

/// A text that is written as it is.
pub(super) struct Plain<'a>(pub(super) &'a str);

impl Units for Plain<'_> {
    const LINE_END: &'static str = "\n";
    const UNREADABLE: &'static str = "\u{fffd}";

    fn text(&self) -> &str {
        self.0
    }

    fn at(&self, at: usize) -> Option<Unit> {
        let character = self.0.get(at..)?.chars().next()?;
        Some(Unit { code: character.into(), end: at + character.len_utf8() })
    }
}

/// What stands between the quotes of a JSON string.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl Units for Escaped<'_> {
    const LINE_END: &'static str = r"\n";
    const UNREADABLE: &'static str = r"\ufffd";

    fn text(&self) -> &str {
        self.0
    }

    fn at(&self, at: usize) -> Option<Unit> {
        let bytes = self.0.as_bytes();
        if *bytes.get(at)? == b'\\' { escaped(bytes, at) } else { Plain(self.0).at(at) }
    }
}

/// The escape that begins at this byte.
pub(super) fn escaped(bytes: &[u8], at: usize) -> Option<Unit> {
    let code = match bytes.get(at + 1)? {
        b'n' => 0x0A,
        b't' => 0x09,
        b'r' => 0x0D,
        b'b' => 0x08,
        b'f' => 0x0C,
        b'u' => {
            let first = hexadecimal(bytes, at + 2)?;
            return Some(match pair(first, bytes, at + 6) {
                Some(code) => Unit { code, end: at + 12 },
                None => Unit { code: first, end: at + 6 },
            });
        }
        other => u32::from(*other),
    };
    Some(Unit { code, end: at + 2 })
}

/// The character of which `high` is one half, if the other follows.
fn pair(high: u32, bytes: &[u8], at: usize) -> Option<u32> {
    let follows = matches!(high, 0xD800..=0xDBFF) && bytes.get(at..at + 2) == Some(br"\u");
    let low = follows.then(|| hexadecimal(bytes, at + 2))??;
    matches!(low, 0xDC00..=0xDFFF).then(|| 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
}

fn hexadecimal(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}
