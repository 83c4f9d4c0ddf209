//! What lists of tools cost.

use super::{Aggregator, Fault, named::Kind};
use crate::{meta::estimated_tokens, name::ServerId};

/// How much of a model's context the tools of an aggregator take, all by the same estimate
/// ([`estimated_tokens`](crate::estimated_tokens)).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TokenReport {
    /// Each server that is there, in order.
    pub servers: Vec<ServerTokens>,
    /// Tokens of the whole list.
    pub direct: usize,
    /// Tokens of the tools that stand for all others, and of those that are always listed.
    pub meta: usize,
    /// Which of the two clients see now.
    pub is_meta: bool,
    /// What is missing from the report.
    pub faults: Vec<Fault>,
}

/// What one server's tools take.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ServerTokens {
    /// The server.
    pub server: ServerId,
    /// How many tools it has that are not switched off.
    pub tools: usize,
    /// Their tokens.
    pub tokens: usize,
}

impl Aggregator {
    /// Counts what the list of tools takes, with and without the tools that stand for others. Starts servers that do not run.
    ///
    /// Cancel safe: starts under way go on for whoever asks next.
    pub async fn token_report(&self) -> TokenReport {
        let gathered = self.gather(self.limits.list_wait).await;
        let of = |tools: &mut dyn Iterator<Item = &str>| tools.map(estimated_tokens).sum::<usize>();
        let mut servers = Vec::new();
        let shown = self.shown(Kind::Tool, &gathered);
        for (entry, _) in &gathered.servers {
            let its_own = shown.iter().filter(|shown| shown.entry.index == entry.index);
            let its_own: Vec<_> =
                its_own.map(|shown| self.definition(Kind::Tool, entry.index, shown.item, shown.name)).collect();
            let tokens = of(&mut its_own.iter().map(|tool| tool.get()));
            servers.push(ServerTokens { server: entry.name.clone(), tools: its_own.len(), tokens });
        }
        let listed = self.meta_list().await;
        TokenReport {
            direct: servers.iter().map(|server| server.tokens).sum(),
            meta: of(&mut listed.iter().map(|tool| tool.get())),
            is_meta: self.decide(),
            faults: gathered.faults,
            servers,
        }
    }
}
