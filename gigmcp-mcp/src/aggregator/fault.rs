//! What is wrong with a server, for clients and for the operator.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use super::pins::{PinsUnknown, Standing};
use crate::{
    catalogue::{CatalogueError, OddItem, Remedy},
    definition::DefinitionKind,
    message::RpcError,
    name::ServerId,
    upstream::{LaunchError, failure},
};

/// Why a server cannot be used now.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum BackendError {
    #[error(transparent)]
    Launch(LaunchError),
    #[error(transparent)]
    Catalogue(CatalogueError),
    #[error(transparent)]
    Pins(PinsUnknown),
    #[error("it ended by itself {times} times within {} s", within.as_secs_f32())]
    Crashing { times: usize, within: Duration, until: Instant },
}

impl BackendError {
    /// Nobody is to blame, so the next call tries again.
    pub(super) fn interrupted() -> Self {
        Self::Launch(LaunchError::new("start", "server-start-interrupted", "the start was interrupted").at_once())
    }

    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Launch(error) => error.code,
            Self::Catalogue(error) => error.code(),
            Self::Pins(_) => "definitions-unknown",
            Self::Crashing { .. } => "server-crash-loop",
        }
    }

    /// The error a client gets, with what comes of its call.
    pub(super) fn to_rpc(&self, server: &ServerId, consequence: &str) -> RpcError {
        let (stage, detail) = match self {
            Self::Launch(error) => (error.stage, error.detail.clone()),
            Self::Catalogue(error) => ("tools/list", error.to_string()),
            Self::Pins(error) => ("pins", error.to_string()),
            Self::Crashing { .. } => ("start", self.to_string()),
        };
        failure(server, stage, self.code(), &(detail + consequence))
    }
}

/// Something that is missing from a list, for the operator.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fault {
    /// Whose fault it is.
    pub server: ServerId,
    /// What it is.
    pub kind: FaultKind,
}

/// What is missing from a list, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FaultKind {
    /// The server did not start.
    Launch(LaunchError),
    /// The server runs, but its list could not be read.
    Catalogue(CatalogueError),
    /// It works and ends by itself, again and again; it is left alone for a while.
    Crashing {
        /// How often it has ended.
        times: usize,
        /// In which time.
        within: Duration,
    },
    /// The server was not ready when the list had to be answered; it goes on starting.
    StillStarting,
    /// One item of a list is not as it should be.
    Item(OddItem),
    /// Something is held back, as nobody has agreed to its definition; see [`Pins`](crate::Pins).
    HeldBack {
        /// What it is.
        kind: DefinitionKind,
        /// The server's own name for it, not checked for anything.
        name: Box<str>,
        /// Why.
        standing: Standing,
    },
    /// Which definitions somebody agreed to is not known, so none is offered.
    Pins(PinsUnknown),
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Launch(error) => error.fmt(f),
            Self::Catalogue(error) => error.fmt(f),
            Self::Crashing { times, within } => {
                write!(f, "ended by itself {times} times within {} s", within.as_secs_f32())
            }
            Self::HeldBack { kind, name, standing } => {
                write!(f, "the {kind} {:?} is held back: {}", name, standing.code().unwrap_or_default())
            }
            Self::Pins(error) => error.fmt(f),
            Self::StillStarting => f.write_str("still starting"),
            Self::Item(odd) => {
                let remedy = if odd.remedy == Remedy::Mended { " (mended)" } else { "" };
                write!(f, "item {} of {}: {}{remedy}", odd.position, odd.list, odd.reason)
            }
        }
    }
}

impl From<&BackendError> for FaultKind {
    fn from(error: &BackendError) -> Self {
        match error {
            BackendError::Launch(error) => Self::Launch(error.clone()),
            BackendError::Catalogue(error) => Self::Catalogue(error.clone()),
            BackendError::Pins(error) => Self::Pins(error.clone()),
            BackendError::Crashing { times, within, .. } => Self::Crashing { times: *times, within: *within },
        }
    }
}
