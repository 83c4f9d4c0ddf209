//! Why somebody is not let in by the provider.

use super::{NotAdmitted, provider::ProviderError};

/// What went wrong. The texts are for the operator; callers get a fixed one for each kind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OidcError {
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The browser brought what fits nothing that was begun in it: too old, another's, or there twice.
    #[error("what the browser came back with was not begun in it, or is over ({0})")]
    Flow(&'static str),
    /// The provider sent the browser back with an error.
    #[error("the provider says {error}")]
    Denied { error: String },
    /// The token endpoint refused.
    #[error("the provider's token endpoint says {error}")]
    Exchange { error: String },
    /// What the token endpoint answered is not what it should be.
    #[error("the provider's token endpoint: {why}")]
    Endpoint { why: String },
    /// A token that is not believed.
    #[error("the provider's token is not accepted ({cause}): {why}")]
    Token { cause: &'static str, why: String },
    #[error("not let in: {0}")]
    NotAdmitted(#[from] NotAdmitted),
    #[error("too many sign-ins at once")]
    Busy,
    #[error("the kernel gave no random bytes")]
    Random(#[from] getrandom::Error),
}

impl OidcError {
    pub(super) fn token(cause: &'static str, why: impl Into<String>) -> Self {
        Self::Token { cause, why: why.into() }
    }

    /// For the audit trail.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Provider(ProviderError::NotReady) => "provider-not-ready",
            Self::Provider(_) => "provider-unreachable",
            Self::Flow(cause) | Self::Token { cause, .. } => cause,
            Self::Denied { .. } => "provider-denied",
            Self::Exchange { .. } => "exchange-refused",
            Self::Endpoint { .. } => "exchange-failed",
            Self::NotAdmitted(why) => why.cause(),
            Self::Busy => "busy",
            Self::Random(_) => "random",
        }
    }
}
