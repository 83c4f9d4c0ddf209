//! The numbers of headers and pax records.

/// Octal digits ended by a space or NUL, or GNU's binary with the highest bit set; an empty field is 0.
///
/// Nothing is above `i64::MAX`, so that sums of a few such numbers do not wrap.
pub(super) fn octal_or_binary(field: &[u8]) -> Option<u64> {
    match field.split_first()? {
        (0x80, rest) => binary(rest),
        (byte, _) if *byte > 0x80 => None, // negative, or more than 64 bits
        _ => octal(field),
    }
}

/// A time: negative ones are 1970, as are those after 2106 the last second before.
pub(super) fn seconds(field: &[u8]) -> Option<u32> {
    match field.first()? {
        0xff => Some(0),
        _ => octal_or_binary(field).map(clamped),
    }
}

/// The whole seconds of a pax time: an optional minus, digits, an optional fraction.
pub(super) fn decimal_seconds(text: &[u8]) -> Option<u32> {
    let negative = text.strip_prefix(b"-");
    let mut parts = negative.unwrap_or(text).splitn(2, |byte| *byte == b'.');
    let whole = decimal(parts.next()?)?;
    parts.next().unwrap_or_default().iter().all(u8::is_ascii_digit).then_some(())?;
    Some(if negative.is_some() { 0 } else { clamped(whole) })
}

/// Decimal digits and nothing else.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    let value = text.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })?;
    bounded(value)
}

fn octal(field: &[u8]) -> Option<u64> {
    let spaces = field.iter().take_while(|byte| **byte == b' ').count();
    let digits = &field[spaces..];
    let end = digits.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    rest.iter().all(|byte| matches!(byte, 0 | b' ')).then_some(())?;
    digits.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'7' => bounded(value.checked_mul(8)?.checked_add(u64::from(digit - b'0'))?),
        _ => None,
    })
}

fn binary(bytes: &[u8]) -> Option<u64> {
    let value = bytes.iter().try_fold(0_u64, |value, byte| value.checked_mul(256)?.checked_add(u64::from(*byte)))?;
    bounded(value)
}

fn bounded(value: u64) -> Option<u64> {
    (value <= i64::MAX as u64).then_some(value)
}

fn clamped(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_few_spellings() {
        for (case, field, expected) in [
            ("octal", &b"00000000017\0"[..], Some(15)),
            ("ended by a space", b"00000000017 ", Some(15)),
            ("not ended", b"000000000017", Some(15)),
            ("begun by spaces", b"         17\0", Some(15)),
            ("empty", b"\0\0\0\0\0\0\0\0\0\0\0\0", Some(0)),
            ("binary", b"\x80\0\0\0\0\0\0\0\0\0\x01\x02", Some(258)),
            ("the largest", b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX as u64)),
            ("larger", b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            ("longer than 64 bits", b"\x80\x01\0\0\0\0\0\0\0\0\0\0", None),
            ("negative", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            ("begun by a tab", b"\t        17\0", None),
            ("not octal", b"00000000018\0", None),
            ("a sign", b"-0000000001\0", None),
            ("digits behind the end", b"000017\0 0017", None),
        ] {
            assert_eq!(octal_or_binary(field), expected, "{case}");
        }
    }

    #[test]
    fn times_are_whole_seconds_of_this_epoch() {
        for (text, expected) in [
            ("1700000000", Some(1_700_000_000)),
            ("1700000000.999", Some(1_700_000_000)),
            ("-1.5", Some(0)),
            ("99999999999", Some(u32::MAX)),
            ("", None),
            ("1e9", None),
            ("1.2.3", None),
            (".5", None),
        ] {
            assert_eq!(decimal_seconds(text.as_bytes()), expected, "{text}");
        }
    }
}
