//! Which characters matter, and in whose company they may stay.

/// What was removed from a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A sequence that makes a terminal do something.
    Escape,
    /// A control character.
    Control,
    /// A character that changes the order in which others are shown.
    Bidi,
    /// A character of no width.
    Invisible,
    /// A character of the block of tags, which are ASCII that nobody sees.
    Tag,
    /// A variation selector where there is nothing to vary.
    Selector,
    /// Half of a pair of UTF-16.
    Surrogate,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Escape, Self::Control, Self::Bidi, Self::Invisible, Self::Tag, Self::Selector, Self::Surrogate];
}

/// Whether a character has to be looked at.
pub(super) fn matters(code: u32) -> bool {
    matches!(code,
        0x00..=0x08 | 0x0B..=0x1F | 0x7F..=0x9F
        | ARABIC_MARK | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F
        | 0xD800..=0xDFFF | 0xFE00..=0xFE0F | 0xFEFF | 0xFFF9..=0xFFFB | 0xE0000..=0xE0FFF)
}

/// What a character is removed as, if nothing speaks for it.
pub(super) fn kind(code: u32) -> Kind {
    match code {
        0x00..=0x1F | 0x7F..=0x9F => Kind::Control,
        ARABIC_MARK | 0x200E | 0x200F | 0x202A..=0x202E | 0x2066..=0x2069 => Kind::Bidi,
        0xD800..=0xDFFF => Kind::Surrogate,
        0xFE00..=0xFE0F | 0xE0100..=0xE01EF => Kind::Selector,
        0xE0000..=0xE0FFF => Kind::Tag,
        _ => Kind::Invisible,
    }
}

/// Whether a joiner or non-joiner between these two does its work: in a picture made of several, or in a script in which it
/// changes letters.
pub(super) fn joins(joiner: u32, before: u32, next: Option<u32>) -> bool {
    let picture = joiner == JOINER && (is_picture(before) || before == EMOJI_STYLE);
    let script = |code| script(code).map(|script| script as u8);
    is_virama(before)
        || picture && next.is_some_and(is_picture)
        || script(before).is_some() && next.and_then(script) == script(before)
}

/// Whether a variation selector has a form of this character to select.
pub(super) fn varies(before: u32, selector: u32) -> bool {
    let ideograph = matches!(before, 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF);
    match selector {
        0xFE0E | EMOJI_STYLE => is_picture(before) || matches!(before, 0x23 | 0x2A | 0x30..=0x39) || ideograph,
        0xFE00..=0xFE0D => {
            ideograph
                || matches!(before, 0x2200..=0x22FF | 0x2A00..=0x2AFF | 0x3000..=0x303F | 0x1000..=0x109F
                    | 0xA840..=0xA87F | 0xFF00..=0xFF65)
        }
        _ => ideograph,
    }
}

/// Pictures, and the signs that are parts of them.
pub(super) fn is_picture(code: u32) -> bool {
    matches!(code,
        0xA9 | 0xAE | 0x203C | 0x2049 | 0x2122 | 0x2139 | 0x2190..=0x21FF | 0x2300..=0x23FF | 0x2460..=0x24FF
        | 0x25A0..=0x27BF | 0x2900..=0x297F | 0x2B00..=0x2BFF | 0x3030 | 0x303D | 0x3297 | 0x3299 | 0x1F000..=0x1FAFF)
}

/// Scripts in which letters change by what joins them. Which one is which does not matter much, only that two letters are of
/// the same.
#[derive(Clone, Copy)]
enum Script {
    Arabic,
    Indic,
    Tibetan,
    Myanmar,
    Khmer,
    Mongolian,
    Other,
}

fn script(code: u32) -> Option<Script> {
    Some(match code {
        0x0600..=0x061B | 0x061D..=0x08FF | 0xFB50..=0xFDFF | 0xFE70..=0xFEFC => Script::Arabic,
        0x0900..=0x0DFF | 0xA8E0..=0xA8FF | 0x11000..=0x11FFF => Script::Indic,
        0x0F00..=0x0FFF => Script::Tibetan,
        0x1000..=0x109F | 0xA9E0..=0xA9FF | 0xAA60..=0xAA7F => Script::Myanmar,
        0x1780..=0x17FF => Script::Khmer,
        0x1800..=0x18AF => Script::Mongolian,
        0x1A20..=0x1AAF | 0x1B00..=0x1C4F | 0xA800..=0xA82F | 0xA880..=0xA8DF | 0xA930..=0xA9DF => Script::Other,
        _ => return None,
    })
}

/// Signs that say that a letter has no vowel; a joiner behind one chooses the letter's form, whatever follows.
fn is_virama(code: u32) -> bool {
    matches!(code, 0x094D | 0x09CD | 0x0A4D | 0x0ACD | 0x0B4D | 0x0BCD | 0x0C4D | 0x0CCD | 0x0D4D | 0x0DCA | 0x1039)
}

/// What stands behind the black flag in the three flags made of tags that there are: England, Scotland, Wales.
pub(super) const FLAGS: [&str; 3] = ["gbeng", "gbsct", "gbwls"];
pub(super) const BLACK_FLAG: u32 = 0x1F3F4;
pub(super) const TAGS: u32 = 0xE0000;
pub(super) const END_OF_TAGS: u32 = 0xE007F;

pub(super) const NON_JOINER: u32 = 0x200C;
pub(super) const JOINER: u32 = 0x200D;
pub(super) const EMOJI_STYLE: u32 = 0xFE0F;
const ARABIC_MARK: u32 = 0x061C;
