//! Moments and spans of time as people type them.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `2030-01-31T00:00:00Z`.
pub(crate) fn moment(text: &str) -> Result<SystemTime, String> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "write it like 2030-01-31T00:00:00Z")?;
    Ok(moment.into())
}

pub(crate) fn moment_text(moment: SystemTime) -> String {
    OffsetDateTime::from(moment).format(&Rfc3339).expect("read from a document, or by `moment`")
}

/// The present, in whole seconds as documents have it.
pub(crate) fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// `30d`, `12h`, `15m`, `90s`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let advice = "write it like 30d, 12h, 15m or 90s";
    let unit = text.chars().next_back().ok_or(advice)?;
    let seconds = match unit {
        'd' => 24 * 3600,
        'h' => 3600,
        'm' => 60,
        's' => 1,
        _ => return Err(advice.into()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| advice)?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "that is too long".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        for (text, expected) in [
            ("30d", Some(2_592_000)),
            ("12h", Some(43_200)),
            ("15m", Some(900)),
            ("90s", Some(90)),
            ("90", None),
            ("d", None),
            ("-1d", None),
            ("1.5d", None),
            ("1w", None),
            ("", None),
            ("1é", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(span(text).ok().map(|span| span.as_secs()), expected, "{text:?}");
        }
    }
}
