use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::scan::CRLF;
use crate::refusal::Refusal;

/// Reads the field lines of a block that [`Scan`](super::scan::Scan) found the end of, from `start` to the empty line.
///
/// Values are slices of the block and are not copied. Every field line becomes an entry: nothing is merged or replaced, so
/// that whoever asks for the one `Host` sees when there are two.
pub(super) fn read(block: &Bytes, start: usize, max_fields: usize) -> Result<HeaderMap, Refusal> {
    let mut fields = HeaderMap::with_capacity(TYPICAL_FIELDS.min(max_fields));
    let mut at = start;
    while let Some(length) = line_length(&block[at..]).filter(|length| *length > 0) {
        if fields.len() == max_fields {
            return Err(Refusal::HeadTooLarge);
        }
        let (name, value) = field(block, at, at + length)?;
        fields.try_append(name, value).map_err(|_| Refusal::HeadTooLarge)?;
        at += length + CRLF;
    }
    Ok(fields)
}

/// The bytes before the next line end. A CR is never anything else here.
pub(super) fn line_length(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\r')
}

/// A name, a colon at once, a value. A blank in front of either would be a continuation of the line before, or a name that
/// some programs trim (RFC 9112, sections 5.1 and 5.2).
fn field(block: &Bytes, start: usize, end: usize) -> Result<(HeaderName, HeaderValue), Refusal> {
    let line = &block[start..end];
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Refusal::Header)?;
    let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| Refusal::Header)?;
    let behind = &line[colon + 1..];
    let value = trimmed(behind);
    // Programs trim differently, so where a request goes and ends is written in the one usual way.
    let exact = behind.strip_prefix(b" ").unwrap_or(behind).len() == value.len();
    if !exact && name == HOST {
        return Err(Refusal::HostNotCanonical);
    }
    if !exact && (name == CONTENT_LENGTH || name == TRANSFER_ENCODING) {
        return Err(Refusal::Framing);
    }
    let value = HeaderValue::from_maybe_shared(block.slice_ref(value)).map_err(|_| Refusal::Header)?;
    Ok((name, value))
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let inside = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let start = bytes.iter().position(inside).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(inside).map_or(start, |last| last + 1);
    &bytes[start..end]
}

const TYPICAL_FIELDS: usize = 16;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_a_token_a_colon_and_a_value() {
        for (case, line, expected) in [
            ("plain", "X-A: b", Ok(("x-a", "b"))),
            ("G15 any case", "x-A: b", Ok(("x-a", "b"))),
            ("without blank", "X-A:b", Ok(("x-a", "b"))),
            ("blanks around", "X-A: \t b \t", Ok(("x-a", "b"))),
            ("tab and colon inside", "X-A: b\tc:d", Ok(("x-a", "b\tc:d"))),
            ("empty value", "X-A:", Ok(("x-a", ""))),
            ("host", "Host: a.test", Ok(("host", "a.test"))),
            ("length", "Content-Length:5", Ok(("content-length", "5"))),
            ("EGR-014 host with a blank behind", "Host: a.test ", Err(Refusal::HostNotCanonical)),
            ("EGR-014 host with a tab before", "Host:\ta.test", Err(Refusal::HostNotCanonical)),
            ("EGR-113 length with a blank behind", "Content-Length: 5 ", Err(Refusal::Framing)),
            ("length with two blanks before", "Content-Length:  5", Err(Refusal::Framing)),
            ("coding with a tab before", "Transfer-Encoding:\tchunked", Err(Refusal::Framing)),
            ("EGR-116 blank before the colon", "Transfer-Encoding : chunked", Err(Refusal::Header)),
            ("EGR-116 tab in a name", "Transfer\t-Encoding: chunked", Err(Refusal::Header)),
            ("EGR-116 blank before the name", " X-A: b", Err(Refusal::Header)),
            ("EGR-117 continuation", "\tb", Err(Refusal::Header)),
            ("no colon", "X-A", Err(Refusal::Header)),
            ("no name", ": b", Err(Refusal::Header)),
            ("bracket in a name", "X(A: b", Err(Refusal::Header)),
            ("raw UTF-8 in a name", "X-ä: b", Err(Refusal::Header)),
        ] {
            let block = Bytes::from(format!("{line}\r\n\r\n"));
            let read = read(&block, 0, 10).map(|fields| {
                let (name, value) = fields.iter().next().unwrap();
                (name.as_str().to_owned(), String::from_utf8(value.as_bytes().to_vec()).unwrap())
            });
            let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(read, expected, "{case}: {line:?}");
        }
    }

    #[test]
    fn every_line_is_an_entry_and_they_are_counted() {
        let block = Bytes::from_static(b"A: 1\r\nB: 2\r\nA: 1\r\n\r\n");
        let fields = read(&block, 0, 3).unwrap();
        assert_eq!(fields.get_all("a").iter().count(), 2);
        assert_eq!(read(&block, 0, 2), Err(Refusal::HeadTooLarge));
    }
}
