//! What an aggregator can tell of its servers.

use std::collections::{HashMap, HashSet};

use super::{Aggregator, flow::is_toxic};
use crate::{guard::Findings, hygiene::folded, name::ServerId, object::Members};

/// A description that names a tool of another server: one may be told to use, or to beware of, what is not the server's own.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Shadowing {
    /// Whose description it is.
    pub server: ServerId,
    /// Which tool's, by its own name.
    pub tool: Box<str>,
    /// Whose tool is named.
    pub other: ServerId,
    /// What it is called there.
    pub named: Box<str>,
}

impl Aggregator {
    /// What was found in what each server says, since this aggregator was made.
    #[must_use]
    pub fn findings(&self) -> Vec<(ServerId, Findings)> {
        self.entries.iter().map(|entry| (entry.name.clone(), entry.guard.tally.read())).collect()
    }

    /// Whether these servers together read strangers' text and private data, and can send.
    #[must_use]
    pub fn has_toxic_flow(&self) -> bool {
        is_toxic(self.entries.iter().map(|entry| entry.guard.policy().labels))
    }

    /// Descriptions of running servers that name another one's tool. Starts nothing.
    #[must_use]
    pub fn shadowings(&self) -> Vec<Shadowing> {
        let running: Vec<_> = self.entries.iter().filter_map(|entry| Some((entry, entry.running()?))).collect();
        let mut names: HashMap<String, Vec<(usize, Box<str>)>> = HashMap::new();
        for (index, (_, ready)) in running.iter().enumerate() {
            for tool in ready.catalogue.tools.items() {
                let own = Some(&tool.name).filter(|name| is_telling(name));
                for name in own.into_iter().chain([&tool.exposed]) {
                    names.entry(folded(name)).or_default().push((index, name.clone()));
                }
            }
        }
        let mut found = Vec::new();
        for (index, (entry, ready)) in running.iter().enumerate() {
            for tool in ready.catalogue.tools.items() {
                let description = Members::of(&tool.definition).ok().and_then(|members| members.string("description"));
                let mut told = HashSet::new();
                for word in description.as_deref().unwrap_or_default().split(|c: char| !is_of_names(c)) {
                    let others = names.get(&folded(word)).into_iter().flatten();
                    // A name that is its own tool's as well is no other's.
                    let named: Vec<_> = others.collect();
                    if named.iter().any(|(other, _)| *other == index) {
                        continue;
                    }
                    for (other, name) in named.into_iter().filter(|(_, name)| told.insert(name.clone())) {
                        found.push(Shadowing {
                            server: entry.name.clone(),
                            tool: tool.name.clone(),
                            other: running[*other].0.name.clone(),
                            named: name.clone(),
                        });
                    }
                }
            }
        }
        found
    }
}

/// Whether a name is no ordinary word.
fn is_telling(name: &str) -> bool {
    let small_before_capital =
        name.as_bytes().windows(2).any(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase());
    name.len() >= 6 && (name.contains(['_', '-', '.', '/']) || small_before_capital)
}

fn is_of_names(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-')
}
