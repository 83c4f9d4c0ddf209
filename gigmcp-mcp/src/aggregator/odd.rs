//! What is odd in a server's lists, in the operator's log.

use super::{backend::Entry, fault::FaultKind};
use crate::catalogue::Remedy;

impl Entry {
    /// Logs what is odd in lists that were just read. A server may have made all of it odd, so only the first are shown.
    pub(super) fn log_faults(&self) {
        let faults = self.known_faults();
        for fault in faults.iter().take(SHOWN) {
            match &fault.kind {
                FaultKind::Item(odd) if odd.remedy == Remedy::Mended => {
                    tracing::debug!(server = %fault.server, fault = %fault.kind, "mended in a list");
                }
                kind => tracing::warn!(server = %fault.server, fault = %kind, "not in a list"),
            }
        }
        if let Some(more @ 1..) = faults.len().checked_sub(SHOWN) {
            tracing::warn!(server = %self.name, more, "more is odd in the lists");
        }
    }
}

const SHOWN: usize = 16;
