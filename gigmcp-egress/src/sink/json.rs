use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::placeholder::Placeholder;
use crate::refusal::Refusal;
use crate::sink::{Place, Spelling};

/// Where a string stands in a JSON document (RFC 6901): `/auth/token`, `/0/key`. The whole document is not a place.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct JsonPointer(Vec<Box<str>>);

impl FromStr for JsonPointer {
    type Err = InvalidJsonPointer;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidJsonPointer { pointer: text.into() };
        let inner = text.strip_prefix('/').ok_or_else(invalid)?;
        let mut steps = Vec::new();
        for step in inner.split('/') {
            if step.split('~').skip(1).any(|after| !after.starts_with(['0', '1'])) {
                return Err(invalid());
            }
            steps.push(step.replace("~1", "/").replace("~0", "~").into());
        }
        Ok(Self(steps))
    }
}

impl fmt::Display for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
    }
}

/// The text is not a [`JsonPointer`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{pointer:?} does not point into a JSON document; write the names on the way, such as /auth/token")]
pub struct InvalidJsonPointer {
    pointer: String,
}

/// Finds the placeholder as the string a pointer leads to. Refused: what is not JSON in every reader's eyes, a name on the way
/// that stands twice (also in other case, which some readers do not tell apart), another value in the place.
pub(crate) fn find(body: &[u8], pointer: &JsonPointer, placeholder: &Placeholder) -> Result<Vec<Place>, Refusal> {
    let mut reader = Reader { text: body, at: 0, pointer, found: None, inexact: false };
    reader.blank();
    reader.value(0, Some(0))?;
    reader.blank();
    if reader.at != body.len() {
        return Err(Refusal::UnscannableRequest);
    }
    let Some(range) = reader.found else { return Ok(Vec::new()) };
    match &body[range.clone()] {
        b"null" => Ok(Vec::new()),
        [b'"', inner @ .., b'"'] if !reader.inexact && inner == placeholder.as_str().as_bytes() => {
            Ok(vec![Place::Body { range: range.start + 1..range.end - 1, spelling: Spelling::Json }])
        }
        [b'"', inner @ .., b'"'] if String::from_utf8_lossy(inner).contains(placeholder.as_str()) => {
            Err(Refusal::PlaceholderAmbiguous)
        }
        _ => Err(Refusal::AgentCredential),
    }
}

/// Reads JSON as RFC 8259 has it, only to know where things are.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    pointer: &'a JsonPointer,
    found: Option<Range<usize>>,
    /// A name on the way was spelled in another case, as some readers let it.
    inexact: bool,
}

