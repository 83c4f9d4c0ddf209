//! What lists of tools cost.

use super::{Aggregator, Fault};
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
        for (entry, ready) in &gathered.servers {
            let offered: Vec<&str> =
                entry.policy.offered(&ready.catalogue.tools).map(|tool| tool.definition.get()).collect();
            let tokens = of(&mut offered.iter().copied());
            servers.push(ServerTokens { server: entry.name.clone(), tools: offered.len(), tokens });
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
