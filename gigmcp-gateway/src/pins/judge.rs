//! How what a server says stands, by what is pinned.

use std::{collections::HashMap, fmt, sync::Arc};

use gigmcp_mcp::{Definition, DefinitionDigest, DefinitionKind, Process, Standing};

use crate::spec::SaidTool;

/// What a definition is of.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct PinKey {
    pub(crate) kind: DefinitionKind,
    /// The server's own name, or URI; nothing for instructions, and the identifier for an extension.
    pub(crate) name: Box<str>,
}

impl PinKey {
    pub(crate) fn of(said: &Definition) -> Self {
        Self { kind: said.kind, name: said.name.clone() }
    }
}

impl fmt::Display for PinKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            DefinitionKind::Instructions if self.name.is_empty() => formatter.write_str(self.kind.as_str()),
            kind => write!(formatter, "{kind} {}", self.name),
        }
    }
}

/// Everything that one process of a server says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// Of the server.
    pub(crate) revision: i64,
    pub(crate) said: Arc<[Arc<Definition>]>,
    pub(crate) process: Process,
    /// What it says otherwise than before may be written down.
    pub(crate) noted: bool,
}

/// What is known of a server whose owner has agreed to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The tools of its manifest; all there are if it names none.
    pub(crate) bounds: Vec<SaidTool>,
    /// Nothing was read of it yet since its owner agreed.
    pub(crate) is_first: bool,
    pub(crate) pins: HashMap<PinKey, DefinitionDigest>,
    pub(crate) held: HashMap<PinKey, DefinitionDigest>,
}

/// How a reading stands.
#[derive(Clone, Debug)]
pub(crate) struct Verdicts {
    /// In the order of the reading.
    pub(crate) standings: Vec<Standing>,
    /// What is to be pinned, if it is the first reading.
    pub(crate) first: Option<Vec<Arc<Definition>>>,
    /// What is to be held back until it is accepted.
    pub(crate) held: Vec<Arc<Definition>>,
    is_news: bool,
    is_premature: bool,
}

impl Verdicts {
    /// Whether nothing can be said yet: what was kept of an earlier process is never the first that is pinned.
    pub(crate) fn is_premature(&self) -> bool {
        self.is_premature
    }

    /// Whether something is to be kept that is not yet.
    pub(crate) fn is_news(&self) -> bool {
        self.is_news
    }
}

impl Known {
    pub(crate) fn judge(&self, reading: &Reading) -> Verdicts {
        let is_first = self.is_first && reading.process == Process::First;
        let mut room = MAX_BYTES;
        let (mut standings, mut first, mut held) = (Vec::with_capacity(reading.said.len()), Vec::new(), Vec::new());
        for said in &*reading.said {
            let standing = if !within(&self.bounds, said) {
                Standing::Barred
            } else if is_first && can_be_kept(said, &mut room) {
                first.push(Arc::clone(said));
                Standing::Agreed
            } else {
                self.standing(said)
            };
            if matches!(standing, Standing::New | Standing::Changed) && !is_first && can_be_kept(said, &mut room) {
                held.push(Arc::clone(said));
            }
            standings.push(standing);
        }
        // What a further process says is compared and not kept: it is not what clients see.
        let is_news = reading.process == Process::First && (is_first || reading.noted && !self.holds(&held));
        let is_premature = self.is_first && reading.process == Process::Kept;
        Verdicts { standings, first: is_first.then_some(first), held, is_news, is_premature }
    }

    fn standing(&self, said: &Definition) -> Standing {
        match self.pins.get(&PinKey::of(said)).filter(|_| !self.is_first) {
            Some(digest) if *digest == said.digest => Standing::Agreed,
            Some(_) => Standing::Changed,
            None => Standing::New,
        }
    }

    fn holds(&self, held: &[Arc<Definition>]) -> bool {
        held.len() == self.held.len() && held.iter().all(|said| self.held.get(&PinKey::of(said)) == Some(&said.digest))
    }
}

