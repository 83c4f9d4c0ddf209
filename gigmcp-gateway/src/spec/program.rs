//! What tells one program from another.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{ServerSpec, Source};

/// A digest of what is run, and how: what a program speaks does not change as long as this is the same. Tools of this host
/// may be others tomorrow, so whoever relies on it must notice.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ProgramDigest(String);

#[derive(Serialize)]
struct Run<'a> {
    source: &'a Source,
    command: &'a [String],
}

impl ServerSpec {
    /// Of the program that it runs.
    pub(crate) fn program(&self) -> ProgramDigest {
        let run = Run { source: &self.source, command: &self.command };
        let text = serde_json::to_vec(&run).expect("a specification has text keys only");
        ProgramDigest(hex::encode(Sha256::digest(text)))
    }
}

impl ProgramDigest {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}
