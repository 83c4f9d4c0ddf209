//! Under which URIs clients know the skills of a server, and what else is called so: `skill://PATH` of the server `docs` is
//! `skill://docs/PATH`, and any other `URI` is `docs+URI`. What begins with a server's name leads to that server alone, whoever
//! else lists something under it.

use std::{cell::Cell, sync::Arc};

use super::{
    Aggregator,
    backend::Entry,
    hub::{Hub, prefixed},
    offer::Offer,
};
use crate::catalogue::TooLong;

/// The URI under which clients know a skill, or a file of one.
pub(super) fn exposed(server: &str, own: &str) -> String {
    match own.strip_prefix(SCHEME) {
        Some(path) => format!("{SCHEME}{server}/{path}"),
        None => prefixed(server, own),
    }
}

/// Whether a server's own URI could be taken for one that has a server's name in it: of one that `is_server`, or before the `+`,
/// where `git+ssh` is a scheme too, of one that `has_others`: skills of which the URI is no `skill://`, or what the rest
/// names. Schemes and hosts are the same in capital letters, and nobody else writes them in digits.
pub(super) fn is_misleading(
    uri: &str,
    is_server: impl Fn(&str) -> bool,
    has_others: impl Fn(&str, &str) -> bool,
) -> bool {
    if uri.split_once('+').is_some_and(|(name, rest)| has_others(name, rest)) {
        return true;
    }
    let Some((scheme, path)) = uri.split_at_checked(SCHEME.len()) else { return false };
    let first = path.split(['/', '?', '#']).next().unwrap_or_default();
    let host = first.to_ascii_lowercase();
    scheme.eq_ignore_ascii_case(SCHEME) && (host.contains(['%', '@', ':']) || is_server(&host))
}

impl Entry {
    /// Whether one of its skills has another URI than `skill://`. What nobody has agreed to takes no other server's names.
    fn has_other_skills(&self) -> bool {
        self.offer_now().is_some_and(|offer| offer.catalogue.skills.has_others(SCHEME))
    }
}

impl Hub {
    /// Whether a server's own URI could be taken for one that has a server's name in it. Where that takes too long to tell, it could.
    pub(super) fn is_misleading(&self, uri: &str, work: &Cell<usize>) -> bool {
        let named = |name: &str| self.entries().find(|entry| entry.name.as_str() == name);
        let expands = |offer: &Offer, own: &str| offer.catalogue.templates.first(own, work, TooLong::Fits).is_some();
        let has_others = |name: &str, own: &str| {
            named(name).is_some_and(|entry| {
                entry.has_other_skills()
                    || entry.lists_uri(own)
                    || self.links.has(entry.index, own)
                    || entry.offer_now().is_some_and(|offer| expands(&offer, own))
            })
        };
        is_misleading(uri, |name| named(name).is_some(), has_others)
    }
}

impl Aggregator {
    /// The server in whose name a URI is, and the server's own.
    pub(super) fn named_in(&self, uri: &str) -> Option<(&Arc<Entry>, Box<str>)> {
        let named = |name: &str| self.by_name.get(name).map(|index| &self.entries[*index]);
        if let Some(rest) = uri.strip_prefix(SCHEME) {
            let (name, path) = rest.split_once('/')?;
            return Some((named(name)?, format!("{SCHEME}{path}").into()));
        }
        let (name, own) = uri.split_once('+')?;
        let entry = named(name)?;
        let offer = entry.offer_now()?;
        let agreed = offer.catalogue.skills.around(own).next().is_some();
        // One that is held back says so, unless what it would be called is already somebody's.
        let held = || offer.held_skill(own).is_some() && !self.entries.iter().any(|entry| entry.lists_uri(uri));
        (agreed || held()).then(|| (entry, own.into()))
    }
}

const SCHEME: &str = "skill://";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_as_if_a_server_was_named_in_it_is_told_apart() {
        for (uri, expected) in [
            ("skill://docs/pdf/SKILL.md", true),
            ("skill://docs", true),
            ("skill://a-1?x", true),
            ("SKILL://Docs/pdf", true),
            ("skill://do%63s/pdf", true),
            ("skill://x@docs/pdf", true),
            ("skill://docs:80/pdf", true),
            ("skill://pdf/docs/SKILL.md", false),
            ("skill://docs2/pdf", false),
            ("skills://docs/pdf", false),
            ("a://docs/pdf", false),
            ("others+x://pdf", true),
            ("docs+x://pdf", false),
            ("docs+a:1", true),
            ("docs+a:11", false),
            ("skill:", false),
            ("", false),
        ] {
            assert_eq!(
                is_misleading(uri, |name| matches!(name, "docs" | "a-1"), |name, own| name == "others" || own == "a:1"),
                expected,
                "{uri}"
            );
        }
    }

    #[test]
    fn no_two_skills_have_one_uri() {
        let all = [("a", "skill://b/c"), ("b", "skill://c"), ("a", "x://c"), ("a", "b+x://c"), ("b", "x://c")];
        let exposed: std::collections::HashSet<_> = all.iter().map(|(server, own)| exposed(server, own)).collect();
        assert_eq!(exposed.len(), all.len());
    }
}
