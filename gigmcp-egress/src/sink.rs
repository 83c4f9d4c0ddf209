//! Where a credential stands in a request. Each kind of place owns how it is found, what would make it ambiguous, and how
//! the secret is written there.

pub(crate) mod fields;
pub(crate) mod header;
pub(crate) mod json;
pub(crate) mod signed;
pub(crate) mod target;

use std::ops::Range;
use std::sync::Arc;

use http::HeaderName;
use http::header::{AUTHORIZATION, CONTENT_TYPE};

use crate::placeholder::Placeholder;
use crate::refusal::Refusal;
use crate::request::{ValidRequest, read_otherwise};
use crate::secret::{SecretString, UnusableSecret};
use crate::signer::Signer;
use fields::FieldName;
use header::{BasicPart, HeaderFormat, Slot};
use json::JsonPointer;

/// The place of a credential in a request. The sandbox writes the placeholder there; only there it becomes the secret.
/// None of them is ever filled in clear text.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Sink {
    /// A header value: the placeholder alone, after one authentication scheme (`Bearer P`), or as user or password of
    /// `Basic`.
    Header {
        /// The header, or any of [`CREDENTIAL_HEADERS`](crate::CREDENTIAL_HEADERS).
        name: Option<HeaderName>,
    },
    /// A header value of a fixed form, such as `Token token="P"`.
    HeaderFormat {
        /// The header.
        name: HeaderName,
        /// The form.
        format: HeaderFormat,
    },
    /// `Authorization: Bearer P`, nothing else.
    Bearer,
    /// `Authorization: Basic`, encoded by us.
    Basic(BasicPart),
    /// The value of a query parameter.
    Query(FieldName),
    /// A segment of the path, behind a fixed beginning that may be empty: Telegram's `/bot<token>/` has `bot`.
    PathSegment {
        /// What stands before the placeholder in its segment.
        prefix: String,
    },
    /// The value of a field of an `application/x-www-form-urlencoded` body.
    Form(FieldName),
    /// A string in a JSON body.
    Json(JsonPointer),
    /// A signature over the request, made with the secret, which itself does not travel.
    Signed(Arc<dyn Signer>),
}

/// One occurrence of a placeholder in its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// A header value, which is written anew.
    Header { name: HeaderName, slot: Slot },
    /// A piece of the target.
    Target { range: Range<usize>, spelling: Spelling },
    /// A piece of the body.
    Body { range: Range<usize>, spelling: Spelling },
    /// These headers, which a signer writes anew.
    Signature { headers: Vec<HeaderName> },
}

/// How a secret is spelled where it is written into a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Spelling {
    /// All but unreserved characters as `%XX`.
    Percent,
    /// As a path segment: all but `pchar` (RFC 3986, section 3.3) as `%XX`.
    Segment,
    /// Inside the quotes of a JSON string.
    Json,
}

impl Sink {
    /// The occurrences in the head of a request.
    ///
    /// # Errors
    /// If the place is there more than once, or spelled so that programs disagree whether it is.
    pub(crate) fn find_in_head(
        &self,
        request: &ValidRequest,
        placeholder: &Placeholder,
    ) -> Result<Vec<Place>, Refusal> {
        match self {
            Self::Header { name } => header::find(request, name.as_ref(), placeholder, header::parse),
            Self::HeaderFormat { name, format } => {
                header::find(request, Some(name), placeholder, |_, value, placeholder| format.parse(value, placeholder))
            }
            Self::Bearer => header::find(request, Some(&AUTHORIZATION), placeholder, header::parse_bearer),
            Self::Basic(part) => header::find(request, Some(&AUTHORIZATION), placeholder, |_, value, placeholder| {
                part.parse(value, placeholder)
            }),
            Self::Query(name) => target::find_in_query(&request.target, name, placeholder),
            Self::PathSegment { prefix } => target::find_in_path(&request.target, prefix, placeholder),
            Self::Signed(signer) => signed::find(&**signer, request, placeholder),
            Self::Form(_) | Self::Json(_) => Ok(Vec::new()),
        }
    }

    /// Whether the place may be in the body of this request, so that the body has to be read before anything is sent.
    pub(crate) fn reads_body(&self, request: &ValidRequest) -> bool {
        let essence = content_type(request).to_ascii_lowercase();
        // Where a body does not say what it is, servers guess.
        match self {
            Self::Form(_) => essence.is_empty() || FORMS.contains(&&*essence),
            Self::Json(_) => essence.is_empty() || essence.contains("json"),
            Self::Signed(signer) => signer.reads_body(),
            Self::Header { .. }
            | Self::HeaderFormat { .. }
            | Self::Bearer
            | Self::Basic(_)
            | Self::Query(_)
            | Self::PathSegment { .. } => false,
        }
    }

    /// The occurrences in the body of a request for which [`Sink::reads_body`] holds.
    ///
    /// # Errors
    /// If the place is there more than once, holds something else, or the body cannot be read.
    pub(crate) fn find_in_body(&self, body: &[u8], placeholder: &Placeholder) -> Result<Vec<Place>, Refusal> {
        match self {
            Self::Form(name) => fields::find_in_body(body, name, placeholder),
            Self::Json(pointer) => json::find(body, pointer, placeholder),
            Self::Header { .. }
            | Self::HeaderFormat { .. }
            | Self::Bearer
            | Self::Basic(_)
            | Self::Query(_)
            | Self::PathSegment { .. }
            | Self::Signed(_) => Ok(Vec::new()),
        }
    }

