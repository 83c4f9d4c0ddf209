//! Hosts that no server is allowed to reach.

use gigmcp_egress::{HostName, InvalidHostName};

/// Names that no manifest may ask for: they and everything below them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denylist(Vec<HostName>);

impl Denylist {
    /// Reads one name a line; `#` and blank lines say nothing.
    ///
    /// # Errors
    /// [`InvalidDenylist`] for the first line that is no name: a list that is not understood is not a list.
    pub fn parse(text: &str) -> Result<Self, InvalidDenylist> {
        let lines = text.lines().map(str::trim).enumerate();
        let names = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let parse = |(index, line): (usize, &str)| {
            let name = line.strip_prefix("*.").unwrap_or(line);
            name.parse().map_err(|source| InvalidDenylist { line: index + 1, source })
        };
        names.map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// The entry because of which `host` is denied. A wildcard is denied for what it would cover, too.
    pub(super) fn denies(&self, host: &str) -> Option<&HostName> {
        let (base, wide) = match host.trim_start_matches('*').strip_prefix('.') {
            Some(base) => (base, true),
            None => (host, false),
        };
        let below =
            |name: &str, base: &str| name == base || name.strip_suffix(base).is_some_and(|rest| rest.ends_with('.'));
        self.0.iter().find(|denied| below(base, denied.as_str()) || wide && below(denied.as_str(), base))
    }
}

impl Default for Denylist {
    /// Places where data is left for anyone to pick up, and names of the inside.
    fn default() -> Self {
        Self::parse(include_str!("denylist.txt")).expect("our own list is one")
    }
}

/// Why a text is not a denylist.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line} of the denylist is not a host name")]
pub struct InvalidDenylist {
    /// The line, from 1.
    pub line: usize,
    /// Why not.
    pub source: InvalidHostName,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_denies_itself_and_what_is_below() {
        let list = Denylist::default();
        for (host, expected) in [
            ("pastebin.com", Some("pastebin.com")),
            ("api.pastebin.com", Some("pastebin.com")),
            ("*.ngrok.io", Some("ngrok.io")),
            ("**.ngrok.io", Some("ngrok.io")),
            ("printer.local", Some("local")),
            ("metadata.google.internal", Some("internal")),
            ("**.google.internal", Some("internal")),
            ("notpastebin.com", None),
            ("pastebin.com.example.org", None),
            ("pastebin.community", None),
            ("{tenant}.example.org", None),
            ("{tenant}.ngrok.io", Some("ngrok.io")),
        ] {
            assert_eq!(list.denies(host).map(HostName::as_str), expected, "{host}");
        }
        let wide = Denylist::parse("evil.example.org\n").expect("a list");
        assert!(wide.denies("*.example.org").is_some(), "a wildcard that covers a denied name");
        assert!(wide.denies("www.example.org").is_none());
        let invalid = Denylist::parse("# names\na.example\nhttps://b.example\n");
        assert_eq!(invalid.map_err(|invalid| invalid.line), Err(3));
    }
}
