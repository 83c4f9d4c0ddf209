//! Why a gateway elsewhere did not do what was asked.

use std::{io, path::PathBuf};

use http::StatusCode;
use serde::Deserialize;

/// Why it was not done, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RemoteError {
    #[error(
        "`{command}` has no route over the network; run it on the machine of the gateway, without --url and with GIG_URL unset"
    )]
    NoRoute { command: String },
    #[error("{setting} is set, but no GIG_URL that it would be for; set that or give --url, or unset {setting}")]
    NoUrl { setting: &'static str },
    #[error(
        "a gateway elsewhere lets one in with a key only; make one there (`gigmcp-gateway api-key create NAME --scopes servers:read`), and name its file by GIG_API_KEY_FILE or --api-key-file"
    )]
    NoKey,
    #[error("the key in GIG_API_KEY or its file is none: a key is one word of visible ASCII characters")]
    NotAKey,
    #[error("{}, which GIG_CA_FILE names, holds no certificate authorities", .path.display())]
    Authorities { path: PathBuf },
    #[error("{}, which GIG_CA_FILE names, cannot be read", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{host} has no address")]
    Name { host: String, source: io::Error },
    #[error("{host} is not on this machine, and a key is not sent without TLS; use https://")]
    NotHere { host: String },
    #[error("no gateway answers at {host}")]
    Connect { host: String, source: io::Error },
    #[error(
        "{host} did not show a certificate that can be believed, so nothing was sent; if its authority is one of your own, name it by GIG_CA_FILE or --ca-file"
    )]
    Tls { host: String, source: io::Error },
    #[error("the gateway broke off; whether it did what was asked is not known, so look before you ask again")]
    Broken(#[source] hyper::Error),
    #[error(
        "the gateway did not answer within {seconds} s; whether it does what was asked is not known, so look before you ask again"
    )]
    Late { seconds: u64 },
    #[error("the answer has more than {bytes} bytes")]
    TooLarge { bytes: usize },
    #[error("there are more than {items} of them; ask for less")]
    TooMany { items: usize },
    #[error("what answers at {host} is no gateway, or another version of it: status {status}")]
    NotOurs { host: String, status: StatusCode },
    #[error("what the gateway answered is not understood; its version may be another")]
    Answer(#[source] serde_json::Error),
    #[error("there is no account `{who}`, or this key does not see it; `gigmcp-gateway user list` shows them")]
    Nobody { who: String },
    #[error("{message} ({code}){}", hint(.code))]
    Refused { code: String, message: String, request_id: String },
}

impl RemoteError {
    /// What programs go by, if the gateway said no.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// What the gateway said in an error.
    pub(super) fn refused(host: &str, status: StatusCode, body: &[u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(Document { error: Said { code, message, request_id } }) => Self::Refused { code, message, request_id },
            Err(_) => Self::NotOurs { host: host.to_owned(), status },
        }
    }
}

#[derive(Deserialize)]
struct Document {
    error: Said,
}

#[derive(Deserialize)]
struct Said {
    code: String,
    message: String,
    request_id: String,
}

/// What to do, where the gateway cannot know how it was asked.
fn hint(code: &str) -> &'static str {
    match code {
        "unauthenticated" => {
            "; the key is none of this gateway, or has ended: `gigmcp-gateway api-key create` makes another there"
        }
        "forbidden" => {
            "; a key does what its scopes say and its owner may, and never what runs tools or proves who somebody is: that is done on the machine of the gateway, or signed in"
        }
        "not_found" => "; what belongs to somebody else is not shown either",
        "conflict" => "; look at what is there now",
        "unavailable" | "upstream" => "; try again later, and see the log of the gateway",
        "internal" => "; the log of the gateway says why",
        _ => "",
    }
}
