use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::encoding::percent_decoded;
use crate::placeholder::Placeholder;
use crate::refusal::Refusal;
use crate::sink::{Place, Spelling, is_unreserved};

/// The name of a query parameter or form field: unreserved characters of URLs, so that it has one spelling.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct FieldName(Box<str>);

impl FieldName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether some program takes this spelling for the name: escaped, in other case, or as the beginning of an array.
    pub(crate) fn is_read_from(&self, spelled: &str) -> bool {
        let read = percent_decoded(spelled.replace('+', " ").as_bytes());
        let name = read.split(|byte| matches!(byte, b'[' | b'\0')).next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(self.0.as_bytes())
    }
}

impl FromStr for FieldName {
    type Err = InvalidFieldName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = (1..=128).contains(&text.len()) && text.bytes().all(is_unreserved);
        valid.then(|| Self(text.into())).ok_or_else(|| InvalidFieldName { name: text.into() })
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text cannot name a parameter that holds a credential.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{name:?} is not a parameter's name: 1 to 128 letters, digits and -._~")]
pub struct InvalidFieldName {
    name: String,
}

/// A pair of a query or a form, and where its value stands.
pub(crate) struct Field<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: &'a str,
    pub(crate) value_range: Range<usize>,
}

/// Splits `a=1&b=2` as it stands `offset` bytes into a longer text.
pub(crate) fn split(text: &str, offset: usize) -> impl Iterator<Item = Field<'_>> {
    let mut at = offset;
    text.split('&').map(move |pair| {
        let start = at;
        at += pair.len() + 1;
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value_start = start + pair.len() - value.len();
        Field { name, value, value_range: value_start..value_start + value.len() }
    })
}

/// Finds the placeholder as the value of one field. `;` would be a second separator for some programs.
pub(crate) fn find(
    text: &str,
    offset: usize,
    name: &FieldName,
    placeholder: &Placeholder,
) -> Result<Vec<Range<usize>>, Refusal> {
    let named: Vec<_> = split(text, offset).filter(|field| name.is_read_from(field.name)).collect();
    let Some(field) = named.iter().find(|field| field.value.contains(placeholder.as_str())) else {
        return Ok(Vec::new());
    };
    let is_whole = field.value == placeholder.as_str() && field.name == name.as_str();
    if named.len() > 1 || text.contains(';') || !is_whole {
        return Err(Refusal::PlaceholderAmbiguous);
    }
    Ok(vec![field.value_range.clone()])
}

/// Finds the placeholder in a form, and refuses a form that fills the field with something else.
pub(crate) fn find_in_body(body: &[u8], name: &FieldName, placeholder: &Placeholder) -> Result<Vec<Place>, Refusal> {
    // A part of a multipart body that has the field's name: it is filled in the other way only.
    let part = format!("name=\"{name}\"").into_bytes();
    if body.windows(part.len()).any(|window| window.eq_ignore_ascii_case(&part)) {
        return Err(Refusal::AgentCredential);
    }
    if body.starts_with(b"--") {
        return Ok(Vec::new());
    }
    let text = std::str::from_utf8(body).map_err(|_| Refusal::UnscannableRequest)?;
    let found = find(text, 0, name, placeholder)?;
    // For some, a semicolon separates as well.
    let mut fields = text.split(';').flat_map(|part| split(part, 0));
    if found.is_empty() && fields.any(|field| name.is_read_from(field.name) && !field.value.is_empty()) {
        return Err(Refusal::AgentCredential);
    }
    Ok(found.into_iter().map(|range| Place::Body { range, spelling: Spelling::Percent }).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use crate::placeholder::Shape;

    #[test]
    fn a_field_is_filled_only_where_no_program_reads_another() {
        let placeholder = Placeholder::mint(&Shape::opaque());
        let name: FieldName = "key".parse().unwrap();
        for (case, text, expected) in [
            ("alone", "key=P", Ok(Some(4..44))),
            ("among others", "a=1&key=P&b=2", Ok(Some(8..48))),
            ("absent", "a=1", Ok(None)),
            ("no field", "", Ok(None)),
            ("as another field", "a=P", Ok(None)),
            ("EGR-185 in part", "key=xP", Err(Refusal::PlaceholderAmbiguous)),
            ("EGR-177 twice", "key=P&key=evil", Err(Refusal::PlaceholderAmbiguous)),
            ("EGR-177 escaped twin", "k%65y=evil&key=P", Err(Refusal::PlaceholderAmbiguous)),
            ("EGR-177 semicolon", "key=P;key=evil", Err(Refusal::PlaceholderAmbiguous)),
            ("semicolon elsewhere", "key=P&a=1;key=evil", Err(Refusal::PlaceholderAmbiguous)),
            ("itself escaped", "k%65y=P", Err(Refusal::PlaceholderAmbiguous)),
            ("other case", "KEY=evil&key=P", Err(Refusal::PlaceholderAmbiguous)),
            ("array", "key[]=evil&key=P", Err(Refusal::PlaceholderAmbiguous)),
            ("empty twin", "key&key=P", Err(Refusal::PlaceholderAmbiguous)),
        ] {
            let text = text.replace('P', placeholder.as_str());
            let found = find(&text, 0, &name, &placeholder).map(|found| found.into_iter().next());
            assert_eq!(found, expected, "{case}: {text}");
        }
    }

    #[test]
    fn a_form_takes_no_other_credential() {
        let placeholder = Placeholder::mint(&Shape::opaque());
        let name: FieldName = "client_secret".parse().unwrap();
        let body = |text: &str| find_in_body(text.replace('P', placeholder.as_str()).as_bytes(), &name, &placeholder);
        assert_eq!(body("grant=x&client_secret=P").unwrap().len(), 1);
        assert_eq!(body("grant=x").unwrap(), []);
        assert_eq!(body("client_secret=sk-attacker"), Err(Refusal::AgentCredential));
        assert_eq!(body("a=1;client_secret=sk-attacker"), Err(Refusal::AgentCredential));
        let part = "--x\r\nContent-Disposition: form-data; name=\"client_secret\"\r\n\r\nsk-attacker\r\n--x--";
        assert_eq!(body(part), Err(Refusal::AgentCredential));
        assert_eq!(body(&part.replace("client_secret", "file")).unwrap(), [], "twin");
        assert_eq!(find_in_body(b"\xff", &name, &placeholder), Err(Refusal::UnscannableRequest));
    }

    #[test]
    fn names_have_one_spelling() {
        for (text, valid) in
            [("key", true), ("x-api.key_1~", true), ("", false), ("a b", false), ("a=b", false), ("k%65y", false)]
        {
            assert_eq!(text.parse::<FieldName>().is_ok(), valid, "{text:?}");
        }
    }
}
