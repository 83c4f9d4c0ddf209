//! One text without what is not to be seen.

use super::{
    Removal,
    character::{BLACK_FLAG, END_OF_TAGS, FLAGS, JOINER, Kind, NON_JOINER, TAGS, joins, kind, matters, varies},
    escapes::{ESCAPE, Sequences},
    units::{Unit, Units},
};

/// The text as it may be shown, and what was removed; `None` if it is that already.
pub(super) fn cleaned<U: Units>(units: &U, removal: &mut Removal) -> Option<String> {
    let mut reader = Reader { units, sequences: Sequences::default(), before: None };
    let mut output = Output { text: units.text(), kept: String::new(), from: 0, changed: false };
    let mut at = 0;
    while let Some(unit) = units.at(at) {
        if !matters(unit.code) {
            reader.before = Some(unit.code);
            at = unit.end;
            continue;
        }
        let (end, fate) = reader.judge(at, unit);
        match fate {
            Fate::Kept => {}
            Fate::Removed(kind) => {
                removal.add(kind);
                output.replace(at, end, "");
            }
            Fate::Replaced(kind, by) => {
                removal.add(kind);
                output.replace(at, end, by);
                reader.before = None;
            }
        }
        at = end;
    }
    output.end()
}

enum Fate {
    Kept,
    Removed(Kind),
    Replaced(Kind, &'static str),
}

struct Reader<'a, U> {
    units: &'a U,
    sequences: Sequences,
    /// The last character that was kept.
    before: Option<u32>,
}

impl<U: Units> Reader<'_, U> {
    /// What becomes of a character that matters, or of a sequence that begins with it, and where that ends.
    fn judge(&mut self, at: usize, unit: Unit) -> (usize, Fate) {
        let Unit { code, end } = unit;
        let removed = Fate::Removed(kind(code));
        match code {
            ESCAPE => (self.sequences.after_escape(self.units, end), Fate::Removed(Kind::Escape)),
            0x9B => (self.sequences.after_control(self.units, end), Fate::Removed(Kind::Escape)),
            0x90 | 0x98 | 0x9D..=0x9F => (self.sequences.after_string(self.units, end), Fate::Removed(Kind::Escape)),
            RETURN if self.units.code(end) == Some(LINE_FEED) => self.kept(code, end),
            // It would let what follows be written over what stands there; and what it parts stays parted.
            RETURN | 0x0B | 0x0C => (end, Fate::Replaced(Kind::Control, U::LINE_END)),
            0xD800..=0xDFFF => (end, Fate::Replaced(Kind::Surrogate, U::UNREADABLE)),
            JOINER | NON_JOINER if self.before.is_some_and(|before| joins(code, before, self.units.code(end))) => {
                self.kept(code, end)
            }
            0xFE00..=0xFE0F | 0xE0100..=0xE01EF if self.before.is_some_and(|before| varies(before, code)) => {
                self.kept(code, end)
            }
            0xE0000..=0xE00FF if self.before == Some(BLACK_FLAG) => match self.flag(at) {
                Some(end) => self.kept(END_OF_TAGS, end),
                None => (end, removed),
            },
            _ => (end, removed),
        }
    }

    fn kept(&mut self, code: u32, end: usize) -> (usize, Fate) {
        self.before = Some(code);
        (end, Fate::Kept)
    }

    /// Where the flag ends whose tags begin here, if they make one.
    fn flag(&self, begin: usize) -> Option<usize> {
        FLAGS.iter().find_map(|flag| {
            let tags = flag.bytes().map(|letter| TAGS + u32::from(letter)).chain([END_OF_TAGS]);
            tags.into_iter()
                .try_fold(begin, |at, tag| self.units.at(at).filter(|unit| unit.code == tag).map(|unit| unit.end))
        })
    }
}

/// The pieces that are kept, as they were written.
struct Output<'a> {
    text: &'a str,
    kept: String,
    from: usize,
    changed: bool,
}

impl Output<'_> {
    fn replace(&mut self, begin: usize, end: usize, by: &str) {
        self.kept.push_str(&self.text[self.from..begin]);
        self.kept.push_str(by);
        (self.from, self.changed) = (end, true);
    }

    fn end(mut self) -> Option<String> {
        self.kept.push_str(&self.text[if self.changed { self.from } else { self.text.len() }..]);
        self.changed.then_some(self.kept)
    }
}

const RETURN: u32 = 0x0D;
const LINE_FEED: u32 = 0x0A;