    /// Whether this header belongs to the place, so that a host of the credential takes it from nobody else. So does one that
    /// some program reads as it.
    pub(crate) fn owns_header(&self, name: &HeaderName) -> bool {
        let read = |name: &HeaderName| read_otherwise(name).unwrap_or_else(|| name.as_str().to_owned());
        match self {
            Self::Header { name: Some(own) } | Self::HeaderFormat { name: own, .. } => {
                own == name || read(own) == read(name)
            }
            Self::Header { name: None }
            | Self::Bearer
            | Self::Basic(_)
            | Self::Query(_)
            | Self::PathSegment { .. }
            | Self::Form(_)
            | Self::Json(_)
            | Self::Signed(_) => false,
        }
    }

    /// Whether this parameter is the place.
    pub(crate) fn is_parameter(&self, name: &FieldName) -> bool {
        matches!(self, Self::Query(own) if own.is_read_from(name.as_str()))
    }

    /// Whether the target holds, in this place, a credential that is not ours.
    pub(crate) fn is_filled_in_target(&self, target: &str) -> bool {
        match self {
            Self::Query(name) => target::has_parameter(target, name),
            Self::PathSegment { prefix } => target::has_long_segment(target, prefix),
            _ => false,
        }
    }
}

/// Programs read fields from both.
const FORMS: &[&str] = &["application/x-www-form-urlencoded", "multipart/form-data"];

fn content_type(request: &ValidRequest) -> &str {
    let value = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

impl Spelling {
    /// The secret as it stands in the text.
    ///
    /// # Errors
    /// If it is not visible ASCII of a sensible length.
    pub(crate) fn spell(self, secret: &SecretString, into: &mut Vec<u8>) -> Result<(), UnusableSecret> {
        secret.check()?;
        for byte in secret.expose().bytes() {
            match self {
                Self::Percent if is_unreserved(byte) => into.push(byte),
                Self::Segment if is_unreserved(byte) || b"!$&'()*+,;=:@".contains(&byte) => into.push(byte),
                Self::Percent | Self::Segment => into.extend(format!("%{byte:02X}").bytes()),
                Self::Json if matches!(byte, b'"' | b'\\') => into.extend([b'\\', byte]),
                Self::Json => into.push(byte),
            }
        }
        Ok(())
    }
}

/// RFC 3986, section 2.3.
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// A text with secrets written over ranges of it.
///
/// # Errors
/// If a secret cannot stand there.
pub(crate) fn fill<'a>(
    text: &[u8],
    pieces: impl IntoIterator<Item = (&'a Range<usize>, Spelling, &'a SecretString)>,
) -> Result<Vec<u8>, UnusableSecret> {
    let mut pieces: Vec<_> = pieces.into_iter().collect();
    pieces.sort_by_key(|(range, ..)| range.start);
    let (mut filled, mut copied) = (Vec::with_capacity(text.len() + 256), 0);
    for (range, spelling, secret) in pieces {
        filled.extend_from_slice(&text[copied..range.start]);
        spelling.spell(secret, &mut filled)?;
        copied = range.end;
    }
    filled.extend_from_slice(&text[copied..]);
    Ok(filled)
}

/// A text with a line break in place of each range, so that the rest can be searched and no neighbours grow together.
pub(crate) fn without<'a>(text: &[u8], ranges: impl IntoIterator<Item = &'a Range<usize>>) -> Vec<u8> {
    let mut ranges: Vec<_> = ranges.into_iter().collect();
    ranges.sort_by_key(|range| range.start);
    let (mut rest, mut copied) = (Vec::with_capacity(text.len()), 0);
    for range in ranges {
        rest.extend_from_slice(&text[copied..range.start]);
        rest.push(b'\n');
        copied = range.end;
    }
    rest.extend_from_slice(&text[copied..]);
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_spelled_as_its_place_wants_it() {
        let secret = SecretString::new(r#"a+b/c"d\e:f%g"#);
        for (spelling, expected) in [
            (Spelling::Percent, "a%2Bb%2Fc%22d%5Ce%3Af%25g"),
            (Spelling::Segment, "a+b%2Fc%22d%5Ce:f%25g"),
            (Spelling::Json, r#"a+b/c\"d\\e:f%g"#),
        ] {
            let mut spelled = Vec::new();
            spelling.spell(&secret, &mut spelled).expect("it is visible ASCII");
            assert_eq!(String::from_utf8_lossy(&spelled), expected);
        }
        let broken = Spelling::Json.spell(&SecretString::new("a\r\nb-012345"), &mut Vec::new());
        assert_eq!(broken, Err(UnusableSecret::NotVisibleAscii), "EGR-190");
    }

    #[test]
    fn ranges_are_replaced_and_left_out() {
        let (one, two) = (SecretString::new("11111111"), SecretString::new("22222222"));
        let pieces = [(&(4..5), Spelling::Percent, &two), (&(0..1), Spelling::Percent, &one)];
        assert_eq!(fill(b"a&b&c!", pieces).expect("usable"), b"11111111&b&22222222!");
        assert_eq!(without(b"a&b&c!", [&(4..5), &(0..1)]), b"\n&b&\n!");
    }
}
