//! Moments as documents write them: RFC 3339 in UTC with whole seconds and a `Z`, from 1970 on, one spelling for each.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?.into();
    // What could not be written again is not read either.
    (format(moment)? == text).then_some(moment)
}

/// None for what has no such spelling: fractions of a second, years outside 1970 to 9999.
pub(crate) fn format(moment: SystemTime) -> Option<String> {
    // Out of range, the conversion would panic.
    let year_10_000 = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(253_402_300_800);
    if !(SystemTime::UNIX_EPOCH..year_10_000).contains(&moment) {
        return None;
    }
    let text = OffsetDateTime::from(moment).format(&Rfc3339).ok()?;
    (text.len() == LENGTH).then_some(text)
}

const LENGTH: usize = "2030-01-31T00:00:00Z".len();

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moment_has_one_spelling() {
        for (text, valid) in [
            ("2030-01-31T00:00:00Z", true),
            ("9999-12-31T23:59:59Z", true),
            ("2030-01-31T00:00:00+00:00", false),
            ("2030-01-31T01:00:00+01:00", false),
            ("2030-01-31T00:00:00.000Z", false),
            ("2030-01-31t00:00:00z", false),
            ("2030-01-31 00:00:00Z", false),
            ("2030-02-30T00:00:00Z", false),
            ("1969-12-31T23:59:59Z", false),
            ("0000-01-01T00:00:00Z", false),
            ("2030-01-31", false),
            ("", false),
        ] {
            assert_eq!(parse(text).is_some(), valid, "{text:?}");
            assert_eq!(parse(text).and_then(format), valid.then(|| text.into()), "{text:?}");
        }
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(SystemTime::UNIX_EPOCH));
    }

    #[test]
    fn what_has_no_spelling_is_not_written() {
        for after_epoch in
            [Duration::from_millis(1), Duration::from_secs(253_402_300_800), Duration::from_secs(1 << 50)]
        {
            assert_eq!(format(SystemTime::UNIX_EPOCH + after_epoch), None, "{after_epoch:?}");
        }
        assert_eq!(format(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), None);
    }
}
