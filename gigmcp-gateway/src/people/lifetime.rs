//! How long something holds.

use std::{fmt, str::FromStr};

/// A minute to ten years, written as `30m`, `168h` or `90d`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Lifetime(u32);

/// A text that is no such time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("write a time as 30m, 168h or 90d; from a minute to ten years")]
pub(crate) struct InvalidLifetime;

impl Lifetime {
    pub(crate) const fn minutes(minutes: u32) -> Self {
        Self(minutes)
    }

    pub(crate) const fn hours(hours: u32) -> Self {
        Self(hours * 60)
    }

    pub(crate) fn seconds(self) -> i64 {
        i64::from(self.0) * 60
    }

    /// When something ends that begins now.
    pub(crate) fn end(self, now: i64) -> i64 {
        now.saturating_add(self.seconds())
    }
}

impl FromStr for Lifetime {
    type Err = InvalidLifetime;

    fn from_str(text: &str) -> Result<Self, InvalidLifetime> {
        let unit = match text.as_bytes().last() {
            Some(b'm') => 1,
            Some(b'h') => 60,
            Some(b'd') => 24 * 60,
            _ => return Err(InvalidLifetime),
        };
        let digits = &text[..text.len() - 1];
        let number: u32 = match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse().map_err(|_| InvalidLifetime)?,
            false => return Err(InvalidLifetime),
        };
        let minutes = number.checked_mul(unit).filter(|minutes| (1..=MAX_MINUTES).contains(minutes));
        minutes.map(Self).ok_or(InvalidLifetime)
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            minutes if minutes.is_multiple_of(24 * 60) => write!(formatter, "{}d", minutes / (24 * 60)),
            minutes if minutes.is_multiple_of(60) => write!(formatter, "{}h", minutes / 60),
            minutes => write!(formatter, "{minutes}m"),
        }
    }
}

const MAX_MINUTES: u32 = 3653 * 24 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_a_unit() {
        for (text, minutes) in [("1m", 1), ("168h", 168 * 60), ("7d", 168 * 60), ("3653d", MAX_MINUTES)] {
            assert_eq!(text.parse(), Ok(Lifetime(minutes)), "{text}");
        }
        assert_eq!(Lifetime::hours(168).to_string(), "7d");
        assert_eq!(Lifetime::hours(24).seconds(), 86_400);
        for text in ["", "0m", "7", "d", "+7d", "-7d", "7.5h", "7 d", "3654d", "99999999999d", "7\u{b2}d", "1s"] {
            assert_eq!(text.parse::<Lifetime>(), Err(InvalidLifetime), "{text}");
        }
    }
}
