//! What can be wrong with an index.

use crate::manifest::Fault;

/// Why bytes are not an index. If they are signed, whoever holds the keys has signed something wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidIndex {
    /// Not JSON of the right shape; the cause names line and column.
    #[error("the index is not JSON of its format")]
    Syntax(#[from] serde_json::Error),
    /// The values are wrong; all of them are listed.
    #[error("the index has {} faults, first: {}", .0.len(), .0[0])]
    Faults(Vec<IndexFault>),
}

/// One thing that is wrong with an index.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexFault {
    /// The schema version is not the one that was asked for.
    #[error("schema version {found} of the index is not supported, only {supported} is")]
    SchemaVersion {
        /// The version found.
        found: u64,
        /// The version that can be read here.
        supported: u64,
    },
    /// Not a moment.
    #[error("`generated` is not like 2030-01-31T00:00:00Z")]
    Generated,
    /// Not a moment after `generated`.
    #[error("`expires` is not like 2030-01-31T00:00:00Z, or not after `generated`")]
    Expires,
    /// The key is not a server name.
    #[error("{server:?} is not a server name")]
    Name {
        /// The key.
        server: String,
    },
    /// `latest` is not the highest version, or there is none.
    #[error("`latest` of {server:?} is not its highest version")]
    Latest {
        /// The server.
        server: String,
    },
    /// A manifest is wrong.
    #[error("{server:?} {version:?}: {fault}")]
    Manifest {
        /// The server.
        server: String,
        /// The version.
        version: String,
        /// What is wrong.
        fault: Fault,
    },
}