/// Whether the manifest of the server has this: what it names of a tool cannot be changed by anybody's consent.
pub(super) fn within(bounds: &[SaidTool], said: &Definition) -> bool {
    if said.kind != DefinitionKind::Tool || bounds.is_empty() {
        return true;
    }
    let Some(named) = bounds.iter().find(|tool| *tool.name == *said.name) else { return false };
    named.definition.as_ref().is_none_or(|digest| *digest == said.digest.to_string())
}

/// Whether it can be shown to whoever is to agree. What cannot be is held back for ever: against a server that fills the
/// database.
fn can_be_kept(said: &Definition, room: &mut usize) -> bool {
    let fits = said.name.len() <= MAX_NAME_BYTES && !said.name.contains('\0') && said.text.len() <= *room;
    if fits {
        *room -= said.text.len();
    }
    fits
}

/// What stands for several definitions; one alone stands for itself.
pub(crate) fn digest_of(definitions: &[(PinKey, DefinitionDigest)]) -> DefinitionDigest {
    if let [(_, digest)] = definitions {
        return *digest;
    }
    let mut parts: Vec<_> =
        definitions.iter().map(|(key, digest)| (key.kind, &*key.name, digest.to_string())).collect();
    parts.sort();
    let parts: Vec<_> = parts.into_iter().map(|(kind, name, digest)| (kind.as_str(), name, digest)).collect();
    DefinitionDigest::of(&serde_json::to_string(&parts).expect("texts are JSON"))
}

