//! What a token of a profile is good for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use crate::spec::ServerName;

/// The servers, or some of their tools, that a token is good for. As text `notes,github/search,github/get`; empty is everything
/// that the profile has.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct TokenScope(BTreeMap<ServerName, Reach>);

/// How much of one server.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Reach {
    Whole,
    /// Tools by the server's own names, and nothing else that it has.
    Tools(BTreeSet<Box<str>>),
}

/// A text that is no scope of a token.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is no scope of a token; name servers, or tools as SERVER/TOOL")]
pub(crate) struct InvalidTokenScope {
    text: String,
}

impl TokenScope {
    /// Everything that the profile has.
    pub(crate) const WHOLE: Self = Self(BTreeMap::new());

    /// Whether it leaves nothing out.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// How much of a server it is good for.
    pub(crate) fn reach(&self, server: &ServerName) -> Option<&Reach> {
        match self.is_whole() {
            true => Some(&Reach::Whole),
            false => self.0.get(server),
        }
    }

    pub(crate) fn servers(&self) -> impl Iterator<Item = &ServerName> {
        self.0.keys()
    }

    fn add(&mut self, one: &str) -> Option<()> {
        let (server, tool) = match one.split_once('/') {
            Some((server, tool)) => (server, Some(tool)),
            None => (one, None),
        };
        let reach = self.0.entry(server.parse().ok()?);
        match tool {
            // All of it is more than some.
            None => drop(reach.insert_entry(Reach::Whole)),
            Some(tool) if is_tool(tool) => {
                if let Reach::Tools(tools) = reach.or_insert_with(|| Reach::Tools(BTreeSet::new())) {
                    tools.insert(tool.into());
                }
            }
            Some(_) => return None,
        }
        Some(())
    }
}

fn is_tool(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

impl FromStr for TokenScope {
    type Err = InvalidTokenScope;

    fn from_str(text: &str) -> Result<Self, InvalidTokenScope> {
        let mut scope = Self::default();
        if text.len() > MAX_BYTES {
            return Err(InvalidTokenScope { text: format!("{}...", text.chars().take(64).collect::<String>()) });
        }
        if !text.is_empty() {
            for one in text.split(',') {
                scope.add(one).ok_or_else(|| InvalidTokenScope { text: one.to_owned() })?;
            }
        }
        Ok(scope)
    }
}

impl fmt::Display for TokenScope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.iter().flat_map(|(server, reach)| match reach {
            Reach::Whole => vec![server.to_string()],
            Reach::Tools(tools) => tools.iter().map(|tool| format!("{server}/{tool}")).collect(),
        });
        formatter.write_str(&all.collect::<Vec<_>>().join(","))
    }
}

/// So that no row grows without end.
const MAX_BYTES: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_what_it_names() {
        let scope: TokenScope = "notes,github/search,github/get".parse().expect("a scope");
        let tools = Reach::Tools(["get".into(), "search".into()].into());
        let reach = |name: &str| scope.reach(&name.parse().expect("a server name")).cloned();
        assert_eq!((reach("notes"), reach("github"), reach("other")), (Some(Reach::Whole), Some(tools), None));
        assert_eq!(scope.to_string(), "github/get,github/search,notes");
        assert_eq!(scope.to_string().parse(), Ok(scope));
        for both in ["notes,notes/get", "notes/get,notes"] {
            assert_eq!(both.parse::<TokenScope>().expect("a scope").to_string(), "notes", "{both}");
        }
        let whole: TokenScope = "".parse().expect("everything");
        assert!(whole.is_whole() && whole.reach(&"other".parse().expect("a name")) == Some(&Reach::Whole), "twin");
    }

    #[test]
    fn what_names_nothing_is_no_scope() {
        assert!("notes/a.b_c-d".parse::<TokenScope>().is_ok(), "twin");
        for text in [",", "notes,", "notes/", "notes/a b", "/get", "Not a server", "notes/\u{e9}"] {
            assert!(text.parse::<TokenScope>().is_err(), "{text:?}");
        }
        assert!("n,".repeat(5000).parse::<TokenScope>().is_err());
    }
}
