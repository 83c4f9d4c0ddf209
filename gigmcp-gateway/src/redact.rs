//! What a server must not be able to show, taken out of what it writes beside the protocol.

use std::{borrow::Cow, fmt, sync::Arc};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use gigmcp_mcp::safe_text;
use zeroize::Zeroizing;

/// Knows the placeholders of one running server, and the credentials that it holds itself.
#[derive(Clone, Default)]
pub(crate) struct Redactor(Arc<[Known]>);

/// One spelling of one value.
struct Known {
    value: Zeroizing<String>,
    /// What stands in its place.
    name: String,
}

impl Redactor {
    /// Of a server whose environment holds these.
    pub(crate) fn new(environment: &[(String, String)]) -> Self {
        let mut known = Vec::new();
        for (variable, value) in environment.iter().filter(|(_, value)| value.len() >= SHORTEST) {
            let spellings =
                [value.clone(), STANDARD_NO_PAD.encode(value), URL_SAFE_NO_PAD.encode(value), escaped(value)];
            let name = format!("[value of {variable}]");
            known.extend(spellings.map(|value| Known { value: Zeroizing::new(value), name: name.clone() }));
        }
        // One value may be the beginning of another.
        known.sort_by_key(|known| std::cmp::Reverse(known.value.len()));
        Self(known.into())
    }

    /// A line as it may go to a log or a client.
    pub(crate) fn line(&self, line: &str) -> String {
        let mut line = safe_text(line);
        for Known { value, name } in &*self.0 {
            if line.contains(&**value) {
                line = Cow::Owned(line.replace(&**value, name));
            }
        }
        // A line that was cut may end in the middle of one.
        for Known { value, name } in &*self.0 {
            if let Some(begin) = beginning(&line, value) {
                line = Cow::Owned(format!("{}{name}", &line[..begin]));
            }
        }
        line.into_owned()
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("values", &self.0.len()).finish()
    }
}

/// Where the line's end begins that is also how the value begins, if that tells something of it.
fn beginning(line: &str, value: &str) -> Option<usize> {
    let longest = value.len().min(line.len());
    let ends = (SHORTEST..=longest).rev().filter(|length| value.is_char_boundary(*length));
    ends.map(|length| (length, &value[..length]))
        .find(|(_, head)| line.ends_with(head))
        .map(|(length, _)| line.len() - length)
}

/// As in an address.
fn escaped(value: &str) -> String {
    value.bytes().fold(String::new(), |mut all, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => all.push(byte.into()),
            _ => all += &format!("%{byte:02X}"),
        }
        all
    })
}

/// Less than this is no credential, and stands in many words.
const SHORTEST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_holds_is_not_in_what_it_writes() {
        let known = Redactor::new(&[
            ("API_KEY".to_owned(), "key-0123456789+/x".to_owned()),
            ("LONGER".to_owned(), "key-0123456789+/x-and-more".to_owned()),
            ("DEBUG".to_owned(), "true".to_owned()),
        ]);
        for (case, line, expected) in [
            ("as it is", "401 for key-0123456789+/x!", "401 for [value of API_KEY]!"),
            ("twice", "key-0123456789+/x key-0123456789+/x", "[value of API_KEY] [value of API_KEY]"),
            ("one that begins like it", "key-0123456789+/x-and-more", "[value of LONGER]"),
            ("in an address", "GET /?k=key-0123456789%2B%2Fx&a=1", "GET /?k=[value of API_KEY]&a=1"),
            ("in base64", "Basic a2V5LTAxMjM0NTY3ODkrL3g=", "Basic [value of API_KEY]="),
            ("cut", "header: key-012345", "header: [value of LONGER]"),
            ("with what nobody sees in it", "key-0123\u{200b}456789+/x", "[value of API_KEY]"),
            ("a short value is a word", "debug is true", "debug is true"),
            ("something else", "key-9876543210", "key-9876543210"),
            ("colours", "\u{1b}[31mred\u{1b}[0m", "red"),
        ] {
            assert_eq!(known.line(line), expected, "{case}");
        }
        assert_eq!(Redactor::default().line("key-0123456789+/x"), "key-0123456789+/x", "nothing is known of another");
        assert_eq!(format!("{known:?}"), "Redactor { values: 8 }");
    }
}