impl Reader<'_> {
    /// Reads a value. `way` is how many steps of the pointer lead here, if it is on its way.
    fn value(&mut self, depth: usize, way: Option<usize>) -> Result<(), Refusal> {
        let start = self.at;
        match self.peek()? {
            _ if depth > MAX_DEPTH => return Err(Refusal::UnscannableRequest),
            b'{' => self.object(depth, way)?,
            b'[' => self.array(depth, way)?,
            b'"' => drop(self.string()?),
            b't' => self.word(b"true")?,
            b'f' => self.word(b"false")?,
            b'n' => self.word(b"null")?,
            _ => self.number()?,
        }
        if way == Some(self.pointer.0.len()) {
            self.found = Some(start..self.at);
        }
        Ok(())
    }

    fn object(&mut self, depth: usize, way: Option<usize>) -> Result<(), Refusal> {
        self.at += 1;
        let wanted = way.and_then(|way| self.pointer.0.get(way)).cloned();
        let mut seen = 0;
        self.list(b'}', |this, _| {
            let name = this.string()?;
            this.blank();
            this.expect(b':')?;
            this.blank();
            let is_wanted = wanted.as_deref().is_some_and(|wanted| name.eq_ignore_ascii_case(wanted));
            seen += usize::from(is_wanted);
            this.inexact |= is_wanted && wanted.as_deref() != Some(name.as_str());
            this.value(depth + 1, way.filter(|_| is_wanted).map(|way| way + 1))
        })?;
        if seen > 1 { Err(Refusal::PlaceholderAmbiguous) } else { Ok(()) }
    }

    fn array(&mut self, depth: usize, way: Option<usize>) -> Result<(), Refusal> {
        self.at += 1;
        let wanted = way.and_then(|way| self.pointer.0.get(way)).and_then(|step| step.parse::<usize>().ok());
        self.list(b']', |this, index| {
            let next = way.filter(|_| wanted == Some(index)).map(|way| way + 1);
            this.value(depth + 1, next)
        })
    }

    /// Reads items between commas up to `end`.
    fn list(&mut self, end: u8, mut item: impl FnMut(&mut Self, usize) -> Result<(), Refusal>) -> Result<(), Refusal> {
        self.blank();
        if self.peek()? == end {
            self.at += 1;
            return Ok(());
        }
        for index in 0.. {
            self.blank();
            item(self, index)?;
            self.blank();
            if self.peek()? == end {
                break;
            }
            self.expect(b',')?;
        }
        self.expect(end)
    }

    /// Reads a string and gives what it means.
    fn string(&mut self) -> Result<String, Refusal> {
        self.expect(b'"')?;
        let (start, mut escaped) = (self.at, false);
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.at += 1;
                    self.peek()?;
                }
                0..0x20 => return Err(Refusal::UnscannableRequest),
                _ => {}
            }
            self.at += 1;
        }
        let inner = std::str::from_utf8(&self.text[start..self.at]).map_err(|_| Refusal::UnscannableRequest)?;
        self.at += 1;
        if escaped { unescaped(inner).ok_or(Refusal::UnscannableRequest) } else { Ok(inner.to_owned()) }
    }

    fn number(&mut self) -> Result<(), Refusal> {
        let rest = &self.text[self.at..];
        let length =
            rest.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count();
        let digits = rest[..length].strip_prefix(b"-").unwrap_or(&rest[..length]);
        let plain = match digits {
            [b'0', next, ..] => !next.is_ascii_digit(),
            [first, ..] => first.is_ascii_digit(),
            [] => false,
        };
        let parses = std::str::from_utf8(&rest[..length]).is_ok_and(|text| text.parse::<f64>().is_ok());
        self.at += length;
        if plain && parses && !digits.ends_with(b".") { Ok(()) } else { Err(Refusal::UnscannableRequest) }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Refusal> {
        word.iter().try_for_each(|byte| self.expect(*byte))
    }

    fn expect(&mut self, byte: u8) -> Result<(), Refusal> {
        let agrees = self.peek()? == byte;
        self.at += 1;
        if agrees { Ok(()) } else { Err(Refusal::UnscannableRequest) }
    }

    fn peek(&self) -> Result<u8, Refusal> {
        self.text.get(self.at).copied().ok_or(Refusal::UnscannableRequest)
    }

    fn blank(&mut self) {
        let blanks = self.text[self.at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
        self.at += blanks.count();
    }
}

/// Reads the escapes of a string. Halves of surrogate pairs are no text, and no name on a pointer's way.
fn unescaped(inner: &str) -> Option<String> {
    let mut read = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            read.push(char);
            continue;
        }
        read.push(match chars.next()? {
            char @ ('"' | '\\' | '/') => char,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let high = unit(&mut chars)?;
                if let 0xd800..0xdc00 = high {
                    let (Some('\\'), Some('u')) = (chars.next(), chars.next()) else { return None };
                    char::decode_utf16([high, unit(&mut chars)?]).next()?.ok()?
                } else {
                    char::from_u32(u32::from(high))?
                }
            }
            _ => return None,
        });
    }
    Some(read)
}

fn unit(chars: &mut std::str::Chars<'_>) -> Option<u16> {
    let text = chars.as_str().get(..4).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    *chars = chars.as_str()[4..].chars();
    u16::from_str_radix(text, 16).ok()
}

