//! Names that servers, tools and credentials go by.

use std::fmt;
use std::str::FromStr;

/// The name of a server: 1 to 32 lower-case letters, digits and inner hyphens.
///
/// It is the prefix of its tools (`<server>_<tool>`), hence no underscore and a length that leaves room for the tool.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServerName(Box<str>);

impl ServerName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerName {
    type Err = InvalidServerName;

    fn from_str(text: &str) -> Result<Self, InvalidServerName> {
        let valid = text.len() <= 32 && is_label(text);
        valid.then(|| Self(text.into())).ok_or(InvalidServerName)
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text cannot name a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a server name is 1 to 32 lower-case letters, digits and inner hyphens")]
pub struct InvalidServerName;

/// The name of a tool as its server knows it: 1 to 64 ASCII letters, digits, `_`, `-` and `.`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ToolName(Box<str>);

impl ToolName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ToolName {
    type Err = InvalidToolName;

    fn from_str(text: &str) -> Result<Self, InvalidToolName> {
        is_word(text).then(|| Self(text.into())).ok_or(InvalidToolName)
    }
}

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text cannot name a tool.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a tool name is 1 to 64 letters, digits, `_`, `-` and `.`")]
pub struct InvalidToolName;

/// Which of a server's credentials: 1 to 64 ASCII letters, digits, `_`, `-` and `.`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CredentialId(Box<str>);

impl CredentialId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CredentialId {
    type Err = InvalidCredentialId;

    fn from_str(text: &str) -> Result<Self, InvalidCredentialId> {
        is_word(text).then(|| Self(text.into())).ok_or(InvalidCredentialId)
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text cannot be the id of a credential.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a credential id is 1 to 64 letters, digits, `_`, `-` and `.`")]
pub struct InvalidCredentialId;

/// `^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
pub(crate) fn is_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().all(|byte| plain(byte) || byte == b'-')
        && text.bytes().next().is_some_and(plain)
        && text.bytes().last().is_some_and(plain)
}

fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_names() {
        let longest = "a".repeat(32);
        let too_long = "a".repeat(33);
        for (text, valid) in [
            ("github", true),
            ("a", true),
            ("7", true),
            ("acme-notes", true),
            ("a--b", true),
            (longest.as_str(), true),
            (too_long.as_str(), false),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("a_b", false),
            ("GitHub", false),
            ("a.b", false),
            ("a/b", false),
            ("gïthub", false),
            ("a\n", false),
        ] {
            assert_eq!(text.parse::<ServerName>().err(), (!valid).then_some(InvalidServerName), "{text:?}");
        }
    }

    #[test]
    fn tool_names_and_credential_ids() {
        let (longest, too_long) = ("a".repeat(64), "a".repeat(65));
        for (text, valid) in [
            ("get_note", true),
            ("Get.Note-2", true),
            (longest.as_str(), true),
            (too_long.as_str(), false),
            ("", false),
            ("get note", false),
            ("get/note", false),
            ("nöte", false),
            ("note\u{200b}", false),
        ] {
            assert_eq!(text.parse::<ToolName>().err(), (!valid).then_some(InvalidToolName), "{text:?}");
            assert_eq!(text.parse::<CredentialId>().err(), (!valid).then_some(InvalidCredentialId), "{text:?}");
        }
    }
}
