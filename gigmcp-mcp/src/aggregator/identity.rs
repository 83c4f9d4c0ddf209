//! Which process of a server something belongs to, and whose a request is.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    sink::{Asked, ClientId},
    upstream::{Call, Upstream},
};

/// Tells a process from every other of its server, before it and beside it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct ProcessId(Arc<str>);

impl ProcessId {
    /// As whoever runs it knows it, so that it is the same for every aggregator; a number if it has no name.
    pub(super) fn of(upstream: &dyn Upstream) -> Self {
        static STARTED: AtomicU64 = AtomicU64::new(0);
        match upstream.instance() {
            Some(name) => Self(name.into()),
            None => Self(format!("#{}", STARTED.fetch_add(1, Ordering::Relaxed)).into()),
        }
    }

    pub(super) fn named(name: &str) -> Self {
        Self(name.into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whose a request is, for what is counted, remembered and agreed to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Caller {
    /// A session's.
    Client(ClientId),
    /// Of somebody without sessions: each request stands alone, and all of them are the owner's.
    Owner(Arc<str>),
    /// Nobody has said. Nothing that one of them agrees to is remembered.
    Unknown,
}

impl Caller {
    /// Whose calls are counted together: somebody's, whatever sessions they are in, so that a new one gives no new ones.
    pub(super) fn counted(call: &Call) -> Self {
        let owner = call.context.as_deref().and_then(|context| context.owner.clone());
        owner.map_or_else(|| Self::of(call), Self::Owner)
    }

    pub(super) fn of(call: &Call) -> Self {
        let stateless = call.context.as_deref().filter(|context| context.asked == Asked::ByOutcome);
        match (stateless.and_then(|context| context.owner.clone()), call.client) {
            (Some(owner), _) => Self::Owner(owner),
            (None, Some(client)) => Self::Client(client),
            (None, None) => Self::Unknown,
        }
    }
}