const MAX_DEPTH: usize = 64;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use crate::placeholder::Shape;

    #[test]
    fn a_string_is_filled_only_where_every_reader_finds_it() {
        let placeholder = Placeholder::mint(&Shape::opaque());
        let pointer: JsonPointer = "/auth/token".parse().unwrap();
        let unscannable = Err(Refusal::UnscannableRequest);
        let ambiguous = Err(Refusal::PlaceholderAmbiguous);
        for (case, text, expected) in [
            ("in its place", r#"{"auth":{"token":"P"}}"#, Ok(1)),
            ("with blanks", "{ \"auth\" :\n{ \"x\": [1, -2.5e3, true], \"token\" : \"P\" } }", Ok(1)),
            ("the way escaped", r#"{"\u0061uth":{"token":"P"}}"#, Ok(1)),
            ("elsewhere", r#"{"token":"P"}"#, Ok(0)),
            ("absent", r#"{"auth":{}}"#, Ok(0)),
            ("null", r#"{"auth":{"token":null}}"#, Ok(0)),
            ("another root", "[1]", Ok(0)),
            ("twice", r#"{"auth":{"token":"P","token":"evil"}}"#, ambiguous),
            ("twice on the way", r#"{"auth":{"token":"P"},"auth":{}}"#, ambiguous),
            ("other case", r#"{"auth":{"token":"P","Token":"evil"}}"#, ambiguous),
            ("an escaped twin", r#"{"auth":{"token":"P","t\u006fken":"evil"}}"#, ambiguous),
            ("in another case", r#"{"AUTH":{"token":"P"}}"#, ambiguous),
            (
                "another credential in another case",
                r#"{"AUTH":{"Token":"sk-attacker"}}"#,
                Err(Refusal::AgentCredential),
            ),
            ("in part", r#"{"auth":{"token":"xP"}}"#, ambiguous),
            ("another credential", r#"{"auth":{"token":"sk-attacker"}}"#, Err(Refusal::AgentCredential)),
            ("another kind of value", r#"{"auth":{"token":["P"]}}"#, Err(Refusal::AgentCredential)),
            ("a comma too many", r#"{"auth":{"token":"P"},}"#, unscannable),
            ("text behind", r#"{"auth":{"token":"P"}} x"#, unscannable),
            ("two documents", r#"{"auth":{"token":"P"}}{}"#, unscannable),
            ("a comment", r#"{/**/"auth":{"token":"P"}}"#, unscannable),
            ("single quotes", "{'auth':{'token':'P'}}", unscannable),
            ("a leading zero", r#"{"x":01,"auth":{"token":"P"}}"#, unscannable),
            ("NaN", r#"{"x":NaN,"auth":{"token":"P"}}"#, unscannable),
            ("half a pair", r#"{"\ud800":1,"auth":{"token":"P"}}"#, unscannable),
            ("a line break in a string", "{\"a\nb\":1}", unscannable),
            ("cut", r#"{"auth":{"token":"P"#, unscannable),
            ("empty", "", unscannable),
        ] {
            let text = text.replace('P', placeholder.as_str());
            let found = find(text.as_bytes(), &pointer, &placeholder).map(|found| found.len());
            assert_eq!(found, expected, "{case}: {text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(find(deep.as_bytes(), &pointer, &placeholder), Err(Refusal::UnscannableRequest), "bounded depth");
    }

    #[test]
    fn pointers_are_read_as_rfc_6901_has_them() {
        for (text, valid) in [("/a", true), ("/a~1b/0", true), ("/", true), ("", false), ("a", false), ("/a~2", false)]
        {
            assert_eq!(text.parse::<JsonPointer>().is_ok(), valid, "{text:?}");
        }
        assert_eq!("/a~1b/c~0".parse::<JsonPointer>().unwrap().to_string(), "/a~1b/c~0");
    }

    #[test]
    fn a_pointer_leads_through_arrays() {
        let placeholder = Placeholder::mint(&Shape::opaque());
        let body = format!(r#"[{{"key":1}},{{"key":"{placeholder}"}}]"#);
        assert_eq!(find(body.as_bytes(), &"/1/key".parse().unwrap(), &placeholder).unwrap().len(), 1);
    }
}
