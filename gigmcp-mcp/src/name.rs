//! Names of servers, and the names under which clients see their tools.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};

/// What clients accept at most in a tool's name.
pub const MAX_NAME_LENGTH: usize = 64;

const MAX_SERVER_LENGTH: usize = 40;
const SUFFIX_LENGTH: usize = 6;

/// The name of a server: 1 to 40 of `a-z`, `0-9` and `-`, neither first nor last a `-`.
///
/// There is no `_` in it, so that the first `_` of `<server>_<tool>` always ends it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServerId(Box<str>);

impl ServerId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerId {
    type Err = InvalidServerId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let valid = (1..=MAX_SERVER_LENGTH).contains(&text.len())
            && text.bytes().all(known)
            && !text.starts_with('-')
            && !text.ends_with('-');
        valid.then(|| Self(text.into())).ok_or(InvalidServerId)
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a server's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a server name is 1 to 40 of a-z, 0-9 and -, and neither begins nor ends with -")]
pub struct InvalidServerId;

/// `<server>_<tool>` if every client accepts that.
pub(crate) fn plain(server: &ServerId, tool: &str) -> Option<String> {
    let length = server.0.len() + 1 + tool.len();
    let fits = length <= MAX_NAME_LENGTH && !tool.is_empty() && tool.bytes().all(is_accepted);
    fits.then(|| format!("{server}_{tool}"))
}

/// A name made to fit: unaccepted characters become `_`, the rest is cut, and a digest of the real
/// name keeps two such names apart. `attempt` makes another one, should the name be taken.
pub(crate) fn mended(server: &ServerId, tool: &str, attempt: u32) -> String {
    let mut name = format!("{server}_");
    let room = MAX_NAME_LENGTH - 1 - SUFFIX_LENGTH - name.len();
    name.extend(tool.chars().take(room).map(|character| match u8::try_from(character) {
        Ok(byte) if is_accepted(byte) => character,
        _ => '_',
    }));
    name.push('_');
    let digest = Sha256::new().chain_update(attempt.to_be_bytes()).chain_update(tool).finalize();
    let bits = u64::from(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]));
    for position in 0..SUFFIX_LENGTH {
        let index = (bits >> (5 * position)) & 31;
        name.push(char::from(BASE32[usize::try_from(index).expect("five bits")]));
    }
    name
}

/// The server a client's name leads to, if it can lead to one.
pub(crate) fn server_of(exposed: &str) -> Option<&str> {
    exposed.split_once('_').map(|(server, _)| server)
}

fn is_accepted(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;

    #[test]
    fn only_server_names_without_underscore_are_accepted() {
        for (text, expected) in [
            ("github", true),
            ("a", true),
            ("9-to-5", true),
            (&"a".repeat(40), true),
            (&"a".repeat(41), false),
            ("", false),
            ("git_hub", false),
            ("GitHub", false),
            ("-a", false),
            ("a-", false),
            ("a b", false),
            ("ä", false),
        ] {
            assert_eq!(text.parse::<ServerId>().is_ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn names_that_fit_are_kept_and_others_are_mended() {
        let server: ServerId = "github".parse().unwrap();
        assert_eq!(plain(&server, "list_issues").unwrap(), "github_list_issues");
        assert_eq!(plain(&server, &"t".repeat(57)).unwrap().len(), MAX_NAME_LENGTH);
        for tool in ["", "a.b", "a b", "ünï", "a/b", &"t".repeat(58)] {
            assert_eq!(plain(&server, tool), None, "{tool:?}");
            let name = mended(&server, tool, 0);
            assert!(name.len() <= MAX_NAME_LENGTH, "{name}");
            assert!(name.bytes().all(is_accepted), "{name}");
            assert!(name.starts_with("github_"), "{name}");
            assert_ne!(name, mended(&server, tool, 1));
        }
        // The same on every machine and in every release: clients keep these names.
        assert_eq!(mended(&server, "files.read", 0), "github_files_read_vtcjmp");
    }
}
