//! Why a secret is looked at, and who is told.

use std::fmt;
use std::sync::Arc;

use crate::context::Context;

/// Why a secret is exposed: a few fixed words for the audit, such as `send to upstream`.
///
/// A `&'static str` on purpose, so that nothing a user or an upstream said can get into it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Reason(&'static str);

impl Reason {
    /// These words.
    #[must_use]
    pub const fn new(words: &'static str) -> Self {
        Self(words)
    }

    /// The words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A secret that was opened is about to be read.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Exposure<'a> {
    /// Which secret.
    pub context: &'a Context,
    /// What for.
    pub reason: Reason,
}

/// Is told each time a secret out of a [`Vault`](crate::Vault) is exposed; see [`Vault::audited`](crate::Vault::audited).
pub trait AuditSink: Send + Sync {
    /// Called before the secret is lent out, in the same thread; it should not wait. To forbid a use that cannot be
    /// recorded, do not open the secret.
    fn exposed(&self, exposure: Exposure<'_>);
}

/// Where a secret came from, if someone wants to know when it is read.
pub(crate) struct Witness {
    pub(crate) context: Context,
    pub(crate) sink: Arc<dyn AuditSink>,
}

impl Witness {
    pub(crate) fn tell(&self, reason: Reason) {
        self.sink.exposed(Exposure { context: &self.context, reason });
    }
}