#[cfg(test)]
mod tests {
    use super::{super::units::Plain, *};

    #[test]
    fn what_is_not_to_be_seen_goes_and_what_has_a_meaning_stays() {
        for (case, text, expected) in [
            ("colour", "\u{1b}[1;31mred\u{1b}[0m text", "red text"),
            ("colour, single-byte CSI", "\u{9b}31mred\u{9b}m", "red"),
            ("a link that says another", "\u{1b}]8;;https://evil.test\u{1b}\\good.test\u{1b}]8;;\u{1b}\\", "good.test"),
            ("a link ended by BEL", "\u{1b}]8;;https://evil.test\u{7}good\u{1b}]8;;\u{7}", "good"),
            ("the clipboard", "a\u{1b}]52;c;ZXZpbA==\u{7}b", "ab"),
            ("single-byte OSC", "a\u{9d}0;title\u{9c}b", "ab"),
            ("device control, privacy message", "a\u{1b}Pq#0\u{1b}\\b\u{1b}^x\u{1b}\\c", "abc"),
            ("a string without an end is text", "a\u{1b}]8;;rest", "a8;;rest"),
            ("character sets, reset", "\u{1b}(0a\u{1b}cb", "ab"),
            ("an escape at the end", "a\u{1b}", "a"),
            ("a sequence without an end", "a\u{1b}[31", "a"),
            ("line ends and tabs stay", "a\r\nb\n\tc", "a\r\nb\n\tc"),
            ("written over", "safe\rrm -rf", "safe\nrm -rf"),
            ("backspaces, bells, nulls", "a\u{8}b\u{7}c\0d\u{7f}", "abcd"),
            ("pages", "one\u{c}two", "one\ntwo"),
            ("C1", "a\u{85}b\u{80}", "ab"),
            ("tags", "hi\u{e0001}\u{e0069}\u{e0067}\u{e007f}", "hi"),
            ("zero width", "pass\u{200b}word\u{2060}\u{feff}", "password"),
            ("bidi", "\u{202e}evil\u{202c}\u{2066}x\u{2069}\u{200f}\u{61c}", "evilx"),
            ("joiners that join nothing", "a\u{200d}b\u{200c}c", "abc"),
            ("a run of joiners", "👨\u{200d}\u{200d}\u{200c}👩", "👨👩"),
            ("a family", "👩\u{200d}❤\u{fe0f}\u{200d}👨", "👩\u{200d}❤\u{fe0f}\u{200d}👨"),
            ("Persian", "می\u{200c}خواهم", "می\u{200c}خواهم"),
            ("Hindi", "क्\u{200d}ष", "क्\u{200d}ष"),
            ("Malayalam, at the end of a word", "അവന്\u{200d} ", "അവന്\u{200d} "),
            ("Persian, then nothing", "می\u{200c} ", "می "),
            ("one selector", "❤\u{fe0f} 1\u{fe0f}\u{20e3}", "❤\u{fe0f} 1\u{fe0f}\u{20e3}"),
            ("bytes in selectors", "😀\u{fe01}\u{fe02}\u{e0100}\u{e0171}", "😀"),
            ("selectors after one", "❤\u{fe0f}\u{fe0f}\u{e0101}", "❤\u{fe0f}"),
            ("a selector of an ideograph", "葛\u{e0100}", "葛\u{e0100}"),
            (
                "Wales",
                "🏴\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}!",
                "🏴\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}!",
            ),
            ("tags behind a flag that are none", "🏴\u{e0067}\u{e0062}\u{e0078}\u{e007f}", "🏴"),
            ("annotations", "a\u{fff9}b\u{fffb}", "ab"),
        ] {
            let mut removal = Removal::default();
            let found = cleaned(&Plain(text), &mut removal);
            assert_eq!(found.as_deref().unwrap_or(text), expected, "{case}");
            assert_eq!(found.is_none(), text == expected, "{case}: unchanged is told");
            assert_eq!(removal.iter().next().is_none(), text == expected, "{case}: what is removed is counted");
        }
    }

    #[test]
    fn a_text_of_beginnings_is_read_once() {
        let text = "\u{1b}]".repeat(200_000);
        let begin = std::time::Instant::now();
        assert_eq!(cleaned(&Plain(&text), &mut Removal::default()).as_deref(), Some(""));
        assert!(begin.elapsed() < std::time::Duration::from_secs(60), "{:?}", begin.elapsed());
    }
}
