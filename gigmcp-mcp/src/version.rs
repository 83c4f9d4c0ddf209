//! The revisions of the protocol.

use std::{fmt, str::FromStr};

/// A legacy revision: one with the `initialize` handshake.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum ProtocolVersion {
    /// The first release.
    V2024_11_05,
    /// Streamable HTTP; the only one with batches.
    V2025_03_26,
    /// Structured results, the `MCP-Protocol-Version` header.
    V2025_06_18,
    /// The last one with a handshake.
    V2025_11_25,
}

/// What we ask a server for, and what a client gets that asked for something unknown.
pub const LATEST_LEGACY: ProtocolVersion = ProtocolVersion::V2025_11_25;

/// What a server speaks: a property of its program, which a process that has heard the wrong first message never shows.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Era {
    /// A session, until 2025-11-25.
    #[default]
    Legacy,
    /// Requests that stand alone, from 2026-07-28 on.
    Modern,
}

/// The revision without a handshake.
pub const MODERN: &str = "2026-07-28";

impl ProtocolVersion {
    /// Every legacy revision, oldest first.
    pub const ALL: [Self; 4] = [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25];

    /// The date that names it on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
        }
    }

    /// Whether a client may come back to a stream that it has lost.
    #[must_use]
    pub fn has_resumption(self) -> bool {
        self >= Self::V2025_11_25
    }

    /// Whether several messages may come in one array.
    #[must_use]
    pub fn has_batches(self) -> bool {
        self == Self::V2025_03_26
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProtocolVersion {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|version| version.as_str() == text).ok_or(UnknownVersion)
    }
}

/// The text names no legacy revision.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a known protocol revision with a handshake")]
pub struct UnknownVersion;
