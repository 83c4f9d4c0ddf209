//! What is measured: where it listens, and what it is asked for.

use std::{any::Any, path::Path};

use super::{endpoint, peers, whole};
use crate::Failure;

/// Ways to a server, none of which is straight.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// The aggregator's endpoint and nothing else.
    Bare,
    /// The gateway: token, policy, sandbox and audit.
    Whole,
    McpProxyCrate,
    McpProxyPython,
    Supergateway,
    /// Its bridge to standard input and output, without the gateway behind it.
    ContextForge,
}

impl Kind {
    pub(super) const ALL: [Self; 6] =
        [Self::Bare, Self::Whole, Self::McpProxyCrate, Self::McpProxyPython, Self::Supergateway, Self::ContextForge];

    pub(super) fn is_ours(self) -> bool {
        matches!(self, Self::Bare | Self::Whole)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bare => "ours, bare",
            Self::Whole => "ours, whole",
            Self::McpProxyCrate => "mcp-proxy (rs)",
            Self::McpProxyPython => "mcp-proxy (py)",
            Self::Supergateway => "supergateway",
            Self::ContextForge => "ContextForge",
        }
    }

    /// Starts it; it takes connections then.
    pub(super) fn start(self, directory: &Path) -> Result<Subject, Failure> {
        match self {
            Self::Bare => endpoint::start(),
            Self::Whole => whole::start(directory),
            Self::McpProxyCrate => peers::mcp_proxy_crate(directory),
            Self::McpProxyPython => peers::mcp_proxy_python(directory),
            Self::Supergateway => peers::supergateway(directory),
            Self::ContextForge => peers::context_forge(directory),
        }
    }
}

/// One of them that runs.
pub(super) struct Subject {
    pub(super) kind: Kind,
    pub(super) address: String,
    pub(super) path: &'static str,
    pub(super) token: Option<String>,
    /// Its name for the tool.
    pub(super) tool: &'static str,
    pub(super) id: u32,
    /// Ends it when dropped.
    pub(super) running: Box<dyn Any>,
}

impl Subject {
    pub(super) fn name(&self) -> &'static str {
        self.kind.name()
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn path(&self) -> &str {
        self.path
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub(super) fn tool(&self) -> &'static str {
        self.tool
    }
}
