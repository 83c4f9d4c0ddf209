//! `Forwarded` (RFC 7239).

use std::net::IpAddr;

use super::{Scheme, address};
use crate::front::refused::Refused;

/// What one proxy says.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Element {
    /// Who asked it: `for`.
    pub(super) by_whom: IpAddr,
    pub(super) scheme: Option<Scheme>,
    pub(super) host: Option<String>,
}

/// Reads the whole list. Names that hide an address are refused: whoever trusts a proxy wants to know the client.
pub(super) fn parse(text: &str) -> Result<Vec<Element>, Refused> {
    let elements = split(text, ',')?;
    elements.into_iter().map(str::trim).filter(|element| !element.is_empty()).map(element).collect()
}

fn element(text: &str) -> Result<Element, Refused> {
    let (mut by_whom, mut scheme, mut host) = (None, None, None);
    for pair in split(text, ';')? {
        let (name, value) = pair.trim().split_once('=').ok_or(UNCLEAR)?;
        let value = unquoted(value)?;
        let again = match name.to_ascii_lowercase().as_str() {
            "for" => by_whom.replace(address(&value).ok_or(HIDDEN)?).is_some(),
            "proto" => scheme.replace(value.parse()?).is_some(),
            "host" => host.replace(value).is_some(),
            "by" => false,
            name if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => false,
            _ => return Err(UNCLEAR),
        };
        if again {
            return Err(UNCLEAR);
        }
    }
    Ok(Element { by_whom: by_whom.ok_or(HIDDEN)?, scheme, host })
}

/// The parts between separators that do not stand in quotes.
fn split(text: &str, separator: char) -> Result<Vec<&str>, Refused> {
    let (mut parts, mut from, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if character == separator && !quoted => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    if quoted { Err(UNCLEAR) } else { Ok(parts) }
}

fn unquoted(text: &str) -> Result<String, Refused> {
    let Some(rest) = text.strip_prefix('"') else {
        let token = !text.is_empty() && !text.contains(['"', '\\', ' ', '\t', '[', ']', ':']);
        return token.then(|| text.to_owned()).ok_or(UNCLEAR);
    };
    let inner = rest.strip_suffix('"').ok_or(UNCLEAR)?;
    // No address, protocol or host needs an escape.
    if inner.contains(['"', '\\']) { Err(UNCLEAR) } else { Ok(inner.to_owned()) }
}

const UNCLEAR: Refused = Refused::Forwarded("Forwarded is not what RFC 7239 says\n");
const HIDDEN: Refused = Refused::Forwarded("Forwarded does not tell the client's address\n");
