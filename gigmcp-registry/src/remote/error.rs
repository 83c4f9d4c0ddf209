use std::io;
use std::net::IpAddr;

use super::CredentialUnavailable;

/// Why a registry did not give what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// It could not be reached. Trying later may help.
    #[error("connecting to {host}")]
    Connect {
        /// Which host: a registry's, or one that it led to.
        host: String,
        /// Why not.
        source: io::Error,
    },
    /// Its address is one that must not be dialled.
    #[error("{host} is {address}, which must not be reached")]
    Address {
        /// Which host: a registry's, or one that it led to.
        host: String,
        /// What it resolved to.
        address: IpAddr,
    },
    /// It took too long. Trying later may help.
    #[error("{host} did not {what} in time")]
    TimedOut {
        /// Which host: a registry's, or one that it led to.
        host: String,
        /// What it should have done.
        what: &'static str,
    },
    /// What it says is not HTTP, or ended too early.
    #[error("talking to {host}")]
    Http {
        /// Which host: a registry's, or one that it led to.
        host: String,
        /// What is wrong.
        source: hyper::Error,
    },
    /// It does not answer with content.
    #[error("{host} answers {status}")]
    Status {
        /// Which host: a registry's, or one that it led to.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// It wants a credential, and there is none, or not the right one.
    #[error("{host} demands a credential, and there is none that it takes")]
    Unauthorized {
        /// Which host: a registry's, or its token service's.
        host: String,
    },
    /// There may be a credential, but it cannot be had now.
    #[error("asking for the credential of {host}")]
    Credential {
        /// Which host: a registry's, or its token service's.
        host: String,
        /// Why not.
        source: CredentialUnavailable,
    },
    /// It wants to be authenticated to in a way that is not known, or its token service gives no token.
    #[error("{host} cannot be authenticated to")]
    Challenge {
        /// Which host: a registry's, or its token service's.
        host: String,
    },
    /// It redirects to where nothing is asked.
    #[error("{host} redirects: {why}")]
    Redirect {
        /// Which host.
        host: String,
        /// Why it is not followed.
        why: RedirectFault,
    },
    /// It gives another part of the content than was asked for.
    #[error("{host} gives another range than was asked for")]
    Range {
        /// Which host.
        host: String,
    },
}

/// Why a redirect is not followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RedirectFault {
    /// There is no address, or one that is no URL of a host.
    #[error("the address cannot be read")]
    Address,
    /// From TLS, or to a host that was not named for it, to plain HTTP.
    #[error("plain HTTP is not spoken")]
    Insecure,
    /// Again and again.
    #[error("too often")]
    TooMany,
}
