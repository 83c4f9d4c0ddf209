//! Sequences that make a terminal do something, as ECMA-48 has them.

use super::units::Units;

/// Follows sequences through one text.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    /// No string that begins from here on has an end. Looked for only once, or a text of beginnings would be read as often
    /// as it is long.
    endless: bool,
}

impl Sequences {
    /// Where a sequence ends whose ESC ended here.
    pub(super) fn after_escape(&mut self, units: &impl Units, at: usize) -> usize {
        let Some(unit) = units.at(at) else { return at };
        match unit.code {
            CONTROL_SEQUENCE => self.after_control(units, unit.end),
            OSC | DCS | SOS | PM | APC => self.after_string(units, unit.end),
            0x20..=0x2F => {
                let at = passed(units, at, |code| matches!(code, 0x20..=0x2F));
                one(units, at, |code| matches!(code, 0x30..=0x7E))
            }
            0x30..=0x7E => unit.end,
            _ => at,
        }
    }

    /// Where a control sequence ends whose introducer, of one byte or two, ended here.
    pub(super) fn after_control(&mut self, units: &impl Units, at: usize) -> usize {
        let at = passed(units, at, |code| matches!(code, 0x30..=0x3F));
        let at = passed(units, at, |code| matches!(code, 0x20..=0x2F));
        one(units, at, |code| matches!(code, 0x40..=0x7E))
    }

    /// Where a string ends whose introducer ended here: a link, a title, the clipboard. One without an end is text.
    pub(super) fn after_string(&mut self, units: &impl Units, begin: usize) -> usize {
        let mut at = begin;
        while let Some(unit) = units.at(at).filter(|_| !self.endless) {
            match unit.code {
                BELL | STRING_END => return unit.end,
                ESCAPE if units.code(unit.end) == Some(BACKSLASH) => return one(units, unit.end, |_| true),
                _ => at = unit.end,
            }
        }
        self.endless = true;
        begin
    }
}

fn passed(units: &impl Units, mut at: usize, among: impl Fn(u32) -> bool) -> usize {
    while let Some(unit) = units.at(at).filter(|unit| among(unit.code)) {
        at = unit.end;
    }
    at
}

fn one(units: &impl Units, at: usize, among: impl Fn(u32) -> bool) -> usize {
    units.at(at).filter(|unit| among(unit.code)).map_or(at, |unit| unit.end)
}

pub(super) const ESCAPE: u32 = 0x1B;
const BELL: u32 = 0x07;
const STRING_END: u32 = 0x9C;
const CONTROL_SEQUENCE: u32 = b'[' as u32;
const OSC: u32 = b']' as u32;
const DCS: u32 = b'P' as u32;
const SOS: u32 = b'X' as u32;
const PM: u32 = b'^' as u32;
const APC: u32 = b'_' as u32;
const BACKSLASH: u32 = b'\\' as u32;
