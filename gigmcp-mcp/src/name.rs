//! Names of servers, and the names under which clients see their tools.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    str::FromStr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What clients accept at most in a tool's name.
pub const MAX_NAME_LENGTH: usize = 64;

const MAX_SERVER_LENGTH: usize = 40;
const SUFFIX_LENGTH: usize = 6;
/// Characters of a tool's own name that are kept, however little room there is.
const LEAST_OF_OWN: usize = 8;

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

/// A name under which clients see a tool or prompt because its owner wants it so: 1 to 64 of `A-Z`, `a-z`, `0-9`, `_` and `-`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExposedName(Box<str>);

impl ExposedName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExposedName {
    type Err = InvalidExposedName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = (1..=MAX_NAME_LENGTH).contains(&text.len()) && text.bytes().all(is_accepted);
        valid.then(|| Self(text.into())).ok_or(InvalidExposedName)
    }
}

impl TryFrom<String> for ExposedName {
    type Error = InvalidExposedName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ExposedName> for String {
    fn from(name: ExposedName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for ExposedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is no name that every client accepts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a name that clients see is 1 to 64 of A-Z, a-z, 0-9, _ and -")]
pub struct InvalidExposedName;

/// How the tools and prompts of one server are named.
#[derive(Clone, Debug)]
pub(crate) struct Naming {
    server: ServerId,
    /// Longest name; what clients put in front of it is not counted here any more.
    budget: usize,
    /// What its owner calls a tool or prompt, by the server's own name.
    aliases: BTreeMap<Box<str>, ExposedName>,
    /// What the owner calls anything of any server; nothing else may be called so.
    reserved: Arc<HashSet<Box<str>>>,
}

impl Naming {
    /// `<server>_<tool>` for everything.
    pub(crate) fn of(server: &ServerId) -> Self {
        let (aliases, reserved) = (BTreeMap::new(), Arc::default());
        Self { server: server.clone(), budget: MAX_NAME_LENGTH, aliases, reserved }
    }

    /// The same beside these aliases of this server and names of all, and behind a prefix of the client's of this length.
    pub(crate) fn with(
        mut self,
        aliases: BTreeMap<Box<str>, ExposedName>,
        reserved: Arc<HashSet<Box<str>>>,
        client_prefix: usize,
    ) -> Self {
        // However long the client's prefix is, something of the tool's own name has to be left.
        let least = (self.server.0.len() + 2 + SUFFIX_LENGTH + LEAST_OF_OWN).min(MAX_NAME_LENGTH);
        self.budget = MAX_NAME_LENGTH.saturating_sub(client_prefix).max(least);
        (self.aliases, self.reserved) = (aliases, reserved);
        self
    }

    /// The name that is sure: an alias, or `<server>_<tool>` if every client accepts that and it is nobody's alias.
    pub(crate) fn plain(&self, tool: &str) -> Option<String> {
        if let Some(alias) = self.aliases.get(tool) {
            return Some(alias.to_string());
        }
        let name = format!("{}_{tool}", self.server);
        let fits = name.len() <= self.budget && !tool.is_empty() && tool.bytes().all(is_accepted);
        (fits && !self.reserved.contains(&*name)).then_some(name)
    }

    /// A name made to fit: unaccepted characters become `_`, the rest is cut, and a digest of the real
    /// name keeps two such names apart. `attempt` makes another one, should the name be taken.
    pub(crate) fn mended(&self, tool: &str, attempt: u32) -> String {
        let mut name = format!("{}_", self.server);
        let room = self.budget - 1 - SUFFIX_LENGTH - name.len();
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

    /// The server's own name without a prefix, if it can stand alone: no alias, and nothing that looks like one of a server.
    pub(crate) fn bare<'a>(&self, tool: &'a str, is_server: impl Fn(&str) -> bool) -> Option<&'a str> {
        let fits = !tool.is_empty() && tool.len() <= self.budget && tool.bytes().all(is_accepted);
        let alone = !self.aliases.contains_key(tool) && !self.reserved.contains(tool);
        (fits && alone && !server_of(tool).is_some_and(is_server)).then_some(tool)
    }

    /// Whether a name can be given to something that has none which is sure.
    pub(crate) fn is_free(&self, name: &str) -> bool {
        !self.reserved.contains(name)
    }
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
        let naming = Naming::of(&"github".parse().unwrap());
        assert_eq!(naming.plain("list_issues").unwrap(), "github_list_issues");
        assert_eq!(naming.plain(&"t".repeat(57)).unwrap().len(), MAX_NAME_LENGTH);
        for tool in ["", "a.b", "a b", "ünï", "a/b", &"t".repeat(58)] {
            assert_eq!(naming.plain(tool), None, "{tool:?}");
            let name = naming.mended(tool, 0);
            assert!(name.len() <= MAX_NAME_LENGTH, "{name}");
            assert!(name.bytes().all(is_accepted), "{name}");
            assert!(name.starts_with("github_"), "{name}");
            assert_ne!(name, naming.mended(tool, 1));
        }
        // The same on every machine and in every release: clients keep these names.
        assert_eq!(naming.mended("files.read", 0), "github_files_read_vtcjmp");
    }

    #[test]
    fn what_clients_put_in_front_is_counted_and_something_of_the_name_is_always_left() {
        let server: ServerId = "github".parse().unwrap();
        for (client_prefix, longest) in [(0, 64), (13, 51), (50, 22), (1000, 22)] {
            let naming = Naming::of(&server).with(BTreeMap::new(), Arc::default(), client_prefix);
            assert_eq!(naming.plain(&"t".repeat(longest - 7)).map(|name| name.len()), Some(longest));
            assert_eq!(naming.plain(&"t".repeat(longest - 6)), None);
            assert_eq!(naming.mended(&"t".repeat(100), 0).len(), longest);
        }
        let server: ServerId = "s".repeat(40).parse().unwrap();
        assert_eq!(
            Naming::of(&server).with(BTreeMap::new(), Arc::default(), 60).mended(&"t".repeat(100), 0).len(),
            40 + 2 + 8 + 6
        );
    }

    #[test]
    fn an_alias_is_the_name_and_nobody_elses() {
        let own = BTreeMap::from([("say".into(), "other_greet".parse::<ExposedName>().unwrap())]);
        let reserved: Arc<HashSet<Box<str>>> = Arc::new(HashSet::from(["other_greet".into()]));
        let naming = Naming::of(&"test".parse().unwrap()).with(own, Arc::clone(&reserved), 0);
        assert_eq!(naming.plain("say").as_deref(), Some("other_greet"));
        assert_eq!(naming.plain("do").as_deref(), Some("test_do"));
        let other = Naming::of(&"other".parse().unwrap()).with(BTreeMap::new(), reserved, 0);
        assert_eq!(other.plain("greet"), None, "the owner has given that name to another one");
        assert_eq!(other.plain("greets").as_deref(), Some("other_greets"), "the twin");
    }

    #[test]
    fn a_name_stands_alone_if_nothing_else_could_be_meant() {
        let aliases = BTreeMap::from([("say".into(), "greet".parse::<ExposedName>().unwrap())]);
        let reserved: Arc<HashSet<Box<str>>> = Arc::new(HashSet::from(["greet".into()]));
        let naming = Naming::of(&"test".parse().unwrap()).with(aliases, reserved, 0);
        let bare = |tool| naming.bare(tool, |server| server == "github");
        assert_eq!(bare("read_file"), Some("read_file"));
        for tool in ["", "say", "greet", "github_read", "read.file", &"t".repeat(65)] {
            assert_eq!(bare(tool), None, "{tool}");
        }
    }

    #[test]
    fn only_names_that_every_client_accepts_can_be_given() {
        for (text, expected) in [
            ("greet", true),
            ("A-b_9", true),
            (&"a".repeat(64), true),
            (&"a".repeat(65), false),
            ("", false),
            ("a.b", false),
        ] {
            assert_eq!(text.parse::<ExposedName>().is_ok(), expected, "{text}");
        }
    }
}