/// Of a server's definitions together.
const MAX_BYTES: usize = 8 << 20;
/// What an index of PostgreSQL takes, and more than any client does.
const MAX_NAME_BYTES: usize = 1_000;

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn said(kind: DefinitionKind, name: &str, text: &str) -> Arc<Definition> {
        Arc::new(Definition::new(kind, name, &RawValue::from_string(text.to_owned()).expect("JSON")))
    }

    fn tool(name: &str, text: &str) -> Arc<Definition> {
        said(DefinitionKind::Tool, name, text)
    }

    fn reading(said: &[Arc<Definition>]) -> Reading {
        Reading { revision: 1, said: said.into(), process: Process::First, noted: true }
    }

    fn pinned(definitions: &[Arc<Definition>]) -> Known {
        let pins = definitions.iter().map(|said| (PinKey::of(said), said.digest)).collect();
        Known { pins, ..Known::default() }
    }

    #[test]
    fn the_first_reading_is_pinned_and_later_ones_are_compared() {
        let all = [tool("a", "{}"), said(DefinitionKind::Prompt, "a", "{}")];
        let first = Known { is_first: true, ..Known::default() }.judge(&reading(&all));
        assert_eq!((first.standings, first.first.map(|first| first.len())), (vec![Standing::Agreed; 2], Some(2)));
        let known = pinned(&all);
        let same = known.judge(&reading(&all));
        assert!(!same.is_news() && same.standings == [Standing::Agreed; 2], "twin");
        let changed = [tool("a", r#"{"x":1}"#), all[1].clone(), tool("b", "{}")];
        let verdicts = known.judge(&reading(&changed));
        assert_eq!(verdicts.standings, [Standing::Changed, Standing::Agreed, Standing::New]);
        assert!(verdicts.is_news() && verdicts.first.is_none());
        let held = verdicts.held.iter().map(|said| (PinKey::of(said), said.digest)).collect();
        let known = Known { held, ..known };
        assert!(!known.judge(&reading(&changed)).is_news(), "it is held back already");
        assert!(known.judge(&reading(&all)).is_news(), "it is no longer");
        let unnoted = Reading { noted: false, ..reading(&all) };
        assert!(!known.judge(&unnoted).is_news(), "it has changed too often");
        let first = Known { is_first: true, ..Known::default() }.judge(&unnoted);
        assert!(first.is_news(), "what was agreed to is always written down");
    }

    #[test]
    fn pins_of_another_revision_are_none() {
        let known = Known { is_first: true, ..pinned(&[tool("a", "{}")]) };
        let changed = [tool("a", r#"{"x":1}"#)];
        assert_eq!(known.judge(&reading(&changed)).standings, [Standing::Agreed], "it was agreed to anew");
        let beside = Reading { process: Process::Beside, ..reading(&changed) };
        let verdicts = known.judge(&beside);
        assert_eq!(verdicts.standings, [Standing::New], "only the first process is taken at its word");
        assert!(!verdicts.is_news() && verdicts.first.is_none() && !verdicts.is_premature());
    }

    #[test]
    fn what_was_kept_is_compared_and_never_the_first_that_is_pinned() {
        let all = [tool("a", "{}"), tool("b", "{}")];
        let kept = Reading { process: Process::Kept, ..reading(&all) };
        let first = Known { is_first: true, ..Known::default() }.judge(&kept);
        assert!(first.is_premature() && !first.is_news() && first.first.is_none());
        let known = pinned(&all[..1]).judge(&kept);
        assert_eq!(known.standings, [Standing::Agreed, Standing::New], "twin");
        assert!(!known.is_premature() && !known.is_news(), "nothing is written down of it");
    }

    #[test]
    fn a_manifest_bounds_what_can_be_agreed_to() {
        let named = |name: &str, definition: Option<&Definition>| SaidTool {
            name: name.to_owned(),
            definition: definition.map(|said| said.digest.to_string()),
            off: false,
            read_only: false,
        };
        let (plain, exact) = (tool("plain", "{}"), tool("exact", "{}"));
        let bounds = vec![named("plain", None), named("exact", Some(&exact))];
        let known = Known { is_first: true, bounds, ..Known::default() };
        for (case, said, expected) in [
            ("twin", plain, Standing::Agreed),
            ("twin: as it is in the manifest", exact, Standing::Agreed),
            ("another", tool("exact", r#"{"x":1}"#), Standing::Barred),
            ("one more", tool("more", "{}"), Standing::Barred),
            ("no tool", said(DefinitionKind::Prompt, "more", "{}"), Standing::Agreed),
        ] {
            let verdicts = known.judge(&reading(&[said]));
            assert_eq!((&*verdicts.standings, verdicts.held.len()), (&[expected][..], 0), "{case}");
        }
    }

    #[test]
    fn what_cannot_be_shown_to_anybody_is_held_back() {
        let known = Known { is_first: true, ..Known::default() };
        let half = format!(r#""{}""#, "x".repeat(MAX_BYTES / 2 - 2));
        let all = [
            tool(&"n".repeat(MAX_NAME_BYTES), "{}"), // twin
            tool(&"n".repeat(MAX_NAME_BYTES + 1), "{}"),
            tool("a\0b", "{}"),
            tool("a", &half), // twin
            tool("b", &half),
        ];
        let (yes, no) = (Standing::Agreed, Standing::New);
        assert_eq!(known.judge(&reading(&all)).standings, [yes, no, no, yes, no]);
        assert_eq!(pinned(&[]).judge(&reading(&all)).held.len(), 2);
    }

    #[test]
    fn one_digest_stands_for_several_in_any_order() {
        let of = |said: &Definition| (PinKey::of(said), said.digest);
        let (a, b) = (of(&tool("a", "{}")), of(&tool("b", "{}")));
        assert_eq!(digest_of(std::slice::from_ref(&a)), a.1);
        assert_eq!(digest_of(&[a.clone(), b.clone()]), digest_of(&[b.clone(), a.clone()]));
        let prompt = of(&said(DefinitionKind::Prompt, "b", "{}"));
        assert_ne!(digest_of(&[a.clone(), b]), digest_of(&[a, prompt]));
    }
}
