//! What was found in what the servers of a profile say.

use std::{collections::BTreeMap, sync::Arc};

use gigmcp_mcp::{Aggregator, Finding, Shadowing};

/// What was found since the profile was changed last.
pub(crate) struct Found {
    /// By server: how often each thing was found, whichever token was used.
    pub(crate) servers: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// By server: what is wrong with what it says, or with itself, in words.
    pub(crate) faults: Vec<(String, String)>,
    pub(crate) shadowings: Vec<Shadowing>,
    /// Whether the servers together read strangers' text and private data, and can send.
    pub(crate) toxic_flow: bool,
}

impl Found {
    /// Each aggregator counts for itself; what they say is the same.
    pub(super) fn of<'a>(whole: &'a Arc<Aggregator>, scoped: impl Iterator<Item = &'a Arc<Aggregator>>) -> Self {
        let mut servers: BTreeMap<String, BTreeMap<&'static str, u64>> = BTreeMap::new();
        for aggregator in scoped.chain([whole]) {
            for (server, findings) in aggregator.findings() {
                let counts = servers.entry(server.to_string()).or_default();
                for (finding, count) in findings.iter() {
                    *counts.entry(Finding::name(finding)).or_default() += count;
                }
            }
        }
        let faults = whole.faults().into_iter().map(|fault| (fault.server.to_string(), fault.kind.to_string()));
        Self { servers, faults: faults.collect(), shadowings: whole.shadowings(), toxic_flow: whole.has_toxic_flow() }
    }
}
